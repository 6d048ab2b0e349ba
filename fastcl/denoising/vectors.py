"""Denoising vectors: the maximum a posteriori point and the posterior mean under a learned density.

For y = x + noise with standard deviations sigma and R minus the log-density, the MAP estimate is
``argmin_x ||(x - y) / sigma||^2 / 2 + R(x)``, and the posterior mean is E[x | y].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..backend import is_device, to_device_of
from ..measures.base import ReferenceMeasure
from ..measures.mixtures import log_sum_exp
from ..measures.pointwise import OVERFLOW
from ..priors.base import Prior
from ..progress import progress_bar
from ..validation import (
    as_choice,
    as_count,
    as_generator,
    as_noise_level,
    as_points,
    as_positive,
    check_lengths,
)
from .patch_model import SignalModel

ESTIMATORS = ("mean", "map")
CHUNK_VALUES = 1 << 21  # numbers in the largest temporary: bounds the memory for any number of rows
DEVICE_CHUNK_VALUES = 1 << 24  # the same on a device, where every chunk costs some launches
MIN_EFFECTIVE = 2.0  # points, by their weights, that a posterior mean should rest on
MAX_STEP = 4.0  # of the descent, in units of the preconditioned gradient


def denoise(
    prior: Prior | ReferenceMeasure,
    y: ArrayLike,
    sigma: float | ArrayLike,
    strength: float = 1.0,
    estimator: str = "map",
    *,
    n_iter: int = 50,
    n_samples: int = 512,
    rng: Any = 0,
    progress: bool = False,
) -> NDArray:
    """Denoise vectors ``y = x + noise``, with independent Gaussian noise.

    Parameters
    ----------
    prior : Prior or ReferenceMeasure
        The density of x; R is minus its logarithm.
    y : array (n, d)
        Noisy vectors.
    sigma : float or array (d,)
        Standard deviation of the noise, in units of y: one number, or one per coordinate.
    strength : float
        Factor of R.
    estimator : {"map", "mean"}
        "map": ``argmin_x ||(x - y) / sigma||^2 / 2 + strength R(x)``, which has many local minima:
        `n_iter` steps of a preconditioned descent, from the best of y and `n_samples` points.
        "mean": E[x | y], by importance weights on `n_samples` points; in closed form for the
        Gaussian mixtures. The points are low-discrepancy, around y or, with a reference measure,
        from its posterior, which is then corrected only as far as the weights differ.
        The default is the estimator of arXiv 2310.03085; "mean" has the smaller mean squared error.
    n_iter, n_samples : int
    rng : int or numpy.random.Generator
        Scrambles the low-discrepancy points.
    progress : bool

    Returns
    -------
    float array (n, d), on the device of y: float32 for float32 and float16, otherwise float64.

    Raises
    ------
    TypeError, ValueError
        y not finite, empty, or of another dimension than the prior; sigma or strength not above
        zero.

    Warns
    -----
    RuntimeWarning
        More than one posterior mean in a hundred rests on very few points, because the prior has
        its mass far from y. A row at whose points the density vanishes is returned as it is.

    Notes
    -----
    Memory besides the result: a few arrays of at most 16 MiB at a time, 128 MiB on a device, and
    for a mixture one number per term for 16384 rows, 65536 on a device. ``strength`` is lambda in
    arXiv 2310.03085.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> standard = fastcl.Gaussian(mean=[0.0], covariance=[[1.0]])
    >>> fastcl.denoise(standard, [[2.0]], sigma=1.0).round(6)
    array([[1.]])
    >>> fastcl.denoise(standard, [[2.0]], sigma=1.0, estimator="mean").round(6)
    array([[1.]])
    """
    if not isinstance(prior, (Prior, ReferenceMeasure)):
        hint = ": use denoise_image" if isinstance(prior, SignalModel) else ""
        raise TypeError(
            f"prior must be a fastcl.Prior or a reference measure, got {type(prior).__name__}{hint}"
        )
    y = as_points(y, "y", prior.dim)
    noise = as_noise_level(sigma, prior.dim)
    check_lengths(noise, "sigma", y.dtype)
    check_lengths(np.maximum(1, np.abs(y).max()), "the largest magnitude in y", y.dtype)
    strength = as_positive(strength, "strength")
    as_choice(estimator, "estimator", ESTIMATORS)
    n_iter = as_count(n_iter, "n_iter")
    n_samples = as_count(n_samples, "n_samples")
    if estimator == "mean":
        known = closed_form_mean(prior, y, noise, strength)
        if known is not None:
            return known
    normals = to_device_of(normal_points(n_samples, prior.dim, rng), y)
    rows = (DEVICE_CHUNK_VALUES if is_device(y) else CHUNK_VALUES) // (n_samples * prior.dim)

    weak = 0  # rows

    def estimate(chunk: NDArray) -> NDArray:
        nonlocal weak
        if estimator == "mean":
            mean, effective = posterior_mean(prior, chunk, noise, strength, normals)
            weak += int((effective < min(MIN_EFFECTIVE, n_samples / 8)).sum())
            return mean
        start = best_start(prior, chunk, noise, strength, normals)
        return map_estimate(prior, chunk, noise, strength, n_iter, start)

    with np.errstate(under="ignore", **OVERFLOW):
        result = _by_chunks(estimate, y, rows, progress)
    if not np.isfinite(result).all():
        raise ValueError(
            "the energy of the prior is not finite where y may come from, or y is too far from it"
        )
    if 100 * weak > len(y):
        warnings.warn(
            f"the posterior means of {weak} of {len(y)} rows rest on fewer than {MIN_EFFECTIVE:g} "
            'points: the prior has its mass far from y. Take more n_samples, or estimator="map"',
            RuntimeWarning,
            stacklevel=2,
        )
    return result


def _by_chunks(function: Callable, y: NDArray, rows: int, progress: bool) -> NDArray:
    rows = max(1, rows)
    results: list[NDArray] = []
    with progress_bar(progress, len(y), "denoise", "row") as bar:
        for start in range(0, len(y), rows):
            results.append(function(y[start : start + rows]))
            bar.update(len(results[-1]))
    return np.concatenate(results)


def energy_parts(
    prior: Prior | ReferenceMeasure, x: NDArray
) -> tuple[NDArray, NDArray, NDArray | float]:
    """(R (n,), its gradient (n, d), a curvature (n, d) or 0): R up to an additive constant."""
    if isinstance(prior, ReferenceMeasure):
        return prior.energy_parts(x)
    energy, gradient = prior.energy_and_grad(x)
    if prior.reference is None:
        return energy, gradient, x.dtype.type(0)
    reference_energy, reference_gradient, curvature = prior.reference.energy_parts(x)
    return energy + reference_energy, gradient + reference_gradient, curvature


def map_estimate(
    prior: Prior | ReferenceMeasure,
    y: NDArray,
    noise: NDArray,
    strength: float = 1.0,
    n_iter: int = 50,
    start: NDArray | None = None,
) -> NDArray:
    """The MAP estimate of one chunk y (n, d) for noise (d,), from `start` (y by default).

    Every row has its own step size: longer after a step that lowered its objective, halved after
    one that did not, which is undone. The preconditioner is the curvature of the data term plus
    that of a majoriser of the reference.
    """
    precision = to_device_of((noise**-2.0).astype(y.dtype), y)
    strength = y.dtype.type(strength)

    def objective(x: NDArray) -> tuple[NDArray, NDArray]:
        energy, gradient, curvature = energy_parts(prior, x)
        residual = x - y
        value = (residual * residual * precision).sum(axis=1) / 2 + strength * energy
        direction = residual * precision + strength * gradient
        return value, direction / (precision + strength * curvature)

    x = (y if start is None else start).copy()
    value, direction = objective(x)
    step = np.ones_like(y[:, :1])  # CuPy does not take NumPy's call of `ones` through `like`
    for _ in range(n_iter):
        trial = x - step * direction
        trial_value, trial_direction = objective(trial)
        better = trial_value < value
        rows = better[:, None]
        x = np.where(rows, trial, x)
        direction = np.where(rows, trial_direction, direction)
        value = np.where(better, trial_value, value)
        step = np.where(rows, np.minimum(step * 1.25, MAX_STEP), step / 2).astype(y.dtype)
        if not better.any() and step.max() < 1e-3:
            break
    return x


def normal_points(n: int, dim: int, rng: Any) -> NDArray:
    """n low-discrepancy standard normal points (n, dim), shifted to mean zero."""
    rng = as_generator(rng)
    if rng.bit_generator.seed_seq is None:  # without one, Sobol cannot spawn a generator from it
        rng = np.random.default_rng(int(rng.integers(2**63)))
    sobol = scipy.stats.qmc.Sobol(dim, rng=rng)
    uniform = sobol.random_base2(int(np.ceil(np.log2(n))))[:n]
    normals = scipy.special.ndtri(np.clip(uniform, 1e-10, 1 - 1e-10))
    return normals - normals.mean(axis=0)


def best_start(
    prior: Prior | ReferenceMeasure,
    y: NDArray,
    noise: NDArray,
    strength: float,
    normals: NDArray,
) -> NDArray:
    """For each row of y (n, d), the candidate with the lowest MAP objective.

    The candidates are y itself and the points made from `normals` (s, d).
    """
    points = np.concatenate([y[:, None, :], _proposals(prior, y, noise, normals)[1]], axis=1)
    value = np.square((points - y[:, None, :]) / to_device_of(noise, y)).sum(axis=2) / 2
    value -= strength * prior.log_density(points.reshape(-1, y.shape[1])).reshape(value.shape)
    return np.take_along_axis(points, value.argmin(axis=1)[:, None, None], axis=1)[:, 0]


def closed_form_mean(
    prior: Prior | ReferenceMeasure, y: NDArray, noise: NDArray, strength: float
) -> NDArray | None:
    """E[x | y] (n, d) if it has a closed form, otherwise None."""
    if isinstance(prior, ReferenceMeasure) and strength == 1:
        return prior.posterior_mean(y, noise)
    return None


def posterior_mean(
    prior: Prior | ReferenceMeasure,
    y: NDArray,
    noise: NDArray,
    strength: float,
    normals: NDArray,
) -> tuple[NDArray, NDArray]:
    """(E[x | y] (n, d), effective number of points (n,)) for one chunk y (n, d).

    By importance weights on points from `normals` (s, d). A row whose weights all vanish has none,
    and the mean of the unweighted points.
    """
    n, dim = y.shape
    samples = len(normals)
    reference = _reference(prior)
    centre, points, proposal_weights = _proposals(prior, y, noise, normals)
    flat = points.reshape(-1, dim)
    if isinstance(prior, ReferenceMeasure):
        log_weights = np.zeros(n * samples, like=y)
    else:
        log_weights = -strength * prior.energy(flat)
    if reference is not None and strength != 1:
        log_weights = log_weights + (strength - 1) * reference.log_density(flat)
    log_weights = log_weights.reshape(n, samples)
    if proposal_weights is not None:
        log_weights = log_weights + proposal_weights
    vanished = log_weights.max(axis=1, keepdims=True) == -np.inf
    log_weights = np.where(vanished, 0, log_weights)
    weights = np.exp(log_weights - log_sum_exp(log_weights, axis=1)[:, None])
    effective = np.where(vanished, 0, 1 / np.square(weights).sum(axis=1, keepdims=True))[:, 0]
    if reference is None:
        return np.einsum("ns,nsd->nd", weights, points).astype(y.dtype), effective
    # The mean of the proposal is known: only the excess of the weights over equal ones is sampled.
    correction = np.einsum("ns,nsd->nd", weights - 1 / samples, points)
    return (centre + correction).astype(y.dtype), effective


def _reference(prior: Prior | ReferenceMeasure) -> ReferenceMeasure | None:
    return prior if isinstance(prior, ReferenceMeasure) else prior.reference


def _proposals(
    prior: Prior | ReferenceMeasure, y: NDArray, noise: NDArray, normals: NDArray
) -> tuple[NDArray, NDArray, NDArray | None]:
    """(mean (n, d), points (n, s, d), log-weights or None) of the distribution of the proposals.

    That is the posterior under the reference, or the noise around y without a reference.
    """
    reference = _reference(prior)
    if reference is not None:
        return reference.posterior_points(y, noise, normals)
    return y, y[:, None, :] + (normals * to_device_of(noise, y)).astype(y.dtype), None
