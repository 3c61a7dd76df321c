"""Servers of one's own: find the binary, start it on a free port, stop it again."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import IO, NoReturn

from headrace.errors import BinaryNotFound, ServerStartError

START_SECONDS = 30.0
STOP_SECONDS = 30.0
_TRIES = 3  # a free port may be taken by another process before the server listens on it


def find_binary() -> Path:
    """Find the headrace binary: `$HEADRACE_BIN`, then PATH, then a wheel that carries it.

    Raises:
        BinaryNotFound: there is none; the text says how to get one.
    """
    named = os.environ.get("HEADRACE_BIN")
    if named:
        path = Path(named)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise BinaryNotFound(f"$HEADRACE_BIN is {named!r}, which is not a program")
        return path.resolve()
    suffix = ".exe" if sys.platform == "win32" else ""
    found = shutil.which("headrace")
    if found:
        return Path(found)
    carried = Path(__file__).parent / "bin" / f"headrace{suffix}"
    if carried.is_file():
        return carried
    raise BinaryNotFound(
        "there is no headrace binary: $HEADRACE_BIN is not set, and PATH has no headrace. "
        "Install it: go install github.com/headrace/headrace/cmd/headrace@latest"
    )


class Server:
    """One `headrace serve` process on a free port of this machine.

    It is stopped by `stop`, when it is no longer referenced, and at the program's end. Its output
    goes to a file that is removed with it.
    """

    def __init__(self, data: Path, *arguments: str) -> None:
        """Start the server on a data folder and wait until it answers.

        Args:
            data: folder that keeps the tables; made if it is not there.
            arguments: more arguments for `headrace serve`.

        Raises:
            ServerStartError: it ended, or did not answer in time; the text has its output.
        """
        self._binary = find_binary()
        self._data, self._arguments = data, arguments
        self._log: IO[bytes] = tempfile.NamedTemporaryFile(prefix="headrace-", suffix=".log")  # noqa: SIM115
        self.port = 0
        self.admin_port = 0
        try:
            self.start()
        except BaseException:
            self._log.close()
            raise

    @property
    def uri(self) -> str:
        """Where the server listens."""
        scheme = "grpc+tls" if "--tls-cert" in self._arguments else "grpc"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process.poll() is None

    def log(self) -> str:
        """Give what the server has printed, at most the last 8,000 characters."""
        with contextlib.suppress(OSError):
            return Path(self._log.name).read_text(errors="replace")[-8000:]
        return ""

    def start(self) -> None:
        """Start the process; after `kill` or `stop`: again, on the same port and data."""
        for left in reversed(range(_TRIES)):
            if not self.port or left < _TRIES - 1:
                self.port, self.admin_port = _free_ports()
            self._spawn()
            try:
                self._wait_until_up()
                return
            except ServerStartError as error:
                self.kill()
                if left == 0 or "address already in use" not in str(error):
                    raise

    def _spawn(self) -> None:
        command = [str(self._binary), "serve", "--data", str(self._data)]
        command += ["--listen", f"127.0.0.1:{self.port}"]
        command += ["--admin", f"127.0.0.1:{self.admin_port}", *self._arguments]
        # A group of its own: Ctrl-C at the terminal is for the program, which stops its server.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _stop_process, self._process)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                raise self._did_not_start()
            time.sleep(0.02)

    def _ready(self) -> bool:
        """Ask over the admin port, which needs neither token nor certificate."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=2)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False

    def _did_not_start(self) -> ServerStartError:
        code = self._process.poll()
        what = "did not get ready" if code is None else f"ended with exit code {code}"
        return ServerStartError(
            f"{self._binary} serve --data {self._data} {what}; it printed:\n{self.log()}"
        )

    def stop(self) -> int:
        """End the server cleanly and for good; gives its exit code. Stopping twice is fine."""
        code = self.terminate()
        self._log.close()
        return code

    def terminate(self) -> int:
        """End the server cleanly (SIGTERM) and give its exit code; `start` brings it back."""
        self._finalizer.detach()
        return _stop_process(self._process)

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would; `start` brings it back."""
        self._finalizer.detach()
        if self.running:
            self._process.kill()
        self._process.wait()

    def __reduce__(self) -> NoReturn:
        """Refuse: a process cannot be sent elsewhere."""
        raise TypeError("a Server cannot be pickled; send its uri")

    def __repr__(self) -> str:
        """Show where it listens and whether it runs."""
        state = f"pid {self.pid}" if self.running else "not running"
        return f"<headrace.Server {self.uri}, {state}>"


def _stop_process(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
