"""The documentation is true: its examples run, its links lead somewhere, its lists are complete."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.flight as fl
import pytest

from conftest import Server
from page import ROOT, Page, pages

PAGES = pages()
RUN_SECONDS = 180

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def doc(name: str) -> Page:
    """Give a page of docs/."""
    return Page(ROOT / "docs" / name)


def runnable() -> list[Page]:
    """Give the pages that have something to run."""
    return [page for page in PAGES if any(block.runs for block in page.blocks())]


@pytest.mark.parametrize("page", runnable(), ids=lambda page: page.name)
def test_examples_run(page: Page, server: Server, tmp_path: Path) -> None:
    """Each page is run from top to bottom, in a process and a folder of its own."""
    work = tmp_path / "work"
    work.mkdir()
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "headrace").symlink_to(server.binary)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    runner = Path(__file__).with_name("run_page.py")
    done = subprocess.run(
        [sys.executable, runner, page.path, server.flight, server.admin],
        cwd=work,
        env={**os.environ, "PATH": path, "HEADRACE_URI": f"grpc://{server.flight}"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{(tmp_path / 'server.log').read_text()}"


@each_page
def test_python_is_python(page: Page) -> None:
    """Also what is not run can be read by Python."""
    for block in page.blocks():
        if block.language == "python" and not block.text.startswith(">>>"):  # doctest reads these
            ast.parse(block.text, f"{page.name}:{block.line}")


@each_page
def test_marks_are_known(page: Page) -> None:
    """A mark with a typing error would keep a block from being run."""
    for block in page.blocks():
        where = f"{page.name}:{block.line}"
        assert block.marks in ("", "run", "output"), f"{where}: unknown mark {block.marks!r}"
        assert not block.runs or block.language in ("python", "sh"), f"{where}: cannot run this"


@each_page
def test_links_lead_somewhere(page: Page) -> None:
    """Links within the repository name a file that is there, and a heading that is in it."""
    for target in page.links():
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.path.parent / path).resolve() if path else page.path
        assert found.exists(), f"{page.name}: {target} does not exist"
        assert found.is_relative_to(ROOT), f"{page.name}: {target} is outside of the repository"
        if anchor and found.suffix == ".md":
            assert anchor in Page(found).anchors(), f"{page.name}: no heading for {target}"


def test_the_index_names_every_page() -> None:
    """Nobody finds a page that the index does not name."""
    linked = {target.partition("#")[0] for target in doc("README.md").links()}
    missing = {path.name for path in (ROOT / "docs").glob("*.md")} - linked - {"README.md"}
    assert not missing


def test_every_action_is_described(server: Server) -> None:
    """The table of actions and the server's own list are the same."""
    with fl.connect(f"grpc://{server.flight}") as client:
        known = {action.type for action in client.list_actions()}
    table = section(doc("flight-protocol.md"), "Actions")
    described = set(re.findall(r"^\| `([A-Z]\w+)` \|", table, re.MULTILINE))
    assert described == known


def test_every_command_is_described(binary: Path) -> None:
    """The page of the command line has a heading for each command; all flags are named there.

    Those of the server are settings, which have a page of their own.
    """
    text = doc("cli.md").path.read_text() + doc("operate.md").path.read_text()
    for command in commands(binary):
        assert re.search(rf"^##+ .*\bheadrace {command}\b", text, re.MULTILINE), command
        flags = re.findall(r"--([a-z][a-z-]+)", help_of(binary, command))
        missing = [flag for flag in flags if flag != "help" and f"`--{flag}" not in text]
        assert not missing, f"headrace {command}: the page does not name {missing}"


def commands(binary: Path) -> list[str]:
    """Give the commands that `headrace --help` lists."""
    listed = re.findall(r"^  ([a-z]+) {2,}\S", help_of(binary), re.MULTILINE)
    return [name for name in listed if name not in ("help",)]


def help_of(binary: Path, *command: str) -> str:
    """Give the help of a command."""
    done = subprocess.run([binary, *command, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def test_every_python_error_is_described() -> None:
    """The page of the client names each class of error."""
    from headrace.errors import error_classes

    text = doc("python.md").path.read_text()
    assert not [name for name in error_names(error_classes()) if f"`{name}`" not in text]


def error_names(classes: dict[str, type]) -> list[str]:
    """Give the names of the classes that a reason leads to."""
    return sorted(cls.__name__ for cls in classes.values())


def section(page: Page, title: str) -> str:
    """Give the text of a page from one heading to the next of the same level."""
    text = page.path.read_text()
    match = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"{page.name} has no heading {title!r}"
    return match[2]
