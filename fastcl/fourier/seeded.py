"""Frequencies that a file keeps as a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..validation import as_choice, as_count, as_positive
from .radii import DISTRIBUTIONS, draw_free
from .structured import StructuredFrequencies

if TYPE_CHECKING:
    from typing_extensions import Self

# m x dim at most, 512 MiB as an array: a file of a few bytes must not be able to ask for any amount
# of memory.
MAX_NUMBERS = 1 << 26


class SeededFrequencies(StructuredFrequencies, kind="seeded"):
    """m independent frequencies drawn from a seed, so that the file of a sketch is mostly its sums.

    They are rounded to single precision, because the last bits of logarithms and roots differ
    between machines. Should another version of NumPy draw other numbers from the same seed, the
    fingerprint of the sketch no longer matches and the file is refused.

    Parameters
    ----------
    m : int
        Number of frequencies, at least 1.
    dim : int
        Dimension d of the points.
    scale : float
        Length, in units of x, of the finest structure that the sketch should resolve: radii are
        proportional to 1 / scale.
    law : {"folded_gaussian", "gaussian", "adapted_radius"}
        Distribution of the frequencies, see `draw_frequencies`.
    seed : int
        From 0 to 2^63 - 1.

    Raises
    ------
    TypeError, ValueError
        m, dim or scale not above zero; an unknown law; a seed out of range; m x dim above 2^26.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.SeededFrequencies(1000, 30, 0.5, "gaussian", seed=7)
    >>> np.asarray(omega).shape, sum(np.asarray(kept).size for kept in omega.to_arrays().values())
    ((1000, 30), 5)
    """

    def __init__(self, m: int, dim: int, scale: float, law: str, seed: int) -> None:
        m, dim = as_count(m, "m"), as_count(dim, "dim")
        if m * dim > MAX_NUMBERS:
            raise ValueError(f"m x dim must be at most {MAX_NUMBERS}, got {m} x {dim}")
        self.shape = m, dim
        self.scale = as_positive(scale, "scale")
        self.law = as_choice(law, "law", DISTRIBUTIONS)
        self.seed = as_count(seed, "seed", least=0)
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2^63, got {seed}")

    def __repr__(self) -> str:
        m, dim = self.shape
        return (
            f"SeededFrequencies(m={m}, dim={dim}, scale={self.scale}, law={self.law!r}, "
            f"seed={self.seed})"
        )

    def _dense(self) -> NDArray:
        rng = np.random.default_rng(self.seed)
        with np.errstate(over="ignore"):  # overflow in single precision gives inf, refused later
            drawn = draw_free(*self.shape, self.scale, self.law, rng).astype(np.float32)
        return drawn.astype(np.float64)

    def to_arrays(self) -> files.Arrays:
        """The parts that a file keeps: name -> array."""
        return {
            "m": np.int64(self.shape[0]),
            "dim": np.int64(self.shape[1]),
            "scale": np.float64(self.scale),
            "law": self.law,
            "seed": np.int64(self.seed),
        }

    @classmethod
    def from_arrays(cls, arrays: files.Arrays) -> Self:
        """The frequencies whose `to_arrays` gave `arrays`."""
        m, dim, seed = (int(arrays[name]) for name in ("m", "dim", "seed"))
        return cls(m, dim, float(arrays["scale"]), str(arrays["law"]), seed)
