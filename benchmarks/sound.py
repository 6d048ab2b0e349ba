"""Denoising of sound: fastcl beside wavelets, the best STFT Wiener filter, and three bands.

    python benchmarks/sound.py --learn CLEAN ... --test CLEAN ...
    python benchmarks/sound.py --bands --learn NOTE.wav --test NOTE.wav ...

CLEAN is a WAV file or a folder of them, mono and of one rate. Every file is scaled to a largest
sample of 1, and white noise is added. The figures are signal-to-noise ratios of the signal itself
in dB, averaged over the files, and the seconds that ten seconds of sound take.

The rivals: wavelets are scikit-image's denoise_wavelet (BayesShrink, sym8; needs PyWavelets); the
STFT filters are Wiener filters with the decision-directed estimate of Ephraim and Malah, in root
Hann windows of which four cover a sample. Of four lengths and two weights of the past, the table
has the best, chosen with the clean signal. All but "fastcl, estimated" are given sigma.

With --bands, the table of the public code that preceded arXiv 2310.03085: samples 4000 to 6000 of
the first file to learn from; noise of standard deviation 0.2; the signal-to-noise ratio of the
triples of bands on samples 3000 to 5000 of the others.
"""

import time
import warnings
from pathlib import Path

import numpy as np
import scipy
from command import new_parser, require, stop
from scipy.io import wavfile
from three_bands import band_noise, denoise_bands, learn_bands, split_bands, verify
from timing import machine

import fastcl
from fastcl.cli.demo import signal_to_noise

SIGMAS = (0.05, 0.1, 0.2)
WINDOWS = (16, 32, 64, 128)  # ms
WEIGHTS = (0.9, 0.98)  # of the past, in the decision-directed estimate
BAND_SECONDS = 20  # of sound from which the three bands are learned, at most
BAND_SIGMA = 0.2
BAND_SEEDS = 5  # noises that are averaged in the table of the bands
QUICK = {"m": 50, "n_iter": 10}
QUICK_MIXTURE = {"n_components": 4, "n_samples": 5000}


def read_all(paths):
    """(rate, list of signals with mean zero and largest magnitude 1) of files and folders."""
    files = []
    for path in map(Path, paths):
        files += sorted(path.glob("*.wav")) if path.is_dir() else [path]
    rates, signals = set(), []
    for file in files:
        rate, signal = wavfile.read(file)
        if signal.ndim != 1:
            stop(f"{file} is not mono")
        signal = signal - signal.mean(dtype=np.float64)
        rates.add(rate)
        signals.append(signal / np.abs(signal).max())
    if len(rates) != 1:
        stop(f"files of one rate are needed, got rates {sorted(rates)}")
    return rates.pop(), signals


def wavelets(noisy, sigma):
    """Soft thresholds of BayesShrink in orthogonal wavelets."""
    denoise_wavelet = require("skimage.restoration").denoise_wavelet
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short signals have fewer levels
        return denoise_wavelet(noisy, sigma=sigma, wavelet="sym8", method="BayesShrink")


def decision_directed(noisy, sigma, size, weight):
    """Wiener's filter of the STFT, with the decision-directed signal-to-noise ratio."""
    window = np.sqrt(scipy.signal.get_window("hann", size))
    layout = {"window": window, "nperseg": size, "noverlap": size - size // 4}
    padded = np.pad(noisy, (0, max(size - noisy.size, 0)))
    spectra = scipy.signal.stft(padded, **layout)[2]
    posterior = np.abs(spectra) ** 2 * (window.sum() / sigma) ** 2 / (window**2).sum()
    gains = np.empty(spectra.shape)
    past = np.maximum(posterior[:, 0] - 1, 0)
    for frame in range(spectra.shape[1]):
        prior = weight * past + (1 - weight) * np.maximum(posterior[:, frame] - 1, 0)
        gains[:, frame] = prior / (1 + prior)
        past = gains[:, frame] ** 2 * posterior[:, frame]
    return scipy.signal.istft(spectra * gains, **layout)[1][: noisy.size]


def methods(model, bands, rate):
    """Name -> function of (noisy, sigma), all methods in the order of the table."""
    found = {"noisy": lambda noisy, sigma: noisy, "wavelets": wavelets}
    for window in WINDOWS:
        for weight in WEIGHTS:
            size = 4 * round(window * rate / 4000)
            found[f"STFT {window} ms, {weight}"] = lambda noisy, sigma, size=size, weight=weight: (
                decision_directed(noisy, sigma, size, weight)
            )
    if bands is not None:
        found["three bands"] = lambda noisy, sigma: denoise_bands(bands, noisy, sigma, rate)
    found["fastcl"] = lambda noisy, sigma: fastcl.denoise_audio(model, noisy, sigma, rate)
    found["fastcl, estimated"] = lambda noisy, sigma: fastcl.denoise_audio(model, noisy, rate=rate)
    return found


def compare(options):
    """Learn, denoise, print the table."""
    require("pywt", "pip install PyWavelets")
    rate, clean = read_all(options.learn)
    test_rate, tests = read_all(options.test)
    if rate != test_rate:
        stop(f"the files to learn from are of {rate} Hz, those to test on of {test_rate} Hz")
    start = time.perf_counter()
    quick = QUICK | QUICK_MIXTURE if options.quick else {}
    model = fastcl.learn_audio_prior(clean, rate, rng=0, **quick)
    length = sum(map(len, clean)) / rate
    print(f"learned from {length:.0f} s of sound in {time.perf_counter() - start:.0f} s")
    bands = None
    if rate > 7500:  # twice the larger cutoff
        some = np.concatenate(clean)[: BAND_SECONDS * rate]
        bands = learn_bands(some, rate, rng=0, **(QUICK if options.quick else {}))
    found = methods(model, bands, rate)
    ratios = {name: np.zeros((len(options.sigma), len(tests))) for name in found}
    seconds = dict.fromkeys(found, 0.0)
    fastcl.denoise_audio(model, tests[0], 0.1)  # compiles
    for row, sigma in enumerate(options.sigma):
        for column, signal in enumerate(tests):
            noise = np.random.default_rng(column).standard_normal(signal.size)
            noisy = signal + sigma * noise
            for name, method in found.items():
                start = time.perf_counter()
                result = method(noisy, sigma)
                seconds[name] += time.perf_counter() - start
                ratios[name][row, column] = signal_to_noise(signal, result)
    total = len(options.sigma) * sum(map(len, tests)) / rate
    report(options.sigma, ratios, {name: 10 * spent / total for name, spent in seconds.items()})


def report(sigmas, ratios, seconds):
    """Print the table, with the best STFT filter of every level, and the margins of fastcl."""
    means = {name: values.mean(axis=1) for name, values in ratios.items()}
    for weight in WEIGHTS:
        each = [name for name in means if name.startswith("STFT") and name.endswith(str(weight))]
        best = f"best STFT, {weight}"
        means[best] = np.max([means[name] for name in each], axis=0)
        seconds[best] = np.mean([seconds[name] for name in each])
    print(f"{'sigma':24}" + "".join(f"{sigma:>8g}" for sigma in sigmas) + f"{'s for 10 s':>12}")
    for name, values in means.items():
        print(f"{name:24}" + "".join(f"{x:>8.2f}" for x in values) + f"{seconds[name]:>12.2f}")
    for weight in WEIGHTS:
        rival = np.maximum(means["wavelets"], means[f"best STFT, {weight}"])
        gains = "".join(f"{x:>+8.2f}" for x in means["fastcl"] - rival)
        print(f"{f'over the best, {weight}':24}{gains}")


def excerpt(path, start, stop):
    """(rate, samples `start` to `stop` with mean zero and largest sample 1)."""
    rate, signal = wavfile.read(path)
    signal = signal[start:stop].astype(np.float64)
    signal -= signal.mean()
    return rate, signal / signal.max()


def band_gains(prior, clean, rate, seed):
    """(dB of the noisy bands, gain by MAP, by the mean, of the reference alone, of the signal)."""
    bands, noise = split_bands(clean, rate), band_noise(BAND_SIGMA, rate)
    noisy_signal = clean + BAND_SIGMA * np.random.default_rng(seed).standard_normal(clean.size)
    noisy = split_bands(noisy_signal, rate)
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


def compare_bands(options):
    """The table of the bands."""
    seeds = 1 if options.quick else BAND_SEEDS
    rate, signal = excerpt(options.learn[0], 4000, 6000)
    start = time.perf_counter()
    prior = learn_bands(signal, rate, rng=0, **(QUICK if options.quick else {}))
    print(f"learned from {len(signal)} samples in {time.perf_counter() - start:.1f} s")
    print(
        f"mean of {seeds} noises{'noisy dB':>12}{'gain: MAP':>11}{'mean':>7}"
        f"{'reference':>11}{'signal, mean':>15}"
    )
    for path in options.test:
        rate, clean = excerpt(path, 3000, 5000)
        rows = [band_gains(prior, clean, rate, seed) for seed in range(seeds)]
        before, by_map, by_mean, by_reference, of_signal = np.mean(rows, axis=0)
        print(
            f"{Path(path).name[-18:]:18}{before:>10.2f}{by_map:>11.2f}{by_mean:>7.2f}"
            f"{by_reference:>11.2f}{of_signal:>15.2f}"
        )


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--learn", nargs="+", required=True, help="WAV files or folders")
    parser.add_argument("--test", nargs="+", required=True, help="WAV files or folders")
    parser.add_argument(
        "--sigma", nargs="+", type=float, default=SIGMAS, help="levels of the noise"
    )
    parser.add_argument("--bands", action="store_true", help="the table of the three bands alone")
    options = parser.parse_args()
    print(machine())
    verify()
    (compare_bands if options.bands else compare)(options)


if __name__ == "__main__":
    main()
