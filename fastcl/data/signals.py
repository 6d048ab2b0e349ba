"""Signals of any shape: a sound (T,), an image (H, W) or a volume (D, H, W), with channels or not.

Inside the package the channels are the first axis: (C, *axes), with C = 1 where there are none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..validation import as_array

MAX_AXES = 3
AXES = {1: "(T,)", 2: "(H, W)", 3: "(D, H, W)"}
UNITS = {1: "samples", 2: "pixels", 3: "voxels"}
WORDS = {(1, False): "a mono sound (T,)", (2, False): "a grey image (H, W)"}
WORDS |= {(2, True): "a colour image (H, W, C)"}


def as_values(signal: ArrayLike, name: str) -> NDArray:
    """`signal` as contiguous floats: float32 stays, everything else becomes float64.

    8 and 16-bit integers are divided by the largest value of their type, and signed ones by the
    magnitude of their least. NaN and infinity are refused.
    """
    signal = as_array(signal, name)
    if signal.dtype.kind in "ui":
        if signal.dtype.itemsize > 2 and signal.dtype != np.int32:
            raise TypeError(
                f"{name} must hold uint8, uint16 or floats in [0, 1], got {signal.dtype}"
            )
        limits = np.iinfo(signal.dtype)
        signal = signal / (limits.max if limits.min == 0 else -float(limits.min))
    dtype = np.float32 if signal.dtype.newbyteorder("=") == np.float32 else np.float64
    signal = np.ascontiguousarray(signal, dtype, like=signal)
    if not np.isfinite(signal).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return signal


def as_signal(
    signal: ArrayLike,
    name: str,
    n_axes: int,
    channel_axis: int | None = None,
    least: int | Sequence[int] = 1,
) -> NDArray:
    """`signal` as floats (C, *axes), see `as_values`, each side at least `least`.

    ValueError for another number of axes; the axis of channels, if any, comes on top of `n_axes`.
    """
    signal = as_array(signal, name)
    check_axes(signal.shape, name, n_axes, channel_axis)
    check_size(spatial_shape(signal.shape, channel_axis), name, least)
    signal = as_values(signal, name)
    if channel_axis is None:
        return signal[None]
    return np.ascontiguousarray(np.moveaxis(signal, channel_axis, 0), like=signal)


def check_axes(shape: tuple[int, ...], name: str, n_axes: int, channel_axis: int | None) -> None:
    """ValueError unless a signal of this shape has that many axes, and channels if it should."""
    has_channels = channel_axis is not None
    if has_channels and (
        isinstance(channel_axis, bool) or not isinstance(channel_axis, (int, np.integer))
    ):
        raise TypeError(f"channel_axis must be an int or None, got {channel_axis!r}")
    if len(shape) != n_axes + has_channels:
        axes = AXES[n_axes].rstrip(",)") + ", C)" if has_channels else AXES[n_axes]
        words = WORDS.get((n_axes, has_channels), f"a signal {axes}")
        is_colour = (n_axes, has_channels, len(shape)) == (2, False, 3) and shape[-1] <= 4
        hint = "; convert colour, with or without alpha, to grey first" if is_colour else ""
        raise ValueError(f"{name} must be {words}, got shape {shape}{hint}")
    if channel_axis is not None and not -len(shape) <= channel_axis < len(shape):
        raise ValueError(f"channel_axis must be one of {len(shape)} axes, got {channel_axis}")


def spatial_shape(shape: tuple[int, ...], channel_axis: int | None) -> tuple[int, ...]:
    """`shape` without its axis of channels."""
    if channel_axis is None:
        return tuple(shape)
    axis = channel_axis % len(shape)
    return tuple(shape[:axis]) + tuple(shape[axis + 1 :])


def check_size(shape: tuple[int, ...], name: str, patch: int | Sequence[int]) -> None:
    """ValueError unless a signal with these axes has a patch."""
    patch = as_patch(patch, len(shape), least=1)
    if any(size < side for size, side in zip(shape, patch, strict=True)):
        raise ValueError(
            f"{name} of {_by(shape)} {UNITS[len(shape)]} is smaller than a patch of {_by(patch)}"
        )


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(str(size) for size in sizes)


def as_patch(patch: Any, n_axes: int | None = None, least: int = 2) -> tuple[int, ...]:
    """`patch`, the side of a patch or its sides along each axis, as a tuple.

    An int is the same side along all of `n_axes`. TypeError, ValueError for anything else, for
    sides below 1, and for a patch of fewer than `least` elements.
    """
    sides = np.asarray(patch)
    if sides.dtype.kind not in "iu" or sides.ndim > 1:
        raise TypeError(f"patch must be an int, or a tuple of one per axis, got {patch!r}")
    if sides.ndim == 0:
        sides = np.full(2 if n_axes is None else n_axes, sides)
    if not 1 <= sides.size <= MAX_AXES:
        raise ValueError(f"patch must have one side for each of one to three axes, got {patch!r}")
    if n_axes is not None and sides.size != n_axes:
        raise ValueError(f"patch must have {n_axes} sides, one per axis, got {patch!r}")
    if sides.min() < 1 or sides.prod() < least:
        raise ValueError(f"patch must be at least {least}, got {patch!r}")
    return tuple(int(side) for side in sides)


def as_image(image: ArrayLike, name: str = "image", least: int = 1) -> NDArray:
    """`image` as floats (H, W), both sides at least `least`; colour is refused."""
    return as_signal(image, name, 2, None, least)[0]


def check_photograph(image: NDArray, name: str) -> NDArray:
    """`image`; ValueError unless its values are around [0, 1], as those of a noisy photograph.

    Their mean must lie in [-1, 2], and their standard deviation may be 2 at most.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        mean, std = float(image.mean()), float(image.std())
    if not (-1 <= mean <= 2 and std <= 2):
        raise ValueError(
            f"{name} must hold floats in [0, 1], got a mean of {mean:.3g} and a standard deviation "
            f"of {std:.3g}: divide it by its white level, such as 255"
        )
    return image


def as_photograph(image: ArrayLike, name: str, least: int = 1) -> NDArray:
    """`as_image` for noisy values around [0, 1], see `check_photograph`."""
    return check_photograph(as_image(image, name, least), name)


class Signals:
    """A sequence of signals of one kind, each checked and converted when it is asked for.

    Parameters
    ----------
    items : sequence of arrays
        They may be opened one at a time: a sequence with the attribute `shapes` and the method
        `describe` is not read in advance.
    name : str
        What messages call the sequence.
    patch : int or tuple of int
        The least size of a signal along each axis.
    channel_axis : int, optional
        The axis of the channels.
    n_axes : int, optional
        Number of axes without that of the channels; by default that of `patch`, or of the first
        signal.
    convert : function of (array (C, *axes), name), optional
        Applied to every signal.

    Attributes
    ----------
    patch : tuple of int
    channel_axis : int or None
    shapes : list of tuple of int
        Sizes along the axes, without the channels.
    channels : int

    Raises
    ------
    TypeError, ValueError
        No signals; one that is not finite, too small for a patch, or has other axes or channels
        than the first.
    """

    def __init__(
        self,
        items: Any,
        name: str,
        patch: int | Sequence[int],
        channel_axis: int | None = None,
        n_axes: int | None = None,
        convert: Callable[[NDArray, str], NDArray] = lambda signal, name: signal,
    ) -> None:
        self.items: Any = items if hasattr(items, "shapes") else list(items)
        self.name = name
        self.channel_axis = channel_axis
        self.convert = convert
        if not len(self.items):
            raise ValueError(f"{name} is empty")
        if n_axes is None and np.ndim(patch) == 0:
            n_axes = np.ndim(self.items[0]) - (channel_axis is not None)
            if not 1 <= n_axes <= MAX_AXES:
                raise ValueError(
                    f"{name}[0] must have one to three axes besides its channels, "
                    f"got shape {np.shape(self.items[0])}"
                )
        self.patch = as_patch(patch, n_axes)
        self.channels = 0
        self.shapes: list[tuple[int, ...]] = []
        for index in range(len(self.items)):
            shape = self._full_shape(index)
            self.channels = shape[0]
            self.shapes.append(shape[1:])

    def _full_shape(self, index: int) -> tuple[int, ...]:
        """(C, *axes) of a signal; it is read unless its shape is known."""
        if not hasattr(self.items, "shapes"):
            return self[index].shape
        shape, name = self.items.shapes[index], f"{self.name}[{index}]"
        check_axes(shape, name, len(self.patch), self.channel_axis)
        axes = spatial_shape(shape, self.channel_axis)
        check_size(axes, name, self.patch)
        channels = 1 if self.channel_axis is None else shape[self.channel_axis]
        self._check_channels(channels, name)
        return (channels, *axes)

    def _check_channels(self, channels: int, name: str) -> None:
        if self.channels not in (0, channels):
            raise ValueError(f"{name} has {channels} channels, those before it {self.channels}")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> NDArray:
        if index >= len(self):
            raise IndexError(index)
        name = f"{self.name}[{index}]"
        signal = as_signal(self.items[index], name, len(self.patch), self.channel_axis, self.patch)
        self._check_channels(len(signal), name)
        return self.convert(signal, name)

    def describe(self) -> str:
        """A text that identifies these signals: their shapes and a checksum."""
        if hasattr(self.items, "describe"):
            return self.items.describe()
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(np.ascontiguousarray(item).tobytes())
        return f"{self.shapes} {digest.hexdigest()[:32]}"
