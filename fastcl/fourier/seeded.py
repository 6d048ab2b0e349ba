"""Frequencies of which a file keeps the seed alone."""

import numpy as np

from ..validation import as_choice, as_count, as_positive
from .radii import LAWS, draw_free
from .structured import StructuredFrequencies

MAX_NUMBERS = (
    1 << 26
)  # 512 MiB as an array: a file of a few bytes must not take any amount of memory


class SeededFrequencies(StructuredFrequencies, kind="seeded"):
    """m independent frequencies that follow from a seed: a sketch's file is then as small as its moments.

    They are rounded to single precision, for the last bits of logarithms and roots are not the same on every machine. Where a
    version of NumPy draws other numbers from the same seed, the fingerprint of a sketch tells.

    Parameters
    ----------
    m, dim, scale, law
        As of `draw_frequencies`.
    seed : int
        From 0 to 2^63 - 1.

    Raises
    ------
    TypeError, ValueError
        As `draw_frequencies`; a seed out of its range; more than 2^26 numbers.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.SeededFrequencies(1000, 30, 0.5, "gaussian", seed=7)
    >>> np.asarray(omega).shape, sum(np.asarray(kept).size for kept in omega.to_arrays().values())
    ((1000, 30), 6)
    """

    def __init__(self, m, dim, scale, law, seed):
        self.shape = as_count(m, "m"), as_count(dim, "dim")
        if self.shape[0] * self.shape[1] > MAX_NUMBERS:
            raise ValueError(
                f"m x dim must be at most {MAX_NUMBERS}, got {self.shape[0]} x {self.shape[1]}"
            )
        self.scale, self.law = as_positive(scale, "scale"), as_choice(law, "law", LAWS)
        self.seed = as_count(seed, "seed", least=0)
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2^63, got {seed}")

    def __repr__(self):
        return f"SeededFrequencies(m={len(self)}, dim={self.shape[1]}, scale={self.scale}, law={self.law!r}, seed={self.seed})"

    def _dense(self):
        with np.errstate(over="ignore"):  # what single precision cannot hold is refused as infinite
            drawn = draw_free(
                *self.shape, self.scale, self.law, np.random.default_rng(self.seed)
            ).astype(np.float32)
        return drawn.astype(np.float64)

    def to_arrays(self):
        """What a file keeps of the frequencies: name -> array."""
        numbers = {
            "m": np.int64(len(self)),
            "dim": np.int64(self.shape[1]),
            "seed": np.int64(self.seed),
        }
        return {"kind": "seeded", "law": self.law, "scale": np.float64(self.scale)} | numbers

    @classmethod
    def from_arrays(cls, arrays):
        """The frequencies whose `to_arrays` gave `arrays`."""
        m, dim, seed = (int(arrays[name]) for name in ("m", "dim", "seed"))
        return cls(m, dim, float(arrays["scale"]), str(arrays["law"]), seed)

    def pack(self, dtype, like):
        """None: the direct kernels serve them."""
        return None
