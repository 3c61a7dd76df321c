"""Run the blocks of one page, in their order: run_page.py PAGE FLIGHT_PORT ADMIN_PORT.

The default ports in a block are replaced by those of the server of the test. Python blocks share
their names; shell blocks are run by bash and find `headrace` on PATH.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from page import Block, Page, as_pattern


class OutputError(AssertionError):
    """A block printed something else than the page says."""


def run_python(page: Page, block: Block, text: str, names: dict[str, Any]) -> str:
    """Run a Python block; its lines in a traceback are those of the page."""
    code = compile("\n" * (block.line - 1) + text, page.name, "exec")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def run_shell(text: str) -> str:
    """Run a shell block; the first command that fails fails it."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def compare(expected: str, printed: str) -> None:
    """Check an output against the page."""
    got = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    if not as_pattern(expected).fullmatch(got):
        raise OutputError(f"the page says:\n{expected}\nit printed:\n{printed}")


def run(page: Page, ports: dict[str, str]) -> None:
    """Run a page; raises at the first block that fails."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = None
    for block in page.blocks():
        try:
            if block.is_output:
                if printed is None:
                    raise OutputError("there is no block before this output that runs")
                compare(block.text, printed)
            elif block.runs:
                text = block.text
                for default, port in ports.items():
                    text = text.replace(default, port)
                is_python = block.language == "python"
                printed = run_python(page, block, text, names) if is_python else run_shell(text)
            else:
                printed = None
        except Exception as cause:  # noqa: PERF203
            raise RuntimeError(f"{page.name}:{block.line}: this block fails") from cause


def main() -> int:
    """Run the page that the command line names."""
    path, flight, admin = sys.argv[1:]
    try:
        run(Page(Path(path)), {"127.0.0.1:8815": flight, "127.0.0.1:8816": admin})
    except RuntimeError:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
