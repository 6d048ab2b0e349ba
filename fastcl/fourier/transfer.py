"""Rows of a host array on a device, chunk by chunk: one is copied while the kernels work on the one before."""

import numpy as np

from .. import backend
from ..backend import empty

CHUNK_BYTES = (
    1 << 25
)  # of a chunk: there are two on the device, and two on the host that the copies read


def chunk_rows(dim, dtype):
    """Rows of a chunk of at most CHUNK_BYTES, or one."""
    return max(1, CHUNK_BYTES // (dim * dtype.itemsize))


class _Slot:
    """A chunk on the device, its pinned twin on the host, and when either may be used."""

    def __init__(self, shape, dtype, like):
        cuda = backend.cupy().cuda
        memory = cuda.alloc_pinned_memory(int(np.prod(shape)) * dtype.itemsize)
        self.host = np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)
        self.device = empty(shape, dtype, like)
        self.copied, self.read = cuda.Event(), cuda.Event()


def streamed_chunks(x, first, last, dtype, like):
    """(first row, chunk on the device) over the rows first..last of the host array x (n, d), converted to `dtype`.

    A chunk may be used on the current stream until the next one is asked for. Device memory: two chunks of at most 32 MiB.
    """
    cuda = backend.cupy().cuda
    rows = min(last - first, chunk_rows(x.shape[1], dtype))
    copies, current = cuda.Stream(non_blocking=True), cuda.get_current_stream()
    slots = [
        _Slot((rows, x.shape[1]), dtype, like) for _ in range(min(2, -(-(last - first) // rows)))
    ]
    copies.wait_event(current.record())  # what last worked in the memory of the chunks
    for number, start in enumerate(range(first, last, rows)):
        slot, stop = slots[number % 2], min(start + rows, last)
        slot.read.synchronize()  # what worked on the chunk before the last
        np.copyto(slot.host[: stop - start], x[start:stop], casting="unsafe")
        chunk = slot.device[: stop - start]
        chunk.set(slot.host[: stop - start], stream=copies)
        slot.copied.record(copies)
        current.wait_event(slot.copied)
        yield start, chunk
        slot.read.record(current)
