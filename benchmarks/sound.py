"""The sound experiment: learn the three bands of one note, denoise others.

    python benchmarks/sound.py TRAIN.wav TEST.wav [TEST.wav ...]

As in the public code that preceded arXiv 2310.03085: samples 4000 to 6000 of the first file, with
the mean removed and the largest sample scaled to 1; noise of standard deviation 0.2; the
signal-to-noise ratio of the triples of bands on samples 3000 to 5000 of the others.
"""

import time
from pathlib import Path

import numpy as np
from command import new_parser
from scipy.io import wavfile
from timing import machine

import fastcl
from fastcl.cli.demo import signal_to_noise

SIGMA = 0.2  # standard deviation of the noise
SEEDS = 5  # noises that are averaged
QUICK = {"m": 200, "n_iter": 50}  # of learn_audio_prior


def excerpt(path, start, stop):
    """(rate, samples `start` to `stop` with mean zero and largest sample 1)."""
    rate, signal = wavfile.read(path)
    signal = signal[start:stop].astype(np.float64)
    signal -= signal.mean()
    return rate, signal / signal.max()


def gains(prior, clean, rate, seed):
    """(dB of the noisy bands, gain by MAP, by the mean, of the reference alone, of the signal)."""
    bands = fastcl.split_bands(clean, rate)
    noise = fastcl.band_noise(SIGMA, rate)
    noisy_signal = clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.size)
    noisy = fastcl.split_bands(noisy_signal, rate)
    by_map = fastcl.denoise(prior, noisy, noise)
    by_mean = fastcl.denoise(prior, noisy, noise, estimator="mean")
    by_reference = fastcl.denoise(prior.reference, noisy, noise, estimator="mean")
    before = signal_to_noise(bands, noisy)
    before_signal = signal_to_noise(clean, noisy.sum(axis=1))
    after_signal = signal_to_noise(clean, by_mean.sum(axis=1))
    return (
        before,
        signal_to_noise(bands, by_map) - before,
        signal_to_noise(bands, by_mean) - before,
        signal_to_noise(bands, by_reference) - before,
        after_signal - before_signal,
    )


def main():
    parser = new_parser(__doc__)
    parser.add_argument("train", help="WAV file to learn from")
    parser.add_argument("test", nargs="+", help="WAV files to denoise")
    options = parser.parse_args()
    seeds = 1 if options.quick else SEEDS
    print(machine())
    rate, signal = excerpt(options.train, 4000, 6000)
    start = time.perf_counter()
    prior = fastcl.learn_audio_prior(signal, rate, rng=0, **(QUICK if options.quick else {}))
    print(f"learned from {len(signal)} samples in {time.perf_counter() - start:.1f} s")
    print(
        f"mean of {seeds} noises{'noisy dB':>12}{'gain: MAP':>11}{'mean':>7}"
        f"{'reference':>11}{'signal, mean':>15}"
    )
    for path in options.test:
        rate, clean = excerpt(path, 3000, 5000)
        rows = [gains(prior, clean, rate, seed) for seed in range(seeds)]
        before, by_map, by_mean, by_reference, of_signal = np.mean(rows, axis=0)
        print(
            f"{Path(path).name[-18:]:18}{before:>10.2f}{by_map:>11.2f}{by_mean:>7.2f}"
            f"{by_reference:>11.2f}{of_signal:>15.2f}"
        )


if __name__ == "__main__":
    main()
