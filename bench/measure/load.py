"""Runs the Go load generator (bench/load)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .plan import BUILD
from .process import GUARD

PROGRAM = BUILD / "bin" / "load"
SECONDS_MAX = 900


def run(command: str, *, workload: Path, server: str, **options: Any) -> dict[str, Any]:
    """Runs one command of the generator to its end and gives its result.

    Raises:
        RuntimeError: it reports an error; the generator always ends with exit code 0.
    """
    process = start(command, workload=workload, server=server, **options)
    try:
        output, _ = process.communicate(timeout=SECONDS_MAX)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return parsed(command, output)


def start(command: str, *, workload: Path, server: str, **options: Any) -> subprocess.Popen[str]:
    """Starts one command of the generator; who calls waits for it."""
    arguments = [f"-{name.replace('_', '-')}={value}" for name, value in options.items()]
    return subprocess.Popen(
        [*GUARD, str(PROGRAM), command, f"-workload={workload}", f"-server={server}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def parsed(command: str, output: str) -> dict[str, Any]:
    """Gives the result that a command printed."""
    result: dict[str, Any] = json.loads(output or '{"error": "it printed nothing"}')
    if "error" in result:
        raise RuntimeError(f"load {command}: {result['error']}")
    return result
