"""Fits of mixtures of scale mixtures to points with known Gaussian noise.

A step of expectation-maximisation takes what is known of every point x from y = x + noise: with the
responsibilities of the terms for y, the posterior of x is a mixture of Gaussians, whose second
moments take the place of those of the points. In the basis of a component, in which its covariance
is diagonal and that of the noise is I, the posterior mean of term j is the coordinate times the
gain ``g = scale_j^2 v / (scale_j^2 v + 1)``, and its variance is g.

Bovy, Hogg and Roweis, "Extreme deconvolution: inferring complete distribution functions from noisy,
heterogeneous and incomplete observations", Annals of Applied Statistics 2011.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..backend import kernel, product
from ..kernels.mixtures import MOMENT_PARTS
from .mixtures import CHUNK_ROWS
from .scale_mixture_starts import pad_columns

if TYPE_CHECKING:
    from .scale_mixtures import MixtureOfScaleMixtures

PRIOR_SHARE = 1e-3  # weight of the pooled tail, relative to that of an average component
MIN_SHARE = 1e-3  # of a variance of the noisy points that counts as signal, at least
# Ratio of the largest scale to the smallest. Noise hides how small the smallest points are.
SPREAD = 150


def common_without_noise(common: NDArray, noise: NDArray) -> NDArray:
    """The covariance (d, d) of points without noise, from that of the noisy ones."""
    units = np.sqrt(np.diag(common))
    root = np.linalg.cholesky(common / (units[:, None] * units))
    inverse = np.linalg.inv(root)
    left = product(inverse * (noise / units) ** 2, inverse.T)
    values, vectors = np.linalg.eigh(np.eye(len(common)) - (left + left.T) / 2)
    axes = product(root, vectors) * units[:, None]
    clean = product(axes * np.maximum(values, MIN_SHARE), axes.T)
    return (clean + clean.T) / 2


def scales_without_noise(scales: NDArray) -> NDArray:
    """Scales (J,) of points without noise, from those of the noisy ones."""
    if scales.size == 1:
        return scales
    return np.geomspace(scales.max() / SPREAD, scales.max(), scales.size)


def products(a: NDArray, b: NDArray) -> NDArray:
    """The products of matrices a (K, d, e) and b (K, e, f), the same on any number of threads."""
    return np.stack([product(one, other) for one, other in zip(a, b, strict=True)])


@np.errstate(under="ignore")
def maximise_without_noise(
    mixture: MixtureOfScaleMixtures, x: NDArray, noise: NDArray
) -> tuple[NDArray, NDArray]:
    """(covariances (K, d, d), expected counts of the terms (K, J)) after one step on x (n, d)."""
    exact = np.empty(0)
    bases, inverses, values, _ = mixture.noise_bases(exact, noise)
    dim, scales = mixture.head_dim, mixture.scales
    bases, inverses = bases[:, :, :dim], inverses[:, :dim, :dim]
    counts = np.zeros(mixture.weights.shape)
    moments = np.zeros((scales.size, *mixture.covariances.shape))
    for start in range(0, len(x), CHUNK_ROWS):
        chunk = x[start : start + CHUNK_ROWS]
        responsibilities = noisy_responsibilities(mixture, chunk, noise)
        counts += responsibilities.sum(axis=0, dtype=np.float64)
        padded = pad_columns(chunk, x.dtype)
        partial = np.empty((len(bases), MOMENT_PARTS, *padded.shape[1:] * 2))
        for j in range(scales.size):
            shares = np.ascontiguousarray(responsibilities[:, :, j].T)
            kernel("mixture_moments", like=x)(padded, shares, partial)
            moments[j] += partial.sum(axis=1)[:, :dim, :dim]
    variances = scales[:, None] ** 2 * np.maximum(values, 0)[:, None, :]
    gains = variances / (1 + variances)  # (K, J, d)
    second = np.zeros_like(bases)
    for j, scale in enumerate(scales):
        gain = gains[:, j]
        inside = products(products(bases.swapaxes(1, 2), moments[j]), bases)
        term = gain[:, :, None] * gain[:, None, :] * inside
        term += (counts[:, j, None] * gain)[:, :, None] * np.eye(dim)
        second += term / scale**2
    covariances = products(products(inverses.swapaxes(1, 2), second), inverses)
    return covariances / np.maximum(counts.sum(axis=1), 1)[:, None, None], counts


@np.errstate(under="ignore")
def tails_without_noise(mixture: MixtureOfScaleMixtures, x: NDArray, noise: NDArray) -> NDArray:
    """Variances (K, t) of the columns of x (n, d + t) after those of the mixture.

    They are those with which a component has the energy of its points, less that of the noise. A
    component with few points is shrunk towards the average of all.
    """
    dim = mixture.head_dim
    sizes, counts = np.zeros((2, len(mixture.weights)))
    squares = np.zeros((len(mixture.weights), x.shape[1] - dim))
    for start in range(0, len(x), CHUNK_ROWS):
        head, tail = np.split(x[start : start + CHUNK_ROWS], [dim], axis=1)
        responsibilities = noisy_responsibilities(mixture, head, noise[:dim])
        of_terms = responsibilities.sum(axis=0, dtype=np.float64)
        counts += of_terms.sum(axis=1)
        sizes += (of_terms * mixture.scales**2).sum(axis=1)
        squares += np.einsum("nk,nt->kt", responsibilities.sum(axis=2), np.square(tail))
    energy = np.maximum(squares - counts[:, None] * noise[dim:] ** 2, MIN_SHARE * squares)
    few = PRIOR_SHARE * sizes.mean()
    pooled = energy.sum(axis=0) / sizes.sum()
    return (energy + few * pooled) / (sizes + few)[:, None]


def noisy_responsibilities(mixture: MixtureOfScaleMixtures, x: NDArray, noise: NDArray) -> NDArray:
    """Posterior probabilities (n, K, J) of the terms for noisy points x (n, d), without a tail."""
    bases, precisions, tails, constants = mixture.mean_factors(x, noise, 1.0)[:4]
    responsibilities = np.empty((len(x), *mixture.weights.shape), x.dtype)
    log_density = np.empty(len(x), x.dtype)
    kernel("mixture_responsibilities", like=x)(
        np.ascontiguousarray(x), bases, precisions, tails, constants, responsibilities, log_density
    )
    return responsibilities
