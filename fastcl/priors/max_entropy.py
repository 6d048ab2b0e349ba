"""The maximum-entropy density with the moments of a sketch: a convex problem without a network.

Among all densities with given moments z, the one with maximum entropy relative to a reference q has
the form ``q exp(A* c)``, and c solves ``min_c log E_q exp(A* c) - Re <c, z>``. The same c maximises
the likelihood, in which the data appear only through their sketch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import kernel
from ..files import Arrays, part_from, parts_of
from ..fourier.operator import PackedOperator
from ..fourier.structured import as_frequencies, frequencies_from_arrays, frequencies_to_arrays
from ..measures.base import ReferenceMeasure
from ..progress import progress_bar
from ..sketching.sketch import Sketch
from ..validation import as_array, as_count, as_points, as_positive
from .base import Prior, check_reference
from .chains import Chains
from .metric import WhitenedMetric

N_POINTS = 4096  # number of chains by default
FEATURE_VARIANCE = 0.5  # of the real or imaginary part of a feature, about
MAX_COEFFICIENTS = 1e30  # sum of magnitudes beyond which energies overflow float32


class MaxEntropyPrior(Prior, kind="max-entropy-prior"):
    """The unnormalised density ``q(x) exp(h(x))``, ``h(x) = Re sum_l c_l exp(i <omega_l, x>)``.

    Parameters
    ----------
    omega : array (m, d), or structured frequencies
        Frequencies, radians per unit of x.
    c : array (m,), complex
        Coefficients.
    reference : ReferenceMeasure
        q.

    Attributes
    ----------
    interrupted : bool
        Whether a KeyboardInterrupt ended the learning early.

    Raises
    ------
    TypeError, ValueError
        omega or c not finite, or of different lengths; no reference measure, or one of another
        dimension.

    Examples
    --------
    >>> import fastcl
    >>> prior = fastcl.MaxEntropyPrior([[1.0]], [0.5], fastcl.Gaussian([0.0], [[1.0]]))
    >>> prior.energy([[0.0]]), prior.energy_grad([[0.0]])
    (array([-0.5]), array([[0.]]))
    """

    reference: ReferenceMeasure
    strict = True

    def __init__(self, omega: ArrayLike, c: ArrayLike, reference: ReferenceMeasure) -> None:
        self.omega = as_frequencies(omega).copy()
        self.c = as_array(c, "c", kinds="fiubc").astype(np.complex128)
        if self.c.shape != (len(self.omega),) or not np.isfinite(self.c).all():
            raise ValueError(
                f"c must hold {len(self.omega)} finite coefficients, one per frequency, "
                f"got shape {self.c.shape}"
            )
        check_reference(reference, self.omega.shape[1])
        self.reference = reference
        self.interrupted = False
        self._operators: dict = {}

    @property
    def dim(self) -> int:
        """Dimension d of the points."""
        return self.omega.shape[1]

    def operator(self, dtype: np.dtype) -> PackedOperator:
        """The feature operator of the frequencies for points of `dtype`, made once."""
        if dtype not in self._operators:
            self._operators[dtype] = PackedOperator.pack(self.omega, dtype)
        return self._operators[dtype]

    def energy(self, x: ArrayLike) -> NDArray:
        """-h(x), (n,), in the type of x, for x (n, d)."""
        x = as_points(x, "x", self.dim)
        return self.operator(x.dtype).adjoint(x, -self.c, np.empty(len(x), x.dtype))

    def energy_and_grad(self, x: ArrayLike) -> tuple[NDArray, NDArray]:
        """(-h(x) (n,), its gradient with respect to x (n, d))."""
        x = as_points(x, "x", self.dim)
        freqs = self.operator(x.dtype).freqs
        energy, gradient = np.empty(len(x), x.dtype), np.empty_like(x)
        ones, zeros = np.ones(len(x), x.dtype), np.zeros(len(x), x.dtype)
        real = np.ascontiguousarray(-self.c.real, x.dtype)
        imag = np.ascontiguousarray(-self.c.imag, x.dtype)
        kernel("sum_gradient", like=x)(x, freqs, ones, zeros, real, imag, energy, gradient)
        gradient *= x.dtype.type(2 * np.pi)
        return energy, gradient

    def __repr__(self) -> str:
        return f"MaxEntropyPrior(m={len(self.omega)}, dim={self.dim}, reference={self.reference})"

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        arrays = frequencies_to_arrays(self.omega) | {"c": self.c}
        return arrays | parts_of("reference", self.reference)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> MaxEntropyPrior:
        """The prior whose `to_arrays` gave `arrays`; ValueError if they do not fit together."""
        reference = part_from("reference", arrays, ReferenceMeasure)
        return cls(frequencies_from_arrays(arrays), arrays["c"], reference)


def max_entropy(
    sketch: Sketch,
    reference: ReferenceMeasure,
    ridge: float = 0.01,
    step_size: float = 0.1,
    n_points: int = N_POINTS,
    n_iter: int = 300,
    rng: Any = None,
    progress: bool = False,
) -> MaxEntropyPrior:
    """Learn the density with the moments of a sketch that has maximum entropy relative to q.

    Every step moves c by the residual of the moments, whitened by their covariance under the
    reference q. The moments of the current density are means over Markov chains, and the result is
    the mean of c over the second half of the steps.

    Parameters
    ----------
    sketch : Sketch
        The moments to match.
    reference : ReferenceMeasure
        q.
    ridge : float
        Added to the variances of the features, which are about one half. The larger it is, the
        less closely the density matches moments that the sketch hardly resolves. Moments from which
        noise was taken have larger ones, see `Sketch.weights`.
    step_size : float
        1 is a Newton step at the reference. It falls to zero over the second half of the steps.
    n_points : int
        Number of chains.
    n_iter : int
        Number of steps.
    rng : int or numpy.random.Generator, optional
        Seed or generator of the chains.
    progress : bool
        Whether to show a progress bar, if tqdm is installed. A KeyboardInterrupt then ends the
        descent early.

    Returns
    -------
    MaxEntropyPrior
        The density. After a KeyboardInterrupt it is what has been learned so far, and its
        `interrupted` is True.

    Raises
    ------
    TypeError, ValueError
        A sketch without points; a reference of another dimension; another number not above zero.
    FloatingPointError
        The coefficients diverged: take a smaller `step_size` or a larger `ridge`.

    Notes
    -----
    The principle is due to Jaynes, 1957, and stochastic approximation with chains to Younes,
    "Parametric inference for imperfectly observed Gibbsian fields", 1989. Memory: that of
    `WhitenedMetric`, and a few arrays of n_points d numbers.

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
    if not isinstance(reference, ReferenceMeasure):
        raise TypeError(f"reference must be a reference measure, got {type(reference).__name__}")
    if reference.dim != sketch.dim:
        raise ValueError(f"reference has dimension {reference.dim}, the sketch {sketch.dim}")
    ridge = as_positive(ridge, "ridge")
    step_size = as_positive(step_size, "step_size")
    n_points = as_count(n_points, "n_points")
    n_iter = as_count(n_iter, "n_iter")
    z = sketch.values
    chains = Chains(reference, n_points, rng)
    metric = WhitenedMetric(sketch.omega, reference, _ridges(ridge, sketch))
    prior = MaxEntropyPrior(sketch.omega, np.zeros_like(z), reference)
    with progress_bar(progress, n_iter, "maximum entropy", "step") as bar:
        return ascend(prior, z, metric, chains, step_size, n_iter, bar)


def _ridges(ridge: float, sketch: Sketch) -> float | NDArray:
    """`ridge`, or one per frequency if moments have errors of their own (`Sketch.weights`)."""
    if sketch.noise is None:
        return ridge
    return ridge + FEATURE_VARIANCE * (1 / sketch.weights - 1)


@np.errstate(under="ignore")
def ascend(
    prior: MaxEntropyPrior,
    z: NDArray,
    metric: WhitenedMetric,
    chains: Chains,
    step_size: float,
    n_iter: int,
    bar: Any = None,
) -> MaxEntropyPrior:
    """Take `n_iter` steps, from the current c on, that bring the moments of a density to z (m,).

    The result has the mean of c over the second half of the steps. With a progress bar, a
    KeyboardInterrupt ends the steps early.
    """
    operator = prior.operator(chains.points.dtype)
    weights = np.full(len(chains.points), 1 / len(chains.points), chains.points.dtype)
    mean, averaged = np.zeros_like(prior.c), 0
    try:
        for k in range(n_iter):
            chains.advance(prior)
            residual = z - operator.sum(chains.points, weights)
            prior.c = prior.c + step_size * min(1, 2 * (1 - k / n_iter)) * metric.apply(residual)
            if not np.abs(prior.c).sum() < MAX_COEFFICIENTS:
                raise FloatingPointError(
                    f"the coefficients diverged at step {k}: take a smaller step_size or a larger "
                    "ridge"
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
