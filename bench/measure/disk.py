"""What the disk itself gives, and the page cache above it."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK_BYTES = 2 << 20
PROBE_BYTES = 4096


def sequential_write(source: Path, target: Path, size: int, sync_each_chunk: bool) -> float:
    """Writes `size` bytes of a cached file to a new one and syncs; gives the seconds.

    Chunks are 2 MiB, about one batch of 10,000 rows. There is one fdatasync at the end, or one
    after each chunk.
    """
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        with memoryview(data) as view, scratch(target) as output:
            size = min(size, len(view))
            began = time.perf_counter()
            for start in range(0, size, CHUNK_BYTES):
                with view[start : min(start + CHUNK_BYTES, size)] as chunk:
                    write_all(output, chunk)
                if sync_each_chunk:
                    os.fdatasync(output)
            os.fdatasync(output)
            return time.perf_counter() - began


def write_all(descriptor: int, data: memoryview) -> None:
    """Writes all of the data; one call to the kernel unless it takes less."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[int]:
    """Gives the descriptor of a new file that is removed at the end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        path.unlink()


def sync_latencies(target: Path, seconds: float) -> list[float]:
    """Appends 4 KiB and syncs, again and again; gives the seconds of each fdatasync."""
    block, latencies = os.urandom(PROBE_BYTES), []
    with scratch(target) as output:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.write(output, block)
            began = time.perf_counter()
            os.fdatasync(output)
            latencies.append(time.perf_counter() - began)
    return latencies


def evict(files: Iterable[Path]) -> float:
    """Drops files from the page cache; gives the share of their pages that stayed.

    Pages that are dirty or mapped by a process cannot be dropped: sync first, and stop who maps.
    """
    kept = looked = 0
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            for position in range(0, size, max(4096, size // 64)):
                looked += 1
                kept += resident(descriptor, position)
        finally:
            os.close(descriptor)
    return kept / looked if looked else 0.0


def resident(descriptor: int, position: int) -> bool:
    """Says whether the page at a position of a file is cached, without reading it."""
    try:
        return os.preadv(descriptor, [bytearray(1)], position, os.RWF_NOWAIT) == 1
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        raise


def cold_read(files: Iterable[Path]) -> tuple[int, float]:
    """Reads files from beginning to end in 2 MiB chunks; gives bytes and seconds."""
    buffer, total, began = bytearray(CHUNK_BYTES), 0, time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as source:
            os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while count := source.readinto(buffer):
                total += count
    return total, time.perf_counter() - began


def free_memory() -> int:
    """Gives the bytes of memory that can be had without taking them from others."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("/proc/meminfo does not tell MemAvailable")


def warm_memory(size: int) -> None:
    """Touches that much memory and gives it back.

    In a virtual machine the first touch of a page can cost a trip to the host, and a page that
    was free for a while is as costly again. Whoever is measured first would pay it for all
    others; and a side that keeps its memory from round to round would never pay, where one that
    writes files does. The kernel chooses which free pages it hands out, so far more is touched
    than is needed, but never more than half of what is free.
    """
    size = min(max(size, 8 << 30), free_memory() // 2)
    with mmap.mmap(-1, size) as memory:
        for position in range(0, size, 1 << 20):
            memory[position : position + (1 << 20)] = b"\1" * min(1 << 20, size - position)


def segments(data: Path) -> list[Path]:
    """Gives the segment files below a data folder, in order."""
    return sorted(path for path in data.rglob("*.arrow") if path.is_file())
