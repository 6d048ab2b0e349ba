"""A stand-in for CuPy: arrays that do not mix with NumPy's, and kernels that g++ built and the CPU runs.

As strict as CuPy, by whose own signatures arguments go where it is installed: an array turns into a NumPy array by `get` alone,
an operation takes device arrays and numbers only, and a kernel refuses arguments whose sizes are not those of its parameters.
Memory comes filled with NaN between guards, which every launch checks. A stream that captures keeps launches and assignments of
numbers for its graph, and fails on all else.
"""

import contextlib
import ctypes
import hashlib
import inspect
import os
import shutil
import subprocess
import tempfile
import warnings
import weakref
from functools import cache, reduce
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from fastcl.kernels import cuda
from fastcl.kernels.launchers import VARIANTS

HOST = Path(__file__).parent
if "CUDA_HOST_KERNELS" in os.environ:  # other sources than those of the package
    cuda.FOLDER = Path(os.environ["CUDA_HOST_KERNELS"])
COMPILER = shutil.which("g++")
CHECKS = [
    "-fsanitize=alignment,bounds,shift,integer-divide-by-zero",
    "-fno-sanitize-recover=all",
]  # as a device would fault
FLAGS = [
    "-std=c++20",
    "-O1",
    "-ffp-contract=off",
    "-fPIC",
    "-shared",
    "-pthread",
    "-w",
    *CHECKS,
]
GUARD, PATTERN = 64, 0xA5
SHARED = 227 << 10  # most shared memory of a block: that of an H100


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import cupy  # before anything stands in its place in sys.modules
    except ImportError:
        cupy = None


def find_in_cupy(module, name):
    """CuPy's function for NumPy's of that name, found as CuPy finds it; None where CuPy itself is not installed."""
    return None if cupy is None else getattr(reduce(getattr, module.split(".")[1:], cupy), name)


def check_in_cupy(function, args, kwargs):
    """AttributeError, TypeError where CuPy does not have NumPy's `function`, or does not take these arguments."""
    found = find_in_cupy(getattr(function, "__module__", None) or "numpy", function.__name__)
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # not one of Python's functions
        return
    signature.bind(*args, **kwargs)


class Memory:
    """Bytes of the arrays that there are, and the most there have been since `reset`."""

    live = peak = 0

    @classmethod
    def change(cls, size):
        cls.live += size
        cls.peak = max(cls.peak, cls.live)

    @classmethod
    def reset(cls):
        cls.peak = cls.live


def allocate(shape, dtype=np.float64):
    """An array filled with NaN (or the integer of the same bits) between two guards."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    base = np.full(size + 2 * GUARD + 256, PATTERN, np.uint8)
    start = -base.ctypes.data % 256 + GUARD
    array = base[start : start + size].view(dtype).reshape(shape)
    base[start : start + size] = 0xFF
    Memory.change(size)
    weakref.finalize(base, Memory.change, -size)
    if MemoryPool.current is not None:
        MemoryPool.current.blocks.append((weakref.ref(base), size))
    return DeviceArray(array, (base, start, size, Stream.issued))


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of the stand-in device."""

    __module__ = "cupy"  # what `backend` tells arrays by

    def __init__(self, data, memory=None):
        self._data, self._memory = data, memory

    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: self._data.size)
    itemsize = property(lambda self: self._data.itemsize)
    device = property(lambda self: SimpleNamespace(id=0))
    nbytes = property(lambda self: self._data.nbytes)
    flags = property(lambda self: SimpleNamespace(c_contiguous=self._data.flags.c_contiguous))
    T = property(lambda self: DeviceArray(self._data.T, self._memory))
    real = property(lambda self: DeviceArray(self._data.real, self._memory))
    imag = property(lambda self: DeviceArray(self._data.imag, self._memory))

    def get(self):
        assert Stream.capturing is None, "a captured stream cannot wait for the device"
        Stream.current().synchronize()
        return self._data.copy()

    def set(self, array, stream=None):
        assert stream.has_seen(self._memory[3]), "the memory may still be in use"
        assert array.shape == self.shape
        assert array.dtype == self.dtype
        self._data[...] = array

    def __reduce__(self):
        return _device, (self.get(),)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __len__(self):
        return len(self._data)

    def __iter__(self):
        return (_wrap(part, self) for part in self._data)

    def __float__(self):
        return float(self._data)

    def __int__(self):
        return int(self._data)

    def __bool__(self):
        return bool(self._data)

    def __repr__(self):
        return f"DeviceArray({self._data!r})"

    def __getitem__(self, index):
        return _wrap(self._data[_unwrap(index)], self)

    def __setitem__(self, index, value):
        if Stream.capturing is not None:
            assert np.ndim(value) == 0
            Stream.capturing.append(lambda: self._data.__setitem__(index, value))
            return
        Stream.current().issue()
        self._data[_unwrap(index)] = _unwrap(value)

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(name)
        method = getattr(self._data, name)
        return lambda *args, **kwargs: _wrap(method(*_unwrap(args), **_unwrap(kwargs)), self)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        assert Stream.capturing is None, f"{ufunc.__name__} is not captured by the stand-in"
        find_in_cupy("numpy", ufunc.__name__)
        result = getattr(ufunc, method)(*_unwrap(inputs), **_unwrap(kwargs))
        return kwargs["out"][0] if kwargs.get("out") else _wrap(result, self)

    def __array_function__(self, function, types, args, kwargs):
        dtype = kwargs.get("dtype", args[1] if len(args) > 1 else None)
        if (
            function is np.asarray
            and isinstance(args[0], DeviceArray)
            and dtype in (None, args[0].dtype)
        ):
            return args[0]
        assert Stream.capturing is None or function is np.empty, (
            f"{function.__name__} is not captured by the stand-in"
        )
        check_in_cupy(function, args, kwargs)
        if function in (np.empty, np.zeros):
            result = allocate(*args, **kwargs) if function is np.empty else None
            return result if result is not None else _device(function(*args, **kwargs))
        if function in (
            np.asarray,
            np.array,
            np.ascontiguousarray,
        ):  # through `like=`: NumPy arrays are copied over
            if isinstance(args[0], DeviceArray):
                return _wrap(function(args[0]._data, *args[1:], **kwargs), args[0])
            return _device(function(*args, **kwargs))
        if function is np.empty_like:
            return allocate(
                args[0].shape, kwargs.get("dtype", args[1] if len(args) > 1 else args[0].dtype)
            )
        return _wrap(function(*_unwrap(args), **_unwrap(kwargs)), self)


METHODS = """
    all any argmax argmin astype clip copy dot fill max mean min prod ravel repeat reshape sort squeeze std sum swapaxes take
    transpose var view
""".split()  # noqa: SIM905


def _device(array):
    """A NumPy array copied to the stand-in device."""
    array = np.asarray(array)
    result = allocate(array.shape, array.dtype)
    result._data[...] = array
    return result


def _wrap(value, like):
    if isinstance(value, tuple):
        return tuple(_wrap(part, like) for part in value)
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    value = np.asarray(value)
    if np.may_share_memory(value, like._data):
        return DeviceArray(value, like._memory)
    return _device(value)


def _unwrap(value):
    if isinstance(value, DeviceArray):
        return value._data
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, tuple):
        return tuple(_unwrap(part) for part in value)
    if isinstance(value, list):
        return [_unwrap(part) for part in value]
    if isinstance(value, dict):
        return {name: _unwrap(part) for name, part in value.items()}
    return value


# ---- kernels ---------------------------------------------------------------------------------------------------------


def build(name, more=()):
    """The path of the shared library of one `.cu` file with every variant in `VARIANTS`, made where it is not there yet."""
    wrappers = [f"HOST_KERNEL({i}, {expression})" for i, expression in enumerate(VARIANTS[name])]
    text = "\n".join(['#include "host.h"', cuda.source(name), *wrappers])
    headers = "".join(
        path.read_text() for path in (HOST / "host.h", *sorted(cuda.FOLDER.glob("*.cuh")))
    )
    flags = [*cuda.options(name), *FLAGS, *more]
    key = hashlib.sha256((text + headers + " ".join(flags)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"fastcl-cuda-host-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}-{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            (Path(scratch) / f"{name}.cpp").write_text(text)
            command = [
                COMPILER,
                *flags,
                f"-I{HOST}",
                f"{scratch}/{name}.cpp",
                "-o",
                f"{scratch}/{name}.so",
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)
            os.replace(f"{scratch}/{name}.so", path)
    return path


@cache
def library(name):
    """The library that `build` made, loaded."""
    return ctypes.CDLL(str(build(name, os.environ.get("CUDA_HOST_FLAGS", "").split())))


class HostKernel:
    """Callable as `cupy.RawKernel`; keeps count of its launches."""

    launches: ClassVar = {}
    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, name, expression):
        self.name, self.expression = name, expression
        self.run = getattr(library(name), f"run_{VARIANTS[name].index(expression)}")

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        HostKernel.launches[self.expression] = HostKernel.launches.get(self.expression, 0) + 1
        grid, block = (tuple(map(int, size)) + (1,) * (3 - len(size)) for size in (grid, block))
        assert all(size > 0 for size in grid + block)
        assert np.prod(block) <= 1024
        assert shared_mem <= self.max_dynamic_shared_size_bytes <= SHARED
        values, arrays = [], []
        for argument in arguments:
            if isinstance(argument, DeviceArray):
                assert argument._data.flags.c_contiguous
                values.append(ctypes.c_void_p(argument._data.ctypes.data))
                arrays.append(argument)
            elif isinstance(argument, np.ndarray) and argument.dtype.names:  # a struct, by value
                assert argument.size == 1
                values.append((ctypes.c_char * argument.nbytes).from_buffer_copy(argument))
            else:
                assert isinstance(argument, np.generic), f"{argument!r} has no fixed size"
                values.append(np.ctypeslib.as_ctypes(np.array(argument)))
        if Stream.capturing is not None:
            Stream.capturing.append(lambda: self._run(grid, block, shared_mem, values, arrays))
        else:
            Stream.current().issue()
            self._run(grid, block, shared_mem, values, arrays)

    def _run(self, grid, block, shared_mem, values, arrays):
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        sizes = (ctypes.c_int * len(values))(*(ctypes.sizeof(value) for value in values))
        shape = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]
        fits = self.run(*shape, ctypes.c_size_t(shared_mem), pointers, sizes, len(values))
        assert fits, f"the arguments do not fit the parameters of {self.expression}"
        for array in arrays:
            check_guards(array)


def check_guards(array):
    """AssertionError where something was written outside the array's memory."""
    base, start, size, _ = array._memory
    assert (base[start - GUARD : start] == PATTERN).all(), "written before an array"
    assert (base[start + size : start + size + GUARD] == PATTERN).all(), "written beyond an array"


class Stream:
    """As `cupy.cuda.Stream`: everything runs at once, but while a graph is captured, and graphs when their stream is waited for.

    Work that follows in another stream than the default one needs its having waited for what the default one had been given.
    """

    capturing: ClassVar = None
    entered: ClassVar = []
    waiting: ClassVar = []  # streams with graphs that have not run
    issued: ClassVar = 0  # to the default stream, so far

    def __init__(self, non_blocking=False):
        self.seen, self.graphs = 0, []

    @staticmethod
    def current():
        return Stream.entered[-1] if Stream.entered else Stream.default

    @staticmethod
    def finish_all():
        for stream in list(Stream.waiting):
            stream.synchronize()

    def __enter__(self):
        Stream.entered.append(self)
        return self

    def __exit__(self, *error):
        Stream.entered.pop()

    def issue(self):
        """Work that starts now."""
        self.run_graphs()
        if self is Stream.default:
            Stream.issued += 1
        else:
            assert self.has_seen(Stream.issued), "the default stream may still be at work"

    def has_seen(self, issued):
        """Whether so much of the default stream's work is over where this stream is, or on the host."""
        return max(self.seen, Stream.default.seen) >= issued

    def run_graphs(self):
        """Run what was launched: the stream has come so far."""
        graphs, self.graphs = self.graphs, []
        for graph in graphs:
            for operation in graph.operations:
                operation()
        if self in Stream.waiting:
            Stream.waiting.remove(self)

    def synchronize(self):
        assert Stream.capturing is None
        self.run_graphs()
        if self is Stream.default:
            Stream.default.seen = Stream.issued

    def begin_capture(self):
        Stream.capturing = []

    def end_capture(self):
        graph, Stream.capturing = Graph(Stream.capturing), None
        return graph

    def record(self):
        event = Event()
        event.record(self)
        return event

    def wait_event(self, event):
        self.seen = max(self.seen, event.issued)


Stream.default = Stream()


class Event:
    """As `cupy.cuda.Event`."""

    issued = 0

    def record(self, stream):
        self.issued = Stream.issued if stream is Stream.default else stream.seen

    def synchronize(self):
        pass


class Graph:
    """As `cupy.cuda.Graph`."""

    def __init__(self, operations):
        self.operations = operations

    def launch(self, stream):
        assert stream.has_seen(Stream.issued), "the default stream may still be at work"
        stream.graphs.append(self)
        if stream not in Stream.waiting:
            Stream.waiting.append(stream)


class MemoryPool:
    """As `cupy.cuda.MemoryPool`, but that `free_all_blocks` takes back what is in use as well: nothing should be, by then.

    Its memory ends so, or with the pool, and guards no longer hold.
    """

    current: ClassVar = None

    def __init__(self):
        self.blocks = []  # (weak reference to the memory of an array, bytes)
        weakref.finalize(self, MemoryPool._end, self.blocks)

    def malloc(self, size):
        raise NotImplementedError

    def total_bytes(self):
        return sum(size for _, size in self.blocks)

    def free_all_blocks(self):
        MemoryPool._end(self.blocks)

    @staticmethod
    def _end(blocks):
        for block, _ in blocks:
            if block() is not None:
                block()[:] = 0
        blocks.clear()


@contextlib.contextmanager
def using_allocator(allocator):
    """As `cupy.cuda.using_allocator`, for the `malloc` of a `MemoryPool`."""
    MemoryPool.current = allocator.__self__
    try:
        yield
    finally:
        MemoryPool.current = None


class RawModule:
    """As `cupy.RawModule`: the file is told by its `#line` directive."""

    def __init__(self, code, options=(), name_expressions=()):
        self.name = code.split('"')[1].removesuffix(".cu")
        assert options == cuda.options(self.name)
        self.expressions = name_expressions

    def get_function(self, expression):
        assert expression in self.expressions
        return HostKernel(self.name, expression)


RUNTIME = SimpleNamespace(
    cudaDevAttrMaxSharedMemoryPerBlockOptin=97, getDevice=lambda: 0, deviceGetAttribute=lambda attribute, device: SHARED
)  # fmt: skip
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
    RawModule=RawModule,
    asnumpy=lambda array: array.get() if isinstance(array, DeviceArray) else np.asarray(array),
    asarray=lambda array, dtype=None: (
        array if isinstance(array, DeviceArray) else _device(np.asarray(array, dtype))
    ),
    empty=lambda shape, dtype=np.float64: allocate(shape, dtype),
    zeros=lambda shape, dtype=np.float64: _device(np.zeros(shape, dtype)),
)
