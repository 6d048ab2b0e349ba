"""Sketches: random Fourier moments to update, merge, save and load (arXiv 2310.03085)."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import files
from ..backend import array_device, is_device, to_host
from ..files import Arrays, PathLike
from ..fourier.features import device_like, sum_of_rows
from ..fourier.methods import MethodChoice
from ..fourier.noise import HALF_ERROR, MAX_ERROR, Noise
from ..fourier.operator import PackedOperator
from ..fourier.structured import (
    Frequencies,
    as_frequencies,
    frequencies_from_arrays,
    frequencies_to_arrays,
    same_frequencies,
)
from ..locks import STATE_LOCK
from ..measures.base import ReferenceMeasure
from ..measures.box import Box, Domain, merge_domains
from ..validation import (
    as_array,
    as_count,
    as_positive,
    as_rows,
    as_stored_count,
    has_no_rows,
    work_dtype,
)
from .accountant import Privacy, PrivacyAccountant
from .checkpoint import PassState
from .quantised import Quantiser


class Sketch(files.Storable, kind="sketch"):
    """The empirical moments of a data set: ``z_l = (1/n) sum_i exp(-i <omega_l, x_i>)``.

    A sketch is a sum and a count, so it can be updated, merged, and stopped at any time. It takes
    16 bytes per frequency, however many points it has seen.

    Parameters
    ----------
    omega : array (m, d), or structured frequencies
        Radians per unit of x. If it is a CuPy array, NumPy points are streamed through its device.
    method : {"auto", "direct", "nufft"}, optional
        How every update computes its sums: "direct" evaluates every pair, "nufft" uses finufft, for
        d up to 3, and "auto" picks the one that should be faster. Not kept in files.
    accuracy : float, optional
        Largest absolute error of the values with "nufft": by default 1e-6 for float32 points and
        1e-12 for float64. `feature_sum` has the limits. Not kept in files.
    bits : int, optional
        From 1 to 8: every point then has two features per frequency, each quantised to `bits` bits,
        instead of one complex exponential. `values` estimates the same moments; see the module
        `fastcl.sketching.quantised`. By default features are not quantised.
    dither : array (m,), optional
        Angles, in radians and uniform on [0, 2 pi), that are added to the phases before they are
        quantised. Needed with `bits`.

    Attributes
    ----------
    omega : float64 array (m, d), or the structured frequencies that were given
        Radians per unit of x.
    values : complex128 array (m,)
        The moments z.
    total : complex128 array (m,), read-only
        The sums over the points.
    count : int
        The number of points.
    sums : (total, count)
        Both at once, of the same points even while another thread adds more.
    domain : Box, ReferenceMeasure or None
        Where the data lie, if whoever made the sketch has set it. Kept in files, merged by ``+``.
    pass_state : PassState or None
        For a checkpoint: which data the pass reads, and whether it has read them all.
    privacy : (epsilon, delta) or None
        What a release guarantees for each of its points; None for any other sketch.
    spent : (epsilon, delta)
        What all releases of these points have spent together; see `release`.
    accountant : PrivacyAccountant
        What was spent on each data set in the sketch.
    quantiser : Quantiser or None
        Holds `bits` and `dither`.
    noise : Noise or None
        What `deconvolve` takes out of the moments: the points that the sketch counts have it.
    errors : array (m,)
        Bounds of the standard errors of the moments.
    weights : array (m,)
        How much each moment counts in learning: 1, or less if `noise` magnifies its error.
    fingerprint : str
        Equal for sketches with the same frequencies, bits and dither.

    Raises
    ------
    TypeError, ValueError
        omega empty or not finite; an unknown method, or an accuracy not above zero; bits outside
        1..8, or with "nufft"; bits without a dither of length m, or a dither without bits.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.draw_frequencies(100, dim=2, scale=1.0, rng=0)
    >>> x = np.random.default_rng(0).standard_normal((1000, 2))
    >>> parts = fastcl.sketch(x[:300], omega) + fastcl.sketch(x[300:], omega)
    >>> bool(np.allclose(parts.values, fastcl.sketch(x, omega).values)), parts.count
    (True, 1000)
    """

    def __init__(
        self,
        omega: ArrayLike | Frequencies,
        *,
        method: str = "auto",
        accuracy: float | None = None,
        bits: int | None = None,
        dither: ArrayLike | None = None,
    ) -> None:
        self._like = omega if is_device(omega) else None
        self.omega: Frequencies = as_frequencies(omega).copy()
        self._choice = MethodChoice(method, accuracy)
        self.method = self._choice.method
        self.accuracy = self._choice.accuracy
        if bits is None and dither is not None:
            raise ValueError("a dither is for quantised features: give bits")
        if bits is not None and method == "nufft":
            raise ValueError(
                "method='nufft' has no quantised features: leave out bits, or the method"
            )
        self.quantiser = None if bits is None else Quantiser(bits, dither, len(self.omega))
        self.noise: Noise | None = None
        self.accountant = PrivacyAccountant()
        self.domain: Domain | None = None
        self.pass_state: PassState | None = None
        # One attribute, (sums, count), so that an interruption cannot leave one without the other.
        self._sums = _read_only(np.zeros(len(self.omega), np.complex128)), 0
        self._noise_moments: NDArray | None = None
        self._operators: dict[Any, Any] = {}

    @property
    def dim(self) -> int:
        """Dimension d of the points."""
        return self.omega.shape[1]

    @property
    def sums(self) -> tuple[NDArray[np.complex128], int]:
        """(total, count), of the same points even while another thread adds more."""
        return self._sums

    @property
    def total(self) -> NDArray[np.complex128]:
        """The sums over the points, (m,), read-only."""
        return self._sums[0]

    @property
    def count(self) -> int:
        """Number of points."""
        return self._sums[1]

    @property
    def bits(self) -> int | None:
        """Bits per quantised feature; None for plain ones."""
        return None if self.quantiser is None else self.quantiser.bits

    @property
    def dither(self) -> NDArray[np.float64] | None:
        """Dither of the quantised features, radians (m,); None for plain ones."""
        return None if self.quantiser is None else self.quantiser.dither

    @property
    def privacy(self) -> Privacy | None:
        """(epsilon, delta) of a released sketch; None for any other."""
        return self.accountant.largest if self.accountant.state == "released" else None

    @property
    def spent(self) -> Privacy:
        """(epsilon, delta) that all releases of these points have spent together."""
        return self.accountant.largest

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits: a checksum of the frequencies, bits and dither."""
        frequencies = np.ascontiguousarray(self.omega, "<f8")
        digest = hashlib.sha256(repr(frequencies.shape).encode() + frequencies.tobytes())
        if self.quantiser is not None:
            digest.update(f"bits={self.bits}".encode())
            digest.update(self.quantiser.dither.astype("<f8").tobytes())
        return digest.hexdigest()[:32]

    @property
    def values(self) -> NDArray[np.complex128]:
        """The moments z, (m,); ValueError while there are no points."""
        total, count = self.sums
        values = self._noisy_values(total, count)
        return values if self.noise is None else values / self._of_noise

    def _noisy_values(self, total: NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
        """The moments (m,) of the points as they are."""
        if count == 0:
            raise ValueError("the sketch is empty: update it with points first")
        if self.quantiser is None:
            return total / count
        return self.quantiser.values(total, count)

    @property
    def _of_noise(self) -> NDArray:
        """The moments of the noise, (m,); ones without noise."""
        if self.noise is None:
            return np.ones(len(self.omega))
        if self._noise_moments is None:
            self._noise_moments = self.noise.moments(np.asarray(self.omega))
        return self._noise_moments

    @property
    def errors(self) -> NDArray[np.float64]:
        """Bounds of the standard errors of the moments, (m,): ``1 / (sqrt(n) k)``.

        They are root mean squares of complex errors, for independent points, and k is the magnitude
        of the moment of the noise, one without noise. For quantised features they are up to 1.11
        times as large.
        """
        with np.errstate(divide="ignore", over="ignore"):
            return self._noisy_error() / np.abs(self._of_noise)

    def _noisy_error(self) -> float:
        """The same for the moments of the points as they are."""
        if self.count == 0:
            raise ValueError("the sketch is empty: update it with points first")
        power = 1.0 if self.quantiser is None else self.quantiser.power
        return float(np.sqrt(power / self.count))

    def _added_errors(self) -> NDArray[np.float64]:
        """What the noise has added to the standard errors, (m,): their squares add up."""
        with np.errstate(divide="ignore", over="ignore"):
            factors = np.maximum(np.abs(self._of_noise) ** -2.0 - 1, 0)
        return self._noisy_error() * np.sqrt(factors)

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much each moment counts in learning, (m,): ``1 / (1 + (e / 0.01)^2)``.

        e^2 is what the noise has added to the square of its standard error.
        """
        if self.noise is None:
            return np.ones(len(self.omega))
        return 1 / (1 + (self._added_errors() / HALF_ERROR) ** 2)

    def deconvolve(self, noise: Any, *, max_error: float = MAX_ERROR, drop: bool = False) -> Sketch:
        """The sketch of the same points without their noise, which is independent and known.

        Every moment is divided by that of the noise, which leaves it unbiased and magnifies its
        standard error. The result may be updated with more noisy points, and merged with others
        from which the same noise was removed. Learning takes the errors into account (`weights`).

        Parameters
        ----------
        noise : float, array (d,), array (d, d), Box or ReferenceMeasure
            Gaussian noise with mean zero: its standard deviation, one per coordinate, or its
            covariance, in units of x. For other noise, its distribution: a `Box` for rounding, in
            which the noise is uniform, or a measure with a known `sketch`.
        max_error : float
            The most that the noise may add to the standard error of a moment (their squares add
            up). Beyond it the frequency counts as lost in the noise.
        drop : bool
            Whether to leave lost frequencies out, instead of raising an error.

        Returns
        -------
        Sketch
            With a domain only if this sketch has one, which should hold the points without noise.

        Raises
        ------
        TypeError, ValueError
            An empty sketch, a release, or one that was deconvolved before; noise of another
            dimension, zero, or with an invalid covariance; lost frequencies, unless they are
            dropped.

        Notes
        -----
        With n points a moment of the noise of magnitude k leaves a standard error of about
        1 / (sqrt(n) k): for Gaussian noise of standard deviation s, frequencies are lost from a
        radius of about ``sqrt(2 log(max_error sqrt(n))) / s`` on. Draw them with
        ``draw_frequencies(..., noise=, n_points=)`` to stay below. Rounding errors of float32 sums,
        about 1e-7, are magnified as well.

        Examples
        --------
        >>> import numpy as np, fastcl
        >>> rng = np.random.default_rng(0)
        >>> x = rng.choice([-1.0, 1.0], (100_000, 1))
        >>> omega = [[1.0], [2.0]]
        >>> noisy = fastcl.sketch(x + 0.5 * rng.standard_normal(x.shape), omega)
        >>> noisy.values.real.round(2), noisy.deconvolve(0.5).values.real.round(1), np.cos([1, 2])
        (array([ 0.48, -0.25]), array([ 0.5, -0.4]), array([ 0.54030231, -0.41614684]))
        """
        if self.noise is not None:
            raise ValueError(f"the sketch is deconvolved already: its noise is {self.noise}")
        if self.accountant.state != "raw":
            raise ValueError("the sketch holds the noise of a release, which would be magnified")
        max_error = as_positive(max_error, "max_error")
        total, count = self.sums
        result = self.with_sums(total, count, self.accountant)
        result.domain = self.domain
        result.noise = Noise(noise, self.dim)
        added = result._added_errors()
        lost = ~(added <= max_error)
        if not lost.any():
            return result
        if not drop or lost.all():
            needed = float(count) * float(added.max() / max_error) ** 2
            resolve = (
                f"it would take {needed:.1g} points" if needed < 1e300 else "no number would do"
            )
            raise ValueError(
                f"noise hides {lost.mean():.0%} of the frequencies: with {count} points it would "
                f"add more than {max_error:g} to the standard errors of their moments, and "
                f"{resolve} to resolve them all; draw frequencies with noise=, or drop these"
            )
        return result._keep(~lost)

    def _keep(self, kept: NDArray[np.bool_]) -> Sketch:
        """This sketch at some of its frequencies."""
        other = self.with_sums(self.total[kept], self.count, self.accountant)
        other.domain = self.domain
        other.omega = np.asarray(self.omega)[kept]
        other._operators = {}
        if self.quantiser is not None:
            other.quantiser = Quantiser(
                self.quantiser.bits, self.quantiser.dither[kept], int(kept.sum())
            )
        return other

    def update(self, x: ArrayLike) -> Sketch:
        """Add the points x (n, d): all of them, or none if x is refused. Returns the sketch.

        Several threads may update one sketch at once: every point is then counted once. Their sums
        are added in the order in which they are ready, which may change the last bits.
        """
        if has_no_rows(x, self.dim):
            return self
        x = as_rows(x, "x", self.dim)
        with STATE_LOCK:
            self.accountant.register_points()  # so that a release refuses x before the work is done
        return self.add_sums(self.sum_rows(x), len(x))

    def sum_rows(self, x: Any, first: int = 0, last: int | None = None) -> NDArray[np.complex128]:
        """The sums (m,) over rows first..last of x, for `add_sums`; the sketch does not change.

        x (n, d) is an array, or anything with a shape, a dtype and slices.
        """
        if len(x.shape) != 2 or x.shape[1] != self.dim:
            raise ValueError(f"x must have {self.dim} columns, got shape {tuple(x.shape)}")
        last = x.shape[0] if last is None else last
        dtype = work_dtype(x)
        like = device_like(x, self._like)
        self._choice.check(self.dim, dtype, is_device(like))
        key = dtype, array_device(like)
        if key not in self._operators:
            pack = PackedOperator.pack if self.quantiser is None else self.quantiser.pack
            self._operators[key] = pack(self.omega, dtype, like if is_device(like) else None)
        if self.quantiser is not None:
            return self.quantiser.sum(x, self._operators[key], first, last)
        return to_host(sum_of_rows(x, self._operators[key], None, self._choice, first, last))

    def add_sums(self, total: ArrayLike, count: int) -> Sketch:
        """Add sums over `count` points that were computed elsewhere. Returns the sketch.

        Parameters
        ----------
        total : array (m,), complex
            The sums, as returned by `sum_rows`.
        count : int
            The number of points in them.
        """
        total = as_array(total, "total", kinds="fiubc").astype(np.complex128)
        if total.shape != self.total.shape or not np.isfinite(total).all():
            raise ValueError(f"total must be {len(self.omega)} finite sums, got {total!r}")
        count = as_count(count, "count")
        with STATE_LOCK:
            self.accountant.register_points()
            self.pass_state = None
            self._sums = _read_only(self.total + total), self.count + count
        return self

    def with_sums(self, total: NDArray, count: int, accountant: PrivacyAccountant) -> Sketch:
        """A sketch with the same frequencies, and with these sums and this account.

        It has no domain and no state of a pass.
        """
        other = copy.copy(self)
        other.accountant = accountant
        other.domain = None
        other.pass_state = None
        other._noise_moments = None
        other._sums = _read_only(total), count
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_operators": {}}

    def __add__(self, other: Sketch) -> Sketch:
        if not isinstance(other, Sketch):
            return NotImplemented
        if not same_frequencies(self.omega, other.omega):
            raise ValueError(
                "sketches of different frequencies cannot be merged: "
                "sketch every part with the same omega"
            )
        if self.quantiser != other.quantiser:
            raise ValueError(
                "sketches of other bits or dither cannot be merged: sketch every part with the "
                f"same bits and the same rng (bits are {self.bits} and {other.bits})"
            )
        if self.noise != other.noise:
            raise ValueError(
                "sketches from which different noise was removed cannot be merged: "
                f"it is {self.noise} and {other.noise}"
            )
        with STATE_LOCK:
            (total, count), (other_total, other_count) = self.sums, other.sums
            if count and other_count:
                accountant = self.accountant + other.accountant
            else:  # merged with an empty sketch, a release is still a release
                accountant = (self if count else other).accountant.copy()
        merged = self.with_sums(total + other_total, count + other_count, accountant)
        merged.domain = merge_domains(self.domain, other.domain)
        return merged

    def __repr__(self) -> str:
        parts = [f"m={len(self.omega)}", f"dim={self.dim}", f"count={self.count}"]
        if self.bits is not None:
            parts.append(f"bits={self.bits}")
        if self.noise is not None:
            parts.append(f"noise={self.noise}")
        if self.privacy is not None:
            parts.append(f"privacy={self.privacy}")
        elif any(self.spent):
            parts.append(f"spent={self.spent}")
        return f"Sketch({', '.join(parts)})"

    def save(self, path: PathLike) -> None:
        """Write the sketch to an npz file, atomically; `fastcl.load` reads it back.

        The file is an uncompressed npz archive without pickles, which `numpy.load` or any other
        reader opens:

        ``kind``, ``version``
            "fastcl-sketch", and 4; files of versions 1 to 3 are read.
        ``total``, ``count``
            The sums over the points, complex128 (m,), and the number of points. The moments are
            ``total / count``.
        ``omega``
            The frequencies, float64 (m, d). For structured frequencies it is replaced by
            ``omega.kind`` and the arrays that define the structure, which may be just a seed.
        ``fingerprint``
            A checksum of the frequencies, bits and dither.
        ``quantised.*``
            Bits and dither of quantised features.
        ``noise.*``
            What `deconvolve` takes out: ``total`` is that of the noisy points.
        ``privacy.*``
            The account of what releases have spent.
        ``domain.*``
            Where points are drawn, if that is known.
        ``partial.*``
            The state of a pass: which data it reads, and whether it has read them all.

        `fastcl.load` refuses a file that is truncated, foreign, newer or compressed, or whose
        fingerprint does not match.
        """
        super().save(path)

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        with STATE_LOCK:
            total, count = self.sums
            privacy = self.accountant.to_arrays()
        arrays = frequencies_to_arrays(self.omega)
        arrays |= {"total": total, "count": np.int64(count), "fingerprint": self.fingerprint}
        arrays |= files.with_prefix("privacy", privacy)
        if self.quantiser is not None:
            arrays |= files.with_prefix("quantised", self.quantiser.to_arrays())
        if self.noise is not None:
            arrays |= files.with_prefix("noise", self.noise.to_arrays())
        if self.domain is not None:
            arrays |= files.parts_of("domain", self.domain)
        if self.pass_state is not None:
            arrays |= files.with_prefix("partial", self.pass_state.to_arrays())
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Sketch:
        """The sketch whose `to_arrays` gave `arrays`; ValueError if they do not fit together."""
        try:
            sketch = cls._empty_from_arrays(arrays)
            count = as_stored_count(arrays["count"], "count")
            noise = files.without_prefix("noise", arrays)
            sketch.noise = Noise.from_arrays(noise, sketch.dim) if noise else None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a sketch: {error}") from None
        total = np.asarray(arrays["total"], np.complex128)
        if not np.isfinite(total).all():
            raise ValueError("not a sketch: its sums are not finite")
        if "fingerprint" in arrays and str(arrays["fingerprint"]) != sketch.fingerprint:
            raise ValueError(
                f"not a sketch of these frequencies: its fingerprint is {arrays['fingerprint']}, "
                f"theirs {sketch.fingerprint} (for frequencies kept as a seed, "
                "another version of NumPy may draw others)"
            )
        privacy = files.without_prefix("privacy", arrays)
        accountant = PrivacyAccountant.from_arrays(privacy) if privacy else PrivacyAccountant()
        if count and not privacy:  # a file written before there were releases
            accountant.register_points()
        sketch = sketch.with_sums(total, count, accountant)
        state = files.without_prefix("partial", arrays)
        sketch.pass_state = PassState.from_arrays(state) if state else None
        if files.without_prefix("domain", arrays):
            sketch.domain = files.part_from("domain", arrays, (Box, ReferenceMeasure))
            if sketch.domain.dim != sketch.dim:
                raise ValueError(
                    f"not a sketch: a domain of dimension {sketch.domain.dim} "
                    f"for frequencies of dimension {sketch.dim}"
                )
        return sketch

    @classmethod
    def _empty_from_arrays(cls, arrays: Arrays) -> Sketch:
        omega = frequencies_from_arrays(arrays)
        sums = np.asarray(arrays["total"], np.complex128)
        if sums.shape != (len(omega),):  # checked before memory is allocated for the frequencies
            raise ValueError(f"{len(omega)} frequencies and {sums.size} sums")
        quantised = files.without_prefix("quantised", arrays)
        if not quantised:
            return cls(omega)
        return cls(omega, bits=int(quantised["bits"]), dither=quantised["dither"])


def _read_only(array: NDArray) -> NDArray:
    view = array.view()
    view.flags.writeable = False
    return view
