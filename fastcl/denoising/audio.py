"""Sound: patches of the coefficients of a lapped transform, in frames of 16 ms to learn.

A recording becomes an array of coefficients, frames x bins (see `lapped`), whose patches are
modelled like those of a photograph. A prior holds at other lengths of the frames too: a sound is
denoised in frames of 16 to 128 ms, those that suit it best, and then once more by a filter in long
frames whose pilot is the first estimate. Sounds are first scaled to a root mean square of 1, so
that their units do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from .. import files
from ..backend import product, to_device_of, to_host
from ..data.patches import patch_counts
from ..data.signals import Signals, as_signal
from ..learning.adaptive import SearchEffort
from ..sketching.checkpoint import POINTS_BETWEEN
from ..validation import as_array, as_generator, as_positive
from .lapped import choose_bins, empirical_wiener, frame_count, lapped, unlapped
from .noise_level import NoiseLevel, in_runs
from .patch_model import SignalModel, check_learning, learn_patches
from .patch_sketch import MAX_DIM, SUBSAMPLE, PassSettings, PatchSketch, sketch_patches
from .restoration import denoise_signal

FRAME = 0.016  # seconds: a frame for learning
PATCH = (4, 4)  # frames, bins
STRIDE = 2  # between the patches of a sound that is denoised
LENGTHS = (1, 2, 4, 8)  # of the frames for denoising, in those for learning
LONG_LENGTHS = (4, 8, 16)  # of the frames of the last stage
# Silence becomes noise 34 dB below the sound. Without it, the many silent patches of a recording
# would lie below the smallest scale of the reference, and distort its covariance.
DITHER = 0.07
MIN_LEVEL = (
    0.03  # least share of the power of a sound in that of its noise, where they are told apart
)
BLOCK = (4, 16)  # frames, bins: blocks for the level of the noise
QUIET = 0.05  # share of the blocks that have nothing but noise


def sketch_audio(
    recordings: ArrayLike | Sequence[ArrayLike],
    rate: float,
    m: int = 1000,
    rng: Any = None,
    progress: bool = False,
    checkpoint: files.PathLike | None = None,
    checkpoint_every: int = POINTS_BETWEEN,
    *,
    channel_axis: int | None = None,
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
) -> PatchSketch:
    """Sketch recordings of clean sound: `sketch_signals` of their coefficients, frames x bins.

    Parameters
    ----------
    recordings : array (T,), or sequence of such arrays
        One recording or several; their lengths and units may differ, since each is scaled to a root
        mean square of 1 after its mean is removed. With `channel_axis`, they are (T, C) or (C, T).
    rate : float
        Samples per second, the same for all.
    m, rng, progress, checkpoint, checkpoint_every, subsample, effort
        As in `sketch_signals`.
    channel_axis : int, optional
        The axis of the channels, which are then modelled together; -1 for stereo (T, 2).

    Returns
    -------
    PatchSketch
        With the rate.

    Raises
    ------
    TypeError, ValueError, OSError
        As in `sketch_signals`; a rate below 250 Hz; a recording that is constant.
    """
    bins = _frame_bins(rate)
    opened = _Coefficients(_open_recordings(recordings, channel_axis), bins)
    axis = None if channel_axis is None else 0
    signals = Signals(opened, "coefficients", PATCH, axis)
    settings = PassSettings(m, MAX_DIM, False, DITHER, subsample, effort)
    result = sketch_patches(
        signals, settings, rng, progress, checkpoint, checkpoint_every, float(rate)
    )
    result.channel_axis = channel_axis
    return result


def learn_audio_prior(
    recordings: ArrayLike | Sequence[ArrayLike],
    rate: float,
    m: int = 1000,
    rng: Any = None,
    progress: bool = False,
    *,
    channel_axis: int | None = None,
    method: str = "max_entropy",
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
    **settings: Any,
) -> SignalModel:
    """Learn a prior of sound from clean recordings, through a sketch of their spectral patches.

    Parameters
    ----------
    recordings, rate, m, progress, channel_axis, subsample, effort
        As in `sketch_audio`.
    rng : int or numpy.random.Generator, optional
    method, **settings
        As in `learn_patches`.

    Returns
    -------
    SignalModel
        It keeps the rate.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As in `sketch_audio` and `learn_patches`.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> notes = [np.sin(f * np.arange(1000.0)) for f in (0.2, 0.3)]
    >>> quick = {"n_iter": 2, "n_components": 4, "n_samples": 2000}
    >>> quick |= {"n_points": 500, "effort": fastcl.SearchEffort(chains=500, scored=4000)}
    >>> model = fastcl.learn_audio_prior(notes, rate=8000, m=50, rng=0, **quick)
    >>> fastcl.denoise_audio(model, notes[0], sigma=0.3, rate=8000).shape
    (1000,)
    """
    check_learning(method, settings)
    rng = as_generator(rng)
    fit: dict[str, Any] = {"subsample": subsample, "effort": effort}
    audio_sketch = sketch_audio(
        recordings, rate, m, rng, progress, channel_axis=channel_axis, **fit
    )
    return learn_patches(audio_sketch, method, rng=rng, progress=progress, **settings)


def denoise_audio(
    model: SignalModel,
    signal: ArrayLike,
    sigma: float | ArrayLike | None = None,
    rate: float | None = None,
    strength: float = 1.0,
    estimator: str = "mean",
    **settings: Any,
) -> NDArray:
    """Remove white noise from sound.

    Parameters
    ----------
    model : SignalModel
        Of sound, from `learn_audio_prior`.
    signal : array (T,)
        The clean sound plus noise, in any units; with channels, if the model has them. 8 and 16-bit
        integers are divided by the largest value of their type. One more axis in front is a batch.
    sigma : float or array (C,), optional
        Standard deviation of the noise, or one per channel, in units of the signal (after the
        division). By default it is estimated by `estimate_audio_noise`.
    rate : float, optional
        Samples per second, to check that it is that of the model.
    strength, estimator, **settings
        As in `denoise_signal`.

    Returns
    -------
    float array of the shape of `signal`, in its type and on its device.

    Raises
    ------
    TypeError, ValueError
        As in `denoise_signal`; a model of other signals; another rate than that of the model; no
        sigma for a signal without noise.

    Notes
    -----
    The patches of two lapped transforms, half a frame apart, are replaced by their posterior means.
    The length of the frames is that which leaves the least energy below three sigma. The second
    stage is the empirical Wiener filter of Ghael, Sayeed and Baraniuk, SPIE 1997, as in BM3D.
    Memory: some ten copies of the signal.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> scales = fastcl.GaussianScaleMixture(np.eye(16), [0.02, 0.2, 2.0], [0.8, 0.1, 0.1])
    >>> transform = fastcl.PatchTransform((4, 4), np.eye(16), np.ones(16))
    >>> model = fastcl.SignalModel(transform, scales, rate=8000)
    >>> tone = np.sin(0.3 * np.arange(8000))
    >>> noisy = tone + 0.5 * np.random.default_rng(0).standard_normal(8000)
    >>> clean = fastcl.denoise_audio(model, noisy, sigma=0.5, rate=8000)
    >>> bool(np.std(clean - tone) < 0.1)
    True
    """
    _check_model(model, rate)
    axis = model.channel_axis
    given = as_array(signal, "signal")
    settings = {"strength": strength, "estimator": estimator, "stride": STRIDE} | settings
    if given.ndim == 2 + (axis is not None) and len(given):
        return np.stack([_denoised(model, one, sigma, settings) for one in given])
    return _denoised(model, given, sigma, settings)


def _check_model(model: Any, rate: float | None) -> None:
    """TypeError or ValueError unless `model` is one of sound, of this rate if it is given."""
    if not isinstance(model, SignalModel):
        raise TypeError(f"model must be one from learn_audio_prior, got {type(model).__name__}")
    if model.rate is None or model.n_axes != 2:
        raise ValueError("model is not one of sound: learn it with learn_audio_prior")
    if rate is not None and as_positive(rate, "rate") != model.rate:
        raise ValueError(
            f"rate of {rate:g} Hz is not that of the model, {model.rate:g} Hz: resample the signal"
        )


def _denoised(model: SignalModel, given: NDArray, sigma: Any, settings: dict[str, Any]) -> NDArray:
    """One signal, denoised."""
    axis, channels = model.channel_axis, model.transform.channels
    assert model.rate is not None
    sound = to_host(as_signal(given, "signal", 1, axis))
    if len(sound) != channels:
        raise ValueError(f"signal must have {channels} channels, as the model, got {len(sound)}")
    if sigma is None:
        sigma = estimate_audio_noise(sound, model.rate, channel_axis=0)
    noise = NoiseLevel(sigma, given.shape, axis)
    if noise.variances is not None:
        raise ValueError("sigma of sound must be a number, or one per channel")
    means = sound.mean(axis=1, keepdims=True, dtype=np.float64)
    centred = sound - means.astype(sound.dtype)
    variance = float(np.mean(np.square(noise.uniform)))
    power = float(np.mean(np.square(centred, dtype=np.float64))) - variance
    level = np.sqrt(max(power, MIN_LEVEL * variance))
    clean = _clean(model, centred / sound.dtype.type(level), noise.uniform / level, settings)
    clean = clean * sound.dtype.type(level) + means.astype(sound.dtype)
    clean = clean[0] if axis is None else np.moveaxis(clean, 0, axis)
    return to_device_of(np.ascontiguousarray(clean), as_array(given, "signal"))


def _clean(
    model: SignalModel, sound: NDArray, sigma: float | NDArray, settings: dict[str, Any]
) -> NDArray:
    """Both stages, on signals (C, T) of root mean square 1 with noise sigma."""
    shortest = _frame_bins(model.rate)
    sigmas = np.broadcast_to(np.asarray(sigma, np.float64), len(sound))
    bins = choose_bins(sound, sigmas, [shortest * length for length in LENGTHS])
    axis = None if model.channel_axis is None else 0
    # One pass: further ones do not gain.
    inner = SignalModel(model.transform, model.prior, precisions=(1.0,), channel_axis=axis)
    pilot = np.zeros_like(sound)
    for shift in (0, bins // 2):
        # Single precision is enough for an estimate, and twice as fast.
        coefficients = lapped(sound, bins, shift).astype(np.float32)
        noisy = coefficients[0] if axis is None else coefficients
        mixed = denoise_signal(inner, noisy, sigma, **settings).reshape(coefficients.shape)
        # Take out the noisy coefficients, which the pass counts as one more patch.
        counts = patch_counts(coefficients.shape[1:], PATCH, settings["stride"])
        estimate = mixed + (mixed - coefficients) / counts.astype(np.float32)
        pilot += unlapped(estimate, shift, sound.shape[1]) / 2
    # The principal axes of the channels, in units of the noise: what they share is filtered once.
    units = sigmas[:, None].astype(sound.dtype)
    pilot /= units
    axes = np.linalg.eigh(product(pilot, pilot.T))[1]
    sizes = [shortest * length for length in LONG_LENGTHS]
    filtered = empirical_wiener(product(axes.T, sound / units), product(axes.T, pilot), sizes)
    return product(axes, filtered) * units


def estimate_audio_noise(signal: ArrayLike, rate: float, channel_axis: int | None = None) -> float:
    """Estimate the standard deviation of white Gaussian noise in sound.

    Parameters
    ----------
    signal : array (T,)
        In any units; with `channel_axis`, (T, C) or (C, T). 8 and 16-bit integers are divided by
        the largest value of their type.
    rate : float
        Samples per second.
    channel_axis : int, optional
        The axis of the channels. The estimate is then the root mean square of theirs.

    Returns
    -------
    float
        In units of the signal (after the division). Digital silence does not count. Too large if
        the clean sound fills nearly all of the time and the frequencies.

    Raises
    ------
    TypeError, ValueError
        As in `denoise_audio`; or a signal without any noise.

    Notes
    -----
    The quietest of all blocks of 64 ms x 500 Hz hold the noise alone: their energies follow a chi-
    squared distribution, of which a low quantile is compared.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> noise = np.random.default_rng(0).standard_normal(8000)
    >>> tone = np.sin(0.3 * np.arange(8000))
    >>> round(fastcl.estimate_audio_noise(tone + 0.1 * noise, rate=8000), 2)
    0.1
    """
    sound = to_host(as_signal(signal, "signal", 1, channel_axis))
    bins = _frame_bins(rate)
    variances = [_quiet_variance(channel, bins) for channel in sound]
    if not np.all(variances):
        raise ValueError("signal has no noise to estimate: pass sigma")
    return float(np.sqrt(np.mean(variances)))


def _quiet_variance(channel: NDArray, bins: int) -> float:
    """Variance of the coefficients in the quietest blocks of a channel (T,); 0 for silence."""
    silent = in_runs(channel)
    centred = channel - channel.mean()
    kept = []
    for shift in (0, bins // 2):
        frames = lapped(centred, bins, shift)
        before = 2 * bins + shift
        around = np.pad(silent, (before, len(frames) * bins), constant_values=True)
        windows = np.lib.stride_tricks.sliding_window_view(around, 2 * bins)[::bins]
        kept.append(frames[~windows[: len(frames)].any(axis=1)])
    frames = np.concatenate(kept)
    if not len(frames):  # too short for a whole one
        frames = lapped(centred, bins)
    height, width = min(BLOCK[0], len(frames)), min(BLOCK[1], bins)
    rows, columns = len(frames) // height, bins // width
    blocks = np.square(frames[: rows * height, : columns * width], dtype=np.float64)
    energies = blocks.reshape(rows, height, columns, width).sum(axis=(1, 3))
    return float(np.quantile(energies, QUIET) / scipy.stats.chi2.ppf(QUIET, height * width))


def _frame_bins(rate: Any) -> int:
    """The number of bins of the frames for learning, which is even."""
    rate = as_positive(rate, "rate")
    bins = 2 * round(FRAME * rate / 2)
    if bins < PATCH[1]:
        raise ValueError(f"rate must be at least 250 Hz, got {rate:g}")
    return bins


def _open_recordings(recordings: Any, channel_axis: int | None) -> Signals:
    if not hasattr(recordings, "shapes"):
        is_array = isinstance(recordings, np.ndarray)
        recordings = recordings if is_array else list(recordings)
        n_axes = 1 + (channel_axis is not None)
        of_numbers = not is_array and len(recordings) and np.ndim(recordings[0]) == 0
        if of_numbers or (is_array and recordings.ndim == n_axes):
            recordings = [recordings]
    return Signals(recordings, "recordings", 2, channel_axis, 1, _levelled)


def _levelled(recording: NDArray, name: str) -> NDArray:
    """A recording (C, T) with means zero and root mean square 1."""
    centred = recording - recording.mean(axis=1, keepdims=True)
    level = np.sqrt(np.mean(np.square(centred)))
    if not level > 4 * np.finfo(recording.dtype).eps * np.abs(recording).max():
        raise ValueError(f"{name} is constant: there is nothing to learn from silence")
    return centred / level


class _Coefficients(Sequence[NDArray]):
    """The coefficients of recordings, twice: the second time in frames half a frame later.

    Each is computed when it is asked for; the mono ones are (frames, bins), others have the
    channels in front.
    """

    def __init__(self, recordings: Signals, bins: int) -> None:
        self.recordings = recordings
        self.bins = bins
        self.is_mono = recordings.channel_axis is None
        channels = () if self.is_mono else (recordings.channels,)
        counts = [frame_count(length, bins) for (length,) in recordings.shapes]
        self.shapes = [(*channels, count, bins) for count in counts for _ in range(2)]

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: Any) -> Any:
        shift = (index % 2) * (self.bins // 2)
        coefficients = lapped(self.recordings[index // 2], self.bins, shift)
        return coefficients[0] if self.is_mono else coefficients

    def describe(self) -> str:
        """A text that identifies the recordings and the frames."""
        return f"{self.recordings.describe()} bins={self.bins}"
