"""The sketch-matching objective G(theta) = ||S mu_theta - z||^2 and its stochastic gradients (arXiv 2310.03085)."""

import numpy as np

from ..backend import kernel, to_device_of, to_host
from ..fourier.operator import FeatureOperator
from ..measures.base import ReferenceMeasure
from ..measures.box import Box
from ..priors.mlp import MLPPrior
from ..sketching.sketch import Sketch
from ..validation import as_choice, as_count, as_generator

METHODS = ("grid", "naive", "unbiased", "normalised", "tracked")
LOG_SCALES = ("learned", "profiled", "normalised", "fixed")
MASS_ROWS, MASS_PARTS = (
    4096,
    32,
)  # points that normalise what was learned, and calls that they are spread over
MIN_SCALE = 1e-8  # a profiled scale exp(a) is kept above this where a sample points the wrong way


class SketchMatching:
    """G for one sketch and one domain, with the buffers that successive gradients share.

    With points x_1..x_N of the domain, ``S_X mu = base + (c / N) sum_j (mu_j - k) exp(-i <omega, x_j>)``: a box has
    c = its volume, k = 0, base = 0; a reference measure q has c = k = 1, base = its sketch, and mu relative to q.

    Parameters
    ----------
    sketch : Sketch
    domain : Box or reference measure
    dtype : numpy dtype
        Working precision, that of the prior.
    metric : object with `apply`, optional
        M of the objective r* M r, as `WhitenedMetric`; the identity by default.
    like : array, optional
        Where the work is done: on the device for a CuPy array.

    Attributes
    ----------
    tracked : complex array (m,) or None
        The running mean of S_X mu that the method "tracked" keeps.
    """

    def __init__(self, sketch, domain, dtype, metric=None, like=None):
        if not isinstance(sketch, Sketch):
            raise TypeError(f"sketch must be a fastcl.Sketch, got {type(sketch).__name__}")
        if not isinstance(domain, (Box, ReferenceMeasure)):
            raise TypeError(
                f"domain must be a Box or a reference measure, got {type(domain).__name__}"
            )
        if domain.dim != sketch.dim:
            raise ValueError(f"domain has dimension {domain.dim}, the sketch {sketch.dim}")
        if metric is not None and not callable(getattr(metric, "apply", None)):
            raise TypeError(f"metric must have a method apply, as WhitenedMetric, got {metric!r}")
        if not np.array_equal(getattr(metric, "omega", sketch.omega), sketch.omega):
            raise ValueError("metric was made for other frequencies than those of the sketch")
        self.domain, self.dtype, self.metric, self.tracked = domain, np.dtype(dtype), metric, None
        self.z = to_device_of(sketch.values, sketch.values if like is None else like)
        self.packed = FeatureOperator.pack(sketch.omega, self.dtype, self.z)
        self.in_box = isinstance(domain, Box)
        self.scale, self.offset = (domain.volume, 0.0) if self.in_box else (1.0, 1.0)
        self.base = (
            to_device_of(domain.sketch(sketch.omega), self.z)
            if not self.in_box
            else np.zeros_like(self.z)
        )

    def check(self, prior):
        """Raise where `prior` is not one that this objective can drive."""
        if not isinstance(prior, MLPPrior):
            raise TypeError(f"prior must be a fastcl.MLPPrior, got {type(prior).__name__}")
        if prior.dim != self.domain.dim:
            raise ValueError(f"prior has dimension {prior.dim}, the sketch {self.domain.dim}")
        if prior.reference is not (None if self.in_box else self.domain):
            raise ValueError(
                "domain must be prior.reference itself where the prior has one, and a Box where it has none"
            )

    @np.errstate(over="ignore", invalid="ignore")  # a run that diverges is told by its value, once
    def gradient(self, prior, method, points, rng, log_scale="learned", out=None, share=1.0):
        """(value, gradient) by one of `METHODS`; `points` is a number a axis for the grid, a number in all otherwise.

        "tracked" takes the residual from a running mean of S_X mu over earlier points, of which these become `share`.
        """
        as_choice(method, "method", METHODS)
        as_choice(log_scale, "log_scale", LOG_SCALES)
        if method == "grid":
            if not self.in_box:
                raise ValueError("domain must be a Box for the grid method")
            x = independent = self._grid(points)
        else:
            count = as_count(points, "n_points")
            x = self._sample(count, rng)
            independent = self._sample(count, rng) if method in ("unbiased", "normalised") else x
        # The residual comes first and the points of the gradient last, so that their activations are still there.
        weights = prior.weights()
        energy, state = prior.forward(independent, keep=independent is x, weights=weights)
        self._set_log_scale(prior, log_scale, independent, energy)
        moments = self._sketch_density(prior, independent, energy)
        if (
            method == "tracked"
        ):  # earlier points make the residual, these the gradient: independent at the price of one set
            earlier = moments if self.tracked is None else self.tracked
            self.tracked = earlier + share * (moments - earlier)
            moments = earlier
        residual = moments - self.z
        weighted = self._weigh(residual)
        if independent is not x:
            energy, state = prior.forward(x, weights=weights)
            if log_scale == "normalised":
                self._set_log_scale(prior, log_scale, x, energy)
        mu = np.exp(prior.log_scale - energy)
        adjoint = self.packed.adjoint(x, weighted, np.empty(len(x), self.dtype, like=x))
        if method == "tracked":
            value = _inner(residual, weighted)
        else:
            # r* M r where r saw the same points, r_X* M r_X' where it did not: one formula, by the adjoint identity.
            value = self.scale * np.mean((mu - self.offset) * adjoint, dtype=np.float64)
            value += _inner(weighted, self.base - self.z)
        if log_scale == "normalised":  # the mass stays one, whatever the energy does
            adjoint -= self.scale * np.mean(mu * adjoint, dtype=np.float64)
        grad_energy = mu * adjoint
        grad_energy *= 2 * self.scale / len(x)
        total = grad_energy.sum(dtype=np.float64)
        np.negative(grad_energy, out=grad_energy)
        gradient = prior.backward(grad_energy, state, out)
        gradient[-1] = total if log_scale == "learned" else 0
        return float(value), gradient

    def _set_log_scale(self, prior, log_scale, x, energy):
        if log_scale == "profiled":
            prior.log_scale = self._profiled_log_scale(x, energy)
        elif log_scale == "normalised":
            least = float(energy.min())
            mass = float(
                np.exp(least - energy.astype(np.float64)).mean()
            )  # scipy's logsumexp takes as long as the network
            prior.log_scale = least - np.log(self.scale * mass)

    def normalise(self, prior, rng):
        """Give the density mass one, from more points than one step has."""
        energy = np.concatenate(
            [
                prior.forward(self._sample(MASS_ROWS, rng), keep=False)[0].copy()
                for _ in range(MASS_PARTS)
            ]
        )
        self._set_log_scale(prior, "normalised", None, energy)

    def _grid(self, points_per_axis):
        if getattr(self, "_grid_points", (None,))[0] != points_per_axis:
            grid = to_device_of(self.domain.grid(points_per_axis, self.dtype), self.z)
            self._check_phases(grid)
            self._grid_points = (points_per_axis, grid)
        return self._grid_points[1]

    def _sample(self, count, rng):
        if isinstance(self.domain, Box):
            points = self.domain.sample(count, rng, self.dtype, like=self.z)
        else:
            points = to_device_of(self.domain.sample(count, rng, self.dtype), self.z)
        self._check_phases(points)
        return points

    def _check_phases(self, points):
        magnitudes = np.empty(points.shape[1])
        kernel("column_magnitudes", like=points)(points, magnitudes)
        self.packed.check_phases(magnitudes)

    def _weigh(self, moments):
        """M times `moments`, (m,); a metric works on the host."""
        return (
            moments
            if self.metric is None
            else to_device_of(self.metric.apply(to_host(moments)), moments)
        )

    def _sketch_density(self, prior, x, energy):
        """S_X mu, (m,) complex."""
        weights = np.exp(prior.log_scale - energy)
        weights -= self.offset
        return self.base + (self.scale / len(x)) * self.packed.sum(x, weights)

    def _profiled_log_scale(self, x, energy):
        """The a that minimises r* M r, r = S_X mu - z, in closed form: the objective is quadratic in exp(a)."""
        unit = (self.scale / len(x)) * self.packed.sum(x, np.exp(-energy))
        rest = self.z - self.base
        if self.offset:
            rest = rest + (self.scale / len(x)) * self.offset * self.packed.sum(
                x, np.empty(0, x.dtype, like=x)
            )
        weighted = self._weigh(unit)
        power = _inner(weighted, unit)
        return np.log(max(_inner(weighted, rest) / power, MIN_SCALE) if power > 0 else MIN_SCALE)


def _inner(a, b):
    """Re <a, b>. Not `vdot`: BLAS threads that wait for more work would take the cores from the kernels' threads."""
    return float((a.real * b.real + a.imag * b.imag).sum())


def grid_gradient(prior, sketch, domain, points_per_axis=20, log_scale="learned", metric=None):
    """Value and gradient of G on the fixed grid of cell centres: exact for the discretised G, at points_per_axis^d points.

    Parameters
    ----------
    prior : MLPPrior
        Without a reference measure.
    sketch : Sketch
    domain : Box
    points_per_axis : int
    log_scale : {"learned", "profiled", "normalised", "fixed"}
        Whether a has a gradient like any parameter, is first set to its minimiser in closed form, is set to give the
        density mass one over the points, or stays as it is (0 in a new prior, which is the paper's model). Profiling
        and normalising write ``prior.log_scale``.
    metric : WhitenedMetric, optional
        M of the objective r* M r; the identity by default.

    Returns
    -------
    value : float
        G on the grid.
    gradient : array (P,)
        With respect to ``prior.theta``, and where that is: the work is done on the device for a CuPy array.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit together; phases that would lose all their digits in the precision of the prior.

    Notes
    -----
    The discretisation that arXiv 2310.03085 starts from. Memory, here and in the two stochastic gradients:
    the sum of the widths, in numbers, for every point, and 16 partial gradients.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> sk = fastcl.sketch(np.zeros((1, 1)), [[1.0], [2.0]])
    >>> prior = fastcl.MLPPrior(dim=1, widths=(8,), rng=0, dtype=np.float64)
    >>> prior.theta[:] = 0  # the density is 1 everywhere
    >>> value, gradient = fastcl.grid_gradient(prior, sk, fastcl.Box([-np.pi], [np.pi]), points_per_axis=64)
    >>> round(value, 6)  # both moments of the uniform law vanish, those of the data are 1
    2.0
    """
    return _gradient(prior, sketch, domain, "grid", points_per_axis, None, log_scale, metric)


def naive_gradient(
    prior, sketch, domain, n_points=4096, rng=None, log_scale="learned", metric=None
):
    """Value and gradient of G at fresh random points, the same ones for the residual and the gradient.

    Its mean is the gradient of E||S_X mu - z||^2: that of G plus that of the variance of S_X mu.

    Parameters
    ----------
    prior, sketch, log_scale, metric
        As in `grid_gradient`; the prior may have a reference measure.
    domain : Box or reference measure
        The latter that of the prior.
    n_points : int
        Points drawn from the domain.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    value : float
    gradient : array (P,)
        As `grid_gradient`.

    Raises
    ------
    TypeError, ValueError
        As `grid_gradient`; n_points below 1.

    Notes
    -----
    Naive CL-SGD, arXiv 2310.03085.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> sk = fastcl.sketch(np.zeros((1, 2)), fastcl.draw_frequencies(20, dim=2, scale=1.0, rng=0))
    >>> prior, box = fastcl.MLPPrior(dim=2, widths=(8,), rng=0), fastcl.Box([-1, -1], [1, 1])
    >>> value, gradient = fastcl.naive_gradient(prior, sk, box, n_points=100, rng=0)
    >>> value >= 0, gradient.dtype
    (True, dtype('float32'))
    """
    return _gradient(prior, sketch, domain, "naive", n_points, rng, log_scale, metric)


def unbiased_gradient(
    prior, sketch, domain, n_points=4096, rng=None, log_scale="learned", metric=None
):
    """Unbiased value and gradient of G: the residual at n_points random points, the gradient at n_points others.

    Parameters
    ----------
    prior, sketch, domain, n_points, rng, metric
        As in `naive_gradient`.
    log_scale : {"learned", "profiled", "normalised", "fixed"}
        As in `grid_gradient`. If "profiled", the scale follows from the points of the residual, and the gradient is unbiased
        given that scale; if "normalised", either set of points has mass one.

    Returns
    -------
    value : float
    gradient : array (P,)
        As `grid_gradient`.

    Raises
    ------
    TypeError, ValueError
        As `grid_gradient`; n_points below 1.

    Notes
    -----
    Unbiased CL-SGD, arXiv 2310.03085.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.draw_frequencies(50, dim=1, scale=0.5, rng=0)
    >>> sk = fastcl.sketch(np.random.default_rng(0).uniform(-1, 1, (1000, 1)), omega)
    >>> prior = fastcl.MLPPrior(dim=1, widths=(16,), rng=0)
    >>> value, gradient = fastcl.unbiased_gradient(prior, sk, fastcl.Box([-1], [1]), n_points=256, rng=0)
    >>> gradient.shape == prior.theta.shape
    True
    """
    return _gradient(prior, sketch, domain, "unbiased", n_points, rng, log_scale, metric)


def _gradient(prior, sketch, domain, method, points, rng, log_scale, metric):
    dtype, like = (prior.dtype, prior.theta) if isinstance(prior, MLPPrior) else (np.float32, None)
    objective = SketchMatching(sketch, domain, dtype, metric, like)
    objective.check(prior)
    return objective.gradient(prior, method, points, as_generator(rng), log_scale)
