"""Streams a host array through a device: one chunk is copied while the kernels use the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backend
from ..backend import empty

CHUNK_BYTES = 1 << 25  # size of a chunk; there are two on the device, and two pinned on the host


def chunk_rows(dim: int, dtype: np.dtype) -> int:
    """Rows in a chunk of at most CHUNK_BYTES, but at least one."""
    return max(1, CHUNK_BYTES // (dim * dtype.itemsize))


class _Slot:
    """A chunk on the device, its pinned twin on the host, and when each may be used."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype, like: NDArray) -> None:
        cuda = backend.cupy().cuda
        size = int(np.prod(shape))
        memory = cuda.alloc_pinned_memory(size * dtype.itemsize)
        self.host = np.frombuffer(memory, dtype, size).reshape(shape)
        self.device: Any = empty(shape, dtype, like)
        self.copied = cuda.Event()  # the chunk is on the device
        self.read = cuda.Event()  # the kernels are done with it


def streamed_chunks(
    x: NDArray, first: int, last: int, dtype: np.dtype, like: NDArray
) -> Iterator[tuple[int, NDArray]]:
    """Yield (first row, chunk on the device) over rows first..last of the host array x (n, d).

    Chunks are converted to `dtype`. A chunk may be used on the current stream until the next one is
    requested. Device memory: two chunks of at most 32 MiB.
    """
    cuda = backend.cupy().cuda
    rows = min(last - first, chunk_rows(x.shape[1], dtype))
    copies = cuda.Stream(non_blocking=True)
    current = cuda.get_current_stream()
    count = min(2, -(-(last - first) // rows))
    slots = [_Slot((rows, x.shape[1]), dtype, like) for _ in range(count)]
    copies.wait_event(current.record())  # for whatever used this memory before
    for number, start in enumerate(range(first, last, rows)):
        slot = slots[number % 2]
        stop = min(start + rows, last)
        slot.read.synchronize()
        np.copyto(slot.host[: stop - start], x[start:stop], casting="unsafe")
        chunk = slot.device[: stop - start]
        chunk.set(slot.host[: stop - start], stream=copies)
        slot.copied.record(copies)
        current.wait_event(slot.copied)
        yield start, chunk
        slot.read.record(current)
