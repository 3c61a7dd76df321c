"""Processes that a measurement starts, with what the kernel says about them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# The kernel then kills the child when the measuring process goes away in any manner.
GUARD = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def free_port() -> int:
    """Gives a port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A child process; leaving its context ends it."""

    def __init__(self, arguments: Sequence[str | Path], log: Path) -> None:
        """Starts the program; both of its outputs go to the end of the log."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.name = log, str(arguments[0])
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [*GUARD, *(str(argument) for argument in arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Process:
        """Gives itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process."""
        self.stop()

    def stop(self, seconds: float = 30) -> None:
        """Asks the process to end, and kills it if it does not."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Ends the process with SIGKILL."""
        self.popen.kill()
        self.popen.wait()

    def wait_for_port(self, port: int, seconds: float = 60) -> None:
        """Returns once something accepts connections at the port."""
        end = time.monotonic() + seconds
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.popen.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not start:\n{self.tail()}")
            time.sleep(0.002)

    def tail(self) -> str:
        """Gives the end of the log."""
        return self.log.read_text(errors="replace")[-2000:]

    def cpu(self) -> float:
        """Gives the CPU seconds used so far by all threads; in steps of a clock tick."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def anonymous_bytes(self) -> int:
        """Gives the resident anonymous memory: heap and stacks, without mapped files."""
        for line in Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"process {self.popen.pid} is gone:\n{self.tail()}")


class PeakMemory:
    """Watches the anonymous memory of a process for the time of a with block."""

    def __init__(self, process: Process) -> None:
        """Remembers whom to watch."""
        self.process, self.peak = process, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.peak = max(self.peak, self.process.anonymous_bytes())

    def __enter__(self) -> PeakMemory:
        """Begins to watch."""
        self.peak = self.process.anonymous_bytes()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the watch; `peak` stays."""
        self._done.set()
        self._thread.join()
