"""Imports of libraries that are optional."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, extra: str) -> Any:
    """Import a module.

    Raises:
        ImportError: it is not installed; the text gives the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise ImportError(
            f"this needs {module}, which could not be imported ({cause}). "
            f"Install it: pip install 'headrace[{extra}]'"
        ) from cause
