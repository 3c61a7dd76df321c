"""Reads into pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.adapters._lazy import require

if TYPE_CHECKING:
    import pandas as pd

    from headrace.scan import Scan


def to_pandas(scan: Scan, **options: Any) -> pd.DataFrame:
    """Read all rows into a data frame; options go to `pyarrow.Table.to_pandas`."""
    require("pandas", "pandas")
    frame: pd.DataFrame = scan.to_arrow().to_pandas(**options)
    return frame
