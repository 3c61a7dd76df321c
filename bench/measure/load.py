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
    arguments = [f"-{name.replace('_', '-')}={value}" for name, value in options.items()]
    process = subprocess.run(
        [*GUARD, str(PROGRAM), command, f"-workload={workload}", f"-server={server}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=SECONDS_MAX,
        check=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(process.stdout)
    if "error" in result:
        raise RuntimeError(f"load {command}: {result['error']}")
    return result
