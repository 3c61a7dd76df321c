"""Reads pyarrow expressions, which can only be printed and written to a buffer."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import BadRequest


@dataclass(frozen=True)
class FieldRef:
    """A column, or a field inside of structs."""

    path: tuple[str, ...]


@dataclass(frozen=True)
class Literal:
    """A value."""

    scalar: pa.Scalar[Any]


@dataclass(frozen=True)
class Call:
    """A function of other expressions."""

    name: str
    args: tuple[Node, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


Node: TypeAlias = "FieldRef | Literal | Call"


def read_expression(expression: pc.Expression) -> Node:
    """Give the tree of an expression.

    Example:
        >>> read_expression(pc.field("age").is_valid())
        Call(name='is_valid', args=(FieldRef(path=('age',)),), options={})
    """
    try:
        # What pickle would store: a batch with the literals, whose metadata tell the tree.
        state: Any = expression.__reduce__()
        (buffer,) = state[1]
        with pa.ipc.open_file(buffer) as reader:
            values = reader.get_batch(0)
        tokens = iter(_metadata(values.schema))
    except (AttributeError, pa.ArrowException, TypeError, ValueError) as error:
        raise BadRequest(
            f"this version of pyarrow, {pa.__version__}, does not tell what is in {expression}; "
            "write the filter as SQL text"
        ) from error
    return _read(tokens, values)


def fields_of(node: Node) -> Iterator[tuple[str, ...]]:
    """Give the paths of the fields that an expression names."""
    left = [node]
    while left:
        node = left.pop()
        if isinstance(node, FieldRef):
            yield node.path
        elif isinstance(node, Call):
            left.extend(reversed(node.args))


def depth_of(node: Node) -> int:
    """Give how deep calls nest; 0 for what is none."""
    deepest, left = 0, [(node, 0)]
    while left:
        node, depth = left.pop()
        if isinstance(node, Call):
            deepest = max(deepest, depth + 1)
            left.extend((arg, depth + 1) for arg in node.args)
    return deepest


def _read(tokens: Iterator[tuple[str, str]], values: pa.RecordBatch) -> Node:
    """Read one expression; long chains nest, so that calls wait in a list, not on the stack."""
    waiting: list[tuple[str, list[Node], dict[str, Any]]] = []
    for key, value in tokens:
        if key == "call":
            waiting.append((value, [], {}))
            continue
        if key == "options":
            waiting[-1][2].update(_options(values.column(int(value))[0]))
            continue
        node: Node
        if key == "end":
            name, args, options = waiting.pop()
            node = Call(name, tuple(args), options)
        elif key == "literal":
            node = Literal(values.column(int(value))[0])
        elif key == "field_ref":
            node = FieldRef((value,))
        elif key == "nested_field_ref":
            node = FieldRef(tuple(next(tokens)[1] for _ in range(int(value))))
        else:
            raise BadRequest(f"the filter has a {key}, which is not known")
        if not waiting:
            return node
        waiting[-1][1].append(node)
    raise BadRequest("the filter is not complete")


def _options(scalar: Any) -> dict[str, Any]:
    """Give the options of a function; the values of a set stay scalars."""
    options: dict[str, Any] = {}
    for name in scalar:
        value: Any = scalar[name]
        listed = pa.types.is_list(value.type)
        options[name] = list(value.values) if listed else value.as_py()
    return options


def _metadata(schema: pa.Schema) -> list[tuple[str, str]]:
    """Give the metadata of a schema in order, with keys that occur more than once.

    They are read from the C data interface: a pointer to format, name and metadata, which are a
    count and for each pair the lengths and bytes of key and value.
    """
    capsule = schema.__arrow_c_schema__()
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    pointers = ctypes.cast(get(capsule, b"arrow_schema"), ctypes.POINTER(ctypes.c_void_p))
    at = pointers[2]
    if not at:
        return []

    def text() -> str:
        nonlocal at
        size = number()
        raw = ctypes.string_at(at, size)
        at += size
        return raw.decode()

    def number() -> int:
        nonlocal at
        (value,) = struct.unpack("=i", ctypes.string_at(at, 4))
        at += 4
        return int(value)

    return [(text(), text()) for _ in range(number())]
