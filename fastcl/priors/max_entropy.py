"""The density of largest entropy relative to a reference among those with a given sketch: convex, without a network."""

import numpy as np

from .. import files
from ..backend import kernel
from ..fourier.features import FeatureOperator
from ..fourier.structured import frequencies_from_arrays, frequencies_to_arrays
from ..measures.box import domain_from_arrays
from ..progress import progress_bar
from ..sketching.sketch import Sketch
from ..validation import as_array, as_count, as_frequencies, as_points, as_positive
from .chains import Chains
from .metric import WhitenedMetric

POINTS = 8192


class MaxEntropyPrior:
    """The unnormalised density ``q(x) exp(h(x))``, ``h(x) = Re sum_l c_l exp(i <omega_l, x>)``, q a reference measure.

    Parameters
    ----------
    omega : array (m, d)
        Frequencies, radians per unit of x.
    c : array (m,), complex
        Coefficients.
    reference : reference measure

    Attributes
    ----------
    interrupted : bool
        Whether a KeyboardInterrupt ended the learning early.

    Raises
    ------
    TypeError, ValueError
        omega or c not finite, or of other lengths; a reference that is none, or of another dimension.

    Examples
    --------
    >>> import fastcl
    >>> prior = fastcl.MaxEntropyPrior([[1.0]], [0.5], fastcl.Gaussian([0.0], [[1.0]]))
    >>> prior.energy([[0.0]]), prior.energy_grad([[0.0]])
    (array([-0.5]), array([[0.]]))
    """

    log_scale = 0.0  # the density is not normalised

    def __init__(self, omega, c, reference):
        self.omega = as_frequencies(omega)
        self.c = as_array(c, "c", kinds="fiubc").astype(np.complex128)
        if self.c.shape != (len(self.omega),) or not np.isfinite(self.c).all():
            raise ValueError(
                f"c must hold {len(self.omega)} finite coefficients, one a frequency, got shape {self.c.shape}"
            )
        if not getattr(reference, "is_reference", False) or reference.dim != self.omega.shape[1]:
            raise ValueError(
                f"reference must be a reference measure of dimension {self.omega.shape[1]}, got {reference!r}"
            )
        self.reference, self.interrupted = reference, False
        self._packed = {}

    @property
    def dim(self):
        """Dimension d of the points."""
        return self.omega.shape[1]

    def _pack(self, dtype):
        if dtype not in self._packed:
            self._packed[dtype] = FeatureOperator.pack(self.omega, dtype)
        return self._packed[dtype]

    def energy(self, x):
        """-h(x), (n,), in the type of x, for x (n, d)."""
        x = as_points(x, "x", self.dim)
        return self._pack(x.dtype).adjoint(x, -self.c, np.empty(len(x), x.dtype))

    def energy_grad(self, x):
        """Gradient of -h with respect to x, (n, d), in the type of x."""
        return self.energy_and_grad(x)[1]

    def energy_and_grad(self, x):
        """(-h(x) (n,), its gradient with respect to x (n, d))."""
        x = as_points(x, "x", self.dim)
        freqs, energy, gradient = (
            self._pack(x.dtype).freqs,
            np.empty(len(x), x.dtype),
            np.empty_like(x),
        )
        ones, zeros = np.ones(len(x), x.dtype), np.zeros(len(x), x.dtype)
        real, imag = (
            np.ascontiguousarray(-self.c.real, x.dtype),
            np.ascontiguousarray(-self.c.imag, x.dtype),
        )
        kernel("sum_gradient", like=x)(x, freqs, ones, zeros, real, imag, energy, gradient)
        gradient *= x.dtype.type(2 * np.pi)
        return energy, gradient

    def log_density(self, x):
        """h(x) plus the log-density of the reference, (n,), unnormalised."""
        return self.reference.log_density(x) - self.energy(x)

    def __repr__(self):
        return f"MaxEntropyPrior(m={len(self.omega)}, dim={self.dim}, reference={self.reference})"

    def to_arrays(self):
        """What `save` writes: name -> array."""
        return (
            frequencies_to_arrays(self.omega)
            | {"c": self.c}
            | files.with_prefix("reference", self.reference.to_arrays())
        )

    @classmethod
    def from_arrays(cls, arrays):
        """The prior whose `to_arrays` gave `arrays`; ValueError where they do not fit together."""
        try:
            reference = domain_from_arrays(files.without_prefix("reference", arrays))
            return cls(frequencies_from_arrays(arrays), arrays["c"], reference)
        except KeyError as error:
            raise ValueError(f"not a maximum-entropy prior: {error} is missing") from None

    def save(self, path):
        """Write the prior to an npz file, atomically; `fastcl.load_prior` reads it."""
        files.write_npz(path, "max-entropy-prior", self.to_arrays())


def max_entropy(
    sketch, reference, ridge=0.01, step=0.1, n_points=POINTS, n_iter=300, rng=None, progress=False
):
    """Learn the density of largest entropy relative to a reference that has the moments of a sketch.

    Among all densities with these moments it is the only one of the form ``q exp(A* c)``, and c solves the convex problem
    ``min_c log E_q exp(A* c) - Re <c, z>``: it is also the maximum of the likelihood over all c, of which the data enter
    by their sketch alone. Every step moves c by the residual of the moments, whitened by their covariance under q; the
    moments of the current density are means over Markov chains, and the result is the mean of c over the second half.

    Parameters
    ----------
    sketch : Sketch
    reference : reference measure
    ridge : float
        Of the metric, see `WhitenedMetric`: the larger, the less weakly resolved moments are followed.
    step : float
        Of the descent: 1 is Newton's step at q. It falls to zero over the second half.
    n_points : int
        Number of chains.
    n_iter : int
    rng : int or numpy.random.Generator, optional
    progress : bool

    Returns
    -------
    MaxEntropyPrior
        A KeyboardInterrupt ends the descent early and returns what has been learned so far.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit together.
    FloatingPointError
        The coefficients are not finite: take a smaller step or a larger ridge.

    Notes
    -----
    Jaynes 1957; the stochastic approximation with chains is that of Younes, "Parametric inference for imperfectly
    observed Gibbsian fields", 1989. Memory: that of the metric, and some vectors of n_points d numbers.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> x = np.random.default_rng(0).uniform(-1, 1, (20000, 1))
    >>> q = fastcl.Gaussian([0.0], [[1.0]])
    >>> sk = fastcl.sketch(x, np.linspace(0.5, 6, 12)[:, None])
    >>> prior = fastcl.max_entropy(sk, q, n_points=2000, n_iter=60, rng=0)
    >>> gain = (prior.log_density(x) - q.log_density(x)).mean() - fastcl.log_normaliser(prior)
    >>> bool(gain > 0.2)
    True
    """
    if not isinstance(sketch, Sketch):
        raise TypeError(f"sketch must be a fastcl.Sketch, got {type(sketch).__name__}")
    if not getattr(reference, "is_reference", False):
        raise TypeError(f"reference must be a reference measure, got {type(reference).__name__}")
    if reference.dim != sketch.dim:
        raise ValueError(f"reference has dimension {reference.dim}, the sketch {sketch.dim}")
    ridge, step = as_positive(ridge, "ridge"), as_positive(step, "step")
    n_points, n_iter = as_count(n_points, "n_points"), as_count(n_iter, "n_iter")
    z, chains = sketch.values, Chains(reference, n_points, rng)
    metric = WhitenedMetric(sketch.omega, reference, ridge)
    with progress_bar(progress, n_iter, "maximum entropy", "step") as bar:
        return ascend(
            z, sketch.omega, np.zeros_like(z), reference, metric, chains, step, n_iter, bar
        )


def ascend(z, omega, c, reference, metric, chains, step, n_iter, bar=None):
    """The density of mean c over the second half of `n_iter` steps that bring its moments to z, (m,)."""
    prior, mean, averaged = MaxEntropyPrior(omega, c, reference), np.zeros_like(c), 0
    packed, weights = (
        prior._pack(chains.points.dtype),
        np.full(len(chains.points), 1 / len(chains.points), chains.points.dtype),
    )
    try:
        for k in range(n_iter):
            chains.advance(prior)
            residual = z - packed.sum(chains.points, weights)
            prior.c = prior.c + step * min(1, 2 * (1 - k / n_iter)) * metric.apply(residual)
            if not np.isfinite(prior.c).all():
                raise FloatingPointError(
                    f"the coefficients diverged at step {k}: take a smaller step or a larger ridge"
                )
            if 2 * k >= n_iter:
                averaged += 1
                mean += (prior.c - mean) / averaged
            if bar is not None:
                bar.update(1)
    except KeyboardInterrupt:
        if bar is None:
            raise
        prior.interrupted = True
    prior.c = mean if averaged else prior.c
    return prior
