"""The pages of the documentation as tests see them: code blocks, headings and links.

A block runs if its first line says so: ```python run, or ```sh run. The block behind it may be its
expected output, ```text output, in which … stands for anything. A Python block that does not run
must still be valid Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^```(\w*)(?: +(.*?))? *$")
_HEADING = re.compile(r"^#{1,6} +(.*?) *$")
_LINK = re.compile(r"(?<!!)\[[^\]\[]+\]\(([^()\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words behind it, and the line where its text begins."""

    language: str
    marks: str
    line: int
    text: str

    @property
    def runs(self) -> bool:
        """Whether the page says that it can be run."""
        return self.marks == "run"

    @property
    def is_output(self) -> bool:
        """Whether it is what the block before it prints."""
        return self.marks == "output"


@dataclass(frozen=True)
class Page:
    """A page of the documentation."""

    path: Path

    @property
    def name(self) -> str:
        """The path below the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    def blocks(self) -> Iterator[Block]:
        """Give the fenced blocks in their order."""
        opened: tuple[str, str, int] | None = None
        text: list[str] = []
        for number, line in enumerate(self.path.read_text().splitlines(), start=1):
            fence = _FENCE.match(line)
            if fence is None:
                text.append(line)
            elif opened is None:
                opened, text = (fence[1], fence[2] or "", number + 1), []
            else:
                language, marks, first = opened
                yield Block(language, marks, first, "\n".join(text) + "\n")
                opened = None
        if opened is not None:
            raise ValueError(f"{self.name}:{opened[2]}: the block has no end")

    def prose(self) -> str:
        """Give the page without its blocks."""
        lines, inside = [], False
        for line in self.path.read_text().splitlines():
            if _FENCE.match(line):
                inside = not inside
            elif not inside:
                lines.append(line)
        return "\n".join(lines)

    def anchors(self) -> set[str]:
        """Give what links to a heading of this page may name."""
        found: set[str] = set()
        for line in self.prose().splitlines():
            heading = _HEADING.match(line)
            if heading is None:
                continue
            plain = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            anchor, again = plain, 0
            while anchor in found:
                again += 1
                anchor = f"{plain}-{again}"
            found.add(anchor)
        return found

    def links(self) -> list[str]:
        """Give the targets of all links."""
        return _LINK.findall(self.prose())


def pages() -> list[Page]:
    """Give the pages of the documentation."""
    top = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")]
    more = [ROOT / "clients/python/README.md", ROOT / "bench/README.md"]
    present = [path for path in more if path.exists() and path.stat().st_size]
    return [Page(path) for path in (*top, *present, *sorted((ROOT / "docs").glob("*.md")))]


def as_pattern(expected: str) -> re.Pattern[str]:
    """Give the pattern of an expected output, in which … stands for anything."""
    lines = [line.rstrip() for line in expected.strip().splitlines()]
    return re.compile(re.escape("\n".join(lines)).replace("…", ".*?"), re.DOTALL)
