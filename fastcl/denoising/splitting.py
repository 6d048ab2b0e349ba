"""Half-quadratic splitting: denoising a signal by the estimates of its overlapping patches.

Passes alternate between two steps. Every patch is replaced by its estimate under the prior, as if
its noise had precision beta / sigma^2. The signal is then the weighted mean of the noisy signal and
of all patches that cover a sample, with weights 1 and beta. beta grows from pass to pass.

Zoran and Weiss, "From learning models of natural image patches to whole image restoration",
ICCV 2011 (EPLL).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import is_device, to_device_of
from ..data.patches import Tile, add_patches, extract_patches, patch_counts, patch_tiles
from ..measures.mixtures import GaussianTerms
from ..measures.scale_mixtures import MixtureOfScaleMixtures
from ..progress import progress_bar
from ..validation import as_choice, as_count, as_positive
from .noise_level import NoiseLevel
from .patch_model import SignalModel
from .vectors import ESTIMATORS, closed_form_mean, map_estimate, normal_points, posterior_mean

MAP_PRECISIONS = (4.0, 16.0, 64.0)  # beta for MAP estimates, pass by pass
SOUND_PRECISIONS = (1.0,)  # of one pass: further ones do not gain
SOUND_STRIDE = 2
CHUNK_PATCHES = 8192  # patches whose posterior means are sampled at a time
CHUNK_NUMBERS = 1 << 25  # of these patches under every term of a mixture, 256 MiB
LEVEL_RATIO = 2**0.125  # between the levels to which a map of the noise is rounded


class Splitting:
    """Half-quadratic splitting with a model, for one signal after another.

    The parameters are those of `denoise_signal`; TypeError, ValueError for bad ones.
    """

    def __init__(
        self,
        model: SignalModel,
        *,
        strength: float,
        estimator: str,
        stride: int | None,
        n_samples: int,
        n_iter: int,
        rng: Any,
        progress: bool,
    ) -> None:
        is_sound, smallest = model.rate is not None, min(model.transform.patch)
        self.model = model
        self.strength = as_positive(strength, "strength")
        self.estimator = as_choice(estimator, "estimator", ESTIMATORS)
        self.normals = normal_points(as_count(n_samples, "n_samples"), model.transform.dim, rng)
        self.n_iter = as_count(n_iter, "n_iter")
        self.progress = progress
        self.precisions = SOUND_PRECISIONS if is_sound else model.precisions
        if estimator == "map":
            self.precisions = MAP_PRECISIONS
        if stride is None and is_sound:
            stride = SOUND_STRIDE
        self.stride = None if stride is None else as_count(stride, "stride")
        if stride is not None and stride > smallest:
            raise ValueError(
                f"stride must be at most {smallest}, the smallest side of a patch, got {stride}"
            )

    def __call__(self, noisy: NDArray, noise: NoiseLevel, stride: int | None = None) -> NDArray:
        """A noisy signal (C, *axes), denoised; `stride` applies if the constructor got none."""
        patch, shape = self.model.transform.patch, noisy.shape[1:]
        stride = self.stride or stride or 1
        tiles = patch_tiles(shape, patch, len(noisy), is_device(noisy), stride)
        levels: list[Any] = [noise.uniform]
        rows_at: list[NDArray] | None = None
        data: Any = 1.0
        if noise.variances is None:
            counts = patch_counts(shape, patch, stride, noisy.dtype)
        else:
            levels, rows_at = _patch_levels(noise.variances, patch, tiles)
            data = to_device_of((noise.uniform**2 / noise.variances).astype(noisy.dtype), noisy)
            counts = _level_counts(noise, levels, rows_at, patch, tiles)
        counts = to_device_of(counts.astype(noisy.dtype, copy=False), noisy)
        signal = noisy
        steps = len(self.precisions) * len(levels) * len(tiles)
        with progress_bar(self.progress, steps, "denoise", "tile") as bar:
            for beta in self.precisions:
                total = np.zeros_like(signal)
                for sigma, tile, rows in _places(levels, tiles, rows_at):
                    bar.update(1)
                    if rows is not None and not len(rows):
                        continue
                    patches = extract_patches(signal, patch, tile)
                    level = sigma / np.sqrt(beta)
                    if rows is None:
                        clean = self._estimate(patches, level)
                    else:
                        rows = to_device_of(rows, patches)
                        weighted = (
                            self._estimate(patches[rows], level) * (noise.uniform / sigma) ** 2
                        )
                        clean = np.zeros(patches.shape, patches.dtype, like=patches)
                        clean[rows] = weighted
                    add_patches(clean, total, patch, tile)
                total *= noisy.dtype.type(beta)
                total += data * noisy if rows_at is not None else noisy
                total /= data + noisy.dtype.type(beta) * counts
                signal = total
        return signal

    def _estimate(self, patches: NDArray, level: Any) -> NDArray:
        """The estimates of patches (n, size) under noise of a level, or of one per channel."""
        transform, prior = self.model.transform, self.model.prior
        rms = float(np.sqrt(np.mean(np.square(level))))
        coordinates, rest = transform.forward(patches, rms)
        is_mean = self.estimator == "mean"
        if is_mean and self.strength == 1 and isinstance(prior, MixtureOfScaleMixtures):
            unit = transform.white_noise(level / rms)
            return transform.inverse(prior.posterior_mean(coordinates, unit, rms), rest)
        noise = transform.white_noise(level)
        if noise.ndim == 2:
            noise = np.sqrt(np.diag(noise))
        if is_mean:
            clean = self._mean(coordinates, noise)
        else:
            clean = map_estimate(prior, coordinates, noise, self.strength, self.n_iter)
        return transform.inverse(clean, rest)

    def _mean(self, y: NDArray, noise: NDArray) -> NDArray:
        """The posterior means of coordinates (n, d), in closed form or from weighted points."""
        prior, strength = self.model.prior, self.strength
        known = closed_form_mean(prior, y, noise, strength)
        if known is not None:
            return known
        normals = to_device_of(self.normals, y)
        size = CHUNK_PATCHES
        if isinstance(prior, GaussianTerms):
            size = min(size, max(CHUNK_NUMBERS // (prior.term_weights.size * prior.dim), 1))
        chunks = [y[i : i + size] for i in range(0, len(y), size)]
        means = [posterior_mean(prior, chunk, noise, strength, normals)[0] for chunk in chunks]
        return np.concatenate(means)


def _places(
    levels: list[Any], tiles: list[Tile], rows_at: list[NDArray] | None
) -> Iterator[tuple[Any, Tile, NDArray | None]]:
    """(level, tile, patches of the tile that have the level, or None for all), level by level."""
    for number, level in enumerate(levels):
        for k, tile in enumerate(tiles):
            rows = None if rows_at is None else np.flatnonzero(rows_at[k] == number)
            yield level, tile, rows


def _patch_levels(
    variances: NDArray, patch: tuple[int, ...], tiles: list[Tile]
) -> tuple[list[float], list[NDArray]]:
    """(levels, for each tile the level (n,) of its patches) under a map of the noise.

    A patch has the root mean square of its own noise, rounded on a scale of ratio LEVEL_RATIO.
    """
    exponents = []
    for tile in tiles:
        mean = extract_patches(variances, patch, tile).mean(axis=1)
        exponents.append(np.round(np.log(mean) / (2 * np.log(LEVEL_RATIO))).astype(np.int16))
    found = np.unique(np.concatenate([np.unique(part) for part in exponents]))
    levels = [float(LEVEL_RATIO ** float(exponent)) for exponent in found]
    return levels, [np.searchsorted(found, part).astype(np.int16) for part in exponents]


def _level_counts(
    noise: NoiseLevel,
    levels: list[float],
    rows_at: list[NDArray],
    patch: tuple[int, ...],
    tiles: list[Tile],
) -> NDArray:
    """The sum over the patches that cover each sample of their precision, (C, *axes)."""
    assert noise.variances is not None
    total = np.zeros_like(noise.variances)
    precisions = (noise.uniform / np.array(levels)) ** 2
    size = len(total) * math.prod(patch)
    for tile, rows in zip(tiles, rows_at, strict=True):
        add_patches(np.repeat(precisions[rows], size).reshape(-1, size), total, patch, tile)
    return total
