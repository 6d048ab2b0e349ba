"""Small data sets with a known distribution, for demonstrations, benchmarks and tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ..measures.mixtures import GaussianMixture
from ..validation import as_count, as_generator, as_positive

# Formants in Hz, of a man's a, e, i, o and u: Peterson and Barney, JASA 1952.
VOWELS = np.array(
    [[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]]
)
FORMANT_WIDTHS = np.array([80, 100, 140])  # Hz
SCALE = 196 * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)  # Hz: five tones from G3 on, and its octave
NOTE = (0.25, 0.6)  # seconds that a note lasts, from and to
HISS = 0.06  # seconds before a note


def make_spiral(
    n: int,
    noise: float = 0.02,
    turns: float = 1.5,
    rng: int | np.random.Generator | None = None,
) -> NDArray[np.float64]:
    """Noisy points along a spiral in [-1, 1]^2.

    They are ``0.9 t (cos(2 pi turns t), sin(2 pi turns t))``, t uniform in [0, 1], plus noise.

    Parameters
    ----------
    n : int
        Number of points.
    noise : float
        Standard deviation of the Gaussian noise.
    turns : float
        Number of turns from the centre to the end.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    float64 array (n, 2)
    """
    n = as_count(n, "n")
    noise = as_positive(noise, "noise")
    rng = as_generator(rng)
    t = rng.random(n)
    angle = 2 * np.pi * turns * t
    return (0.9 * t * [np.cos(angle), np.sin(angle)]).T + noise * rng.standard_normal((n, 2))


def two_gaussians(dim: int = 2) -> GaussianMixture:
    """Two equal round Gaussians of std 0.1, centred on the diagonal 0.4 either way from 0."""
    dim = as_count(dim, "dim")
    centre = np.full(dim, 0.4 / np.sqrt(dim))
    return GaussianMixture([0.5, 0.5], [centre, -centre], [0.01 * np.eye(dim)] * 2)


def make_song(
    seconds: float, rate: int = 16000, rng: int | np.random.Generator | None = None
) -> NDArray[np.float64]:
    """A melody that a synthetic voice sings: random notes on random vowels.

    The harmonics of a gliding pitch with vibrato fall by 6 dB an octave, and pass through three
    formants. A hiss stands before every other note, and one in eight is a rest.

    Parameters
    ----------
    seconds : float
    rate : int
        Samples per second.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    float64 array (seconds * rate,), of largest magnitude 1; zeros if all its notes are rests
    """
    seconds = as_positive(seconds, "seconds")
    rate = as_count(rate, "rate")
    rng = as_generator(rng)
    t = np.arange(max(round(seconds * rate), 1)) / rate
    starts = np.cumsum(rng.uniform(*NOTE, size=int(seconds / NOTE[0]) + 2)) - NOTE[0]
    note = np.searchsorted(starts, t)  # (T,): the note of each sample
    n = note[-1] + 1
    age = t - np.concatenate([[0.0], starts])[note]
    late = np.searchsorted(starts, t - HISS / 2)  # pitch and vowel change between two notes
    is_sung = rng.random(n) > 1 / 8
    has_hiss = is_sung & (rng.random(n) < 1 / 2)
    pitch = gaussian_filter1d(rng.choice(SCALE, n)[late], 0.015 * rate)
    pitch *= 1 + 0.01 * np.sin(2 * np.pi * 5.5 * t)
    vowels = VOWELS[rng.integers(len(VOWELS), size=n)]
    formants = gaussian_filter1d(vowels[late], 0.015 * rate, axis=0)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = np.zeros(t.size)
    for k in range(1, int(rate / 2 / pitch.max()) + 1):
        detuning = (k * pitch[:, None] - formants) / FORMANT_WIDTHS
        voice += np.sin(k * phase) / k * (0.02 + (1 / (1 + detuning**2)).sum(axis=1))
    loudness = np.where(age > HISS, is_sung[note] * np.exp(-2 * age), 0.0)
    hiss = np.where(age > HISS, 0.0, 0.1 * has_hiss[note])
    loudness, hiss = gaussian_filter1d([loudness, hiss], 0.012 * rate)
    noise = np.diff(rng.standard_normal(t.size), prepend=0.0)
    song = loudness * (voice + 0.005 * noise) + hiss * noise
    return song / max(np.abs(song).max(), np.finfo(np.float64).tiny)
