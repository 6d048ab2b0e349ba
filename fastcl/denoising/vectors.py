"""Denoising vectors: the maximum a posteriori point and the posterior mean under a learned density."""

import numpy as np
import scipy

from ..backend import is_device, to_device_of
from ..measures.mixtures import log_sum_exp
from ..progress import progress_bar
from ..validation import as_choice, as_count, as_generator, as_noise_level, as_points, as_positive

ESTIMATORS = ("map", "mean")
CHUNK_VALUES = (
    1 << 21
)  # numbers in the largest temporary: bounds the memory whatever the number of rows
DEVICE_CHUNK_VALUES = 1 << 24  # likewise on a device, where every chunk costs some launches
MAX_STEP = 4.0  # of the descent, in units of the preconditioned gradient


def denoise(
    prior, y, sigma, strength=1.0, estimator="map", n_iter=50, n_samples=512, rng=0, progress=False
):
    """Denoise vectors ``y = x + noise``, the noise Gaussian and independent.

    Parameters
    ----------
    prior : MLPPrior, MaxEntropyPrior, GaussianisedPrior or reference measure
        The density of x; R is minus its logarithm.
    y : array (n, d)
        Noisy vectors.
    sigma : float or array (d,)
        Standard deviation of the noise, in units of y; one number, or one a coordinate.
    strength : float
        Factor of R.
    estimator : {"map", "mean"}
        Both draw `n_samples` low-discrepancy points a row: around y, or, where there is a reference measure, from its
        posterior. "map": ``argmin_x ||(x - y) / sigma||^2 / 2 + strength R(x)``, which has many local minima: `n_iter`
        steps of a preconditioned descent, from the best of y and these points. "mean": E[x | y], by importance weights
        on the points; a reference is corrected only as far as the weights differ, and alone it has a closed form.
    n_iter, n_samples : int
    rng : int or numpy.random.Generator
        Scrambles the low-discrepancy points.
    progress : bool

    Returns
    -------
    float array (n, d), where y is: float32 for float32 and float16, else float64.

    Raises
    ------
    TypeError, ValueError
        y not finite, empty or of another dimension than the prior; sigma or strength not above zero.

    Notes
    -----
    Memory: beside the result a few arrays of at most 16 MiB at a time, 128 MiB on a device, and for a mixture one number a
    term for 16384 rows, 65536 on a device. ``strength`` is lambda in arXiv 2310.03085.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> standard = fastcl.Gaussian(mean=[0.0], covariance=[[1.0]])
    >>> fastcl.denoise(standard, [[2.0]], sigma=1.0).round(6)
    array([[1.]])
    >>> fastcl.denoise(standard, [[2.0]], sigma=1.0, estimator="mean").round(6)
    array([[1.]])
    """
    if not hasattr(prior, "log_density") or not (
        hasattr(prior, "energy_and_grad") or getattr(prior, "is_reference", False)
    ):
        raise TypeError(
            f"prior must be one of fastcl's priors or a reference measure, got {type(prior).__name__}"
        )
    y = as_points(y, "y", prior.dim)
    noise = as_noise_level(sigma, prior.dim)
    strength = as_positive(strength, "strength")
    as_choice(estimator, "estimator", ESTIMATORS)
    n_iter, n_samples = as_count(n_iter, "n_iter"), as_count(n_samples, "n_samples")
    if estimator == "mean" and getattr(prior, "is_reference", False) and strength == 1:
        return prior.posterior_mean(y, noise)
    normals = to_device_of(normal_points(n_samples, prior.dim, rng), y)
    rows = (DEVICE_CHUNK_VALUES if is_device(y) else CHUNK_VALUES) // (n_samples * prior.dim)

    def estimate(chunk):
        if estimator == "mean":
            return posterior_mean(prior, chunk, noise, strength, normals)
        return map_estimate(
            prior,
            chunk,
            noise,
            strength,
            n_iter,
            best_start(prior, chunk, noise, strength, normals),
        )

    return _by_chunks(estimate, y, rows, progress)


def _by_chunks(function, y, rows, progress):
    rows, results = max(1, rows), []
    with progress_bar(progress, len(y), "denoise", "row") as bar:
        for start in range(0, len(y), rows):
            results.append(function(y[start : start + rows]))
            bar.update(len(results[-1]))
    return np.concatenate(results)


def energy_parts(prior, x):
    """(R (n,), gradient (n, d), curvature (n, d) or 0) of minus the log-density, its constant left out."""
    if getattr(prior, "is_reference", False):
        return prior.energy_parts(x)
    energy, gradient = prior.energy_and_grad(x)
    if prior.reference is None:
        return energy, gradient, x.dtype.type(0)
    reference_energy, reference_gradient, curvature = prior.reference.energy_parts(x)
    return energy + reference_energy, gradient + reference_gradient, curvature


def map_estimate(prior, y, noise, strength=1.0, n_iter=50, start=None):
    """The MAP estimate of one chunk y (n, d) for noise (d,), from `start` (y by default).

    Every row has its own step: longer after a step that lowered its objective, half as long after one that did not
    and is taken back. The preconditioner is the curvature of the data term plus that of a majoriser of the reference.
    """
    precision = to_device_of((noise**-2.0).astype(y.dtype), y)
    strength = y.dtype.type(strength)

    def objective(x):
        energy, gradient, curvature = energy_parts(prior, x)
        residual = x - y
        value = (residual * residual * precision).sum(axis=1) / 2 + strength * energy
        return value, (residual * precision + strength * gradient) / (
            precision + strength * curvature
        )

    x = (y if start is None else start).copy()
    value, direction = objective(x)
    step = np.ones_like(y[:, :1])  # CuPy does not take NumPy's call of `ones` through `like`
    for _ in range(n_iter):
        trial = x - step * direction
        trial_value, trial_direction = objective(trial)
        better = trial_value < value
        rows = better[:, None]
        x, direction, value = (
            np.where(rows, trial, x),
            np.where(rows, trial_direction, direction),
            np.where(better, trial_value, value),
        )
        step = np.where(rows, np.minimum(step * 1.25, MAX_STEP), step / 2).astype(y.dtype)
        if not better.any() and step.max() < 1e-3:
            break
    return x


def normal_points(n, dim, rng):
    """n low-discrepancy standard normal points (n, dim), with their mean taken out."""
    uniform = scipy.stats.qmc.Sobol(dim, rng=as_generator(rng)).random_base2(
        int(np.ceil(np.log2(n)))
    )[:n]
    normals = scipy.special.ndtri(np.clip(uniform, 1e-10, 1 - 1e-10))
    return normals - normals.mean(axis=0)


def best_start(prior, y, noise, strength, normals):
    """Of y and the points made from `normals` (s, d), the one with the lowest MAP objective, for each row of y (n, d)."""
    points = np.concatenate([y[:, None, :], _proposals(prior, y, noise, normals)[1]], axis=1)
    value = np.square((points - y[:, None, :]) / to_device_of(noise, y)).sum(axis=2) / 2
    value -= strength * prior.log_density(points.reshape(-1, y.shape[1])).reshape(value.shape)
    return np.take_along_axis(points, value.argmin(axis=1)[:, None, None], axis=1)[:, 0]


def posterior_mean(prior, y, noise, strength, normals):
    """E[x | y] of one chunk y (n, d) for noise (d,), by importance weights on points made from `normals` (s, d)."""
    n, dim = y.shape
    samples = len(normals)
    reference = _reference(prior)
    centre, points = _proposals(prior, y, noise, normals)
    flat = points.reshape(-1, dim)
    log_weights = (
        np.zeros(n * samples, like=y) if reference is prior else -strength * prior.energy(flat)
    )
    if reference is not None and strength != 1:
        log_weights = log_weights + (strength - 1) * reference.log_density(flat)
    log_weights = log_weights.reshape(n, samples)
    weights = np.exp(log_weights - log_sum_exp(log_weights, axis=1)[:, None])
    if reference is None:
        return np.einsum("ns,nsd->nd", weights, points).astype(y.dtype)
    # The proposal's own mean is known: only the difference of the weights from uniform ones is sampled.
    return (centre + np.einsum("ns,nsd->nd", weights - 1 / samples, points)).astype(y.dtype)


def _reference(prior):
    return prior if getattr(prior, "is_reference", False) else prior.reference


def _proposals(prior, y, noise, normals):
    """(mean (n, d), points (n, s, d)) of the law that points are drawn from: the reference's posterior, or noise on y."""
    reference = _reference(prior)
    if reference is None:
        return y, y[:, None, :] + (normals * to_device_of(noise, y)).astype(y.dtype)
    centre, points = _posterior_points(reference, y, noise, normals)
    return centre, points.astype(y.dtype)


def _posterior_points(reference, y, noise, normals):
    """(mean (n, d), points (n, s, d)) of the posterior of a Gaussian mixture, components by systematic sampling."""
    responsibilities, means, roots = reference.posterior(y.astype(np.float64), noise)
    centre = np.einsum("kn,knd->nd", responsibilities, means)
    levels = (np.arange(len(normals), like=y) + 0.5) / len(normals)
    cumulative = np.cumsum(responsibilities, axis=0)[:-1]
    component = (cumulative[:, :, None] < levels).sum(axis=0)  # (n, s)
    offsets = np.einsum("sd,ked->kse", normals, roots)  # (k, s, d)
    rows, columns = np.arange(len(y), like=y)[:, None], np.arange(len(normals), like=y)
    return centre, means[component, rows] + offsets[component, columns]
