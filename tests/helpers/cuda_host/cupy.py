"""A stand-in for CuPy: arrays that do not mix with NumPy's, and kernels that g++ built for the CPU.

It is as strict as CuPy. An array turns into a NumPy array by `get` alone, an operation takes device
arrays and numbers only, and a kernel refuses arguments whose sizes are not those of its parameters.
If CuPy is installed, arguments are checked against its own signatures. Memory comes filled with
NaN between guards, which every launch checks. A stream that captures keeps launches and assignments
of numbers for its graph, and fails on everything else.
"""

from types import SimpleNamespace

import numpy as np

from . import kernels
from .arrays import DeviceArray, allocate, to_device
from .streams import Event, MemoryPool, Stream, using_allocator

RUNTIME = SimpleNamespace(
    cudaDevAttrMaxSharedMemoryPerBlockOptin=97,
    getDevice=lambda: 0,
    deviceGetAttribute=lambda attribute, device: kernels.SHARED_BYTES,
)
module = SimpleNamespace(
    cuda=SimpleNamespace(
        runtime=RUNTIME,
        Stream=Stream,
        Event=Event,
        alloc_pinned_memory=bytearray,
        MemoryPool=MemoryPool,
        get_current_stream=Stream.current,
        using_allocator=using_allocator,
    ),
    ndarray=DeviceArray,
    RawModule=kernels.RawModule,
    asnumpy=lambda array: array.get() if isinstance(array, DeviceArray) else np.asarray(array),
    asarray=lambda array, dtype=None: (
        array if isinstance(array, DeviceArray) else to_device(np.asarray(array, dtype))
    ),
    empty=lambda shape, dtype=np.float64: allocate(shape, dtype),
    zeros=lambda shape, dtype=np.float64: to_device(np.zeros(shape, dtype)),
)
