"""The servers that are measured: headrace and the yardstick."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from . import disk, flight
from .plan import BUILD, ROOT
from .process import Process, free_port


class Headrace:
    """One `headrace serve` on free ports, with a data folder of its own that goes with it."""

    def __init__(self, name: str, *options: str) -> None:
        """Starts the server on an empty folder; options are flags of `headrace serve`."""
        self.name, self.options = name, options
        self.data = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BUILD))
        self.log = BUILD / "logs" / f"{name}.log"
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.data, ignore_errors=True)
            raise

    def launch(self) -> None:
        """Starts the process and does not wait for it."""
        self.port = free_port()
        arguments = ["serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"]
        self.admin_port = free_port()
        arguments += ["--admin", f"127.0.0.1:{self.admin_port}", *self.options]
        self.process = Process([ROOT / "bin" / "headrace", *arguments], self.log)

    def start(self) -> None:
        """Starts the process and waits until it answers."""
        self.launch()
        try:
            self.process.wait_for_port(self.port)
            self.client = fl.connect(self.uri)
            list(self.client.list_flights())
        except BaseException:
            self.process.stop()
            raise

    @property
    def uri(self) -> str:
        """Gives the URI of the Flight port."""
        return f"grpc://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Ends the process; the data stays."""
        self.client.close()
        self.process.stop()

    def restart_cold(self) -> float:
        """Starts again with nothing of the data cached; gives the share that stayed cached."""
        self.stop()
        kept = disk.evict(path for path in self.data.rglob("*") if path.is_file())
        self.start()
        return kept

    def __enter__(self) -> Headrace:
        """Gives itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process and removes its data."""
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def create(self, table: str, schema: pa.Schema, **definition: Any) -> None:
        """Creates a table; the definition is what the action CreateTable takes."""
        encoded = base64.b64encode(schema.serialize().to_pybytes()).decode()
        body = {"table": table, "schema": encoded, **definition}
        flight.action(self.client, "CreateTable", body)

    def drop(self, table: str) -> None:
        """Drops a table."""
        flight.action(self.client, "DropTable", {"table": table})

    def put(
        self,
        table: str,
        batches: Sequence[pa.RecordBatch],
        level: str = "fsync",
        window: int = flight.WINDOW,
    ) -> flight.Transfer:
        """Appends batches with the pyarrow client, to a table of this durability."""
        descriptor = fl.FlightDescriptor.for_path(*table.split("."))
        return flight.put(self.client, descriptor, batches, level, window)

    def rows(self, table: str) -> int:
        """Counts the rows that the server says it has."""
        described = flight.action(self.client, "DescribeTable", {"table": table})
        return sum(bucket["end"] - bucket["start"] for bucket in described["buckets"])

    def metrics(self) -> dict[str, float]:
        """Gives the metrics of the admin port; those of one name and several labels are added."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        totals: dict[str, float] = {}
        for line in lines:
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = name.split("{", 1)[0]
                totals[name] = totals.get(name, 0) + float(value)
        return totals

    @staticmethod
    def ticket(table: str, columns: Sequence[str] | None = None) -> bytes:
        """Makes the ticket of a scan of what there is now."""
        scan: dict[str, Any] = {"table": table}
        if columns is not None:
            scan["columns"] = list(columns)
        return json.dumps({"scan": scan}).encode()


class Yardstick:
    """One pyarrow server that holds everything in memory."""

    def __init__(self) -> None:
        """Starts the server."""
        self.port = free_port()
        program = ROOT / "bench" / "yardstick" / "server.py"
        arguments = [sys.executable, str(program), "--listen", f"127.0.0.1:{self.port}"]
        self.process = Process(arguments, BUILD / "logs" / "yardstick.log")
        try:
            self.process.wait_for_port(self.port)
            self.client = fl.connect(f"grpc://127.0.0.1:{self.port}")
        except BaseException:
            self.process.stop()
            raise

    def __enter__(self) -> Yardstick:
        """Gives itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self.client.close()
        self.process.stop()

    def put(self, table: str, batches: Sequence[pa.RecordBatch]) -> flight.Transfer:
        """Sends batches into the memory of the server."""
        return flight.put(self.client, fl.FlightDescriptor.for_path(table), batches)

    def project(self, table: str, columns: Sequence[str]) -> None:
        """Makes a projection, so that a scan of it does not have to."""
        flight.action(self.client, "project", {"table": table, "columns": list(columns)})

    def drop(self, table: str) -> None:
        """Frees a table and its projections."""
        flight.action(self.client, "drop", {"table": table})

    @staticmethod
    def ticket(table: str, columns: Sequence[str] | None = None) -> bytes:
        """Makes the ticket of a table or of its projection."""
        return (table if columns is None else f"{table}|{','.join(columns)}").encode()
