"""Arrays of every Arrow type, made of a seed: the cases of `test_types` and `test_types_keyed`."""

from __future__ import annotations

import datetime as dt
import random
import string
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

ROWS = 41  # of one array: no multiple of 8, so that bitmaps end within a byte

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
INTEGERS += [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
DECIMALS = [
    pa.decimal32(9, 2),
    pa.decimal64(18, -3),
    pa.decimal128(38, 10),
    pa.decimal256(76, 40),
]
UNITS = ["s", "ms", "us", "ns"]
ZONES = [None, "UTC", "Europe/Berlin", "+05:30"]
TIMESTAMPS = [pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES]
TIMES = [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]
DURATIONS = [pa.duration(unit) for unit in UNITS]
DATES = [pa.date32(), pa.date64()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(1), pa.binary(16)]

FLAT = [
    pa.bool_(),
    *INTEGERS,
    *FLOATS,
    *DECIMALS,
    *DATES,
    *TIMES,
    *TIMESTAMPS,
    *DURATIONS,
    pa.month_day_nano_interval(),
    *TEXTS,
    *BYTES,
]
"""Types without others inside."""


class Celsius(pa.ExtensionType):
    """An extension type of a user's own, which the server does not know."""

    def __init__(self, scale: int = 1) -> None:
        """Take a parameter, which has to come back."""
        self.scale = scale
        super().__init__(pa.int32(), "headrace.test.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        """Give the parameter as bytes that are no text."""
        return b"\x00\xff" + bytes([self.scale])

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Celsius:
        """Read the parameter."""
        return cls(serialized[2])


pa.register_extension_type(Celsius())  # type: ignore[arg-type]

EXTENSIONS: list[pa.DataType] = [
    pa.uuid(),
    pa.bool8(),
    pa.json_(),
    pa.json_(pa.large_string()),
    pa.fixed_shape_tensor(pa.float32(), [2, 3], ["x", "y"]),
    pa.opaque(pa.binary(), "geometry", "some-vendor"),
    pa.opaque(pa.struct([("a", pa.int8())]), "pair", "some-vendor"),
    Celsius(7),
]

ABOUT = {b"unit": b"m/s", b"\xc3\xbc": b"", b"empty": b""}
"""Metadata of fields."""

DEEP = pa.struct(
    [
        pa.field("a", pa.list_(pa.struct([("b", pa.map_(pa.string(), pa.list_(pa.int64())))]))),
        pa.field("c", pa.large_list(pa.field("element", pa.list_(pa.bool_(), 2), metadata=ABOUT))),
        pa.field("d", pa.struct([pa.field("e", pa.struct([pa.field("f", pa.string_view())]))])),
    ]
)
"""Five levels of types within one another."""

NESTED = [
    pa.list_(pa.int32()),
    pa.list_(pa.field("element", pa.string(), nullable=False, metadata=ABOUT)),
    pa.large_list(pa.float64()),
    pa.large_list(pa.large_binary()),
    pa.list_(pa.float32(), 3),
    pa.list_(pa.list_(pa.string(), 1), 2),
    pa.list_(pa.null()),
    pa.struct([]),
    pa.struct([("a", pa.int64()), ("b", pa.string())]),
    pa.struct([pa.field("a", pa.int8(), nullable=False, metadata=ABOUT), ("b", pa.bool_())]),
    pa.struct([("n", pa.null()), ("v", pa.binary_view())]),
    pa.map_(pa.string(), pa.int32()),
    pa.map_(pa.int64(), pa.field("value", pa.string(), nullable=False), keys_sorted=True),
    pa.map_(pa.string(), pa.struct([("x", pa.list_(pa.float16()))])),
    pa.list_(pa.uuid()),
    pa.struct([("t", Celsius(3)), ("j", pa.json_())]),
    DEEP,
]

STORED = [pa.null(), *FLAT, *NESTED, *EXTENSIONS]
"""Every type that a table keeps as it is."""

LISTED = [pa.list_(kind) for kind in FLAT] + [pa.struct([("v", kind)]) for kind in FLAT]
"""Every flat type as what a list and a struct hold."""

REFUSED = [
    pa.list_view(pa.int8()),
    pa.large_list_view(pa.string()),
    pa.run_end_encoded(pa.int32(), pa.string()),
    pa.dense_union([pa.field("a", pa.int8())]),
    pa.sparse_union([pa.field("a", pa.int8())]),
    pa.binary(0),
    pa.list_(pa.int8(), 0),
]
"""Types that no table has."""

KEYS = [*FLAT, pa.uuid(), Celsius(2)]
"""Types of key columns."""


def array(kind: pa.DataType, rows: int = ROWS, seed: int = 1, nulls: float = 0.3) -> pa.Array[Any]:
    """Make an array; the same one for the same arguments.

    Args:
        kind: of any type in this file.
        rows: its length.
        seed: another one gives other values.
        nulls: share of rows that are null, on every level where the type allows it.
    """
    return _Maker(random.Random(f"{kind} {rows} {seed} {nulls}"), nulls).array(kind, rows)


def dictionary(values: pa.Array[Any], seed: int = 1) -> tuple[pa.Array[Any], pa.Array[Any]]:
    """Give a dictionary array over values, with null indices, and the same without a dictionary."""
    draw = random.Random(seed)
    indices = [draw.choice([None, *range(len(values))]) for _ in range(ROWS)]
    where = pa.array(indices, pa.int16())
    pieces = [pa.nulls(1, values.type) if i is None else values.slice(i, 1) for i in indices]
    plain = pa.concat_arrays(pieces)
    return pa.DictionaryArray.from_arrays(where, values), plain


class _Maker:
    """Draws values, type by type."""

    def __init__(self, draw: random.Random, nulls: float) -> None:
        self._draw, self._nulls = draw, nulls

    def array(self, kind: pa.DataType, rows: int, nullable: bool = True) -> pa.Array[Any]:
        if pt.is_null(kind):
            return pa.nulls(rows)
        if isinstance(kind, pa.BaseExtensionType):
            storage = self.array(kind.storage_type, rows, nullable)
            return pa.ExtensionArray.from_storage(kind, storage)
        mask = self._mask(rows, nullable)
        nested = self._nested(kind, rows, mask)
        if nested is not None:
            return nested
        if pt.is_decimal(kind):
            return self._decimals(kind, mask)
        draw = self._drawer(kind)
        values = [None if null else draw() for null in mask]
        return pa.array(values, kind)

    def _mask(self, rows: int, nullable: bool) -> list[bool]:
        if not nullable:
            return [False] * rows
        return [self._draw.random() < self._nulls for _ in range(rows)]

    def _nested(self, kind: pa.DataType, rows: int, mask: list[bool]) -> pa.Array[Any] | None:
        missing = pa.array(mask, pa.bool_())
        if isinstance(kind, pa.StructType):
            if not kind.num_fields:
                return pa.array([None if null else {} for null in mask], kind)
            fields = [kind.field(i) for i in range(kind.num_fields)]
            children = [self.array(f.type, rows, f.nullable) for f in fields]
            return pa.StructArray.from_arrays(children, fields=fields, mask=missing)
        if isinstance(kind, pa.FixedSizeListType):
            item = kind.value_field
            values = self.array(item.type, rows * kind.list_size, item.nullable)
            return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=missing)
        if not isinstance(kind, (pa.ListType, pa.LargeListType, pa.MapType)):
            return None
        offsets = [0]
        for null in mask:
            offsets.append(offsets[-1] + (0 if null else self._draw.choice([0, 1, 3])))
        if isinstance(kind, pa.MapType):
            keys = self.array(kind.key_type, offsets[-1], nullable=False)
            items = self.array(kind.item_type, offsets[-1], kind.item_field.nullable)
            ends = zip([*mask, False], offsets, strict=True)
            starts = pa.array([None if null else at for null, at in ends], pa.int32())
            return pa.MapArray.from_arrays(starts, keys, items, type=kind)
        values = self.array(kind.value_type, offsets[-1], kind.value_field.nullable)
        wide = isinstance(kind, pa.LargeListType)
        where: Any = pa.array(offsets, pa.int64() if wide else pa.int32())
        make: Any = pa.LargeListArray if wide else pa.ListArray
        made: pa.Array[Any] = make.from_arrays(where, values, type=kind, mask=missing)
        return made

    def _drawer(self, kind: pa.DataType) -> Callable[[], Any]:
        draw = self._draw
        if pt.is_boolean(kind):
            return lambda: draw.random() < 0.5
        if pt.is_integer(kind):
            signed = pt.is_signed_integer(kind)
            low = -(2 ** (kind.bit_width - 1)) if signed else 0
            high = low + 2**kind.bit_width - 1
            return lambda: draw.choice([low, high, 0, 1, draw.randint(low, high)])
        if pt.is_floating(kind):
            some = [0.0, -0.0, float("inf"), float("-inf"), 0.5, -65504.0]
            return lambda: draw.choice([*some, draw.randint(-1000, 1000) / 8])
        return self._times(kind) or self._bytes(kind)

    def _times(self, kind: pa.DataType) -> Callable[[], Any] | None:
        draw = self._draw
        if pt.is_date64(kind):
            epoch = dt.date(1970, 1, 1)
            return lambda: epoch + dt.timedelta(days=draw.randint(-700_000, 2_000_000))
        if pt.is_date32(kind):
            return lambda: draw.choice([dt.date.min, dt.date.max, dt.date(1970, 1, 1)])
        if pt.is_time(kind):
            day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            return lambda: draw.choice([0, day - 1, draw.randrange(day)])
        if pt.is_timestamp(kind) or pt.is_duration(kind):
            # Years that the datetime of Python has, whatever the unit.
            most = 2**33 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            return lambda: draw.choice([0, 1, -1, draw.randint(-most, most)])
        if pt.is_interval(kind):
            small, large = (-2000, 2000), (-(2**62), 2**62)
            return lambda: pa.MonthDayNano([draw.randint(*r) for r in (small, small, large)])
        return None

    def _bytes(self, kind: pa.DataType) -> Callable[[], Any]:
        draw = self._draw
        if pt.is_fixed_size_binary(kind):
            return lambda: draw.randbytes(kind.byte_width)
        if kind in TEXTS:
            letters = string.ascii_letters + "äß漢🚣\0"
            return lambda: "".join(draw.choices(letters, k=draw.choice([0, 1, 11, 12, 13, 90])))
        return lambda: draw.randbytes(draw.choice([0, 1, 12, 13, 90]))

    def _decimals(self, kind: Any, mask: list[bool]) -> pa.Array[Any]:
        """Make decimals of their bytes: `pa.array` refuses negative scales."""
        draw, most, width = self._draw, 10**kind.precision - 1, kind.bit_width // 8
        digits = [draw.choice([0, most, -most, draw.randint(-most, most)]) for _ in mask]
        values = b"".join(n.to_bytes(width, "little", signed=True) for n in digits)
        valid = pa.array([True if not null else None for null in mask], pa.bool_()).buffers()[0]
        return pa.Array.from_buffers(kind, len(mask), [valid, pa.py_buffer(values)])
