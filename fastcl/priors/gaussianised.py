"""A prior learned in the coordinates in which a Gaussian scale mixture is standard normal, seen from the data."""

import numpy as np

from .. import files
from ..measures.box import domain_from_arrays
from ..measures.mixtures import Gaussian
from ..measures.scale_mixtures import GaussianScaleMixture
from .chains import draw_samples
from .max_entropy import MaxEntropyPrior
from .mlp import MLPPrior


def standard_normal(dim):
    """The reference measure N(0, I) in `dim` dimensions."""
    return Gaussian(np.zeros(dim), np.eye(dim))


class GaussianisedPrior:
    """The density ``q(x) exp(a - R(T(x)))``: q a Gaussian scale mixture, T its `gaussianise`, R learned for T(x).

    Parameters
    ----------
    prior : MLPPrior or MaxEntropyPrior
        Of T(x), with a standard normal reference.
    reference : GaussianScaleMixture

    Raises
    ------
    TypeError, ValueError
        Another kind of prior or reference, or other dimensions.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> q = fastcl.GaussianScaleMixture(np.eye(2), [0.5, 2.0], [0.5, 0.5])
    >>> inner = fastcl.MaxEntropyPrior([[1.0, 0.0]], [0.3], fastcl.Gaussian([0, 0], np.eye(2)))
    >>> prior = fastcl.GaussianisedPrior(inner, q)
    >>> bool(np.isclose(prior.log_density([[1.0, 2.0]]), q.log_density([[1.0, 2.0]]) - prior.energy([[1.0, 2.0]]))[0])
    True
    """

    def __init__(self, prior, reference):
        if not isinstance(reference, GaussianScaleMixture):
            raise TypeError(
                f"reference must be a GaussianScaleMixture, got {type(reference).__name__}"
            )
        if not hasattr(prior, "energy_and_grad") or prior.reference is None:
            raise TypeError(
                f"prior must be an MLPPrior or MaxEntropyPrior with a standard normal reference, got {prior!r}"
            )
        if prior.dim != reference.dim:
            raise ValueError(f"prior has dimension {prior.dim}, the reference {reference.dim}")
        self.prior, self.reference = prior, reference

    def __repr__(self):
        return f"GaussianisedPrior(prior={self.prior}, reference={self.reference})"

    @property
    def dim(self):
        """Dimension d of the points."""
        return self.reference.dim

    @property
    def log_scale(self):
        """The a of the inner prior."""
        return self.prior.log_scale

    def energy(self, x):
        """R(T(x)), (n,), for x (n, d)."""
        return self.prior.energy(self.reference.gaussianise(x))

    def energy_grad(self, x):
        """Gradient of R(T(x)) with respect to x, (n, d)."""
        return self.energy_and_grad(x)[1]

    def energy_and_grad(self, x):
        """(R(T(x)) (n,), its gradient with respect to x (n, d))."""
        energy, gradient = self.prior.energy_and_grad(self.reference.gaussianise(x))
        return energy, self.reference.pull_back(x, gradient)

    def log_density(self, x):
        """a - R(T(x)) plus the log-density of the reference, (n,), unnormalised."""
        return self.log_scale - self.energy(x) + self.reference.log_density(x)

    def sample(self, n, rng=None, dtype=np.float32):
        """n points of the density, (n, d), from Markov chains: see `draw_samples`."""
        return self.reference.degaussianise(draw_samples(self.prior, n, rng, dtype))

    def to_arrays(self):
        """What `save` writes: name -> array."""
        return files.with_prefix("inner", self.prior.to_arrays()) | files.with_prefix(
            "outer", self.reference.to_arrays()
        )

    @classmethod
    def from_arrays(cls, arrays):
        """The prior whose `to_arrays` gave `arrays`; ValueError where they do not fit together."""
        inner, outer = (files.without_prefix(name, arrays) for name in ("inner", "outer"))
        if not inner or not outer:
            raise ValueError("not a prior: its arrays are missing")
        return cls(prior_from_arrays(inner), domain_from_arrays(outer))

    def save(self, path):
        """Write the prior to an npz file, atomically; `fastcl.load_prior` reads it."""
        files.write_npz(path, "gaussianised-prior", self.to_arrays())


def prior_from_arrays(arrays):
    """The prior or reference measure whose `to_arrays` gave `arrays`; ValueError where they are none."""
    if "kind" in arrays:
        return domain_from_arrays(arrays)
    if "sizes" in arrays:
        return MLPPrior.from_arrays(arrays)
    if "c" in arrays:
        return MaxEntropyPrior.from_arrays(arrays)
    return GaussianisedPrior.from_arrays(arrays)
