"""What tables with a primary key have beside the others: writes, lookups and changes by key."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from headrace._flight import Connection
from headrace.casting import Caster
from headrace.columns import ColumnPath
from headrace.convert import Rows
from headrace.errors import BadRequest, Error, SchemaChanged, SchemaMismatch
from headrace.keys import Keys, key_batches
from headrace.pipeline import WriteResult
from headrace.position import Bound, Position
from headrace.scan import Scan, ScanSpec, check_filter
from headrace.write import Mode, Writer, append_once

if TYPE_CHECKING:
    from headrace.client import Database
    from headrace.lookup import LookupStreams
    from headrace.table import Table


class KeyedCalls:
    """The part of `Table` that is for keyed tables, and what writes of all tables share."""

    _database: Database
    _caster: Caster
    _row_caster: Caster
    _lookups: LookupStreams
    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...  # noqa: D102
        @property
        def id(self) -> str: ...  # noqa: D102
        @property
        def schema(self) -> pa.Schema: ...  # noqa: D102
        @property
        def primary_key(self) -> tuple[str, ...]: ...  # noqa: D102
        @property
        def _connection(self) -> Connection: ...
        def refresh(self) -> Table: ...  # noqa: D102
        def _choose(
            self, columns: Sequence[ColumnPath] | None
        ) -> tuple[str | tuple[str, ...], ...] | None: ...
        def _one_off_writer(self, mode: Mode, columns: tuple[str, ...] | None) -> Writer: ...

    def upsert(self, data: Rows, columns: Sequence[str] | None = None) -> WriteResult:
        """Insert rows, or merge them with those of the same key, and wait until they are durable.

        What becomes of a row whose key is there is up to the option `merge.engine`; without it the
        new row takes the old one's place. Rows of one key apply in their order.

        Args:
            data: what `append` takes. Every column has to be there: use `columns` otherwise.
            columns: columns to change; all others keep their value, or get their default in a new
                row. The key is taken from the data too; other columns of the data are left out.

        Raises:
            SchemaMismatch: the rows do not fit; the text names the column. Nothing is stored.
            Unavailable: the server could not be reached in time. A batch may have been stored.

        Example:
            >>> users = db["web.users"]
            >>> users.upsert([{"user_id": 3, "name": "eve", "age": 7}]).rows
            1
            >>> users.upsert({"user_id": [3], "age": [8]}, columns=["age"]).rows
            1
            >>> users.get(3)
            {'user_id': 3, 'name': 'eve', 'age': 8}
        """
        self._check_keyed("upsert", "append")
        return self._write("upsert", data, columns)

    def delete(self, keys: Keys) -> WriteResult:
        """Delete the rows of keys, and wait until that is durable. An absent key is no error.

        Args:
            keys: a value or a list of values, a tuple or a list of tuples where the key has several
                columns, dicts, an array, or anything with rows that has the key columns.

        Raises:
            DeleteRefused: the table does not take deletions.
            SchemaMismatch: a key does not fit.

        Example:
            >>> users = db["web.users"]
            >>> users.delete([1, 9]).rows
            2
            >>> users.count()
            1
        """
        self._check_keyed("delete", "truncate")
        return self._write("delete", keys)

    def retract(self, data: Rows, columns: Sequence[str]) -> WriteResult:
        """Take values back from sums and products, and wait until that is durable; rows stay.

        For tables whose `merge.engine` is `aggregation`. Values of other functions stay as they
        are, since nothing tells what was there before, and an absent key is passed over.

        Args:
            data: what `append` takes: rows with the key and the columns.
            columns: columns whose values are taken back.

        Raises:
            BadRequest: the table does not aggregate.
            SchemaMismatch: the rows do not fit.

        Example:
            >>> columns = pa.schema([("shop", pa.string()), ("sold", pa.int64())])
            >>> options = {"merge.engine": "aggregation", "merge.aggregate.sold": "sum"}
            >>> sums = db.create_table("web.sums", columns, primary_key=["shop"], options=options)
            >>> sums.upsert([{"shop": "a", "sold": 7}, {"shop": "a", "sold": 5}]).rows
            2
            >>> sums.retract([{"shop": "a", "sold": 5}], columns=["sold"]).rows
            1
            >>> sums.get("a")
            {'shop': 'a', 'sold': 7}
        """
        self._check_keyed("retract", "append")
        return self._write("delete", data, columns)

    def get(self, *key: Any, columns: Sequence[ColumnPath] | None = None) -> dict[str, Any] | None:
        """Give the row of one key; None if there is none.

        Args:
            key: the value of each key column, in their order; or one tuple, or one dict.
            columns: names to return, in this order; None: all.

        Example:
            >>> users = db["web.users"]
            >>> users.get(1)
            {'user_id': 1, 'name': 'ada', 'age': 36}
            >>> users.get(2, columns=["name"]), users.get(9)
            ({'name': 'bob'}, None)
        """
        one = key[0] if len(key) == 1 else key
        found = self.lookup([one] if isinstance(one, tuple) else one, columns, how="inner")
        if found.num_rows > 1:
            raise BadRequest(f"get() takes one key, got {len(key)} arguments; use lookup()")
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows[0] if rows else None

    def lookup(
        self,
        keys: Keys,
        columns: Sequence[ColumnPath] | None = None,
        *,
        how: Literal["left", "inner"] = "left",
        by: Sequence[str] | None = None,
        carry: bool = False,
        prefix: str = "",
        found: str | None = None,
        filter: Any = None,
        after: Position | None = None,
    ) -> pa.Table:
        """Give the rows of many keys, row for row, in the order of the keys.

        Args:
            keys: in any form that `delete` takes.
            columns: names to return, in this order; None: all. See `scan`.
            how: `"left"`: a key without a row gives nulls; `"inner"`: it gives nothing.
            by: columns that the keys have; None: the primary key.
            carry: put the columns of `keys` before those looked up: a lookup join.
            prefix: put before the names of the columns looked up.
            found: name of a bool column behind all others that says whether the key has a row.
            filter: rows that it is not true for count as not there; in the forms that `scan` takes.
            after: wait until everything before this position is seen, such as
                `WriteResult.position`. What this server has acknowledged is seen without it.

        Raises:
            ColumnNotFound: the table has no such column.
            SchemaMismatch: a key column is missing, or a value does not fit.
            BadRequest: two columns of the answer would have one name; use `prefix`.

        Example:
            >>> users = db["web.users"]
            >>> users.lookup([2, 9, 1], ["name"]).to_pydict()
            {'name': ['bob', None, 'ada']}
            >>> visits = [{"user_id": 2, "url": "/a"}, {"user_id": 9, "url": "/b"}]
            >>> users.lookup(visits, ["name"], carry=True, how="inner").to_pylist()
            [{'user_id': 2, 'url': '/a', 'name': 'bob'}]
        """
        if how not in ("left", "inner"):
            raise BadRequest(f"how is {how!r}, want 'left' or 'inner'")
        body: dict[str, Any] = {"how": how, "carry": carry, "prefix": prefix, "found": found}
        checked = check_filter(self._connection, filter, self.schema)
        if checked is not None:
            body["filter"] = checked.to_dict()
        if after is not None:
            body["min_offsets"] = after.to_dict()
        return self._look_up(keys, columns, by, body)

    def get_or_insert(self, keys: Keys, columns: Sequence[ColumnPath] | None = None) -> pa.Table:
        """Give the rows of many keys, and make one for each key that has none.

        A new row has defaults and nulls beside its key. Each key gets one row, whoever else asks
        for it at the same time.

        Args:
            keys: in any form that `delete` takes.
            columns: names to return, in this order; None: all.

        Example:
            >>> db["web.users"].get_or_insert([1, 7]).to_pydict()
            {'user_id': [1, 7], 'name': ['ada', None], 'age': [36, None]}
        """
        return self._look_up(keys, columns, None, {"insert_missing": True})

    def _look_up(
        self,
        keys: Keys,
        columns: Sequence[ColumnPath] | None,
        by: Sequence[str] | None,
        body: dict[str, Any],
    ) -> pa.Table:
        self._check_keyed("lookup", "scan")
        if isinstance(columns, str) or isinstance(by, str):
            raise BadRequest(f"columns={columns!r}, by={by!r}: want lists of names")
        wanted, named = self._choose(columns), self._choose(by)
        if not all(isinstance(name, str) for name in named or ()):
            raise BadRequest(f"by={list(by or ())}: rows are found by whole columns")
        fields = [self.schema.field(name).with_nullable(True) for name in by or self.primary_key]
        batches = key_batches(keys, fields, carry=bool(body.get("carry")))
        if not batches:
            batches = key_batches({f.name: [] for f in fields}, fields, carry=False)
        lookup = {"table": self.name, **{k: v for k, v in body.items() if v}}
        if wanted is not None:
            lookup["columns"] = list(wanted)
        if by is not None:
            lookup["by"] = list(by)
        return self._lookups.run(lookup, batches)

    def changelog(
        self,
        start: Bound = "earliest",
        stop: Bound = "now",
        columns: Sequence[ColumnPath] | None = None,
        *,
        filter: Any = None,
        limit: int | None = None,
        system_columns: bool = False,
        buckets: Sequence[int] | None = None,
    ) -> Scan:
        """Say which changes to read; the last column, `_change_type`, is `+I`, `-U`, `+U` or `-D`.

        To follow them as they are made, use `subscribe`.

        Args:
            start: first change wanted: `"earliest"`, `"latest"`, a `Position`, offsets by bucket,
                or a time with its zone.
            stop: behind the last change wanted: `"now"`, or what `start` takes.
            columns: names to return, in this order; None: all.
            filter: changes to return, in the forms that `scan` takes; it may name `_change_type`.
            limit: most changes of the whole scan, after the filter.
            system_columns: add `_bucket`, `_offset` and `_timestamp`.
            buckets: buckets to read; None: all.

        Example:
            >>> users = db["web.users"]
            >>> _ = users.delete(2)
            >>> changes = users.changelog(columns=["user_id"]).to_arrow()
            >>> changes.to_pylist()[-1]
            {'user_id': 2, '_change_type': '-D'}
        """
        self._check_keyed("changelog", "scan")
        spec = ScanSpec(
            table=self.name,
            columns=self._choose(columns),
            filter=check_filter(self._connection, filter, self.schema),
            start=start,
            stop=stop,
            limit=limit,
            system_columns=system_columns,
            buckets=buckets,
            view="changelog",
        )
        return Scan(self._connection, spec)

    def _check_keyed(self, call: str, instead: str) -> None:
        if not self.primary_key:
            raise BadRequest(
                f"{self.name} has no primary key: {call}() is for tables made with primary_key=; "
                f"use {instead}()"
            )

    def _write(self, mode: Mode, data: Rows, columns: Sequence[str] | None = None) -> WriteResult:
        """Write through the writer that all calls of this form share."""
        timeout = self._connection.address.timeout
        columns = self._update_columns(columns)
        form = (self.id, mode, columns)
        writer = self._database._appender(form, lambda: self._one_off_writer(mode, columns))
        try:
            return append_once(writer, data, self._caster_of(mode, columns), timeout)
        except Error as error:
            if not writer.usable:
                self._database._drop_appender(form)
            if isinstance(error, SchemaChanged | SchemaMismatch):
                with contextlib.suppress(Error):
                    self.refresh()  # the next call knows the columns as they are
            raise

    def _update_columns(self, columns: Sequence[str] | None) -> tuple[str, ...] | None:
        """Give the columns of a partial update, the key among them; None: rows are whole."""
        if columns is None:
            return None
        if isinstance(columns, str):
            raise BadRequest(f"columns is {columns!r}, want a list: [{columns!r}]")
        named = (*self.primary_key, *(c for c in columns if c not in self.primary_key))
        if not all(isinstance(name, str) for name in self._choose(named) or ()):
            raise BadRequest(f"columns={list(columns)}: an update changes whole columns alone")
        return named

    def _caster_of(self, mode: Mode, columns: Sequence[str] | None) -> Caster:
        """Give what casts rows for a mode."""
        if mode == "append":
            return self._caster
        if mode == "delete" and columns is None:
            columns = self.primary_key
        if columns is None:
            return self._row_caster
        chosen = pa.schema([self.schema.field(name) for name in columns])
        return Caster(chosen, whole=True, choose=True)
