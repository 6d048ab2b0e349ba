"""Sound: patches of the coefficients of a lapped transform, in frames of 16 ms.

A recording, scaled to a root mean square of 1, becomes an array of coefficients, frames x bins (see
`lapped`), whose patches are modelled like those of a photograph. `spectral` denoises with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import files
from ..data.signals import Signals
from ..learning.adaptive import SearchEffort
from ..sketching.checkpoint import POINTS_BETWEEN
from ..validation import as_generator, as_positive
from .lapped import frame_count, lapped
from .noisy_signals import ESTIMATE, GivenNoise, as_noise, estimated_levels, given_levels
from .patch_model import SignalModel, check_learning, learn_patches
from .patch_sketch import MAX_DIM, SUBSAMPLE, PassSettings, PatchSketch, sketch_patches
from .restoration import denoise_signal
from .spectral import PATCH, estimate_audio_noise, frame_bins

# Silence becomes noise 34 dB below the sound. Without it, the many silent patches of a recording
# would lie below the smallest scale of the reference, and distort its covariance.
DITHER = 0.07
MIN_POWER = 0.1  # of a sound that is learned from, relative to that of its noise


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
    noise: float | Sequence[float] | str = 0.0,
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
) -> PatchSketch:
    """Sketch recordings of sound: `sketch_signals` of their coefficients, frames x bins.

    Parameters
    ----------
    recordings : array (T,), or sequence of such arrays
        One recording or several; their lengths and units may differ, since each is scaled to a root
        mean square of 1, that of the noise not counted, after its mean is removed. With
        `channel_axis`, they are (T, C) or (C, T).
    rate : float
        Samples per second, the same for all.
    m, rng, progress, checkpoint, checkpoint_every, subsample, effort
        As in `sketch_signals`.
    channel_axis : int, optional
        The axis of the channels, which are then modelled together; -1 for stereo (T, 2).
    noise : float, sequence of float, or "estimate"
        Standard deviation of the white noise in the recordings, in their units (after the division
        of integers), or one for each; "estimate" calls `estimate_audio_noise` for each. Relative to
        the sound, all get the noise of the noisiest: leave out those in which little else is heard.

    Returns
    -------
    PatchSketch
        With the rate.

    Raises
    ------
    TypeError, ValueError, OSError
        As in `sketch_signals`; a rate below 250 Hz; a recording that is constant, or nearly all
        noise.
    """
    bins, noise = frame_bins(rate), as_noise(noise)
    settings = PassSettings(m, MAX_DIM, False, DITHER, subsample, effort, noise)
    settings.check()
    opened = _open_recordings(recordings, channel_axis)
    sigmas = _noise_of(opened, noise, float(rate))
    coefficients = _Coefficients(opened, bins, sigmas)
    axis = None if channel_axis is None else 0
    signals = Signals(coefficients, "coefficients", PATCH, axis)
    levels = coefficients.levels() if sigmas.any() else np.zeros(len(coefficients))
    result = sketch_patches(
        signals,
        settings,
        rng,
        progress,
        checkpoint,
        checkpoint_every,
        rate=float(rate),
        levels=levels,
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
    noise: float | Sequence[float] | str = 0.0,
    method: str = "max_entropy",
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
    **settings: Any,
) -> SignalModel:
    """Learn a prior of sound from recordings, through a sketch of their spectral patches.

    Parameters
    ----------
    recordings, rate, m, progress, channel_axis, noise, subsample, effort
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
    check_learning(method, settings, noise)
    rng = as_generator(rng)
    fit: dict[str, Any] = {"noise": noise, "subsample": subsample, "effort": effort}
    audio_sketch = sketch_audio(
        recordings, rate, m, rng, progress, channel_axis=channel_axis, **fit
    )
    return learn_patches(audio_sketch, method, rng=rng, progress=progress, **settings)


def denoise_audio(
    model: SignalModel,
    noisy: ArrayLike,
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
    noisy : array (T,)
        The clean sound plus noise, in any units; with channels, if the model has them. 8 and 16-bit
        integers are divided by the largest value of their type. One more axis in front is a batch.
    sigma : float or array (C,), optional
        Standard deviation of the noise, or one per channel, in units of the sound (after the
        division). By default it is estimated by `estimate_audio_noise`.
    rate : float, optional
        Samples per second, to check that it is that of the model.
    strength, estimator, **settings
        As in `denoise_signal`.

    Returns
    -------
    float array of the shape of `noisy`, in its type and on its device.

    Raises
    ------
    TypeError, ValueError
        As in `denoise_signal`; a model of other signals; another rate than that of the model.

    Notes
    -----
    The patches of two lapped transforms, half a frame apart, are replaced by their posterior means.
    The length of the frames is that which leaves the least energy below three sigma. In the second
    stage, stretches of 8 or 16 ms are denoised in groups: with each go the 39 within 64 ms that are
    most similar to it in the result of the first. Its time grows as the square of the rate.
    Memory: some ten copies of the sound.

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
    return denoise_signal(model, noisy, sigma, strength, estimator, **settings)


def _check_model(model: Any, rate: float | None) -> None:
    """TypeError or ValueError unless `model` is one of sound, of this rate if it is given."""
    if not isinstance(model, SignalModel):
        raise TypeError(f"model must be one from learn_audio_prior, got {type(model).__name__}")
    if model.rate is None:
        raise ValueError("model is not one of sound: learn it with learn_audio_prior")
    if rate is not None and as_positive(rate, "rate") != model.rate:
        raise ValueError(
            f"rate of {rate:g} Hz is not that of the model, {model.rate:g} Hz: resample the signal"
        )


def _open_recordings(recordings: Any, channel_axis: int | None) -> Signals:
    if not hasattr(recordings, "shapes"):
        is_array = isinstance(recordings, np.ndarray)
        recordings = recordings if is_array else list(recordings)
        n_axes = 1 + (channel_axis is not None)
        of_numbers = not is_array and len(recordings) and np.ndim(recordings[0]) == 0
        if of_numbers or (is_array and recordings.ndim == n_axes):
            recordings = [recordings]
    return Signals(recordings, "recordings", 2, channel_axis, 1, _centred)


def _centred(recording: NDArray, name: str) -> NDArray:
    """A recording (C, T) with means zero; ValueError if nothing is left."""
    centred = recording - recording.mean(axis=1, keepdims=True)
    if not _level(centred) > 4 * np.finfo(recording.dtype).eps * np.abs(recording).max():
        raise ValueError(f"{name} is constant: there is nothing to learn from silence")
    return centred


def _level(centred: NDArray) -> float:
    """The root mean square of all channels."""
    return np.sqrt(np.mean(np.square(centred)))


def _noise_of(recordings: Signals, noise: GivenNoise, rate: float) -> NDArray:
    """Standard deviations (n,) of the noise in the recordings, in their units."""
    if noise == ESTIMATE:
        return estimated_levels(
            recordings, partial(estimate_audio_noise, rate=rate, channel_axis=0)
        )
    return given_levels(noise, recordings)


class _Coefficients(Sequence[NDArray]):
    """The coefficients of recordings, twice: the second time in frames half a frame later.

    Each is computed when it is asked for; the mono ones are (frames, bins), others have the
    channels in front. The sound without its noise, whose standard deviations are `sigmas`, is
    scaled to a root mean square of 1.
    """

    def __init__(self, recordings: Signals, bins: int, sigmas: NDArray) -> None:
        self.recordings = recordings
        self.bins = bins
        self.sigmas = sigmas
        self.is_mono = recordings.channel_axis is None
        channels = () if self.is_mono else (recordings.channels,)
        counts = [frame_count(length, bins) for (length,) in recordings.shapes]
        self.shapes = [(*channels, count, bins) for count in counts for _ in range(2)]

    def levels(self) -> NDArray:
        """Standard deviations of the noise in all coefficients, which are read."""
        units = [self._unit(self.recordings[k], k) for k in range(len(self.recordings))]
        return np.repeat(self.sigmas / units, 2)

    def _unit(self, recording: NDArray, index: int) -> float:
        """The root mean square of a recording without its noise."""
        level, sigma = _level(recording), self.sigmas[index]
        if sigma == 0:
            return level
        power = float(level) ** 2 - sigma**2
        if not power > MIN_POWER * sigma**2:
            raise ValueError(
                f"{self.recordings.name}[{index}] is nearly all noise: its root mean square is "
                f"{level:.3g}, and the standard deviation of the noise {sigma:.3g}"
            )
        return recording.dtype.type(np.sqrt(power))

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: Any) -> Any:
        shift = (index % 2) * (self.bins // 2)
        recording = self.recordings[index // 2]
        unit = recording / self._unit(recording, index // 2)
        coefficients = lapped(unit, self.bins, shift)
        return coefficients[0] if self.is_mono else coefficients

    def describe(self) -> str:
        """A text that identifies the recordings and the frames."""
        return f"{self.recordings.describe()} bins={self.bins}"
