"""The uniform measure on a box, the domain of arXiv 2310.03085."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import to_device_of
from ..files import Arrays, Storable
from ..validation import (
    as_count,
    as_float_dtype,
    as_generator,
    as_points,
    as_vector,
    check_lengths,
)
from .base import ReferenceMeasure, check_sketch
from .counter_rng import Stream
from .pointwise import Pointwise


class Box(Pointwise, Storable, kind="box"):
    """The box ``low <= x <= high``, in which points are drawn uniformly.

    A prior over a box is a density with respect to volume: unlike a reference measure, the box is
    not a factor of the density.

    Parameters
    ----------
    low, high : array (d,)
        Lower and upper corner, in units of x.

    Raises
    ------
    TypeError, ValueError
        Corners that are empty, not finite or of different lengths, or low not below high.

    Examples
    --------
    >>> import fastcl
    >>> box = fastcl.Box(low=[-1, -1], high=[1, 1])
    >>> box.dim, box.volume, box.grid(2).tolist()
    (2, 4.0, [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    """

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        self.low = as_vector(low, "low").copy()
        if self.low.size == 0:
            raise ValueError("low is empty")
        self.high = as_vector(high, "high", self.low.size).copy()
        if not (self.low < self.high).all():
            raise ValueError("low must be below high in every coordinate")
        with np.errstate(over="ignore"):
            check_lengths(self.high - self.low, "high - low")
        check_lengths(np.maximum(1, np.abs([self.low, self.high])), "magnitudes of low and high")

    def __repr__(self) -> str:
        if self.dim > 4:
            return f"Box(dim={self.dim})"
        return f"Box(low={self.low.tolist()}, high={self.high.tolist()})"

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self.low.size

    @property
    def volume(self) -> float:
        """Product of the sides; ValueError if float64 cannot hold it."""
        with np.errstate(over="ignore", under="ignore"):
            volume = float(np.prod(self.high - self.low))
        if not 0 < volume < np.inf:
            raise ValueError("the volume of the box is beyond float64: change the unit of the data")
        return volume

    @property
    def log_volume(self) -> float:
        """Logarithm of the volume."""
        return float(np.log(self.high - self.low).sum())

    @property
    def centre(self) -> NDArray:
        """Mean of the uniform distribution, (d,)."""
        return (self.high + self.low) / 2

    @property
    def walk_scale(self) -> NDArray:
        """Half the sides, (d,): the unit of the steps of `propose`."""
        return (self.high - self.low) / 2

    def sample(
        self, n: int, rng: Any = None, dtype: DTypeLike = np.float64, like: NDArray | None = None
    ) -> NDArray:
        """n uniform points, (n, d), on the device of `like` if that is a CuPy array.

        ValueError if the corners coincide or overflow in `dtype`.
        """
        n, dtype = as_count(n, "n", least=0), as_float_dtype(dtype)
        with np.errstate(over="ignore", under="ignore"):
            sides = self.high.astype(dtype) - self.low.astype(dtype)
        if not ((sides > 0) & np.isfinite(sides)).all():
            raise ValueError(
                f"the corners of the box coincide or overflow in {dtype}: move the origin of the "
                "data into it, and change their unit"
            )
        stream = rng if isinstance(rng, Stream) else Stream(int(as_generator(rng).integers(2**63)))
        return stream.uniform(n, self.low, self.high, dtype, like)

    @np.errstate(under="ignore")
    def propose(self, x: NDArray, step: float, rng: np.random.Generator) -> tuple[NDArray, float]:
        """(y, 0): a random-walk step of `step` half-sides from x, reflected at the walls."""
        side = (self.high - self.low).astype(x.dtype)
        y = x + rng.standard_normal(x.shape, dtype=x.dtype) * (x.dtype.type(step / 2) * side)
        to_upper_wall = np.abs((y - self.low.astype(x.dtype)) % (2 * side) - side)
        y = np.clip(self.high.astype(x.dtype) - to_upper_wall, self.low, self.high)
        return y.astype(x.dtype), 0.0

    def log_density(self, x: ArrayLike) -> NDArray:
        """Log-density of the uniform distribution, (n,): -log(volume) inside, -inf outside.

        A number for one point x (d,).
        """
        x = as_points(x, "x", self.dim)
        inside = ((x >= to_device_of(self.low, x)) & (x <= to_device_of(self.high, x))).all(axis=1)
        return np.where(inside, -self.log_volume, -np.inf).astype(x.dtype)

    @np.errstate(over="ignore", under="ignore", invalid="ignore")
    def sketch(self, omega: ArrayLike) -> NDArray:
        """Sketch of the uniform distribution, (m,) complex: a product of sinc functions."""
        omega = as_points(omega, "omega", self.dim)
        half = (self.high - self.low) / 2
        phases = (omega * self.centre).sum(axis=1)
        return check_sketch(np.exp(-1j * phases) * np.sinc(omega * half / np.pi).prod(axis=1))

    @np.errstate(under="ignore")
    def pair_sketches(self, omega: NDArray) -> tuple[NDArray, NDArray]:
        """The sketch around the centre at omega_l - omega_l' and omega_l + omega_l', (m, m)."""
        half = (self.high - self.low) / (2 * np.pi)
        minus, plus = np.empty((2, len(omega), len(omega)))
        for i, row in enumerate(omega):
            minus[i] = np.sinc((row - omega) * half).prod(axis=1)
            plus[i] = np.sinc((row + omega) * half).prod(axis=1)
        return minus, plus

    def grid(self, points_per_axis: int, dtype: DTypeLike = np.float64) -> NDArray:
        """Centres of a grid of `points_per_axis` equal cells per axis, (points_per_axis^d, d)."""
        k, dtype = as_count(points_per_axis, "points_per_axis"), as_float_dtype(dtype)
        steps = np.arange(k) + 0.5
        sides = zip(self.low, self.high, strict=True)
        axes = [low + (high - low) * steps / k for low, high in sides]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return grid.reshape(-1, self.dim).astype(dtype)

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {"low": self.low, "high": self.high}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Box:
        """The box whose `to_arrays` gave `arrays`."""
        return cls(arrays["low"], arrays["high"])


Domain = Box | ReferenceMeasure  # where a stochastic gradient draws its points


def check_domain(domain: object) -> None:
    """TypeError unless points can be drawn from `domain`."""
    if not isinstance(domain, (Box, ReferenceMeasure)):
        raise TypeError(f"domain must be a Box or a reference measure, got {type(domain).__name__}")


def merge_domains(a: Domain | None, b: Domain | None) -> Domain | None:
    """The domain of merged data: the box around both boxes, the one they share, or None."""
    if a is None or b is None:
        return a or b
    if isinstance(a, Box) and isinstance(b, Box):
        return Box(np.minimum(a.low, b.low), np.maximum(a.high, b.high))
    if a is b:
        return a
    if type(a) is not type(b) or a.kind is None:
        return None
    first, second = a.to_arrays(), b.to_arrays()
    same = first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )
    return a if same else None
