"""Arrays of the stand-in: they do not mix with NumPy's, and their memory is guarded."""

import inspect
import warnings
import weakref
from functools import reduce
from types import SimpleNamespace

import numpy as np

from .streams import MemoryPool, Stream

GUARD = 64  # bytes on either side of an array
PATTERN = 0xA5  # of every byte of a guard

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import cupy  # before anything stands in its place in sys.modules
    except ImportError:
        cupy = None


def find_in_cupy(module, name):
    """CuPy's function for NumPy's of that name, as CuPy finds it; None without CuPy."""
    return None if cupy is None else getattr(reduce(getattr, module.split(".")[1:], cupy), name)


def check_in_cupy(function, args, kwargs):
    """AttributeError, TypeError if CuPy lacks NumPy's `function` or refuses these arguments."""
    found = find_in_cupy(getattr(function, "__module__", None) or "numpy", function.__name__)
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # not one of Python's functions
        return
    signature.bind(*args, **kwargs)


class Memory:
    """Bytes of all arrays that exist, and their peak since `reset`."""

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

    __module__ = "cupy"  # by which `backend` identifies arrays

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
        return to_device, (self.get(),)

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
        if function is np.empty:
            return allocate(*args, **kwargs)
        if function is np.zeros:
            return to_device(function(*args, **kwargs))
        # Through `like=`: NumPy arrays are copied over.
        if function in (np.asarray, np.array, np.ascontiguousarray):
            if isinstance(args[0], DeviceArray):
                return _wrap(function(args[0]._data, *args[1:], **kwargs), args[0])
            return to_device(function(*args, **kwargs))
        if function is np.empty_like:
            return allocate(
                args[0].shape, kwargs.get("dtype", args[1] if len(args) > 1 else args[0].dtype)
            )
        return _wrap(function(*_unwrap(args), **_unwrap(kwargs)), self)


METHODS = """
    all any argmax argmin astype clip copy dot fill max mean min prod ravel repeat reshape sort
    squeeze std sum swapaxes take transpose var view
""".split()  # noqa: SIM905


def to_device(array):
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
    return to_device(value)


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


def check_guards(array):
    """AssertionError if something was written outside the array's memory."""
    base, start, size, _ = array._memory
    assert (base[start - GUARD : start] == PATTERN).all(), "written before an array"
    assert (base[start + size : start + size + GUARD] == PATTERN).all(), "written beyond an array"
