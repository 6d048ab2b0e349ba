"""Where the points of a stochastic gradient are drawn: a box, or a reference measure that the prior multiplies.

A reference measure can be sampled, has a density and a sketch in closed form; the Gaussian mixtures also have a
posterior under Gaussian noise in closed form.
"""

import numpy as np

from ..backend import to_device_of
from ..validation import as_count, as_generator, as_points, as_vector
from .counter_rng import Stream
from .mixtures import Gaussian, GaussianMixture
from .scale_mixtures import GaussianScaleMixture, MixtureOfScaleMixtures


class Box:
    """The box ``low <= x <= high``, with points drawn uniformly; the domain of arXiv 2310.03085.

    Parameters
    ----------
    low, high : array (d,)
        Opposite corners, in units of x.

    Raises
    ------
    TypeError, ValueError
        Corners that are empty, not finite, of other lengths, or where low is not below high.

    Examples
    --------
    >>> import fastcl
    >>> box = fastcl.Box(low=[-1, -1], high=[1, 1])
    >>> box.dim, box.volume, box.grid(2).tolist()
    (2, 4.0, [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    """

    is_reference = False

    def __init__(self, low, high):
        self.low = as_vector(low, "low")
        self.high = as_vector(high, "high", self.low.size)
        if self.low.size == 0:
            raise ValueError("low is empty")
        if not (self.low < self.high).all():
            raise ValueError("low must be below high in every coordinate")

    def __repr__(self):
        return (
            f"Box(low={self.low.tolist()}, high={self.high.tolist()})"
            if self.dim <= 4
            else f"Box(dim={self.dim})"
        )

    @property
    def dim(self):
        """Dimension d."""
        return self.low.size

    @property
    def volume(self):
        """Product of the sides."""
        return float(np.prod(self.high - self.low))

    def sample(self, n, rng=None, dtype=np.float64, like=None):
        """n points drawn uniformly, (n, d), on the device where `like` is a CuPy array."""
        stream = rng if isinstance(rng, Stream) else Stream(as_generator(rng).integers(2**63))
        return stream.uniform(n, self.low, self.high, dtype, like)

    def propose(self, x, step, rng):
        """(y, 0): a random walk of `step` half-sides from x, reflected at the walls."""
        side = (self.high - self.low).astype(x.dtype)
        y = x + rng.standard_normal(x.shape, dtype=x.dtype) * (x.dtype.type(step / 2) * side)
        y = np.abs(
            (y - self.low.astype(x.dtype)) % (2 * side) - side
        )  # folded: distance to the upper wall
        return np.clip(self.high.astype(x.dtype) - y, self.low, self.high).astype(x.dtype), 0

    def log_density(self, x):
        """Log-density of the uniform law, (n,): -log(volume) inside, -inf outside."""
        x = as_points(x, "x", self.dim)
        inside = ((x >= to_device_of(self.low, x)) & (x <= to_device_of(self.high, x))).all(axis=1)
        return np.where(inside, -np.log(self.volume), -np.inf).astype(x.dtype)

    def sketch(self, omega):
        """Sketch of the uniform law in closed form, (m,) complex: a product of sinc."""
        omega = as_points(omega, "omega", self.dim)
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return np.exp(-1j * (omega * middle).sum(axis=1)) * np.sinc(omega * half / np.pi).prod(
            axis=1
        )

    @property
    def centre(self):
        """Mean of the uniform law, (d,)."""
        return (self.high + self.low) / 2

    def pair_sketches(self, omega):
        """The sketch around the centre at omega_l - omega_l' and omega_l + omega_l': two real (m, m) arrays."""
        half = (self.high - self.low) / (2 * np.pi)
        minus, plus = np.empty((2, len(omega), len(omega)))
        for i, row in enumerate(omega):
            minus[i] = np.sinc((row - omega) * half).prod(axis=1)
            plus[i] = np.sinc((row + omega) * half).prod(axis=1)
        return minus, plus

    def grid(self, points_per_axis, dtype=np.float64):
        """The centres of `points_per_axis` equal cells along every axis, (points_per_axis ** d, d)."""
        k = as_count(points_per_axis, "points_per_axis")
        axes = [
            low + (high - low) * (np.arange(k) + 0.5) / k
            for low, high in zip(self.low, self.high, strict=True)
        ]
        return (
            np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dim).astype(dtype)
        )

    def to_arrays(self):
        """What a file keeps of the domain: name -> array."""
        return {"kind": "box", "low": self.low, "high": self.high}


def merge_domains(a, b):
    """The domain of data of which parts lie in a and in b: a common box, equal measures, the only one there is, or None."""
    if a is None or b is None:
        return a or b
    if isinstance(a, Box) and isinstance(b, Box):
        return Box(np.minimum(a.low, b.low), np.maximum(a.high, b.high))
    first, second = a.to_arrays(), b.to_arrays()
    same = first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )
    return a if same else None


def domain_from_arrays(arrays):
    """The domain whose `to_arrays` gave `arrays`; ValueError where they are not one."""
    try:
        kind = str(arrays["kind"])
        if kind == "box":
            return Box(arrays["low"], arrays["high"])
        if kind == "gaussian_mixture":
            mixture = GaussianMixture(arrays["weights"], arrays["means"], arrays["covariances"])
            return (
                mixture
                if len(mixture.weights) > 1
                else Gaussian(mixture.means[0], mixture.covariances[0])
            )
        if kind == "gaussian_scale_mixture":
            return GaussianScaleMixture(arrays["covariance"], arrays["scales"], arrays["weights"])
        if kind == "mixture_of_scale_mixtures":
            return MixtureOfScaleMixtures(
                arrays["covariances"], arrays["scales"], arrays["weights"]
            )
    except KeyError as error:
        raise ValueError(f"not a domain: {error} is missing") from None
    raise ValueError(f"not a domain: unknown kind {kind!r}")
