"""The linear transform to the coordinates in which patches are modelled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import DeviceCache, product
from ..files import Arrays, Storable
from ..validation import as_array, as_count, as_vector
from .signals import as_patch


class PatchTransform(Storable, kind="patch-transform"):
    """Splits patches into white coordinates, which a prior models, and a rest.

    The white coordinates belong to the leading principal axes, each divided by its standard
    deviation. The rest is what these axes leave: the *tail*, which is the other principal axes,
    whose white coordinates count as standard normal; and whatever is orthogonal to all of them,
    such as the mean of every channel, which passes through unchanged.

    Parameters
    ----------
    patch : int or tuple of int
        Sides of the patches along each axis; an int is the side of a square.
    axes : array (D, k)
        The principal axes, D = channels prod(patch): orthonormal columns.
    stds : array (k,)
        Standard deviation of the patches along each axis.
    dim : int, optional
        Number d of leading axes that are modelled; by default all k.
    channels : int

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, standard deviations not above zero.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> patches = np.random.default_rng(0).random((500, 9))  # 3 x 3 pixels each
    >>> transform = fastcl.PatchTransform.fit(patches)
    >>> white, rest = transform.forward(patches)
    >>> white.std(axis=0).round(2).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    >>> bool(np.allclose(transform.inverse(white, rest), patches))
    True
    """

    def __init__(
        self,
        patch: int | Sequence[int],
        axes: ArrayLike,
        stds: ArrayLike,
        dim: int | None = None,
        channels: int = 1,
    ) -> None:
        self.patch = as_patch(patch)
        self.channels = as_count(channels, "channels")
        self.axes: NDArray[np.float64] = as_array(axes, "axes").astype(np.float64, order="C")
        self.all_stds: NDArray[np.float64] = as_vector(stds, "stds").copy()
        size = self.channels * math.prod(self.patch)
        k = self.all_stds.size
        if self.axes.shape != (size, k) or not 1 <= k <= size:
            raise ValueError(
                f"axes {self.axes.shape} and stds {self.all_stds.shape} "
                f"do not fit patches of {size} numbers"
            )
        if not np.isfinite(self.axes).all() or not (self.all_stds > 0).all():
            raise ValueError("axes must be finite, and stds above zero")
        self.dim = k if dim is None else as_count(dim, "dim")
        if self.dim > k:
            raise ValueError(f"dim must be at most the number of axes, {k}, got {dim}")
        self._cache = DeviceCache()

    def __repr__(self) -> str:
        channels = "" if self.channels == 1 else f", channels={self.channels}"
        return f"PatchTransform(patch={self.patch}{channels}, dim={self.dim})"

    @classmethod
    def fit(
        cls,
        patches: ArrayLike,
        patch: int | Sequence[int] | None = None,
        dim: int | None = None,
        channels: int = 1,
        keep_means: bool = True,
    ) -> PatchTransform:
        """Fit to flat patches (n, D), channel after channel.

        Parameters
        ----------
        patches : array (n, D)
        patch : int or tuple of int, optional
            By default the side of a square.
        dim : int, optional
            Largest number of axes to model; by default all.
        channels : int
        keep_means : bool
            Whether the mean of every channel of a patch passes through unchanged, and the principal
            axes are orthogonal to it. Otherwise the patches should have mean zero.
        """
        # In float64, because the constant direction must be exact to well below any std.
        patches = np.asarray(patches, np.float64)
        size = patches.shape[1]
        patch = math.isqrt(size // channels) if patch is None else patch
        by_channel = patches.reshape(len(patches), channels, -1)
        if keep_means:
            by_channel = by_channel - by_channel.mean(axis=2, keepdims=True)
        centred = by_channel.reshape(len(patches), size)
        values, vectors = np.linalg.eigh(product(centred.T, centred) / len(centred))
        kept = channels if keep_means else 0  # eigenvalues that are zero
        if not values[kept] > values[-1] * np.finfo(np.float64).eps * 10 * len(values):
            raise ValueError(
                "the signals have too little variety: their patches do not span all patterns; "
                "take more of them, or smaller patches"
            )
        # Largest first.
        order = slice(None, kept - 1 if kept else None, -1)
        axes, stds = vectors[:, order], np.sqrt(values[order])
        dim = stds.size if dim is None else min(as_count(dim, "dim"), stds.size)
        return cls(patch, axes, stds, dim, channels)

    def with_dim(self, dim: int | None = None) -> PatchTransform:
        """The same with another number of axes that are modelled; by default all."""
        if (self.all_stds.size if dim is None else dim) == self.dim:
            return self
        return PatchTransform(self.patch, self.axes, self.all_stds, dim, self.channels)

    @property
    def stds(self) -> NDArray[np.float64]:
        """Standard deviations along the axes that are modelled, (d,)."""
        return self.all_stds[: self.dim]

    def whiten(self, patches: NDArray) -> NDArray:
        """The white coordinates (n, d) of flat patches (n, D)."""
        return product(patches, self._matrices(patches)[0])

    def forward(self, patches: NDArray, sigma: float = 0.0) -> tuple[NDArray, NDArray]:
        """(white coordinates (n, d), rest (n, D)) of flat patches (n, D).

        With noise of standard deviation `sigma`, a number, the tail is replaced by its posterior
        mean.
        """

        def make() -> list[NDArray]:
            kept = self.axes if sigma > 0 else self.axes[:, : self.dim]
            rest = np.eye(len(kept)) - product(kept, kept.T)
            if sigma > 0 and self.dim < self.all_stds.size:
                axes, variances = self.axes[:, self.dim :], self.all_stds[self.dim :] ** 2
                rest += product(axes * (variances / (variances + sigma**2)), axes.T)
            return [rest.astype(patches.dtype)]

        (rest,) = self._cache(patches, f"rest in {patches.dtype}", make, sigma)
        return self.whiten(patches), product(patches, rest)

    def inverse(self, coordinates: NDArray, rest: NDArray) -> NDArray:
        """The flat patches (n, D) with white coordinates (n, d) and a rest (n, D)."""
        return product(coordinates, self._matrices(coordinates)[1]) + rest

    def white_noise(self, sigma: float | NDArray) -> NDArray:
        """Noise of the white coordinates, for noise `sigma` of the samples.

        It is their standard deviations (d,) if sigma is a number, and their covariance (d, d) if it
        is one number per channel.
        """
        if np.ndim(sigma) == 0:
            return sigma / self.stds
        variances = np.repeat(np.square(sigma), math.prod(self.patch))
        scaled = self.axes[:, : self.dim] / self.stds
        return product(scaled.T, variances[:, None] * scaled)

    def _matrices(self, like: NDArray) -> tuple[NDArray, ...]:
        """The matrices of `whiten` and `inverse`, with the dtype and on the device of `like`."""

        def make() -> tuple[NDArray, NDArray]:
            axes = self.axes[:, : self.dim]
            return (axes / self.stds).astype(like.dtype), (axes * self.stds).T.astype(like.dtype)

        return self._cache(like, f"matrices in {like.dtype}", make)

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {
            "patch": np.array(self.patch),
            "axes": self.axes,
            "deviations": self.all_stds,
            "dim": self.dim,
            "channels": self.channels,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PatchTransform:
        """The transform whose `to_arrays` gave `arrays`."""
        try:
            patch = np.asarray(arrays["patch"])
            return cls(
                int(patch) if patch.ndim == 0 else tuple(patch.tolist()),
                arrays["axes"],
                arrays["deviations"],
                int(arrays["dim"]) if "dim" in arrays else None,
                int(arrays.get("channels", 1)),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a patch transform: {error}") from None
