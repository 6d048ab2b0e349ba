"""Frequencies whose structure makes them cheaper than the same number of independent ones.

They can be passed wherever an array (m, d) can. Code that only needs the numbers reads them as a
float64 array (m, d), which is made once; the two linear maps have kernels that use the structure,
see `operator`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import files
from ..backend import to_host
from ..validation import as_array, as_count, as_rows, as_vector

if TYPE_CHECKING:
    from typing_extensions import Self

MIN_SIZE = 16  # smallest side D of a Hadamard block: below it, directions are few or even missing
# With more harmonics, the sums of a tile no longer fit in registers and the error of the recurrence
# grows, for no gain.
MAX_HARMONICS = 16


class StructuredFrequencies(files.Storable):
    """Base of all structured frequencies: they read as a float64 array (m, d) and never change."""

    ndim = 2
    dtype = np.dtype(np.float64)
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        return np.array(self.dense, dtype) if copy else np.asarray(self.dense, dtype)

    def __getitem__(self, index: Any) -> Any:
        return self.dense[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StructuredFrequencies):
            return NotImplemented
        return same_frequencies(self, other)

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> Self:
        """The object itself, because it does not change."""
        return self

    @cached_property
    def dense(self) -> NDArray:
        """All frequencies as a float64 array (m, d), read-only."""
        dense = self._dense()
        if not np.isfinite(dense).all():
            raise ValueError("omega overflows: draw it with a larger scale")
        dense.flags.writeable = False
        return dense

    def _dense(self) -> NDArray:
        raise NotImplementedError


Frequencies: TypeAlias = NDArray | StructuredFrequencies


class HarmonicFrequencies(StructuredFrequencies, kind="harmonic"):
    """The multiples 1..K of g base frequencies: one sine and one cosine serve K frequencies.

    Parameters
    ----------
    base : array (g, d)
        Base frequencies, radians per unit of x; row ``j K + k - 1`` of omega is ``k base_j``.
    harmonics : int
        K, from 2 to 16. In harmonic k, a rounding error of the cosine of the base typically grows
        by a factor of k; near whole and half turns it can grow by up to k^2.

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

    def __init__(self, base: ArrayLike, harmonics: int) -> None:
        self.harmonics = as_harmonics(harmonics)
        base = np.array(as_rows(base, "base"), np.float64, order="C")
        if not (np.abs(base) <= np.finfo(np.float64).max / self.harmonics).all():
            raise ValueError("base holds NaN, infinity, or frequencies whose harmonics overflow")
        base.flags.writeable = False
        self.base = base
        self.shape = (len(base) * self.harmonics, base.shape[1])

    def __repr__(self) -> str:
        m, dim = self.shape
        return f"HarmonicFrequencies(m={m}, dim={dim}, harmonics={self.harmonics})"

    def _dense(self) -> NDArray:
        multiples = np.arange(1, self.harmonics + 1)[:, None]
        return (self.base[:, None, :] * multiples).reshape(self.shape)

    def to_arrays(self) -> files.Arrays:
        """The parts that a file keeps: name -> array."""
        return {"base": self.base, "harmonics": np.int64(self.harmonics)}

    @classmethod
    def from_arrays(cls, arrays: files.Arrays) -> Self:
        """The frequencies whose `to_arrays` gave `arrays`."""
        return cls(arrays["base"], int(arrays["harmonics"]))


class HadamardFrequencies(StructuredFrequencies, kind="hadamard"):
    """Blocks of D frequencies: the first d columns of ``scales x H S_1 H S_2 H S_3``.

    H is the orthonormal Walsh-Hadamard matrix of size D, and S_1, S_2, S_3 are diagonal matrices of
    signs, so a phase takes O(log D) additions. Each row is scaled to its radius; directions are
    nearly uniform, and orthogonal within a block if d = D (structured orthogonal random features,
    Yu et al., arXiv 1610.09072; Le, Sarlos and Smola, "Fastfood", arXiv 1408.3060).

    Parameters
    ----------
    signs : array (blocks, 3, D) of -1 and 1
        D is a power of two, at least 16 and at least d.
    radii : array (m,)
        Radii of the frequencies, radians per unit of x. The last block may be used in part.
    dim : int
        Dimension d of the points.

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong shapes or values; signs for which the first d entries of a row are
        all zero, so that its frequency has no direction: this can happen for small d.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.HadamardFrequencies(np.ones((1, 3, 16)), np.full(5, 2.0), dim=16)
    >>> bool(np.allclose(omega[:] @ omega[:].T, 4 * np.eye(5)))
    True
    """

    def __init__(self, signs: ArrayLike, radii: ArrayLike, dim: int) -> None:
        dim = as_count(dim, "dim")
        given = as_array(signs, "signs", kinds="fi")
        lengths = as_vector(radii, "radii").copy()
        size = given.shape[-1] if given.ndim == 3 and given.shape[1] == 3 else 0
        if size < max(dim, MIN_SIZE) or size & (size - 1) or not (np.abs(given) == 1).all():
            raise ValueError(
                "signs must be -1 and 1 in shape (blocks, 3, D), with D a power of two that is at "
                f"least {MIN_SIZE} and at least dim = {dim}, got shape {given.shape}"
            )
        blocks = -(-len(lengths) // size)
        if (lengths < 0).any() or len(given) != blocks or len(lengths) == 0:
            raise ValueError(
                f"radii must be {size} numbers per block for {len(given)} blocks, perhaps fewer "
                "for the last one, none of them negative"
            )
        self.signs = given.astype(np.int8)
        self.radii = lengths
        self.shape = (len(lengths), dim)
        norms = np.concatenate([_row_norms(block, dim) for block in self.signs])[: len(lengths)]
        if not (norms > 0).all():
            raise ValueError(
                f"signs leave a frequency without a direction in {dim} dimensions: draw others"
            )
        self.scales = self.radii / norms
        for array in (self.signs, self.radii, self.scales):
            array.flags.writeable = False

    @classmethod
    def draw(cls, radii: NDArray, dim: int, rng: np.random.Generator) -> Self:
        """Frequencies with these radii (m,) and random signs."""
        size = max(MIN_SIZE, 1 << (dim - 1).bit_length())
        signs = np.empty((-(-len(radii) // size), 3, size), np.int8)
        for block in signs:
            block[:] = 2 * rng.integers(2, size=(3, size)) - 1
            while not _row_norms(block, dim).all():  # a few times for d = 1, never for d = 10
                block[:] = 2 * rng.integers(2, size=(3, size)) - 1
        return cls(signs, radii, dim)

    def __repr__(self) -> str:
        m, dim = self.shape
        return f"HadamardFrequencies(m={m}, dim={dim}, size={self.signs.shape[2]})"

    def _dense(self) -> NDArray:
        rows = np.concatenate([_hadamard_rows(block, self.shape[1]) for block in self.signs])
        return rows[: len(self)] * self.scales[:, None]

    def to_arrays(self) -> files.Arrays:
        """The parts that a file keeps: name -> array."""
        return {"signs": self.signs, "radii": self.radii, "dim": np.int64(self.shape[1])}

    @classmethod
    def from_arrays(cls, arrays: files.Arrays) -> Self:
        """The frequencies whose `to_arrays` gave `arrays`."""
        return cls(arrays["signs"], arrays["radii"], int(arrays["dim"]))


def _hadamard_rows(signs: NDArray, dim: int) -> NDArray:
    """The first `dim` columns of H signs_0 H signs_1 H signs_2, (D, dim), for signs (3, D)."""
    size = signs.shape[1]
    rows = np.eye(size, dim)
    for diagonal in signs[::-1]:
        rows = diagonal[:, None] * rows
        half = 1
        while half < size:
            pairs = rows.reshape(size // (2 * half), 2, half, dim)
            butterflies = [pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]]
            rows = np.stack(butterflies, axis=1).reshape(size, dim)
            half *= 2
    return rows / size**1.5


def _row_norms(signs: NDArray, dim: int) -> NDArray:
    return np.linalg.norm(_hadamard_rows(signs, dim), axis=1)


# ---- frequencies of any kind: checking, comparing, saving ---------------------------------------


def as_harmonics(harmonics: int) -> int:
    """`harmonics` as an int from 2 to MAX_HARMONICS."""
    harmonics = as_count(harmonics, "harmonics", least=2)
    if harmonics > MAX_HARMONICS:
        raise ValueError(f"harmonics must be at most {MAX_HARMONICS}, got {harmonics}")
    return harmonics


def as_frequencies(omega: Any, dim: int | None = None) -> Frequencies:
    """`omega` as a finite float64 NumPy array (m, d), m and d at least 1.

    Structured frequencies are returned as they are. If `dim`, the number of columns of x, is given
    and differs from d, ValueError says so.
    """
    rows = omega if isinstance(omega, StructuredFrequencies) else as_rows(omega, "omega")
    if dim is not None and rows.shape[1] != dim:
        raise ValueError(
            f"x has {dim} columns and omega {rows.shape[1]}: points and frequencies must share "
            "the dimension"
        )
    if isinstance(rows, StructuredFrequencies):
        return rows
    with np.errstate(over="ignore"):  # overflow in float64 gives inf, which is refused below
        rows = np.ascontiguousarray(to_host(rows), np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("omega holds NaN or infinity")
    return rows


def same_frequencies(a: Frequencies, b: Frequencies) -> bool:
    """Whether a and b are equal arrays, or equal structures."""
    one, other = frequencies_to_arrays(a), frequencies_to_arrays(b)
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def frequencies_to_arrays(omega: Frequencies) -> files.Arrays:
    """What a file keeps of frequencies: the array itself, or what defines the structure."""
    if isinstance(omega, StructuredFrequencies):
        return files.parts_of("omega", omega)
    return {"omega": omega}


def frequencies_from_arrays(arrays: files.Arrays) -> Frequencies:
    """The inverse of `frequencies_to_arrays`; ValueError if `arrays` hold no frequencies."""
    if "omega" in arrays:
        return arrays["omega"]
    return files.part_from("omega", arrays, StructuredFrequencies)
