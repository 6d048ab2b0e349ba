"""From images to patches and back, and the linear transform that whitens patches."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import DeviceCache, contiguous, kernel, product
from ..files import Arrays, Storable
from ..validation import as_array, as_count, as_vector

CHUNK_PATCHES = 1 << 15  # patches per band of an image
DEVICE_CHUNK_PATCHES = 1 << 18  # the same on a device, where every band takes several launches


def as_image(image: ArrayLike, name: str = "image", least: int = 1) -> NDArray:
    """`image` as a float array (H, W), both sides at least `least`.

    8-bit and 16-bit integers are divided by the largest value of their type; colour is refused.
    """
    image = as_array(image, name)
    if image.ndim != 2:
        hint = "; convert colour, with or without alpha, to grey first" if image.ndim == 3 else ""
        raise ValueError(f"{name} must be a grey image (H, W), got shape {image.shape}{hint}")
    check_size(image.shape, name, least)
    if image.dtype.kind in "ui":
        if image.dtype not in (np.uint8, np.uint16):
            raise TypeError(
                f"{name} must hold uint8, uint16 or floats in [0, 1], got {image.dtype}"
            )
        image = image / np.iinfo(image.dtype).max
    dtype = np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64
    image = np.ascontiguousarray(image, dtype, like=image)
    if not np.isfinite(image).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return image


def check_size(shape: tuple[int, ...], name: str, patch: int) -> None:
    """ValueError unless an image of this shape has a patch."""
    if min(shape) < patch:
        raise ValueError(
            f"{name} of {shape[0]} x {shape[1]} pixels is smaller than a patch of {patch} x {patch}"
        )


def as_photograph(image: ArrayLike, name: str, least: int = 1) -> NDArray:
    """`as_image` for noisy values around [0, 1].

    ValueError for a mean outside [-1, 2], or a standard deviation above 2.
    """
    image = as_image(image, name, least)
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        mean, std = float(image.mean()), float(image.std())
    if not (-1 <= mean <= 2 and std <= 2):
        raise ValueError(
            f"{name} must hold floats in [0, 1], got a mean of {mean:.3g} and a standard deviation "
            f"of {std:.3g}: divide it by its white level, such as 255"
        )
    return image


def extract_patches(image: NDArray, patch: int, rows: slice | None = None) -> NDArray:
    """All overlapping patches, one flat patch per row: (n, patch^2).

    `rows` selects the patches by the row of their first pixel.
    """
    windows = np.lib.stride_tricks.sliding_window_view(image, (patch, patch))[rows or slice(None)]
    return windows.reshape(-1, patch * patch)


def add_patches(patches: NDArray, out: NDArray, patch: int, rows: slice | None = None) -> None:
    """Adjoint of `extract_patches`: add every pixel of every patch to the image `out` (H, W)."""
    height = out.shape[0] - patch + 1
    width = out.shape[1] - patch + 1
    first, last, _ = (rows or slice(None)).indices(height)
    windows = contiguous(patches, out.dtype).reshape(last - first, width, patch, patch)
    kernel("add_patches", like=out)(windows, first, out)


def patch_counts(shape: tuple[int, int], patch: int) -> NDArray[np.float64]:
    """How many patches cover each pixel, (H, W)."""
    down, across = (np.convolve(np.ones(size - patch + 1), np.ones(patch)) for size in shape)
    return down[:, None] * across


def patch_bands(
    shape: tuple[int, int], patch: int, on_device: bool = False, max_patches: int | None = None
) -> list[slice]:
    """Slices of patch rows that divide an image into bands of at most `max_patches` patches.

    A band has at least one row. By default `max_patches` is CHUNK_PATCHES, or DEVICE_CHUNK_PATCHES
    on a device.
    """
    if max_patches is None:
        max_patches = DEVICE_CHUNK_PATCHES if on_device else CHUNK_PATCHES
    height = shape[0] - patch + 1
    width = shape[1] - patch + 1
    step = max(1, max_patches // width)
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


class PatchTransform(Storable, kind="patch-transform"):
    """Whitens patches: subtracts their mean, and divides each principal coordinate by its std.

    Parameters
    ----------
    patch : int
        Side of the patches, at least 2.
    axes : array (patch^2, d)
        The principal axes: orthonormal columns, orthogonal to the constant patch.
    stds : array (d,)
        Standard deviation of the patches along each axis.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, standard deviations not above zero.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> patches = np.random.default_rng(0).random((500, 9))  # 3 x 3 pixels each
    >>> transform = fastcl.PatchTransform.fit(patches)
    >>> white, means = transform.forward(patches)
    >>> white.std(axis=0).round(2).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    >>> bool(np.allclose(transform.inverse(white, means), patches))
    True
    """

    def __init__(self, patch: int, axes: ArrayLike, stds: ArrayLike) -> None:
        self.patch = as_count(patch, "patch", least=2)
        self.axes: NDArray[np.float64] = as_array(axes, "axes").astype(np.float64)
        self.stds: NDArray[np.float64] = as_vector(stds, "stds").copy()
        if self.axes.shape != (self.patch**2, self.stds.size):
            raise ValueError(
                f"axes {self.axes.shape} and stds {self.stds.shape} "
                f"do not fit patches of side {self.patch}"
            )
        if not np.isfinite(self.axes).all() or not (self.stds > 0).all():
            raise ValueError("axes must be finite, and stds above zero")
        self._cache = DeviceCache()

    def __repr__(self) -> str:
        return f"PatchTransform(patch={self.patch}, dim={self.dim})"

    @classmethod
    def fit(cls, patches: ArrayLike) -> PatchTransform:
        """Fit to a subsample of flat patches (n, patch^2)."""
        # In float64, because the constant direction must be exact to well below any std.
        patches = np.asarray(patches, np.float64)
        patch = int(np.sqrt(patches.shape[1]))
        centred = patches - patches.mean(axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(product(centred.T, centred) / len(centred))
        if not values[1] > values[-1] * np.finfo(np.float64).eps * 10 * len(values):
            raise ValueError(
                "images have too little variety: their patches do not span all patterns; "
                "take more images, or smaller patches"
            )
        # Largest first, without the constant patch, whose eigenvalue is zero.
        return cls(patch, vectors[:, :0:-1], np.sqrt(values[:0:-1]))

    @property
    def dim(self) -> int:
        """Number of coordinates, patch^2 - 1."""
        return self.stds.size

    def forward(self, patches: NDArray) -> tuple[NDArray, NDArray]:
        """(white coordinates (n, d), means (n, 1)) of flat patches (n, patch^2)."""
        return product(patches, self._matrices(patches)[0]), patches.mean(axis=1, keepdims=True)

    def inverse(self, coordinates: NDArray, means: NDArray) -> NDArray:
        """The flat patches (n, patch^2) with white coordinates (n, d) and means (n, 1)."""
        return product(coordinates, self._matrices(coordinates)[1]) + means

    def _matrices(self, like: NDArray) -> tuple[NDArray, ...]:
        """The matrices of `forward` and `inverse`, with the dtype and on the device of `like`."""

        def make() -> tuple[NDArray, NDArray]:
            whitening = (self.axes / self.stds).astype(like.dtype)
            colouring = (self.axes * self.stds).T.astype(like.dtype)
            return whitening, colouring

        return self._cache(like, f"matrices in {like.dtype}", make)

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {"patch": self.patch, "axes": self.axes, "deviations": self.stds}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PatchTransform:
        """The transform whose `to_arrays` gave `arrays`."""
        try:
            return cls(int(arrays["patch"]), arrays["axes"], arrays["deviations"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a patch transform: {error}") from None
