"""The sound experiment: learn the three bands of one note, denoise others.

    python benchmarks/sound.py TRAIN.wav TEST.wav [TEST.wav ...]

As in the public code that preceded arXiv 2310.03085: samples 4000 to 6000 of the first file, mean taken out, largest sample 1;
noise of deviation 0.2; signal-to-noise ratio of the triples of bands on samples 3000 to 5000 of the others.
"""

import argparse
import time

import numpy as np
from scipy.io import wavfile
from timing import machine

import fastcl
from fastcl.cli.demo import signal_to_noise

SIGMA = 0.2
SEEDS = 5


def excerpt(path, start, stop):
    rate, signal = wavfile.read(path)
    signal = signal[start:stop].astype(np.float64)
    signal -= signal.mean()
    return rate, signal / signal.max()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("test", nargs="+")
    options = parser.parse_args()
    print(machine())
    rate, signal = excerpt(options.train, 4000, 6000)
    start = time.perf_counter()
    prior = fastcl.learn_audio_prior(signal, rate, rng=0)
    print(f"learned from {len(signal)} samples in {time.perf_counter() - start:.1f} s")
    print(
        f"mean of {SEEDS} noises{'noisy dB':>12}{'gain: MAP':>11}{'mean':>7}{'reference':>11}{'signal, mean':>15}"
    )
    for path in options.test:
        rate, clean = excerpt(path, 3000, 5000)
        bands, noise = fastcl.split_bands(clean, rate), fastcl.band_noise(SIGMA, rate)
        rows = []
        for seed in range(SEEDS):
            noisy = fastcl.split_bands(
                clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.size), rate
            )
            before = signal_to_noise(bands, noisy)
            estimates = (
                fastcl.denoise(prior, noisy, noise),
                fastcl.denoise(prior, noisy, noise, estimator="mean"),
                fastcl.denoise(prior.reference, noisy, noise, estimator="mean"),
            )
            gains = [signal_to_noise(bands, estimate) - before for estimate in estimates]
            signal_gain = signal_to_noise(clean, estimates[1].sum(axis=1)) - signal_to_noise(
                clean, noisy.sum(axis=1)
            )
            rows.append([before, *gains, signal_gain])
        before, by_map, by_mean, by_reference, of_signal = np.mean(rows, axis=0)
        name = path.rsplit("/", 1)[-1][-18:]
        print(
            f"{name:18}{before:>13.2f}{by_map:>11.2f}{by_mean:>7.2f}{by_reference:>11.2f}{of_signal:>15.2f}"
        )


if __name__ == "__main__":
    main()
