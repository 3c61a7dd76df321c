"""Raw calls to a server over Arrow Flight, with its errors turned into those of this package."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.flight as fl

from headrace._status import FAULTS, Trailer, TrailerFactory, clean_text, translate, translating
from headrace.errors import (
    ClosedError,
    Error,
    TimedOut,
    Unavailable,
)

_CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    # A server that is started again must be found at once, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Despite its name, how long one attempt to connect may take: slow links and TLS need it.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A peer that is gone without a word is noticed within 40 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.use_local_subchannel_pool", 1),
]


_PATIENCE = 3.0
"""Seconds that a call that changes nothing is tried again while the server is not there."""

_SAFE_ACTIONS = frozenset(
    [
        "CommitPosition",
        "DescribeTable",
        "Heartbeat",
        "JoinGroup",
        "LeaveGroup",
        "ListDatabases",
        "ListGroups",
        "ListOffsets",
        "ListOptions",
        "ListPartitions",
        "OpenProducer",
        "Positions",
        "ResetPosition",
        "ServerInfo",
        "TableStats",
        "WaitFor",
    ]
)
"""Actions that may be run again when nobody knows whether they ran; a producer just gets a newer
epoch, a member of a group a newer generation."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server is and how to prove oneself; what is needed to connect again elsewhere.

    Attributes:
        uri: `grpc://host:port`, `grpc+tls://host:port` or `grpc+unix:///path`.
        token: bearer token; never shown.
        tls_root_certs: PEM text of the authorities to trust; None: those of the system.
        tls_cert: PEM text of the client's certificate, for servers that ask for one.
        tls_key: PEM text of its key; never shown.
        timeout: seconds that one call, or a row of tries to reconnect, may take.
    """

    uri: str
    token: str | None = field(default=None, repr=False)
    tls_root_certs: bytes | None = field(default=None, repr=False)
    tls_cert: bytes | None = field(default=None, repr=False)
    tls_key: bytes | None = field(default=None, repr=False)
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself.

    Attributes:
        version: of the server.
        features: names of what it can do.
        max_message_bytes: largest message that it takes and sends unasked.
        max_batch_rows: most rows in one batch that it takes.
    """

    version: str
    features: frozenset[str]
    max_message_bytes: int
    max_batch_rows: int

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> ServerInfo:
        """Read the answer of the action `ServerInfo`; limits that are missing get safe values."""
        limits = body.get("limits") or {}
        return cls(
            version=str(body.get("version", "unknown")),
            features=frozenset(body.get("features") or ()),
            max_message_bytes=int(limits.get("max_message_bytes") or (4 << 20) - (64 << 10)),
            max_batch_rows=int(limits.get("max_batch_rows") or 1 << 16),
        )


def encode(body: Mapping[str, Any]) -> bytes:
    """Write a JSON body without spaces."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def encode_schema(schema: pa.Schema) -> str:
    """Write a schema as the base64 of its IPC message."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def decode_schema(text: str) -> pa.Schema:
    """Read a schema from the base64 of its IPC message or stream."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def decode_metadata(buffer: Any) -> dict[str, Any]:
    """Read the JSON beside a batch; {} if there is none."""
    if buffer is None or len(buffer) == 0:
        return {}
    body = json.loads(memoryview(buffer).tobytes())
    return body if isinstance(body, dict) else {}


def aligned(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Copy a batch whose buffers do not start at multiples of 8 bytes; give others as they are.

    gRPC hands a small message out wherever it happens to lie. Values would be right all the same,
    but pyarrow's group_by and join print a warning for each such buffer.
    """
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None and buffer.address % 8:
                columns = [pa.concat_arrays([c]) for c in batch.columns]  # always copies
                return pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    return batch


class Closeable(Protocol):
    """What lives on a connection and ends before it."""

    @property
    def usable(self) -> bool:
        """Whether it is still open."""

    @property
    def error(self) -> Error | None:
        """What ended it, if not `close`."""

    def close(self, timeout: float | None = None) -> None:
        """End it; does not raise."""


class GetStream:
    """One DoGet: batches and what the server tells beside them."""

    def __init__(self, reader: Any, trailer: Trailer, uri: str) -> None:
        """Take an opened reader; the schema is asked for when it is used."""
        self._reader, self._trailer, self._uri = reader, trailer, uri

    @property
    def schema(self) -> pa.Schema:
        """The stream's schema; waits for the server's first message.

        Raises:
            Error: the server refused the ticket.
        """
        with self._translated():
            schema: pa.Schema = self._reader.schema
            return schema

    def read(self) -> tuple[pa.RecordBatch | None, dict[str, Any]] | None:
        """Give the next batch and its metadata; None when the server has ended the stream."""
        try:
            with self._translated():
                chunk = self._reader.read_chunk()
        except StopIteration:
            return None
        batch = None if chunk.data is None else aligned(chunk.data)
        return batch, decode_metadata(chunk.app_metadata)

    def cancel(self) -> None:
        """End the call from any thread; a waiting `read` returns at once."""
        with contextlib.suppress(*FAULTS):
            self._reader.cancel()

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return translating(lambda: self._trailer, self._uri)


class PutStream:
    """One DoPut: sends batches, takes acknowledgements; the two sides may be two threads."""

    def __init__(self, writer: Any, reader: Any, trailer: Trailer, uri: str) -> None:
        """Take an opened writer and the reader of its acknowledgements."""
        self._writer, self._reader, self._trailer, self._uri = writer, reader, trailer, uri

    def send(self, batch: pa.RecordBatch, metadata: bytes) -> None:
        """Send one batch; waits while the server takes no more.

        Raises:
            Error: the stream has ended; `finish` tells why as well.
        """
        with translating(lambda: self._trailer, self._uri):
            self._writer.write_with_metadata(batch, metadata)

    def read_ack(self) -> dict[str, Any] | None:
        """Wait for the next acknowledgement; None when the stream has ended, for any reason."""
        try:
            buffer = self._reader.read()
        except FAULTS:
            return None  # finish tells why
        return None if buffer is None else decode_metadata(buffer)

    def done(self) -> None:
        """Say that no more batches follow; acknowledgements still come."""
        with contextlib.suppress(*FAULTS):  # an ended stream: finish tells why
            self._writer.done_writing()

    def finish(self) -> Error | None:
        """Close the stream and give the error that ended it, if any.

        Nobody may be in `read_ack` any more.
        """
        try:
            self._writer.close()
        except FAULTS as cause:
            return translate(cause, self._trailer.error, self._uri)
        return None


class ExchangeStream:
    """One DoExchange: sends batches and reads what the server answers. For one thread at a time."""

    def __init__(self, writer: Any, reader: Any, trailer: Trailer, uri: str) -> None:
        """Take an opened writer and the reader of its answers."""
        self._writer, self._reader, self._trailer, self._uri = writer, reader, trailer, uri

    def begin(self, schema: pa.Schema) -> pa.Schema:
        """Send the schema of the batches and give that of the answers.

        Raises:
            Error: the server refused the request.
        """
        with self._translated():
            self._writer.begin(schema)
            answers: pa.Schema = self._reader.schema
            return answers

    def send(self, batch: pa.RecordBatch) -> None:
        """Send one batch; waits while the server takes no more.

        Raises:
            Error: the stream has ended; `read` tells why as well.
        """
        with self._translated():
            self._writer.write_batch(batch)

    def read(self) -> tuple[pa.RecordBatch, dict[str, Any]] | None:
        """Give the next batch and its metadata; None when the server has ended the stream."""
        try:
            with self._translated():
                chunk = self._reader.read_chunk()
        except StopIteration:
            return None
        return aligned(chunk.data), decode_metadata(chunk.app_metadata)

    def finish(self) -> None:
        """End a stream of which every answer was read; does not raise."""
        with contextlib.suppress(*FAULTS):
            self._writer.done_writing()
            self._writer.close()

    def cancel(self) -> None:
        """End the stream at once, whatever is under way; does not raise."""
        with contextlib.suppress(*FAULTS):
            self._reader.cancel()
        with contextlib.suppress(*FAULTS):
            self._writer.close()

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return translating(lambda: self._trailer, self._uri)


class Connection:
    """One gRPC channel to one server. Safe for many threads; not for a forked process."""

    def __init__(self, address: Address) -> None:
        """Open the channel; nothing is sent before the first call."""
        self.address = address
        self._process = os.getpid()
        self._factory = TrailerFactory()
        self._closed = False
        self._info: ServerInfo | None = None
        self.children: weakref.WeakSet[Closeable] = weakref.WeakSet()
        self._client = self._open()

    def _open(self) -> fl.FlightClient:
        address = self.address
        tls: dict[str, Any] = {}
        if address.tls_root_certs is not None:
            tls["tls_root_certs"] = address.tls_root_certs
        if address.tls_cert is not None:
            tls["cert_chain"], tls["private_key"] = address.tls_cert, address.tls_key
        with translating(Trailer, address.uri):
            return fl.FlightClient(
                address.uri,
                middleware=[self._factory],
                generic_options=_CHANNEL_OPTIONS,
                **tls,
            )

    @property
    def uri(self) -> str:
        """Where the server is."""
        return self.address.uri

    @property
    def info(self) -> ServerInfo:
        """What the server says of itself; asked for once."""
        if self._info is None:
            self._info = ServerInfo.from_dict(self.action("ServerInfo", {}))
        return self._info

    def check(self) -> None:
        """Ask the server who it is.

        Raises:
            Unavailable: nothing answers; the text says how to start a server.
        """
        deadline = time.monotonic() + min(_PATIENCE, self.address.timeout)
        try:
            while not self._greet(deadline):
                pass
        except (Unavailable, TimedOut) as cause:
            if cause.reason not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise
            detail = str(cause.__cause__ or cause)
            raise Unavailable(
                f"nothing answers at {self.uri}; start one: headrace serve "
                f"(or connect to another: hr.connect(uri) or $HEADRACE_URI). "
                f"Cause: {clean_text(detail)}"
            ) from cause

    def _greet(self, deadline: float) -> bool:
        """Ask the server who it is; False where gRPC gave up too early on a busy machine."""
        try:
            _ = self.info
        except Unavailable as error:
            # A port without a server refuses, which is an answer.
            if "handshaker shutdown" not in str(error) or time.monotonic() > deadline:
                raise
            return False
        return True

    def options(self, timeout: float | None) -> fl.FlightCallOptions:
        """Give the headers and the deadline of one call; None: no deadline."""
        headers: list[Any] = []  # pyarrow takes pairs of bytes
        if self.address.token:
            headers.append((b"authorization", b"Bearer " + self.address.token.encode()))
        return fl.FlightCallOptions(timeout=timeout, headers=headers)

    def actions(
        self, name: str, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> list[dict[str, Any]]:
        """Run an action and give all its results."""
        if name in _SAFE_ACTIONS:
            return self._patiently(lambda: self._act(name, body, timeout))
        return self._act(name, body, timeout)

    def _act(
        self, name: str, body: Mapping[str, Any], timeout: float | None
    ) -> list[dict[str, Any]]:
        with self._call():
            results = self._live().do_action(
                fl.Action(name, encode(body)), self.options(timeout or self.address.timeout)
            )
            return [decode_metadata(r.body) for r in results]

    def action(
        self, name: str, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Run an action and give its result; lists that came in several results are joined."""
        joined: dict[str, Any] = {}
        for result in self.actions(name, body, timeout=timeout):
            for key, value in result.items():
                if isinstance(value, list) and isinstance(joined.get(key), list):
                    joined[key] = joined[key] + value
                else:
                    joined.setdefault(key, value)
        joined.pop("more", None)
        return joined

    def flights(self, pattern: str) -> list[fl.FlightInfo]:
        """List the tables whose name matches a pattern."""
        return self._patiently(lambda: self._list(pattern))

    def _list(self, pattern: str) -> list[fl.FlightInfo]:
        with self._call():
            return list(
                self._live().list_flights(
                    pattern.encode(),  # type: ignore[arg-type, unused-ignore]
                    self.options(self.address.timeout),
                )
            )

    def plan(self, command: Mapping[str, Any]) -> fl.FlightInfo:
        """Plan a scan: GetFlightInfo."""
        return self._patiently(lambda: self._plan(command))

    def _plan(self, command: Mapping[str, Any]) -> fl.FlightInfo:
        with self._call():
            descriptor = fl.FlightDescriptor.for_command(encode(command))
            return self._live().get_flight_info(descriptor, self.options(self.address.timeout))

    def get(self, ticket: bytes) -> GetStream:
        """Start to read a ticket: DoGet."""
        with self._call():
            reader = self._live().do_get(fl.Ticket(ticket), self.options(None))
        return GetStream(reader, self._factory.last(), self.uri)

    def put(self, command: Mapping[str, Any], schema: pa.Schema) -> PutStream:
        """Start to write: DoPut."""
        with self._call():
            descriptor = fl.FlightDescriptor.for_command(encode(command))
            writer, reader = self._live().do_put(descriptor, schema, self.options(None))
        return PutStream(writer, reader, self._factory.last(), self.uri)

    def exchange(self, command: Mapping[str, Any]) -> ExchangeStream:
        """Start to send and to read: DoExchange."""
        with self._call():
            descriptor = fl.FlightDescriptor.for_command(encode(command))
            writer, reader = self._live().do_exchange(descriptor, self.options(None))
        return ExchangeStream(writer, reader, self._factory.last(), self.uri)

    def close(self) -> None:
        """Close open writers and subscriptions, then the channel.

        Later calls raise `ClosedError`.

        Raises:
            Error: rows of a writer that was still open could not be stored.
        """
        if self._closed or os.getpid() != self._process:
            return
        children = [child for child in self.children if child.usable]
        for child in children:
            child.close(self.address.timeout)
        if not self._closed:
            self._closed = True
            self._client.close()
        for child in children:
            if child.error is not None:
                raise child.error

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _live(self) -> fl.FlightClient:
        if self._closed:
            raise ClosedError(f"the connection to {self.uri} is closed")
        if os.getpid() != self._process:
            raise ClosedError(
                f"this process was forked from the one that connected to {self.uri}, and gRPC does "
                "not survive a fork. Connect in the child, and start children by 'spawn' "
                "(multiprocessing.get_context('spawn'))."
            )
        return self._client

    def _patiently(self, call: Callable[[], T]) -> T:
        """Run a call that changes nothing, again if the server was just being restarted."""
        deadline = time.monotonic() + min(_PATIENCE, self.address.timeout)
        while True:
            try:
                return call()
            except Unavailable as error:  # noqa: PERF203
                # The first call of a connection tells whether there is a server at all, at once.
                if self._info is None or not error.retriable or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def _call(self) -> contextlib.AbstractContextManager[None]:
        return translating(self._factory.last, self.uri)
