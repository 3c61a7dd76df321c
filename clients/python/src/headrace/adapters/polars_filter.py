"""Turns the conditions of a Polars query into a filter of the server, as far as it has them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from headrace.errors import BadRequest
from headrace.filters import Filter, json_value

if TYPE_CHECKING:
    import polars as pl

_OPERATORS: Final = {"Eq": "=", "NotEq": "!=", "Lt": "<", "LtEq": "<=", "Gt": ">", "GtEq": ">="}
_MIRRORED: Final = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_UNITS: Final[dict[str, Any]] = {"Milliseconds": "ms", "Microseconds": "us", "Nanoseconds": "ns"}
_NUMBERS: Final = ("Int", "Float", "UInt", "Int8", "Int16", "Int32", "Int64") + (
    ("UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64")
)


class _NotKnown(Exception):
    """A part of a condition that is not sent."""


def pushed_down(predicate: pl.Expr) -> Filter | None:
    """Give a filter that every row passes for which the predicate is true; None: all rows.

    Polars has no stable form of its expressions: what this does not recognise is left to Polars.

    Example:
        >>> import polars as pl
        >>> condition = (pl.col("a") > 1) & (pl.col("a") * 2 < 7)
        >>> pushed_down(condition).to_dict()
        {'op': '>', 'column': 'a', 'value': 1}
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = json.loads(predicate.meta.serialize(format="json"))
        form = _some(tree)
    except (_NotKnown, ValueError, TypeError, AttributeError):
        return None
    return Filter.of(form)


def _some(node: Any) -> dict[str, Any]:
    """Translate those parts of an AND that are known."""
    left, operator, right = _binary(node)
    if operator not in ("And", "LogicalAnd"):
        return _whole(node)
    parts = []
    for part in (left, right):
        try:
            parts.append(_some(part))
        except _NotKnown:  # noqa: PERF203
            continue
    if not parts:
        raise _NotKnown
    return parts[0] if len(parts) == 1 else {"op": "and", "args": parts}


def _whole(node: Any) -> dict[str, Any]:
    """Translate a condition exactly."""
    left, operator, right = _binary(node)
    if operator in ("And", "LogicalAnd", "Or", "LogicalOr"):
        op = "and" if operator.endswith("And") else "or"
        return {"op": op, "args": [_whole(left), _whole(right)]}
    if operator in _OPERATORS:
        op = _OPERATORS[operator]
        if "Literal" in left:
            left, right, op = right, left, _MIRRORED[op]
        return {"op": op, "column": _column(left), "value": _value(right)}
    return _function(_part(node, "Function"))


def _function(call: Any) -> dict[str, Any]:
    inputs, function = call["input"], call["function"]
    kind = function.get("Boolean", function.get("StringExpr"))
    if kind == "Not":
        return {"op": "not", "args": [_whole(inputs[0])]}
    column = _column(inputs[0])
    if kind in ("IsNull", "IsNotNull"):
        return {"op": "is_null" if kind == "IsNull" else "is_not_null", "column": column}
    if kind in ("StartsWith", "EndsWith"):
        op = "starts_with" if kind == "StartsWith" else "ends_with"
        return {"op": op, "column": column, "value": _text(inputs[1])}
    if kind == {"IsBetween": {"closed": "Both"}}:
        low, high = (_value(bound) for bound in inputs[1:])
        return {"op": "between", "column": column, "low": low, "high": high}
    if kind == {"IsIn": {"nulls_equal": False}}:
        return {"op": "in", "column": column, "values": _list(inputs[1])}
    if isinstance(kind, Mapping) and kind.get("Contains", {}).get("literal") is True:
        return {"op": "contains", "column": column, "value": _text(inputs[1])}
    raise _NotKnown


def _binary(node: Any) -> tuple[Any, str, Any]:
    """Take an expression with two sides apart."""
    if isinstance(node, Mapping) and set(node) == {"BinaryExpr"}:
        inner = node["BinaryExpr"]
        return inner["left"], inner["op"], inner["right"]
    return None, "", None


def _part(node: Any, name: str) -> Any:
    if isinstance(node, Mapping) and set(node) == {name}:
        return node[name]
    raise _NotKnown


def _column(node: Any) -> str | list[str]:
    if isinstance(node, Mapping) and "Function" in node:
        call = node["Function"]
        name = _part(_part(call["function"], "StructExpr"), "FieldByName")
        outer = _column(call["input"][0])
        return [*([outer] if isinstance(outer, str) else outer), name]
    name = _part(node, "Column")
    if not isinstance(name, str):
        raise _NotKnown
    return name


def _scalar(node: Any) -> tuple[str, Any]:
    """Give the kind and the value of a literal."""
    literal = _part(node, "Literal")
    inner = literal.get("Dyn", literal.get("Scalar"))
    if not isinstance(inner, Mapping) or len(inner) != 1:
        raise _NotKnown
    return next(iter(inner.items()))


def _text(node: Any) -> str:
    kind, value = _scalar(node)
    if kind not in ("String", "Str", "StringOwned") or not isinstance(value, str):
        raise _NotKnown
    return value


def _value(node: Any) -> Any:
    kind, value = _scalar(node)
    if kind == "Boolean" and isinstance(value, bool):
        return value
    if kind in _NUMBERS and isinstance(value, int | float):
        return value
    if kind in ("String", "Str", "StringOwned"):
        return _text(node)
    if kind == "Date" and isinstance(value, int):
        try:
            return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
        except OverflowError as error:
            raise _NotKnown from error
    if kind == "Datetime":
        count, unit, _ = value
        try:
            return json_value(pa.scalar(count, pa.timestamp(_UNITS[unit])))
        except (BadRequest, KeyError) as error:
            raise _NotKnown from error
    raise _NotKnown


def _list(node: Any) -> list[Any]:
    """Read the values of a list, which Polars writes as an Arrow stream."""
    kind, raw = _scalar(node)
    if kind != "List":
        raise _NotKnown
    with pa.ipc.open_stream(bytes(raw)) as reader:
        values: Any = reader.read_all().column(0)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = values.combine_chunks().flatten()
    if pa.types.is_nested(values.type):
        raise _NotKnown
    return [json_value(value) for value in values]
