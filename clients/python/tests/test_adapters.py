"""Tests of what is optional: libraries that may be absent, and those that are too large to need."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headrace as hr
from headrace.adapters._buckets import bucket_share
from headrace.adapters.ray import BucketReader

SCHEMA = pa.schema([("id", pa.int64()), ("ok", pa.bool_()), ("text", pa.string())])


@pytest.fixture
def table(db: hr.Database) -> hr.Table:
    made = db.create_table("b", SCHEMA, buckets=4, bucket_key=["id"])
    made.append({"id": range(100), "ok": [True] * 100, "text": ["x"] * 100})
    return made


class Worker:
    """Which worker of a DataLoader runs now; as in `torch.utils.data`."""

    id = 0
    num_workers = 1


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Worker]]:
    """The little of PyTorch that is used, over numpy."""
    data = types.ModuleType("torch.utils.data")
    data.IterableDataset = type("IterableDataset", (), {})  # type: ignore[attr-defined]
    data.get_worker_info = lambda: Worker if Worker.num_workers > 1 else None  # type: ignore[attr-defined]
    torch = types.ModuleType("torch")
    torch.from_numpy = lambda array: ("tensor", array)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch.utils.data", data)
    monkeypatch.setattr(Worker, "id", 0)
    monkeypatch.setattr(Worker, "num_workers", 1)
    yield Worker


def ids_of(dataset: Any) -> list[int]:
    return [int(i) for columns in dataset for i in columns["id"][1]]


def test_torch_gets_tensors_of_numbers_and_lists_of_the_rest(
    table: hr.Table, torch: type[Worker]
) -> None:
    first = next(iter(table.scan().to_torch()))
    kind, values = first["id"]
    assert kind == "tensor" and values.dtype == np.int64 and values.flags.writeable
    assert first["ok"][1].dtype == np.bool_ and first["text"][0] == "x"


def test_torch_gets_embeddings_as_tensors_of_more_dimensions(
    db: hr.Database, torch: type[Worker]
) -> None:
    tensor = pa.fixed_shape_tensor(pa.float32(), [2, 2])
    flat: pa.Array[Any] = pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], pa.list_(pa.float32(), 4))
    data = pa.table(
        {
            "embedding": flat,
            "image": pa.ExtensionArray.from_storage(tensor, flat),
            "pair": pa.array([[[1], [2]], [[3], [4]]], pa.list_(pa.list_(pa.int8(), 1), 2)),
            "some": pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
            "words": pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)),
        }
    )
    table = db.create_table("e", data)
    table.append(data)
    got = next(iter(table.scan().to_torch()))
    assert got["embedding"][1].shape == (2, 4) and got["embedding"][1][1, 3] == 8
    assert got["image"][1].shape == (2, 2, 2) and got["image"][1][1].tolist() == [[5, 6], [7, 8]]
    assert got["pair"][1].shape == (2, 2, 1) and got["pair"][1].dtype == np.int8
    assert got["some"] == [[1, 2], None] and got["words"] == [["a"], ["b"]]


def test_torch_workers_share_the_buckets(
    table: hr.Table, torch: type[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = pickle.loads(pickle.dumps(table.scan(columns=["id"]).to_torch()))
    limited = table.scan(columns=["id"], limit=10).to_torch()
    assert sorted(ids_of(dataset)) == list(range(100))
    monkeypatch.setattr(Worker, "num_workers", 6)  # more than there are buckets
    shares, few = [], []
    for worker in range(6):
        monkeypatch.setattr(Worker, "id", worker)
        shares.append(ids_of(dataset))
        few += ids_of(limited)
    assert sorted(sum(shares, [])) == list(range(100)) and shares[4] == []
    assert len(few) == 10


def test_ray_tasks_read_their_parts(table: hr.Table) -> None:
    parts = [hr.ScanSpec(table=table.name, buckets=(bucket,)) for bucket in range(4)]
    reader = pickle.loads(pickle.dumps(BucketReader(table.scan()._connection.address, parts)))
    ids: list[int] = []
    for part in range(4):
        for piece in reader(pa.table({"part": [part]})):
            assert piece.schema == SCHEMA
            ids += piece["id"].to_pylist()
    assert sorted(ids) == list(range(100))


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_shares_cover_all_once(workers: int) -> None:
    buckets = list(range(5))
    shares = [bucket_share(buckets, w, workers) for w in range(workers)]
    assert sorted(sum(shares, [])) == buckets


def test_a_missing_library_names_the_command(
    table: hr.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("polars", "pandas", "torch", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    scan = table.scan()
    for extra, call in (
        ("polars", scan.to_polars),
        ("pandas", scan.to_pandas),
        ("torch", scan.to_torch),
        ("ray", scan.to_ray),
    ):
        with pytest.raises(ImportError, match=rf"pip install 'headrace\[{extra}\]'"):
            call()


def test_nothing_optional_is_imported_before_it_is_used() -> None:
    program = (
        "import sys, headrace\n"
        "print([m for m in ('pandas', 'polars', 'duckdb', 'torch', 'ray') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
