"""A small server in memory with one kind of fault at a time: what a real one cannot be made to do.

It speaks the part of the protocol that the client uses on log tables of one bucket, and can cut
streams, leave end marks out, and refuse batches.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl


class _Header(fl.ServerMiddleware):
    def __init__(self, value: str | None) -> None:
        super().__init__()
        self._value = value

    def sending_headers(self) -> dict[str, str]:
        return {"headrace-error": self._value} if self._value else {}


class _Headers(fl.ServerMiddlewareFactory):
    def __init__(self) -> None:
        super().__init__()
        self.value: str | None = None
        self.seen: list[dict[str, Any]] = []

    def start_call(self, info: Any, headers: Any) -> _Header:
        self.seen.append(dict(headers))
        return _Header(self.value)


class Fake(fl.FlightServerBase):
    """Attributes that start with `next_` or `cut_` are faults, set by a test."""

    def __init__(self) -> None:
        self.headers = _Headers()
        super().__init__("grpc://127.0.0.1:0", middleware={"headers": self.headers})
        self.lock = threading.Lock()
        self.features: list[str] = []
        self.tables: dict[str, pa.Schema] = {}
        self.rows: dict[str, list[pa.RecordBatch]] = {}
        self.stored: dict[tuple[str, str, int], dict[str, tuple[int, list[int]]]] = {}
        self.epochs: dict[str, int] = {}
        self.actions: list[tuple[str, dict[str, Any]]] = []
        self.scans: list[dict[str, Any]] = []
        self.puts = 0
        self.duplicates = 0
        self.next_error: Exception | None = None
        self.cut_reads_after: list[int] = []  # batches, one entry a stream
        self.cut_puts_after: list[int] = []  # batches, one entry a stream
        self.forget_last_ack = False  # store the batch behind which the stream is cut
        self.refuse_batch: int | None = None
        self.merge_acks = False  # of four batches each, by number
        self.end_mark = "complete"
        self.slow_acks = 0.0

    @property
    def uri(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def _maybe_fail(self) -> None:
        error, self.next_error = self.next_error, None
        if error is not None:
            raise error

    def _end(self, table: str) -> int:
        return sum(b.num_rows for b in self.rows[table])

    def _describe(self, table: str) -> dict[str, Any]:
        table = table if "." in table else f"default.{table}"
        if table not in self.tables:
            raise KeyError(f"TABLE_NOT_FOUND: there is no table {table}. List them.")
        schema = base64.b64encode(self.tables[table].serialize().to_pybytes()).decode()
        bucket = {"bucket": 0, "start": 0, "end": self._end(table)}
        return {
            "table": table,
            "id": f"id-{table}",
            "schema": schema,
            "bucket_count": 1,
            "columns": [{"name": f.name} for f in self.tables[table]],
            "buckets": [bucket],
        }

    def do_action(self, context: Any, action: fl.Action) -> list[bytes]:
        body = json.loads(action.body.to_pybytes())
        self.actions.append((action.type, body))
        self._maybe_fail()
        if action.type == "ServerInfo":
            answer: dict[str, Any] = {
                "version": "0",
                "protocol": 1,
                "features": self.features,
                "limits": {"max_message_bytes": 1 << 20, "max_batch_rows": 1000},
            }
        elif action.type == "CreateTable":
            name = body["table"] if "." in body["table"] else f"default.{body['table']}"
            raw = pa.py_buffer(base64.b64decode(body["schema"]))
            self.tables.setdefault(name, pa.ipc.read_schema(raw))
            self.rows.setdefault(name, [])
            answer = self._describe(name)
        elif action.type == "DescribeTable":
            answer = self._describe(body["table"])
        elif action.type == "TableStats":
            described = self._describe(body["table"])
            bucket = described["buckets"][0]
            answer = {
                "table": described["table"],
                "id": described["id"],
                "rows": bucket["end"] - bucket["start"],
                "buckets": [bucket],
            }
        elif action.type == "OpenProducer":
            assert body["bump"] is True
            epoch = self.epochs[body["producer"]] = self.epochs.get(body["producer"], 0) + 1
            answer = {"epoch": epoch, "next_seq": 0}
        elif action.type == "More":
            return [
                json.dumps({"a": 1, "list": [1], "more": True}).encode(),
                json.dumps({"list": [2, 3]}).encode(),
            ]
        else:
            answer = {}
        return [json.dumps(answer).encode()]

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[fl.FlightInfo]:
        for name, schema in self.tables.items():
            yield fl.FlightInfo(schema, fl.FlightDescriptor.for_path(*name.split(".")), [], -1, -1)

    def get_flight_info(self, context: Any, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        self._maybe_fail()
        scan = json.loads(descriptor.command)["scan"]
        self._describe(scan["table"])
        scan = dict(
            scan,
            **{
                "from": {"offsets": {"0": self._start(scan)}},
                "to": {"offsets": {"0": self._stop(scan)}},
            },
        )
        ticket = fl.Ticket(json.dumps({"scan": scan}).encode())
        return fl.FlightInfo(
            self._schema(scan), descriptor, [fl.FlightEndpoint(ticket, [])], -1, -1
        )

    def _schema(self, scan: dict[str, Any]) -> pa.Schema:
        schema = self.tables[scan["table"]]
        names = scan.get("columns")
        return schema if names is None else pa.schema([schema.field(n) for n in names])

    def _start(self, scan: dict[str, Any]) -> int:
        bound = scan.get("from", "earliest")
        if isinstance(bound, dict):
            return int(bound["offsets"].get("0", 0))
        return self._end(scan["table"]) if bound == "latest" else 0

    def _stop(self, scan: dict[str, Any]) -> int:
        bound = scan.get("to", "now")
        return int(bound["offsets"]["0"]) if isinstance(bound, dict) else self._end(scan["table"])

    def do_get(self, context: Any, ticket: fl.Ticket) -> fl.GeneratorStream:
        scan = json.loads(ticket.ticket)["scan"]
        self.scans.append(scan)
        self._maybe_fail()
        return fl.GeneratorStream(self._schema(scan), self._read(context, scan))

    def _read(self, context: Any, scan: dict[str, Any]) -> Iterator[tuple[pa.RecordBatch, bytes]]:
        cut_after = self.cut_reads_after.pop(0) if self.cut_reads_after else None
        schema, follow = self._schema(scan), scan.get("to") == "never"
        empty = schema.empty_table().to_batches() or [
            pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
        ]
        at, sent, left = self._start(scan), 0, scan.get("limit", 1 << 60)
        while True:
            stop = self._end(scan["table"]) if follow else self._stop(scan)
            for batch in list(self._range(scan["table"], at, stop)):
                if cut_after is not None and sent >= cut_after:
                    return
                batch = batch.slice(0, left).select(schema.names)
                about = {
                    "bucket": 0,
                    "offset": at,
                    "rows": batch.num_rows,
                    "next": at + batch.num_rows,
                    "time": "2026-11-21T08:00:00.5Z",
                }
                at, left, sent = at + batch.num_rows, left - batch.num_rows, sent + 1
                yield batch, json.dumps(about).encode()
                if left <= 0:
                    break
            if not follow or self.end_mark == "draining":
                break
            yield empty[0], json.dumps({"mark": "idle"}).encode()
            time.sleep(0.01)
        if self.end_mark:
            end, position = self.end_mark, {"offsets": {"0": at}}
            if end == "draining":
                self.end_mark = "complete"
            yield empty[0], json.dumps({"end": end, "position": position}).encode()

    def _range(self, table: str, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        at = 0
        for batch in self.rows[table]:
            end = at + batch.num_rows
            if end > start and at < stop:
                first = max(start - at, 0)
                yield batch.slice(first, min(stop, end) - at - first)
            at = end

    def do_put(
        self, context: Any, descriptor: fl.FlightDescriptor, reader: Any, writer: Any
    ) -> None:
        put = json.loads(descriptor.command)["put"]
        self._maybe_fail()
        self.puts += 1
        cut_after = self.cut_puts_after.pop(0) if self.cut_puts_after else None
        key = (put["table"], put["producer"], put["epoch"])
        for index, chunk in enumerate(reader):
            if cut_after is not None and index >= cut_after and not self.forget_last_ack:
                raise fl.FlightUnavailableError("cut")
            seq = json.loads(chunk.app_metadata.to_pybytes())["seq"]
            if self.refuse_batch == seq:
                raise pa.ArrowInvalid(f"SCHEMA_MISMATCH: batch {index} does not fit. Cast it.")
            with self.lock:
                ack = self._store(key, put["table"], seq, chunk.data)
            if cut_after is not None and index >= cut_after:
                raise fl.FlightUnavailableError("cut")
            if self.slow_acks:
                time.sleep(self.slow_acks)
            if not self.merge_acks or (seq + 1) % 4 == 0:
                writer.write(json.dumps(ack).encode())

    def _store(
        self, key: tuple[str, str, int], table: str, seq: int, batch: pa.RecordBatch
    ) -> dict[str, Any]:
        known: dict[int, list[int]] = self.stored.setdefault(key, {})  # type: ignore[assignment]
        if seq in known:
            self.duplicates += 1
        elif seq != len(known):
            raise pa.ArrowInvalid(f"SEQUENCE_GAP: got {seq}, want {len(known)}. Send it.")
        else:
            start = self._end(table)
            self.rows[table].append(batch)
            known[seq] = [start, start + batch.num_rows]
        return {
            "seq": seq,
            "rows": batch.num_rows,
            "offsets": {"0": known[seq]},
            "durability": "fsync",
        }
