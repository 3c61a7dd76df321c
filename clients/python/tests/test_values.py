"""Tests of positions, scan specifications, errors, and what `connect` makes of its arguments."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import headrace as hr
from headrace._flight import Address, ServerInfo, aligned
from headrace._status import clean_text, translate
from headrace.client import _looks_like_address
from headrace.errors import error_classes
from headrace.pipeline import PipelineOptions
from headrace.subscribe import parse_time
from headrace.write import LastBatch

UTC = timezone.utc


@pytest.mark.parametrize(
    "text",
    ["{}", '{"0":5}', '{"offsets":{"0":5,"12":7}}', '{"table_id":"01J","offsets":{"3":9}}'],
)
def test_positions_read_what_they_write(text: str) -> None:
    position = hr.Position.from_json(text)
    assert hr.Position.from_json(position.to_json()) == position
    assert pickle.loads(pickle.dumps(position)) == position
    assert hash(pickle.loads(pickle.dumps(position))) == hash(position)


@pytest.mark.parametrize("text", ["", "[]", "7", '{"0":"x"}', '{"0":-1}', '{"a":1}'])
def test_bad_positions_are_refused(text: str) -> None:
    with pytest.raises(hr.BadRequest):
        hr.Position.from_json(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": "url"}, r"columns is 'url', want a list"),
        ({"columns": [1]}, "columns has 1"),
        ({"limit": -1}, "limit is -1"),
        ({"start": 17}, r"for offset 17 of bucket 0 write \{0: 17\}"),
        ({"start": "first"}, "start is 'first', want 'earliest'"),
        ({"stop": True}, "stop is True"),
        ({"start": datetime(2026, 11, 21)}, "without a time zone"),
        ({"start": {0: 5}, "at": datetime(2026, 11, 21, tzinfo=UTC)}, "leave start and stop out"),
        ({"start": {"a": 5}}, "want 'earliest'"),
    ],
)
def test_scan_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){message}"):
        hr.ScanSpec(table="t", **fields)


def test_a_scan_is_a_value() -> None:
    spec = hr.ScanSpec(table="t", columns=["a"], start={0: 5}, buckets=[0])
    assert spec == hr.ScanSpec(table="t", columns=("a",), start=hr.Position({0: 5}), buckets=(0,))
    assert hash(spec) == hash(pickle.loads(pickle.dumps(spec)))
    berlin = timezone(timedelta(hours=1))
    command = hr.ScanSpec(
        table="t",
        columns=[],
        start=hr.Position({0: 1}, "id"),
        stop=datetime(2026, 11, 21, 9, tzinfo=berlin),
        limit=0,
        system_columns=True,
        buckets=[1, 2],
    ).to_command()
    assert command == {
        "scan": {
            "table": "t",
            "columns": [],
            "from": {"offsets": {"0": 1}, "table_id": "id"},
            "to": {"time": "2026-11-21T08:00:00+00:00"},
            "limit": 0,
            "system_columns": True,
            "buckets": [1, 2],
        }
    }


def test_a_command_leaves_defaults_out() -> None:
    assert hr.ScanSpec(table="t").to_command() == {"scan": {"table": "t"}}


TABLE_OF_REASONS = {
    "INVALID_ARGUMENT": "BAD_REQUEST SCHEMA_MISMATCH COLUMN_NOT_FOUND UNSUPPORTED_TYPE "
    "BATCH_TOO_LARGE",
    "NOT_FOUND": "TABLE_NOT_FOUND DATABASE_NOT_FOUND PARTITION_NOT_FOUND INDEX_NOT_FOUND",
    "ALREADY_EXISTS": "TABLE_ALREADY_EXISTS DATABASE_ALREADY_EXISTS",
    "OUT_OF_RANGE": "OFFSET_TRIMMED OFFSET_BEYOND_END HISTORY_TRIMMED",
    "ABORTED": "PRODUCER_FENCED MEMBER_FENCED SCHEMA_CHANGED PLAN_EXPIRED",
    "FAILED_PRECONDITION": "SEQUENCE_GAP SEQUENCE_EXPIRED SEQUENCE_REUSED TABLE_REPLACED "
    "DELETE_REFUSED DATABASE_NOT_EMPTY",
    "RESOURCE_EXHAUSTED": "DISK_FULL QUOTA",
    "UNAVAILABLE": "OVERLOADED DRAINING NO_QUORUM READ_ONLY",
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "PERMISSION_DENIED": "PERMISSION_DENIED",
    "DATA_LOSS": "CORRUPT",
    "INTERNAL": "INTERNAL",
    "UNIMPLEMENTED": "UNIMPLEMENTED",
    "CANCELLED": "CANCELLED",
}


@pytest.mark.parametrize("reason", " ".join(TABLE_OF_REASONS.values()).split())
def test_every_reason_has_a_class_named_after_it(reason: str) -> None:
    name = "UnsupportedError" if reason == "UNIMPLEMENTED" else reason.title().replace("_", "")
    cls = error_classes()[reason]
    assert cls.__name__ == name
    error = translate(pa.ArrowInvalid(f"{reason}: text. Remedy."), None, "grpc://x")
    assert type(error) is cls and error.reason == reason
    assert str(error) == f"{reason}: text. Remedy."
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls and again.reason == reason and str(again) == str(error)


def test_retriable_reasons_are_those_of_the_protocol() -> None:
    retriable = {r for r, c in error_classes().items() if c.default_retriable}
    reasons = set(" ".join(TABLE_OF_REASONS.values()).split())
    assert retriable & reasons == {"OVERLOADED", "DRAINING", "NO_QUORUM"}


def test_errors_are_what_python_expects() -> None:
    assert issubclass(hr.TableNotFound, KeyError) and issubclass(hr.ColumnNotFound, KeyError)
    assert issubclass(hr.SchemaMismatch, ValueError) and issubclass(hr.SchemaMismatch, TypeError)
    assert issubclass(hr.Unavailable, ConnectionError) and issubclass(hr.TimedOut, TimeoutError)
    assert issubclass(hr.UnsupportedError, NotImplementedError)
    assert str(hr.TableNotFound("no table")) == "no table"  # KeyError would add quotes


def test_the_trailer_decides() -> None:
    trailer = b'{"reason":"OFFSET_TRIMMED","retriable":false,"bucket":0,"earliest":500}'
    error = translate(pa.ArrowInvalid("OFFSET_TRIMMED: gone. Start later."), trailer, "grpc://x")
    assert isinstance(error, hr.OffsetTrimmed) and error.earliest == 500
    assert error.details == {"bucket": 0, "earliest": 500}
    new = translate(fl.FlightInternalError("x"), b'{"reason":"NEW","retriable":true}', "grpc://x")
    assert type(new) is hr.Error and new.reason == "NEW" and new.retriable
    broken = translate(pa.ArrowInvalid("BAD_REQUEST: x."), b"{", "grpc://x")
    assert isinstance(broken, hr.BadRequest)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (fl.FlightUnavailableError("Socket closed"), hr.Unavailable),
        (fl.FlightInternalError("Received RST_STREAM with error code 2"), hr.Unavailable),
        (fl.FlightTimedOutError("Deadline exceeded"), hr.TimedOut),
        (fl.FlightUnauthenticatedError("no"), hr.Unauthenticated),
        (fl.FlightUnauthorizedError("no"), hr.PermissionDenied),
        (fl.FlightCancelledError("no"), hr.Cancelled),
        (pa.ArrowNotImplementedError("no"), hr.UnsupportedError),
        (pa.ArrowKeyError("no"), hr.NotFound),
        (pa.ArrowInvalid("no"), hr.BadRequest),
        (OSError("no"), hr.Internal),
    ],
)
def test_errors_without_a_reason_follow_the_code(cause: Exception, expected: type) -> None:
    assert type(translate(cause, None, "grpc://x")) is expected


def test_what_grpc_adds_is_taken_off() -> None:
    text = (
        "Flight returned invalid argument error, with message: BAD_REQUEST: no. Do y.. gRPC client "
        "debug context: INVALID_ARGUMENT:BAD_REQUEST: no. Do y.. Client context: OK"
    )
    assert clean_text(text) == "BAD_REQUEST: no. Do y."
    assert clean_text("plain") == "plain." and clean_text("") == ""


def test_secrets_are_not_shown() -> None:
    address = Address(uri="grpc://x", token="s3cret", tls_key=b"s3cret")
    assert "s3cret" not in repr(address) and "s3cret" not in str(address)


@pytest.mark.parametrize(
    ("text", "yes"),
    [("localhost:8815", True), ("./data", False), ("data", False), ("a/b:1", False), (":1", False)],
)
def test_an_address_without_a_scheme_is_no_folder(text: str, yes: bool) -> None:
    assert _looks_like_address(text) is yes


@pytest.mark.parametrize("target", ["localhost:8815", "http://localhost:8815", "s3://bucket"])
def test_connect_refuses_other_addresses(target: str) -> None:
    with pytest.raises(hr.BadRequest, match="grpc"):
        hr.connect(target)


def test_connecting_to_nothing_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_URI", "grpc://127.0.0.1:1")
    with pytest.raises(
        hr.Unavailable,
        match=r"nothing answers at grpc://127.0.0.1:1; start one: "
        "headrace serve",
    ):
        hr.connect()


def test_a_missing_binary_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEADRACE_BIN", str(tmp_path))
    with pytest.raises(hr.BinaryNotFound, match="is not a program"):
        hr.server.find_binary()
    monkeypatch.delenv("HEADRACE_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(hr.BinaryNotFound, match="go install"):
        hr.connect(tmp_path / "data")


def test_a_program_that_is_no_server_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "headrace"
    fake.write_text("#!/bin/sh\necho no such flag >&2\nexit 2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("HEADRACE_BIN", str(fake))
    with pytest.raises(hr.ServerStartError, match=r"(?s)exit code 2.*no such flag"):
        hr.connect(tmp_path / "data")


def test_server_info_survives_missing_fields() -> None:
    info = ServerInfo.from_dict({})
    assert info.features == frozenset() and info.max_message_bytes > 1 << 20


@pytest.mark.parametrize("field", ["batch_rows", "batch_bytes", "buffer_bytes", "timeout"])
def test_writer_options_are_checked(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is 0"):
        PipelineOptions(**{field: 0})


def test_batches_at_odd_addresses_are_copied() -> None:
    buffer = pa.py_buffer(bytes(range(1, 90)))
    odd = buffer.slice(1 + (-buffer.address) % 8, 64)
    values = pa.Array.from_buffers(pa.int64(), 8, [None, odd])
    batch = pa.record_batch([values, pa.array(["x"] * 8)], names=["a", "b"])
    copied = aligned(batch)
    assert copied.equals(batch) and copied.schema == batch.schema
    assert all(b is None or b.address % 8 == 0 for c in copied.columns for b in c.buffers())
    assert aligned(copied) is copied


def test_last_batch() -> None:
    assert LastBatch.from_dict(None) is None and LastBatch.from_dict({"seq": -1}) is None
    last = LastBatch.from_dict({"epoch": 1, "seq": 3, "offsets": {"0": [5, 9]}})
    assert last == LastBatch(1, 3, {0: (5, 9)})


@pytest.mark.parametrize(
    "text",
    ["2026-11-21T08:00:00Z", "2026-11-21T08:00:00.000000Z", "2026-11-21T09:00:00.0+01:00"],
)
def test_times(text: str) -> None:
    assert parse_time(text) == datetime(2026, 11, 21, 8, tzinfo=UTC)
