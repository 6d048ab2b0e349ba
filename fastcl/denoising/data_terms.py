"""The data in an inverse problem: y = A x + noise, for a mask, a blur or any linear operator A.

`DataTerm.nearest` is the step of `restore` towards the data,

    argmin_x ||A x - y||^2 + weight ||x - v||^2,

by conjugate gradients on the normal equations. Masks and periodic blurs invert those exactly, and
need one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import to_device_of, to_host
from ..data.signals import as_values, spatial_shape
from ..validation import as_array

BOUNDARIES = ("periodic", "valid")
MIN_WEIGHT = 1e-6  # for noise-free data, where A is not invertible
N_STEPS = 50  # of conjugate gradients, at most
FAR = 1e6  # from channel to channel, in samples
TOLERANCE = 1e-3  # of the norm of their residual, relative to the first


@dataclass
class DataTerm:
    """A linear map A with its adjoint, and the data y.

    `solve(r, weight)` is (A* A + weight)^-1 r or close to it, and `start` a first guess of x. A
    weight may be an array with one number per channel.
    """

    y: NDArray
    start: NDArray
    forward: Callable[[NDArray], NDArray]
    adjoint: Callable[[NDArray], NDArray]
    solve: Callable[[NDArray, NDArray], NDArray]

    def nearest(self, v: NDArray, weight: float | NDArray) -> NDArray:
        """argmin_x ||A x - y||^2 + weight ||x - v||^2.

        It starts from v, which is right wherever the data say nothing.
        """
        weight = to_device_of(np.maximum(weight, MIN_WEIGHT), v, v.dtype)
        x, residual = v, self.adjoint(self.y - self.forward(v))
        direction = self.solve(residual, weight)
        norm = inner(residual, direction)
        limit = TOLERANCE**2 * norm
        for _ in range(N_STEPS):
            if norm <= limit:
                break
            image = self.adjoint(self.forward(direction)) + weight * direction
            length = norm / inner(direction, image)
            x = x + length * direction
            residual = residual - length * image
            step = self.solve(residual, weight)
            before, norm = norm, inner(residual, step)
            direction = step + norm / before * direction
        return x


def inner(a: NDArray, b: NDArray) -> float:
    """The inner product of two arrays, with the same bits on any number of threads."""
    return float((a * b).sum(dtype=np.float64))


def data_term(
    y: NDArray, operator: Any, boundary: str, shape: Sequence[int] | None, channel_axis: int | None
) -> DataTerm:
    """The data term of y and `operator`, of whatever kind it is; ValueError if of none."""
    if channel_axis is not None and not -y.ndim <= channel_axis < y.ndim:
        raise ValueError(f"channel_axis {channel_axis} is none of the axes of y {y.shape}")
    channels = () if channel_axis is None else (channel_axis % y.ndim,)
    sizes = spatial_shape(y.shape, channel_axis)
    if hasattr(operator, "matvec") or hasattr(operator, "tocsr"):
        return _linear(y, operator, shape, channel_axis)
    array = to_host(as_array(operator, "operator"))
    shared = tuple(1 if axis in channels else size for axis, size in enumerate(y.shape))
    if array.shape in (y.shape, sizes, shared):
        if array.dtype == bool:
            known = array if array.ndim == y.ndim else np.expand_dims(array, channels)
            return _mask(y, known, channels)
        if array.dtype.kind in "ui" or (array.sum() != 1 and np.isin(array, (0, 1)).all()):
            raise ValueError(
                f"operator of type {array.dtype} and of the shape of y looks like a mask: "
                "pass it in bool, True where y is known"
            )
    is_kernel = array.dtype != bool and shape is None and array.ndim == len(sizes)
    if is_kernel and all(1 <= k <= n for k, n in zip(array.shape, sizes, strict=True)):
        return _blur(y, array, channels, boundary == "valid")
    if array.dtype != bool and array.ndim == 2:
        return _linear(y, array, shape, channel_axis)
    raise ValueError(
        f"operator of type {array.dtype} and shape {array.shape} does not fit y {y.shape}: pass a "
        f"mask of bool and of shape {sizes}, a kernel that is no larger, or a LinearOperator"
    )


def _mask(y: NDArray, known: NDArray, channels: tuple[int, ...]) -> DataTerm:
    """Known values; the unknown ones start as the nearest known one, of their channel if any."""
    from scipy.ndimage import distance_transform_edt  # slow to import

    if not known.any():
        raise ValueError("operator is a mask without True: nothing is known")
    known = np.broadcast_to(known, y.shape)
    ones = to_device_of(known, y)
    y = as_values(np.where(ones, y, y.dtype.type(0)), "y where it is known")
    ones = ones.astype(y.dtype)
    distances = [FAR if axis in channels else 1 for axis in range(y.ndim)]
    nearest = distance_transform_edt(~known, distances, False, return_indices=True)
    return DataTerm(
        y=y,
        start=to_device_of(to_host(y)[tuple(nearest)], y),
        forward=lambda x: ones * x,
        adjoint=lambda r: ones * r,
        solve=lambda r, weight: r / (ones + weight),
    )


def _blur(y: NDArray, kernel: NDArray, channels: tuple[int, ...], valid: bool) -> DataTerm:
    """Convolution along all axes but `channels`, around the ends; "valid" sees a part of it.

    For that part the solution for a periodic blur preconditions conjugate gradients.
    """
    y = as_values(y, "y")
    if not np.isfinite(kernel).all():
        raise ValueError("operator holds NaN or infinity")
    axes = [axis for axis in range(y.ndim) if axis not in channels]
    margins = [(0, 0)] * y.ndim
    for axis, size in zip(axes, kernel.shape, strict=True):
        if valid:
            margins[axis] = ((size - 1) // 2, size // 2)
    start = np.pad(y, margins, mode="edge")
    sizes = [start.shape[axis] for axis in axes]
    part = tuple(slice(low, low + n) for (low, _), n in zip(margins, y.shape, strict=True))
    centred = np.zeros(sizes)
    centred[tuple(slice(0, size) for size in kernel.shape)] = kernel
    centred = np.roll(centred, [-(size // 2) for size in kernel.shape], range(len(sizes)))
    transfer = to_device_of(np.expand_dims(np.fft.rfftn(centred), channels), y)
    power = np.abs(transfer) ** 2

    def filtered(x: NDArray, factors: NDArray) -> NDArray:
        spectrum = factors * np.fft.rfftn(x, axes=axes)
        return np.fft.irfftn(spectrum, s=sizes, axes=axes).astype(y.dtype)

    def adjoint(r: NDArray) -> NDArray:
        return filtered(np.pad(r, margins), np.conj(transfer))

    return DataTerm(
        y=y,
        start=start / (float(kernel.sum()) or 1.0),
        forward=lambda x: filtered(x, transfer)[part],
        adjoint=adjoint,
        solve=lambda r, weight: filtered(r, 1 / (power + weight)),
    )


def _linear(
    y: NDArray, operator: Any, shape: Sequence[int] | None, channel_axis: int | None
) -> DataTerm:
    """A LinearOperator or a matrix, which works on the host, on one column per channel."""
    from scipy.sparse.linalg import aslinearoperator  # slow to import

    y = as_values(y, "y")
    matrix = aslinearoperator(operator)
    if np.dtype(matrix.dtype).kind == "c":
        raise TypeError("operator must be real: stack its real and imaginary parts")
    shape = y.shape if shape is None else tuple(shape)
    x_last, y_last = _channels_last(shape, channel_axis), _channels_last(y.shape, channel_axis)
    expected = int(np.prod(y_last[:-1])), int(np.prod(x_last[:-1]))
    if matrix.shape != expected or x_last[-1] != y_last[-1]:
        raise ValueError(
            f"operator {matrix.shape} must have shape {expected} for y {y.shape} and x {shape}: "
            "pass the shape of x as shape"
        )

    def apply(function: Callable[[NDArray], NDArray], a: NDArray, out: tuple[int, ...]) -> NDArray:
        a = to_host(a)
        a = a if channel_axis is None else np.moveaxis(a, channel_axis, -1)
        result = function(a.reshape(-1, out[-1])).reshape(out)
        result = result[..., 0] if channel_axis is None else np.moveaxis(result, -1, channel_axis)
        return to_device_of(np.ascontiguousarray(result, y.dtype), y)

    def forward(x: NDArray) -> NDArray:
        return apply(matrix.matmat, x, y_last)

    def adjoint(r: NDArray) -> NDArray:
        return apply(matrix.rmatmat, r, x_last)

    try:
        back = adjoint(y)
    except (NotImplementedError, TypeError) as error:  # SciPy calls a None that is not given
        raise TypeError(f"operator must define rmatvec, its adjoint ({error})") from error
    image = forward(back)
    length = inner(back, back) / (inner(image, image) or 1.0)  # of a step of steepest descent
    return DataTerm(y, length * back, forward, adjoint, lambda r, weight: r)


def _channels_last(shape: tuple[int, ...], channel_axis: int | None) -> tuple[int, ...]:
    """A shape with its channels at the end, one without a channel axis."""
    if channel_axis is None:
        return (*shape, 1)
    sizes = list(shape)
    sizes.append(sizes.pop(channel_axis))
    return tuple(sizes)
