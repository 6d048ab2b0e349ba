"""Where a fit of a mixture of scale mixtures starts: its scales, and its first covariances."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import product, typical_rows
from ..kernels.mixtures import LANES

MAX_OFFSET = 10  # standard deviations between the mean and zero, for points that count as centred
N_NEIGHBOURS = 3000  # points that give a component its first covariance
MAX_CANDIDATES = 60_000  # points among which these neighbours are sought


def check_centred(x: NDArray) -> None:
    """ValueError if x (n, d) is so far from zero that its second moments hide how it varies."""
    means = x.mean(axis=0, dtype=np.float64)
    stds = x.std(axis=0, dtype=np.float64)
    far = np.abs(means) > MAX_OFFSET * stds
    if far.any() and (stds > 0).all():
        raise ValueError(
            f"x is not centred: column {far.argmax()} has mean {means[far.argmax()]:.3g} "
            f"and standard deviation {stds[far.argmax()]:.3g}; subtract the means"
        )


@np.errstate(under="ignore")
def common_scales(x: NDArray, n_scales: int) -> tuple[NDArray, NDArray]:
    """(second moments (d, d) of x, `n_scales` scales spread over the radii of whitened x)."""
    stds = np.sqrt(np.square(x, dtype=np.float64).mean(axis=0))
    for units in (np.ones_like(stds), np.where(stds > 0, stds, 1)):
        scaled = (x / units).astype(x.dtype)
        covariance = product(scaled.T, scaled).astype(np.float64) / len(x)
        values, vectors = np.linalg.eigh(covariance)
        if values[0] > values[-1] * np.finfo(np.float64).eps * 10 * x.shape[1]:
            break  # otherwise it may be the units that make a column look like none
    else:
        raise ValueError(
            "x spans fewer dimensions than it has columns: take more points, or drop columns that "
            "follow from others"
        )
    radii = np.sqrt((product(scaled, vectors) ** 2 / values).mean(axis=1))
    covariance *= units[:, None] * units
    low, high = np.quantile(radii, [0.002, 0.9995])
    if n_scales == 1:
        return covariance, np.ones(1)
    return covariance, np.geomspace(max(low, 1e-3 * high), high, n_scales)


def first_covariances(
    x: NDArray, common: NDArray, n_components: int, rng: np.random.Generator
) -> NDArray:
    """First covariances (K, d, d) of a fit, each that of points with similar directions."""
    if n_components == 1:
        return common[None]
    x = typical_rows(x, MAX_CANDIDATES)
    white = product(x, np.linalg.inv(np.linalg.cholesky(common)).T)
    lengths = np.linalg.norm(white, axis=1)
    use = lengths > 0
    directions = white[use] / lengths[use, None]
    scaled = x[use] / lengths[use, None]
    replace = len(directions) < n_components
    chosen = directions[rng.choice(len(directions), n_components, replace=replace)]
    covariances = []
    for cosines in np.abs(product(directions, chosen.T)).T:
        near = scaled[np.argsort(-cosines, kind="stable")[:N_NEIGHBOURS]]
        covariances.append(x.shape[1] * product(near.T, near) / len(near) + 0.05 * common)
    return np.array(covariances)


def pad_columns(a: NDArray, dtype: DTypeLike) -> NDArray:
    """`a` in `dtype`, with zero columns up to a multiple of LANES, as the kernels need it."""
    return np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, -a.shape[-1] % LANES)]).astype(dtype, order="C")
