"""What the demo prints."""

from __future__ import annotations


def title(number: int, text: str) -> None:
    """Print the heading of a part."""
    say(f"\n{number}. {text}")


def check(good: bool, text: str) -> None:
    """Print what was checked; end the demo if it does not hold."""
    say(f"  {'ok  ' if good else 'FAIL'}      {text}")
    if not good:
        raise SystemExit("demo: this must not happen; please report it with the output above")


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)
