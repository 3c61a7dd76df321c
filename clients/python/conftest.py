"""What examples in the documentation find around them: a server, and a connection to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import headrace as hr


def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop at once without a server binary: a run that skips most tests proves nothing."""
    built = Path(__file__).parents[2] / "bin" / "headrace"
    if "HEADRACE_BIN" not in os.environ and built.is_file():
        os.environ["HEADRACE_BIN"] = str(built)
    try:
        hr.server.find_binary()
    except hr.BinaryNotFound as error:
        pytest.exit(
            f"these tests need the server: {error}\nIn a checkout: make build, or "
            "go build -o bin/headrace ./cmd/headrace, then HEADRACE_BIN=bin/headrace pytest",
            returncode=1,
        )


@pytest.fixture(scope="session")
def server() -> Iterator[hr.testing.TestServer]:
    """One server for all tests that do not stop it."""
    with hr.testing.server() as running:
        yield running


@pytest.fixture
def db(server: hr.testing.TestServer) -> Iterator[hr.Database]:
    """A connection to a server without tables."""
    with server.connect() as database:
        for name in database.tables():
            database.drop_table(name)
        database.create_database("web", exist_ok=True)
        yield database


@pytest.fixture
def clicks(db: hr.Database) -> hr.Table:
    """A table with two rows."""
    schema = pa.schema([pa.field("user_id", pa.int64(), nullable=False), ("url", pa.string())])
    table = db.create_table("web.clicks", schema)
    table.append([{"user_id": 1, "url": "/a"}, {"user_id": 2, "url": "/b"}])
    return table


@pytest.fixture
def users(db: hr.Database) -> hr.Table:
    """A keyed table with two rows."""
    schema = pa.schema([("user_id", pa.int64()), ("name", pa.string()), ("age", pa.int32())])
    table = db.create_table("web.users", schema, primary_key=["user_id"])
    table.upsert({"user_id": [1, 2], "name": ["ada", "bob"], "age": [36, 41]})
    return table


@pytest.fixture(autouse=True)
def _examples(request: pytest.FixtureRequest) -> None:
    """Give each example `db`, `uri` and the table `web.clicks` with two rows.

    Examples that name `web.users` have that table too.
    """
    doctest = getattr(request.node, "dtest", None)
    if doctest is None or not any(e.source for e in doctest.examples if _wants_server(e.source)):
        return
    database = request.getfixturevalue("db")
    request.getfixturevalue("clicks")
    if any("web.users" in e.source for e in doctest.examples):
        request.getfixturevalue("users")
    doctest.globs.update(db=database, uri=database.uri)
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.chdir(request.getfixturevalue("tmp_path"))


def _wants_server(source: str) -> bool:
    return any(word in source for word in ("db", "uri", "connect("))
