"""A server for each page of the documentation."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """A running `headrace serve`."""

    binary: Path
    flight: str
    admin: str


@pytest.fixture(scope="session")
def binary() -> Path:
    """Give the program under test; without one the tests fail rather than pass by not running."""
    named = os.environ.get("HEADRACE_BIN")
    if not named or not os.access(named, os.X_OK):
        pytest.fail(f"$HEADRACE_BIN is {named!r}; build the program and name it: make build")
    return Path(named).resolve()


@pytest.fixture
def server(binary: Path, tmp_path: Path) -> Iterator[Server]:
    """Run a server on free ports, with a data folder of its own."""
    flight, admin = free_address(), free_address()
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "serve", "--data", tmp_path / "server", "--listen", flight, "--admin", admin],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until_ready(process, admin, tmp_path / "server.log")
        yield Server(binary, flight, admin)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_address() -> str:
    """Give an address of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def wait_until_ready(process: subprocess.Popen[bytes], admin: str, log: Path) -> None:
    """Wait until a server takes calls."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://{admin}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:  # noqa: PERF203
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}") from error
            time.sleep(0.02)
