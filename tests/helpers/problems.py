"""Problems small enough for quadrature, and the objective computed that way in NumPy float64."""

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

import fastcl

COVARIANCE = np.array([[0.5, 0.2], [0.2, 0.3]])


@dataclass
class Problem:
    """A prior, a sketch and a domain, with a quadrature for integrals over the domain.

    The integrals are over a box, or weighted with the density of the reference.
    """

    prior: fastcl.MLPPrior
    sketch: fastcl.Sketch
    domain: object
    nodes: np.ndarray  # (n, d)
    weights: np.ndarray  # (n,): sum_j weights_j f(nodes_j) is the integral of f


@contextmanager
def threads(count):
    """Run kernels on `count` threads: for a few rows on a busy machine, one is fastest by far."""
    before = fastcl.get_num_threads()
    fastcl.set_num_threads(count)
    try:
        yield
    finally:
        fastcl.set_num_threads(before)


def midpoints(low, high, k):
    """(centres (k^d, d), volume) of the k^d equal cells of a box."""
    axes = [lo + (hi - lo) * (np.arange(k) + 0.5) / k for lo, hi in zip(low, high, strict=True)]
    centres = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    return centres, np.prod((np.array(high) - low) / k)


def make_prior(dim, widths, dtype, reference=None):
    """A small prior with nonzero biases and a nonzero log-scale."""
    prior = fastcl.MLPPrior(dim, widths, rng=3, reference=reference, dtype=dtype)
    prior.theta += 0.2 * np.random.default_rng(4).standard_normal(prior.theta.size)
    return prior


def line(dtype=np.float64):
    """Two clusters of points in a box, d = 1."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(-0.4, 0.15, (300, 1)), rng.normal(0.7, 0.2, (200, 1))])
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(15, 1, 0.3, rng=2))
    box = fastcl.Box([-1.0], [1.5])
    nodes, cell = midpoints([-1.0], [1.5], 4000)
    return Problem(make_prior(1, (8,), dtype), sketch, box, nodes, np.full(len(nodes), cell))


def plane(dtype=np.float64):
    """Points around an arc in a box, d = 2."""
    rng = np.random.default_rng(5)
    angle = rng.uniform(0, np.pi, 500)
    x = 0.7 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.standard_normal((500, 2))
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(24, 2, 0.4, rng=6))
    box = fastcl.Box([-1.0, -0.5], [1.0, 1.0])
    nodes, cell = midpoints([-1.0, -0.5], [1.0, 1.0], 200)
    return Problem(make_prior(2, (8, 6), dtype), sketch, box, nodes, np.full(len(nodes), cell))


def gaussian_line(dtype=np.float64):
    """A Gaussian reference, d = 1; its density is written out here."""
    rng = np.random.default_rng(7)
    sketch = fastcl.sketch(
        rng.laplace(0.3, 0.3, (400, 1)), fastcl.draw_frequencies(15, 1, 0.4, rng=8)
    )
    reference = fastcl.Gaussian([0.2], [[0.25]])
    nodes, cell = midpoints([0.2 - 5], [0.2 + 5], 4000)
    density = np.exp(-((nodes[:, 0] - 0.2) ** 2) / (2 * 0.25)) / np.sqrt(2 * np.pi * 0.25)
    return Problem(make_prior(1, (8,), dtype, reference), sketch, reference, nodes, density * cell)


def scale_mixture_plane(dtype=np.float64):
    """A Gaussian scale mixture as reference, d = 2; its density is written out here."""
    covariance = np.array([[0.4, 0.1], [0.1, 0.3]])
    reference = fastcl.GaussianScaleMixture(covariance, [0.5, 1.0], [0.6, 0.4])
    rng = np.random.default_rng(9)
    x = rng.standard_normal((500, 2)) * rng.gamma(2.0, 0.3, (500, 1))
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(20, 2, 0.5, rng=10))
    # A box of seven standard deviations of the larger scale.
    nodes, cell = midpoints([-4.5, -4.5], [4.5, 4.5], 200)
    squares = np.einsum("ni,ij,nj->n", nodes, np.linalg.inv(covariance), nodes)
    density = sum(
        weight
        * np.exp(-squares / (2 * scale**2))
        / (2 * np.pi * scale**2 * np.sqrt(np.linalg.det(covariance)))
        for weight, scale in [(0.6, 0.5), (0.4, 1.0)]
    )
    return Problem(make_prior(2, (8,), dtype, reference), sketch, reference, nodes, density * cell)


def energy_and_jacobian(prior, x):
    """R(x) (n,) and dR/dtheta (n, P), layer by layer as in a textbook."""
    theta = prior.theta.astype(np.float64)
    output = np.asarray(x, np.float64)
    matrices, inputs = [], []
    offset = 0
    for n_in, n_out in pairwise(prior.sizes.tolist()):
        inputs.append(output if not matrices else np.maximum(output, 0))
        matrices.append(theta[offset : offset + n_in * n_out].reshape(n_in, n_out))
        offset += n_in * n_out
        output = inputs[-1] @ matrices[-1] + theta[offset : offset + n_out]
        offset += n_out
    delta = 2 * output
    columns = [np.zeros((len(x), 1))]  # the last parameter is the log-scale
    for matrix, layer_input in zip(reversed(matrices), reversed(inputs), strict=True):
        weights = layer_input[:, :, None] * delta[:, None, :]
        columns = [weights.reshape(len(x), -1), delta, *columns]
        delta = (delta @ matrix.T) * (layer_input > 0)
    return (output**2).sum(axis=1), np.concatenate(columns, axis=1)


def make_scale_mixture(d=2, scales=(0.3, 1.5), weights=(0.7, 0.3)):
    """A Gaussian scale mixture with a random covariance."""
    rng = np.random.default_rng(d)
    root = rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d)
    return fastcl.GaussianScaleMixture(root @ root.T, scales, weights)


def crossed(rng, n):
    """Points (n, 2), half of them along one axis and half along the other, at two scales."""
    scales = np.where(rng.random((n, 1)) < 0.5, 0.3, 1.0)
    x = rng.standard_normal((n, 2)) * np.array([2.0, 0.1]) * scales
    return np.where(rng.random((n, 1)) < 0.5, x, x[:, ::-1])


def features(x, omega):
    """exp(-i <omega_l, x_j>) (n, m)."""
    return np.exp(-1j * (np.asarray(x, np.float64) @ omega.T))


def objective(prior, omega, target, nodes, weights):
    """||S mu - target||^2 by quadrature, its gradient (P,), and the sizes (P,) of its terms."""
    energy, jacobian = energy_and_jacobian(prior, nodes)
    mu = weights * np.exp(prior.log_scale - energy)
    phi = features(nodes, omega)
    residual = mu @ phi - target
    slope = 2 * mu * (phi.conj() @ residual).real  # dG / d log mu_j
    jacobian[:, -1] = -1  # log mu = a - R
    magnitude = 2 * np.abs(residual).sum() * mu @ np.abs(jacobian)
    return (np.abs(residual) ** 2).sum(), -slope @ jacobian, magnitude


def exact(problem):
    """G and its gradient (P,), by quadrature."""
    return objective(
        problem.prior, problem.sketch.omega, problem.sketch.values, problem.nodes, problem.weights
    )[:2]


def variance_term(problem, n_points):
    """E||S_X mu - S mu||^2 over n_points random points X, and its gradient (P,).

    S_X mu is a constant plus the mean over X of c (mu - k) exp(-i <omega, x>), where the points
    have the density weights / c; k = 0 and c = |D| in a box, k = c = 1 with a reference q. The
    variance is therefore (c m sum_j weights_j (mu_j - k)^2 - ||S mu - k S q||^2) / n_points.
    """
    prior, omega = problem.prior, problem.sketch.omega
    nodes, weights = problem.nodes, problem.weights
    energy, jacobian = energy_and_jacobian(prior, nodes)
    jacobian[:, -1] = -1
    mu, offset = np.exp(prior.log_scale - energy), float(not isinstance(problem.domain, fastcl.Box))
    constant = offset * (weights @ features(nodes, omega))
    mean_square, mean_square_grad, _ = objective(prior, omega, constant, nodes, weights)
    factor = weights.sum() * len(omega)
    square = factor * (weights @ (mu - offset) ** 2)
    square_grad = -2 * factor * (weights * (mu - offset) * mu) @ jacobian
    return (square - mean_square) / n_points, (square_grad - mean_square_grad) / n_points
