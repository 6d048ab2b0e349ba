"""Frequencies with a structure that makes them cheaper than as many free ones; they stand wherever an array (m, d) does.

Whatever needs only their numbers reads them as an array, which is made once (m x d, float64).  The two linear maps and all
that rests on them take the structure's own kernels, through `pack`.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np

from .. import files
from ..backend import is_device, kernel, to_device_of, turn
from ..kernels import features, hadamard
from ..kernels.lanes import VECTOR_BYTES
from ..validation import as_array, as_count, as_rows, as_vector

MIN_SIZE = 16  # of a Hadamard block: smaller ones have few directions, and some have none
# A frequency of a Hadamard block costs as much as a direct one in this many dimensions (float32, sum and adjoint together, where
# D = 64; measured 48 for the sum and 40 for the adjoint). It hardly grows with D: log2(D) is a part of it only.
HADAMARD_COST = 45
MAX_HARMONICS = 16  # beyond, the sums of a tile leave the registers and the error of the recurrence grows for nothing


class StructuredFrequencies:
    """What every structure shares: it reads as a float64 array (m, d), is never changed, and is kept in files as it is."""

    is_structured, ndim, dtype = True, 2, np.dtype(np.float64)
    kinds: ClassVar[dict] = {}  # what files call a structure -> its class

    def __init_subclass__(cls, kind):
        cls.kinds[kind] = cls

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.dense, dtype) if copy else np.asarray(self.dense, dtype)

    def __getitem__(self, index):
        return self.dense[index]

    def __eq__(self, other):
        if not isinstance(other, StructuredFrequencies):
            return NotImplemented
        return same_arrays(self.to_arrays(), other.to_arrays())

    __hash__ = None

    def copy(self):
        """Itself: structures do not change."""
        return self

    @cached_property
    def dense(self):
        """The frequencies one by one, float64 (m, d), read-only."""
        dense = self._dense()
        if not np.isfinite(dense).all():
            raise ValueError("omega overflows: its scale is too small")
        dense.flags.writeable = False
        return dense


class HarmonicFrequencies(StructuredFrequencies, kind="harmonic"):
    """The multiples 1..K of g base frequencies: one sine and cosine serves K frequencies.

    Parameters
    ----------
    base : array (g, d)
        Base frequencies, radians per unit of x; frequency ``j K + k - 1`` is ``k base_j``.
    harmonics : int
        K, from 2 to 16. A rounding of the cosine of a base reaches its harmonic k up to k^2 times as large, near whole
        and half turns only; a typical one grows like k.

    Raises
    ------
    TypeError, ValueError
        base not finite, empty or not 2-D; harmonics outside 2..16.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcl.fourier.structured import HarmonicFrequencies
    >>> np.asarray(HarmonicFrequencies([[1.0], [5.0]], 2)).ravel()
    array([ 1.,  2.,  5., 10.])
    """

    def __init__(self, base, harmonics):
        self.harmonics = as_harmonics(harmonics)
        base = np.array(as_rows(base, "base"), np.float64, order="C")
        if not (np.abs(base) <= np.finfo(np.float64).max / self.harmonics).all():
            raise ValueError("base holds NaN, infinity, or frequencies whose harmonics overflow")
        base.flags.writeable = False
        self.base = base
        self.shape = (len(base) * self.harmonics, base.shape[1])

    def __repr__(self):
        return (
            f"HarmonicFrequencies(m={len(self)}, dim={self.shape[1]}, harmonics={self.harmonics})"
        )

    def _dense(self):
        return (self.base[:, None, :] * np.arange(1, self.harmonics + 1)[:, None]).reshape(
            self.shape
        )

    def to_arrays(self):
        """What a file keeps of the frequencies: name -> array."""
        return {"kind": "harmonic", "base": self.base, "harmonics": np.int64(self.harmonics)}

    @classmethod
    def from_arrays(cls, arrays):
        """The frequencies whose `to_arrays` gave `arrays`."""
        return cls(arrays["base"], int(arrays["harmonics"]))

    def pack(self, dtype, like):
        """The layouts that the kernels read, for points of `dtype` that are where `like` is."""
        return HarmonicOperator(self, dtype, like)


class HarmonicOperator:
    """Base frequencies in the unit of the kernels' phases, in the two layouts that the kernels read."""

    def __init__(self, omega, dtype, like):
        self.m, self.harmonics = (
            len(omega),
            (0,) * omega.harmonics,
        )  # the kernels know a tuple's length when compiled
        self.freqs = to_device_of(
            np.multiply(omega.base, turn(like, dtype) / (2 * np.pi)).astype(dtype), like
        )
        self.like = self.freqs
        self.blocks = kernel("frequency_blocks", like=self.freqs)(self.freqs)

    def sum(self, x, weights):
        """(m,) complex128 for x (n, d) contiguous and weights (n,) or (0,), both in the working precision."""
        n, (count, _, lanes) = len(x), self.blocks.shape
        part_rows = kernel("rows_per_part", like=x)(n, self.blocks)
        partial = np.empty((-(-n // part_rows), count, len(self.harmonics), 2, lanes), like=x)
        kernel("harmonic_sum", like=x)(x, weights, self.blocks, self.harmonics, part_rows, partial)
        real, imag = partial.sum(axis=0).transpose(2, 0, 3, 1).reshape(2, -1)[:, : self.m]
        return real + 1j * imag

    def adjoint(self, x, c, out):
        """out (n,) for x (n, d) contiguous and c (m,) complex."""
        c, lanes = to_device_of(c, x), kernel("point_lanes", like=x)(len(x))
        real, imag = (
            part.astype(x.dtype).reshape(-1, len(self.harmonics)) for part in (c.real, c.imag)
        )
        kernel("harmonic_adjoint", like=x)(x, self.freqs, self.harmonics, real, imag, lanes, out)
        return out


class HadamardFrequencies(StructuredFrequencies, kind="hadamard"):
    """Blocks of D frequencies, the first d columns of ``scales x H S_1 H S_2 H S_3``: O(log D) additions a frequency.

    H is the orthonormal Walsh-Hadamard matrix of size D, the S are diagonals of signs. Every row is brought to its radius;
    directions are nearly uniform, and orthogonal within a block where d = D (structured orthogonal random features, Yu et al.,
    arXiv 1610.09072; Le, Sarlos and Smola, "Fastfood", arXiv 1408.3060).

    Parameters
    ----------
    signs : array (blocks, 3, D) of -1 and 1
        D a power of two, at least 16 and at least d.
    radii : array (m,)
        Of the frequencies, radians per unit of x; the last block may be cut.
    dim : int
        d.

    Raises
    ------
    TypeError, ValueError
        Arguments of other shapes or values; signs that leave a frequency without a direction, which small d may have.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.HadamardFrequencies(np.ones((1, 3, 16)), np.full(5, 2.0), dim=16)
    >>> bool(np.allclose(omega[:] @ omega[:].T, 4 * np.eye(5)))
    True
    """

    def __init__(self, signs, radii, dim):
        dim, signs, radii = (
            as_count(dim, "dim"),
            as_array(signs, "signs", kinds="fi"),
            as_vector(radii, "radii").copy(),
        )
        size = signs.shape[-1] if signs.ndim == 3 and signs.shape[1] == 3 else 0
        if size < max(dim, MIN_SIZE) or size & (size - 1) or not (np.abs(signs) == 1).all():
            raise ValueError(
                f"signs must be -1 and 1 in shape (blocks, 3, D), D a power of two from {MIN_SIZE} and dim = {dim} on,"
                f" got shape {signs.shape}"
            )
        if (radii < 0).any() or len(signs) != -(-len(radii) // size) or len(radii) == 0:
            raise ValueError(
                f"radii must be {size} numbers a block for {len(signs)} blocks, the last perhaps cut, none negative"
            )
        self.signs, self.radii = signs.astype(np.int8), radii
        self.shape = (len(radii), dim)
        norms = np.concatenate(
            [np.linalg.norm(_hadamard_rows(block, dim), axis=1) for block in self.signs]
        )[: len(radii)]
        if not (norms > 0).all():
            raise ValueError("signs leave a frequency without a direction")
        self.scales = radii / norms
        for array in (self.signs, self.radii, self.scales):
            array.flags.writeable = False

    @classmethod
    def draw(cls, radii, dim, rng):
        """Random signs for these radii."""
        size = max(MIN_SIZE, 1 << (dim - 1).bit_length())
        signs = np.empty((-(-len(radii) // size), 3, size), np.int8)
        for block in signs:
            block[:] = 2 * rng.integers(2, size=(3, size)) - 1
            while not np.linalg.norm(
                _hadamard_rows(block, dim), axis=1
            ).all():  # a few times for d = 1, never for d = 10
                block[:] = 2 * rng.integers(2, size=(3, size)) - 1
        return cls(signs, radii, dim)

    def __repr__(self):
        return (
            f"HadamardFrequencies(m={len(self)}, dim={self.shape[1]}, size={self.signs.shape[2]})"
        )

    def _dense(self):
        rows = np.concatenate([_hadamard_rows(block, self.shape[1]) for block in self.signs])
        return rows[: len(self)] * self.scales[:, None]

    def to_arrays(self):
        """What a file keeps of the frequencies: name -> array."""
        return {
            "kind": "hadamard",
            "signs": self.signs,
            "radii": self.radii,
            "dim": np.int64(self.shape[1]),
        }

    @classmethod
    def from_arrays(cls, arrays):
        """The frequencies whose `to_arrays` gave `arrays`."""
        return cls(arrays["signs"], arrays["radii"], int(arrays["dim"]))

    def pack(self, dtype, like):
        """The layouts that the kernels read, for points of `dtype`; None where the direct kernels are faster, as on a device."""
        m, dim = self.shape
        if is_device(like):
            return None
        whole = (
            len(self.signs) * self.signs.shape[2]
        )  # the last block costs as much where it is cut
        return HadamardOperator(self, dtype) if whole * HADAMARD_COST < m * dim else None


def _hadamard_rows(signs, dim):
    """The first `dim` columns of H signs_0 H signs_1 H signs_2, (D, dim), for signs (3, D)."""
    size = signs.shape[1]
    rows = np.eye(size, dim)
    for diagonal in signs[::-1]:
        rows = diagonal[:, None] * rows
        half = 1
        while half < size:
            pairs = rows.reshape(size // (2 * half), 2, half, dim)
            rows = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(
                size, dim
            )
            half *= 2
    return rows / size**1.5


class HadamardOperator:
    """Signs and scales of Hadamard blocks, in turns, as the kernels read them."""

    def __init__(self, omega, dtype):
        self.m, size = len(omega), omega.signs.shape[2]
        self.signs = self.like = omega.signs.astype(dtype)
        self.scales = self._in_blocks(omega.scales / (2 * np.pi * size**1.5), dtype)
        levels, passes = size.bit_length() - 1, -(-(size.bit_length() - 1) // hadamard.LEVELS)
        self.levels = np.array(
            [levels // passes + (place < levels % passes) for place in range(passes)]
        )
        self.lanes = hadamard.VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize

    def _in_blocks(self, values, dtype):
        """(m,) -> (blocks, D), zeros beyond m."""
        blocks = np.zeros((len(self.signs), self.signs.shape[2]), dtype)
        blocks.reshape(-1)[: self.m] = values
        return blocks

    def sum(self, x, weights):
        """(m,) complex128 for x (n, d) contiguous and weights (n,) or (0,), both in the working precision."""
        parts = min(-(-len(x) // features.ROWS), features.MAX_PARTS)
        part_rows = self.lanes * -(-len(x) // (parts * self.lanes))
        partial = np.empty((-(-len(x) // part_rows), len(self.signs), 2, self.signs.shape[2]))
        kernel("hadamard_sum", like=x)(
            x, weights, self.signs, self.scales, self.levels, part_rows, partial
        )
        real, imag = partial.sum(axis=0).swapaxes(0, 1).reshape(2, -1)[:, : self.m]
        return real + 1j * imag

    def adjoint(self, x, c, out):
        """out (n,) for x (n, d) contiguous and c (m,) complex."""
        rows = self.lanes * (8 if len(x) > 64 * self.lanes else 1)
        amplitudes, phase_offsets = (
            self._in_blocks(part, x.dtype) for part in (np.abs(c), np.angle(c) / (2 * np.pi))
        )
        kernel("hadamard_adjoint", like=x)(
            x, self.signs, self.scales, self.levels, amplitudes, phase_offsets, rows, out
        )
        return out


def as_harmonics(harmonics):
    """`harmonics` as an int that the kernels take."""
    harmonics = as_count(harmonics, "harmonics", least=2)
    if harmonics > MAX_HARMONICS:
        raise ValueError(f"harmonics must be at most {MAX_HARMONICS}, got {harmonics}")
    return harmonics


# ---- frequencies of either kind, compared and kept in files -----------------------------------------------------


def same_arrays(a, b):
    """Whether two dicts hold the same arrays under the same names."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def same_frequencies(a, b):
    """Whether a and b are equal arrays, or equal structures."""
    return same_arrays(frequencies_to_arrays(a), frequencies_to_arrays(b))


def frequencies_to_arrays(omega):
    """What a file keeps of frequencies: the array itself, or what defines the structure."""
    if getattr(omega, "is_structured", False):
        return files.with_prefix("omega", omega.to_arrays())
    return {"omega": omega}


def frequencies_from_arrays(arrays):
    """The frequencies of which `frequencies_to_arrays` is among `arrays`; KeyError or ValueError where there are none."""
    parts = files.without_prefix("omega", arrays)
    if "omega" in arrays or not parts:
        return arrays["omega"]
    kind = str(parts["kind"])
    if kind not in StructuredFrequencies.kinds:
        raise ValueError(f"omega has an unknown structure {kind!r}")
    return StructuredFrequencies.kinds[kind].from_arrays(parts)
