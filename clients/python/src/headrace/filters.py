"""Filters: what users write, in the forms that the server takes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import BadRequest, ColumnNotFound
from headrace.expressions import (
    Call,
    FieldRef,
    Literal,
    Node,
    depth_of,
    fields_of,
    read_expression,
)

_SYSTEM_TYPES: Final[Mapping[str, pa.DataType]] = {
    "_bucket": pa.int32(),
    "_offset": pa.int64(),
    "_timestamp": pa.timestamp("us", "UTC"),
    "_change_type": pa.string(),
}
SYSTEM_FIELDS: Final = pa.schema(_SYSTEM_TYPES)
"""Columns that are not in a table's schema, and that a filter may name."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as it is sent. Immutable: it can be compared, hashed and sent to workers.

    Attributes:
        text: JSON, such as `{"sql":"age > 3"}`.

    Example:
        >>> Filter.of("age > 3").to_dict()
        {'sql': 'age > 3'}
    """

    text: str

    @classmethod
    def of(cls, filter: Any, schema: pa.Schema | None = None) -> Filter:
        """Take a filter in any form.

        Args:
            filter: a `pyarrow.compute.Expression`; SQL text; the JSON form as a dict; or a Filter.
            schema: of the table; an expression needs it.

        Raises:
            BadRequest: the expression has something in it that filters do not know.
            ColumnNotFound: it names a column that the schema does not have.
        """
        if isinstance(filter, Filter):
            return filter
        if isinstance(filter, str):
            return cls(json.dumps({"sql": filter}))
        if isinstance(filter, Mapping):
            return cls(json.dumps(filter))
        if isinstance(filter, pc.Expression):
            return cls(json.dumps(_encode(filter, schema or pa.schema([]))))
        raise BadRequest(
            f"filter is a {type(filter).__name__}, want an expression such as "
            "pyarrow.compute.field('age') > 3, or SQL text such as \"age > 3\""
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        form: dict[str, Any] = json.loads(self.text)
        return form


_SUBSTRAIT_DEPTH_MAX: Final = 6
"""pyarrow takes twice as long for each level: seconds for `a | b | …` with 20 parts."""


def _encode(expression: pc.Expression, schema: pa.Schema) -> dict[str, Any]:
    """Give Substrait, or where pyarrow cannot write that, the JSON form."""
    tree = read_expression(expression)
    known = {field.name: field for field in [*SYSTEM_FIELDS, *schema]}
    names = list(dict.fromkeys(path[0] for path in fields_of(tree)))
    for name in names:
        if name not in known:
            raise ColumnNotFound(
                f"the filter names a column {name!r} that is not there; "
                f"the table has {', '.join(schema.names)}"
            )
    if names and depth_of(tree) <= _SUBSTRAIT_DEPTH_MAX:
        # Only the columns that it names: one column of a type that Substrait lacks spoils all.
        try:
            message = expression.to_substrait(pa.schema([known[name] for name in names]))
            return {"substrait": base64.b64encode(bytes(message)).decode()}
        except (pa.ArrowException, KeyError, AttributeError):
            pass
    return _Translation(known).predicate(tree)


_COMPARISONS: Final = {
    "equal": "=",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_MIRRORED: Final = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MATCHES: Final = {
    "starts_with": "starts_with",
    "ends_with": "ends_with",
    "match_substring": "contains",
    "match_like": "like",
}
_CHAINS: Final = {"and": "and", "and_kleene": "and", "or": "or", "or_kleene": "or"}


class _Translation:
    """Writes an expression in the JSON form."""

    def __init__(self, fields: Mapping[str, pa.Field[Any]]) -> None:
        self._fields = fields
        self._calls: dict[str, Callable[[Call], dict[str, Any]]] = {
            "invert": self._invert,
            "is_null": self._is_null,
            "is_valid": lambda call: {"op": "is_not_null", "column": self._column(call.args[0])},
            "is_nan": lambda call: _compare("=", self._column(call.args[0]), "NaN"),
            "is_in": self._is_in,
        }

    def predicate(self, node: Node) -> dict[str, Any]:
        """Write what is true or false."""
        if isinstance(node, FieldRef):
            return _compare("=", _name(node), True)
        if isinstance(node, Literal):
            return {"op": "literal", "value": node.scalar.as_py()}
        if node.name in _CHAINS:
            return {"op": _CHAINS[node.name], "args": [self.predicate(arg) for arg in _flat(node)]}
        if node.name in _COMPARISONS:
            return self._comparison(node)
        if node.name in _MATCHES:
            return self._match(node)
        if node.name in self._calls:
            return self._calls[node.name](node)
        raise _unknown(f"the function {node.name}")

    def _comparison(self, call: Call) -> dict[str, Any]:
        left, right = call.args
        operator = _COMPARISONS[call.name]
        if isinstance(left, Literal):
            left, right, operator = right, left, _MIRRORED[operator]
        if not isinstance(right, Literal):
            raise _unknown("a comparison of other things than a column and a value")
        return _compare(operator, self._column(left), self._value(left, right.scalar))

    def _match(self, call: Call) -> dict[str, Any]:
        if call.options.get("ignore_case"):
            raise _unknown(f"{call.name} with ignore_case")
        form = _compare(_MATCHES[call.name], self._column(call.args[0]), call.options["pattern"])
        if call.name == "match_like":
            form["escape"] = "\\"
        return form

    def _invert(self, call: Call) -> dict[str, Any]:
        return {"op": "not", "args": [self.predicate(call.args[0])]}

    def _is_null(self, call: Call) -> dict[str, Any]:
        column = self._column(call.args[0])
        null: dict[str, Any] = {"op": "is_null", "column": column}
        if not call.options.get("nan_is_null"):
            return null
        return {"op": "or", "args": [null, _compare("=", column, "NaN")]}

    def _is_in(self, call: Call) -> dict[str, Any]:
        arg = call.args[0]
        values = [self._value(arg, value) for value in call.options["value_set"]]
        return {"op": "in", "column": self._column(arg), "values": values}

    def _column(self, node: Node) -> str | list[str]:
        if isinstance(node, FieldRef):
            return _name(node)
        if isinstance(node, Call) and node.name == "cast":
            raise _unknown("a cast of a column")
        raise _unknown("a comparison of other things than a column and a value")

    def _value(self, node: Node, scalar: pa.Scalar[Any]) -> Any:
        if isinstance(node, FieldRef) and pa.types.is_duration(scalar.type) and scalar.is_valid:
            kind = self._fields[node.path[0]].type
            for name in node.path[1:]:
                kind = kind.field(name).type
            if pa.types.is_duration(kind):
                return scalar.cast(kind).cast(pa.int64()).as_py()
        return json_value(scalar)


def _compare(operator: str, column: str | list[str], value: Any) -> dict[str, Any]:
    return {"op": operator, "column": column, "value": value}


def _name(field: FieldRef) -> str | list[str]:
    return field.path[0] if len(field.path) == 1 else list(field.path)


def _flat(call: Call) -> Sequence[Node]:
    """Give the parts of a chain, however it nests: `a & b & c` nests to the left."""
    parts: list[Node] = []
    left: list[Node] = [call]
    while left:
        node = left.pop()
        if isinstance(node, Call) and _CHAINS.get(node.name) == _CHAINS[call.name]:
            left.extend(reversed(node.args))
        else:
            parts.append(node)
    return parts


def _unknown(what: str) -> BadRequest:
    return BadRequest(
        f"the filter has {what}, which the server does not have; filter in the client: "
        "scan.to_arrow().filter(expression)"
    )


_UNIT_DIGITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def json_value(scalar: pa.Scalar[Any]) -> Any:
    """Give a value in the text form that the server has for its type.

    Example:
        >>> json_value(pa.scalar(b"ab")), json_value(pa.scalar(1, pa.timestamp("ns")))
        ('YWI=', '1970-01-01T00:00:00.000000001Z')
    """
    inside: Any = scalar
    if not scalar.is_valid:
        return None
    kind: Any = scalar.type
    if isinstance(scalar, pa.ExtensionScalar) or pa.types.is_dictionary(kind):
        return json_value(inside.value)
    if pa.types.is_timestamp(kind):
        return _time_text(scalar.cast(pa.int64()).as_py(), kind.unit, date=True)
    if pa.types.is_time(kind):
        width = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        return _time_text(scalar.cast(width).as_py(), kind.unit, date=False)
    value = scalar.as_py()
    if pa.types.is_date(kind):
        return value.isoformat()
    if pa.types.is_decimal(kind):
        return str(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, bool | int | float | str):
        return value
    raise _unknown(f"a value of type {kind}")


def _time_text(count: int, unit: str, *, date: bool) -> str:
    """Write a count of units since 1970, or since midnight, with all digits."""
    digits = _UNIT_DIGITS[unit]
    seconds, fraction = divmod(count, 10**digits)
    behind = f".{fraction:0{digits}}" if digits and fraction else ""
    if not date:
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{behind}"
    try:
        moment: Any = pa.scalar(seconds, pa.timestamp("s")).as_py()
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"the filter has a time {seconds:,} s from 1970, want years 1 to 9999"
        ) from error
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f"{behind}Z"
