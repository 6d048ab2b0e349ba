"""The sketch of a data set: its random Fourier moments, to update, merge, save and load (arXiv 2310.03085)."""

import hashlib

import numpy as np

from .. import files
from ..backend import array_device, is_device, to_host
from ..data.sources import open_source
from ..fourier.features import device_like, sum_of_rows
from ..fourier.methods import MethodChoice
from ..fourier.operator import FeatureOperator
from ..fourier.structured import (
    as_frequencies,
    frequencies_from_arrays,
    frequencies_to_arrays,
    same_frequencies,
)
from ..measures.base import ReferenceMeasure
from ..measures.box import Box, merge_domains
from ..validation import (
    as_count,
    as_generator,
    as_rows,
    as_stored_count,
    is_dask,
    work_dtype,
)
from .accountant import Ledger
from .checkpoint import POINTS_BETWEEN, PassState, resume, run_pass
from .dask import add_dask
from .quantised import Quantiser, draw_dither


class Sketch(files.Storable, kind="sketch"):
    """The empirical moments of a data set at given frequencies: ``z_l = (1/n) sum_i exp(-i <omega_l, x_i>)``.

    A sketch is a sum and a count, so it can be updated, merged and stopped at any time; it is 16 bytes a frequency
    however many points it has seen.

    Parameters
    ----------
    omega : array (m, d), or structured frequencies
        Radians per unit of x.
    method, accuracy : optional
        As of `feature_sum`, for every update; relative errors of the sums are absolute ones of the values. Not kept in files.
    bits, dither : int and array (m,), optional
        For features quantised to 1 to 8 bits, of phases to which the dither is added (radians, uniform on [0, 2 pi)): two a
        frequency, so a point is 2 bits m of data. `values` estimate the same moments, see the module `quantised`.

    Attributes
    ----------
    omega : float64 array (m, d), or the structured frequencies that were given
    values : complex128 array (m,)
    count : int
        Points seen so far.
    domain : Box or reference measure, optional
        Where the data lie, where the maker of the sketch knows it; kept in files, and joined by ``+``.
    pass_state : PassState or None
        Of the state of a pass that `sketch` keeps in its checkpoint: which data it reads, and whether it has read them all.
    privacy : (epsilon, delta) or None
        What holds for every point where the sketch was released, see `release`; None where it has points without noise.
    spent : (epsilon, delta)
        What releases of this sketch, and of what was merged into it, have given away in all; (0, 0) where there was none.
    fingerprint : str
        Equal for sketches of the same frequencies, bits and dither; those with the same structure can be merged.

    Raises
    ------
    TypeError, ValueError
        omega empty or not finite; an unknown method, or an accuracy out of its reach; bits beyond 1..8, a dither of another
        length or without bits.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.draw_frequencies(100, dim=2, scale=1.0, rng=0)
    >>> x = np.random.default_rng(0).standard_normal((1000, 2))
    >>> parts = fastcl.sketch(x[:300], omega) + fastcl.sketch(x[300:], omega)
    >>> bool(np.allclose(parts.values, fastcl.sketch(x, omega).values)), parts.count
    (True, 1000)
    """

    def __init__(self, omega, method="auto", accuracy=None, bits=None, dither=None):
        self._like = omega if is_device(omega) else None
        self.omega = as_frequencies(omega).copy()
        self._nufft = MethodChoice(method, accuracy)
        if bits is None and dither is not None:
            raise ValueError("a dither is for quantised features: give bits")
        if bits is not None and method == "nufft":
            raise ValueError(
                "method='nufft' has no quantised features: leave out bits, or the method"
            )
        self._quantiser = None if bits is None else Quantiser(bits, dither, len(self.omega))
        self._ledger = Ledger()
        self.count = 0
        self.domain = self.pass_state = None
        self._total = np.zeros(len(self.omega), np.complex128)
        self._packed = {}

    @property
    def dim(self):
        """Dimension d of the points."""
        return self.omega.shape[1]

    @property
    def bits(self):
        """Of the quantised features, None of plain ones."""
        return None if self._quantiser is None else self._quantiser.bits

    @property
    def dither(self):
        """Radians (m,), of quantised features; else None."""
        return None if self._quantiser is None else self._quantiser.dither

    @property
    def privacy(self):
        """(epsilon, delta) of a released sketch, None of any other."""
        return self._ledger.largest if self._ledger.state == "released" else None

    @property
    def spent(self):
        """(epsilon, delta) that was spent on the points, in all."""
        return self._ledger.largest

    @property
    def fingerprint(self):
        """32 hexadecimal digits that follow from the frequencies, and from bits and dither, to the bit."""
        frequencies = np.ascontiguousarray(self.omega, "<f8")
        digest = hashlib.sha256(repr(frequencies.shape).encode() + frequencies.tobytes())
        if self.bits is not None:
            digest.update(f"bits={self.bits}".encode() + self.dither.astype("<f8").tobytes())
        return digest.hexdigest()[:32]

    @property
    def values(self):
        """The moments z, (m,) complex128; ValueError while no point has been seen."""
        if self.count == 0:
            raise ValueError("the sketch is empty: update it with points first")
        return (
            self._total / self.count
            if self._quantiser is None
            else self._quantiser.values(self._total, self.count)
        )

    def update(self, x):
        """Add the points x (n, d) to the sketch; nothing is added if any chunk of x is bad. Returns the sketch."""
        x = as_rows(x, "x", self.dim)
        self._add(x, 0, len(x))
        self.pass_state = None
        return self

    def _add(self, x, first, last):
        """Add rows first..last of x, (n, d), an array or what is sliced like one."""
        self._ledger.begin()
        self._total = self._total + self._sum(x, first, last)
        self.count += last - first

    def _sum(self, x, first, last):
        """What rows first..last of x add to the total, (m,)."""
        dtype, like = work_dtype(x), device_like(x, self._like)
        self._nufft.check(self.dim, dtype, is_device(like))
        key = dtype, array_device(like)
        if key not in self._packed:
            pack = FeatureOperator.pack if self._quantiser is None else self._quantiser.pack
            self._packed[key] = pack(self.omega, dtype, like if is_device(like) else None)
        if self._quantiser is not None:
            return self._quantiser.sum(x, self._packed[key], first, last)
        return to_host(sum_of_rows(x, self._packed[key], None, self._nufft, first, last))

    def __getstate__(self):
        return {**self.__dict__, "_packed": {}}

    def __add__(self, other):
        if not isinstance(other, Sketch):
            return NotImplemented
        if not same_frequencies(self.omega, other.omega):
            raise ValueError("sketches of different frequencies cannot be merged")
        if self.bits != other.bits or not (
            self.bits is None or np.array_equal(self.dither, other.dither)
        ):
            raise ValueError(
                f"sketches of other bits or dither cannot be merged: bits are {self.bits} and {other.bits}"
            )
        merged = Sketch(
            self.omega, self._nufft.method, self._nufft.accuracy, self.bits, self.dither
        )
        merged._total = self._total + other._total
        merged.count = self.count + other.count
        if self.count and other.count:
            merged._ledger = self._ledger + other._ledger
        else:  # nothing is added
            merged._ledger = (self if self.count else other)._ledger.copy()
        merged.domain = merge_domains(self.domain, other.domain)
        return merged

    def __repr__(self):
        text = f"Sketch(m={len(self.omega)}, dim={self.dim}, count={self.count}"
        text += "" if self.bits is None else f", bits={self.bits}"
        if self.privacy is not None:
            return f"{text}, privacy={self.privacy})"
        return f"{text}, spent={self.spent})" if any(self.spent) else f"{text})"

    def to_arrays(self):
        """What `save` writes: name -> array."""
        arrays = frequencies_to_arrays(self.omega) | {
            "total": self._total,
            "count": np.int64(self.count),
        }
        arrays |= {"fingerprint": self.fingerprint} | files.with_prefix(
            "privacy", self._ledger.to_arrays()
        )
        if self._quantiser is not None:
            arrays |= files.with_prefix("quantised", self._quantiser.to_arrays())
        if self.domain is not None:
            arrays |= files.parts_of("domain", self.domain)
        return (
            arrays
            if self.pass_state is None
            else arrays | files.with_prefix("partial", vars(self.pass_state))
        )

    @classmethod
    def from_arrays(cls, arrays):
        """The sketch whose `to_arrays` gave `arrays`; ValueError where they do not fit together."""
        try:
            omega = frequencies_from_arrays(arrays)
            total, count = (
                np.asarray(arrays["total"], np.complex128),
                as_stored_count(arrays["count"], "count"),
            )
            if total.shape != (len(omega),):  # before anything is made for so many frequencies
                raise ValueError(f"{len(omega)} frequencies and {total.size} sums")
            quantised = files.without_prefix("quantised", arrays)
            sketch = (
                cls(omega, bits=int(quantised["bits"]), dither=quantised["dither"])
                if quantised
                else cls(omega)
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a sketch: {error}") from None
        if not np.isfinite(total).all():
            raise ValueError("not a sketch: its sums are not finite")
        if "fingerprint" in arrays and str(arrays["fingerprint"]) != sketch.fingerprint:
            raise ValueError(
                f"not a sketch of these frequencies: its fingerprint is {arrays['fingerprint']}, theirs {sketch.fingerprint}"
                " (of frequencies that were kept as a seed, another NumPy may draw others)"
            )
        sketch._total, sketch.count = total, count
        ledger = files.without_prefix("privacy", arrays)
        sketch._ledger = Ledger.from_arrays(ledger) if ledger else Ledger()
        if count and not ledger:  # a file of an earlier version, which knew of no releases
            sketch._ledger.begin()
        partial = files.without_prefix("partial", arrays)
        sketch.pass_state = PassState.from_arrays(partial) if partial else None
        domain = files.without_prefix("domain", arrays)
        sketch.domain = (
            files.part_from("domain", arrays, (Box, ReferenceMeasure)) if domain else None
        )
        if domain and sketch.domain.dim != sketch.dim:
            raise ValueError(
                f"not a sketch: a domain of dimension {sketch.domain.dim} for frequencies of dimension {sketch.dim}"
            )
        return sketch


def sketch(
    x,
    omega,
    method="auto",
    accuracy=None,
    progress=False,
    checkpoint=None,
    checkpoint_every=POINTS_BETWEEN,
    bits=None,
    rng=None,
):
    """Sketch a data set in one pass.

    Parameters
    ----------
    x : array (n, d), memory map, what is sliced like an array, iterable of arrays (n_i, d), path, or dask array (n, d)
        The data. Data sets of HDF5 and Zarr, and whatever else has a shape, a type and slices, are read slice by slice. Of an
        iterable a chunk is released before the next one is asked for. A path leads to a .npy file, which is mapped, or to a
        folder of images: the points are then their patches of sqrt(d) x sqrt(d) pixels, in grey from 0 to 1. Blocks of a dask
        array are summed by the scheduler or the cluster that dask would take, to bits that follow the blocks alone.
    omega : array (m, d), or structured frequencies
        Radians per unit of x; a CuPy array has NumPy arrays streamed through the device.
    method, accuracy : optional
        As of `feature_sum`; relative errors of the sums are absolute ones of the values.
    progress : bool
        Whether to show points, their rate and the remaining time, where tqdm is installed (the extra "demo"); of a dask array
        the tasks, by dask's own bar, and nothing where a distributed client runs them: its dashboard shows them.
    checkpoint : path, optional
        A file with the state of the pass, written every `checkpoint_every` points, when the pass ends, and when it is
        interrupted or fails. Where it exists, the pass goes on from it, and every point is counted once, to the same bits as
        in an unbroken pass; where that pass was complete, nothing is read again. It is the file of a sketch, of the points
        that were counted until then.
    checkpoint_every : int
        In points.
    bits : int, optional
        For features quantised to 1 to 8 bits with a dither, as of `Sketch`; by the direct kernels alone.
    rng : int or numpy.random.Generator, optional
        Of the dither: sketches that are to be merged, and passes that are to go on, take the same seed.

    Returns
    -------
    Sketch

    Raises
    ------
    TypeError, ValueError, ImportError
        x empty, not finite, of another dimension than omega; a method or an accuracy that `feature_sum` refuses; a
        checkpoint of other data or frequencies. Other data are told by their shape and type and by 64 of their rows, a folder by
        the names and sizes of its files; chunks of an iterable have to be the same as before, which cannot be checked. Also a
        checkpoint for a dask array, CuPy frequencies with one, `rng` without `bits`, and `bits` with "nufft".
    OSError
        A file that cannot be read, or a checkpoint that cannot be written.

    Notes
    -----
    ``S`` in arXiv 2310.03085. Peak memory above x of the direct method: one chunk of 131072 rows where x is not a
    contiguous, writable float array, and about 1 KiB and 32 d bytes a frequency; of finufft, as of `feature_sum`. Pages of a
    memory map are let go after 2^18 rows, so that they do not count as memory of the process either. Of a dask array each task
    holds one block of all columns and works on one thread, so give a worker as many threads as it has cores; "auto" is then
    "direct", as workers might choose differently.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> fastcl.sketch(np.zeros((5, 1)), [[1.0], [2.0]]).values
    array([1.+0.j, 1.+0.j])
    """
    if bits is None and rng is not None:
        raise ValueError("rng draws the dither of quantised features: give bits")
    dither = None if bits is None else draw_dither(len(as_frequencies(omega)), as_generator(rng))
    result = Sketch(omega, method, accuracy, bits, dither)
    if is_dask(x):
        if checkpoint is not None:
            raise ValueError(
                "checkpoint keeps no pass over a dask array: what dask has to keep, its workers keep"
            )
        add_dask(result, x, progress)
        return result
    source = open_source(x, result.dim, is_device(omega))
    checkpoint_every = as_count(checkpoint_every, "checkpoint_every")
    if checkpoint is not None:
        result = resume(checkpoint, result, source)
    run_pass(result, source, progress, checkpoint, checkpoint_every)
    if result.count == 0:
        raise ValueError("x is empty: the iterable gave no chunk")
    return result
