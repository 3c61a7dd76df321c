"""Other systems on the same work in the same run; only where they are asked for."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import disk, scan
from .ingest import into_headrace
from .plan import BUILD, BYTES_PER_ROW, ROOT, Plan
from .process import GUARD, Process, free_port
from .record import Measurement, Recorder, alternate, compare
from .servers import Headrace

FLUSS = ROOT / "build" / "peers" / "fluss"
FLUSS_SOURCE = ROOT / "bench" / "peers" / "fluss"
WORKLOAD = BUILD / "w1.arrow"
ZOOKEEPER = "org.apache.fluss.shaded.zookeeper3.org.apache.zookeeper.server.quorum.QuorumPeerMain"
COORDINATOR = "org.apache.fluss.server.coordinator.CoordinatorServer"
TABLET = "org.apache.fluss.server.tablet.TabletServer"
JAVA = [
    "java", "-Djava.net.preferIPv4Stack=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
]  # fmt: skip


class Fluss:
    """Apache Fluss with its defaults on free ports: ZooKeeper, a coordinator, one tablet server.

    Replication factor 1, one bucket. It does not sync before it acknowledges.
    """

    def __init__(self) -> None:
        """Fetches what is missing and starts the three processes."""
        subprocess.run([FLUSS_SOURCE / "fetch.sh"], check=True, stdin=subprocess.DEVNULL)
        self.data = Path(tempfile.mkdtemp(prefix="fluss-", dir=BUILD))
        self.stack = ExitStack()
        self.stack.callback(shutil.rmtree, self.data, ignore_errors=True)
        self.processes: list[Process] = []
        try:
            self._start()
        except BaseException:
            self.stack.close()
            raise

    def _start(self) -> None:
        zookeeper, coordinator, tablet = free_port(), free_port(), free_port()
        self.address = f"127.0.0.1:{coordinator}"
        settings = self.data / "zookeeper.properties"
        settings.write_text(
            f"dataDir={self.data}/zookeeper\nclientPort={zookeeper}\n"
            "clientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\n"
        )
        (self.data / "server.yaml").write_text(
            f"zookeeper.address: 127.0.0.1:{zookeeper}\ndefault.bucket.number: 1\n"
            f"default.replication.factor: 1\ndata.dir: {self.data}/data\n"
            f"remote.data.dir: {self.data}/remote\nbind.listeners: FLUSS://{self.address}\n"
            "tablet-server.id: 0\n"
        )
        configured = ["--configDir", str(self.data)]
        self._java("256m", zookeeper, [ZOOKEEPER, str(settings)])
        self._java("512m", coordinator, [COORDINATOR, *configured])
        listener = f"-Dbind.listeners=FLUSS://127.0.0.1:{tablet}"
        self._java("2g", tablet, [TABLET, *configured, listener])

    def _java(self, heap: str, port: int, arguments: list[str]) -> None:
        command = [*JAVA, f"-Xmx{heap}", "-XX:MaxDirectMemorySize=2g", "-cp", f"{FLUSS}/lib/*"]
        process = Process([*command, *arguments], BUILD / "logs" / "fluss.log")
        self.stack.enter_context(process)
        self.processes.append(process)
        process.wait_for_port(port)

    def __enter__(self) -> Fluss:
        """Gives itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the processes and removes the data."""
        self.stack.close()

    def cpu(self) -> float:
        """Gives the CPU seconds of all three processes."""
        return sum(process.cpu() for process in self.processes)

    def client(self, command: str, table: str, *arguments: str) -> dict[str, Any]:
        """Runs the client of this folder."""
        program = [FLUSS / "venv" / "bin" / "python", FLUSS_SOURCE / "client.py", command]
        output = subprocess.run(
            [*GUARD, *map(str, program), self.address, table, str(WORKLOAD), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, text=True, timeout=600,
        ).stdout  # fmt: skip
        result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return result

    def measured(self, command: str, table: str, *arguments: str) -> Measurement:
        """Runs the client and adds the servers' CPU time."""
        cpu = self.cpu()
        result = self.client(command, table, *arguments)
        return Measurement(
            seconds=result["seconds"],
            rows=result["rows"],
            server_cpu=self.cpu() - cpu,
            client_cpu=result["client_cpu"],
        )


def fluss(plan: Plan, recorder: Recorder, batches: list[pa.RecordBatch]) -> None:
    """Compares ingest of whole batches, and scans of 2 of 20 and of all columns."""
    numbers, rows = itertools.count(), str(plan.rows)
    with Headrace("beside-fluss") as ours, Fluss() as theirs:

        def prepared(side: Callable[[], Measurement]) -> Callable[[], Measurement]:
            def run() -> Measurement:
                os.sync()
                disk.warm_memory(plan.rows * BYTES_PER_ROW)
                return side()

            return run

        def ingest_theirs() -> Measurement:
            table = f"w1_{next(numbers)}"
            theirs.client("create", table)
            return theirs.measured("ingest", table, rows)

        def ingest_ours() -> Measurement:
            return into_headrace(ours, f"bench.w1_{next(numbers)}", "fsync", batches)

        ingest_theirs()  # the JVM compiles
        sides = {"headrace": prepared(ingest_ours), "Fluss": prepared(ingest_theirs)}
        name = "ingest, 10,000-row batches, fsync, against Fluss"
        taken = alternate(recorder, name, sides, plan.rounds)
        against = "Fluss (no fsync)"
        recorder.judge(compare(name, taken["headrace"], (against, taken["Fluss"]), 2))

        ours.create(scan.TABLE, batches[0].schema)
        ours.put(scan.TABLE, batches)
        theirs.client("create", "scanned")
        theirs.client("ingest", "scanned", rows)
        for name, columns in (
            ("scan of 2 of 20 columns", scan.COLUMNS),
            ("scan of 20 columns", None),
        ):
            asked = [",".join(columns)] if columns else []
            sides = {
                "headrace": partial(scan.one, ours, columns, 1),
                "Fluss": partial(theirs.measured, "scan", "scanned", rows, *asked),
            }
            for warm_up in sides.values():
                warm_up()
            taken = alternate(recorder, name, sides, plan.rounds)
            recorder.judge(
                compare(
                    f"{name}, against Fluss", taken["headrace"], ("Fluss", taken["Fluss"]), None
                )
            )


PEERS = {"fluss": fluss}
