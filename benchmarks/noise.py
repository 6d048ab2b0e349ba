"""Learning from noisy data, against clean data and the noisy data as they are.

    python benchmarks/noise.py [TRAIN_DIR TEST_DIR] [--sounds DIR] [--only PART] [--quick]

Vectors: the spiral, whose own thickness is 0.02, with Gaussian noise; m = 500. Held-out nats of
clean points, by quadrature, of the network that learns from the clean sketch, from that of the
noisy points as it is, and from the deconvolved one, at frequencies that are drawn for the noise:
means over the seeds, and every seed. Then the same for other numbers of points, and the largest
noise at which the deconvolved sketch loses at most 0.1 nats against the clean one of a million, by
interpolation, next to what theory says: with n points moments are resolved up to a radius of
sqrt(2 log(0.05 sqrt(n))) standard deviations of the noise, so the noise that n points bear is in
proportion to that number.

Photographs: priors of TRAIN_DIR, clean and with Gaussian noise, with the noise known to the fit,
estimated, and as they are; PSNR on TEST_DIR at --sigma, of the first stage alone and by default.

Sound: the same for the WAV files of --sounds, scaled to a largest sample of 1, of which every fifth
is held out; signal-to-noise ratios in dB at three levels of noise.
"""

from pathlib import Path

from timing import machine  # before NumPy

# isort: split
import numpy as np
from command import new_parser, stop
from denoisers import add_noise
from skimage.metrics import peak_signal_noise_ratio
from sound import read_all

import fastcl
from fastcl.cli.demo import normalised_log_likelihood, signal_to_noise
from fastcl.data.datasets import make_spiral
from fastcl.data.readers import ImageFolder
from fastcl.data.signals import as_photograph

BOX = fastcl.Box([-1, -1], [1, 1])
M = 500
SCALE = 0.06
STEPS = 1500
N_POINTS = 2000
NOISES = (0.05, 0.1, 0.2)
COUNTS = {10**4: (0.02, 0.03, 0.05, 0.07), 10**6: (0.07, 0.1, 0.14), 10**8: (0.1, 0.14, 0.2)}
BORNE = 0.1  # nats
CHUNK = 1_000_000
PHOTOGRAPH_NOISES = (10, 25)
SOUND_NOISES = (0.02, 0.05, 0.1)
SOUND_SIGMAS = (0.02, 0.05, 0.1)
QUICK = {"n_iter": 2, "n_components": 3, "n_samples": 2000}


def spiral_chunks(n, noise):
    """Clean points and noise, chunk by chunk: the same points whatever the noise."""
    rng, noise_rng = np.random.default_rng(0), np.random.default_rng(1)
    for start in range(0, n, CHUNK):
        x = make_spiral(min(CHUNK, n - start), rng=rng)
        if noise:
            x = x + noise * noise_rng.standard_normal(x.shape)
        yield x.astype(np.float32)


def nats_of(sketch, held_out, seed, steps):
    """Held-out nats of a network that learns from a sketch."""
    prior = fastcl.MLPPrior(2, rng=seed)
    optimizer = fastcl.Adam(3e-3, schedule=fastcl.Cosine(steps))
    settings = {"n_points": N_POINTS, "n_iter": steps, "optimizer": optimizer, "rng": seed}
    fastcl.learn(prior, sketch, BOX, **settings)
    return normalised_log_likelihood(prior, BOX, held_out)


def learned(n, noise, seeds, steps, held_out):
    """Nats of every seed, from the deconvolved sketch of n points, or the plain one."""
    nats = {"as it is": [], "deconvolved": []}
    drawn = [fastcl.draw_frequencies(M, 2, SCALE, rng=seed) for seed in range(seeds)]
    if noise:
        for_noise = {"noise": noise, "n_points": n}
        drawn += [
            fastcl.draw_frequencies(M, 2, SCALE, rng=seed, **for_noise) for seed in range(seeds)
        ]
    # One pass for all.
    whole = fastcl.sketch(spiral_chunks(n, noise), np.concatenate(drawn))
    totals = np.split(whole.total, len(drawn))
    for k, (omega, total) in enumerate(zip(drawn, totals, strict=True)):
        sketch = fastcl.Sketch(omega).add_sums(total, n)
        name = "as it is" if k < seeds else "deconvolved"
        sketch = sketch if k < seeds else sketch.deconvolve(noise)
        nats[name].append(nats_of(sketch, held_out, k % seeds, steps))
    return nats


def show(n, noise, nats):
    """Print a line of the table."""
    each = "; ".join(" ".join(f"{value:.3f}" for value in values) for values in nats if values)
    means = "".join(f"{np.mean(values):>13.3f}" if values else f"{'':>13}" for values in nats)
    print(f"{n:>10}{noise:>7g}{means}    {each}", flush=True)


def compare_vectors(quick):
    steps, held_out = STEPS, make_spiral(20_000, rng=99)
    seeds, noises, counts = 3, NOISES, COUNTS
    if quick:
        steps, held_out, seeds = 20, make_spiral(200, rng=99), 1
        noises, counts = NOISES[:1], {1000: (0.01, 0.05), 10**4: (0.05, 0.1)}
    n = min(10**6, max(counts))
    print(f"{'points':>10}{'noise':>7}{'as it is':>13}{'deconvolved':>13}    every seed")
    clean = learned(n, 0, seeds, steps, held_out)["as it is"]
    show(n, 0, (clean, []))
    for noise in noises:
        show(n, noise, learned(n, noise, seeds, steps, held_out).values())
    print("\nthe largest noise that the points bear")
    borne = {}
    for n, noises in counts.items():
        losses = []
        for noise in noises:
            nats = learned(n, noise, seeds, steps, held_out)
            show(n, noise, nats.values())
            losses.append(np.mean(clean) - np.mean(nats["deconvolved"]))
        # From the largest noise down, the first that loses little.
        worst = np.maximum.accumulate(losses)
        borne[n] = float(np.interp(BORNE, worst, noises))
    unit = max(n for n in counts if n <= 10**6)
    reach = {n: np.sqrt(2 * np.log(max(0.05 * np.sqrt(n), 1.01))) for n in counts}
    print(f"{'points':>10}{'noise borne':>13}{f'over that of {unit:g}':>20}{'theory':>8}")
    for n in counts:
        ratios = borne[n] / borne[unit], reach[n] / reach[unit]
        print(f"{n:>10}{borne[n]:>13.3f}{ratios[0]:>20.2f}{ratios[1]:>8.2f}")


def compare_photographs(train, test, sigma, quick):
    images, held_out = read(train, 3 if quick else None), read(test, 1 if quick else None)
    settings = {"m": 100, **QUICK} if quick else {}
    print(f"\n{len(images)} photographs, tested on {len(held_out)} at sigma {sigma:g}; PSNR in dB")
    print(f"{'learned from':30}{'first stage':>12}{'default':>9}")

    def report(name, model):
        scores = []
        for second_stage in (False, None):
            found = []
            for k, clean in enumerate(held_out):
                noisy = add_noise(clean, sigma / 255, k)
                estimate = model(noisy, sigma / 255, second_stage=second_stage)
                found.append(peak_signal_noise_ratio(clean, estimate, data_range=1))
            scores.append(np.mean(found))
        print(f"{name:30}{scores[0]:>12.2f}{scores[1]:>9.2f}", flush=True)

    report("clean", fastcl.learn_image_prior(images, rng=0, **settings))
    for level in PHOTOGRAPH_NOISES[:1] if quick else PHOTOGRAPH_NOISES:
        noise, rng = level / 255, np.random.default_rng(1)
        noisy = [image + noise * rng.standard_normal(image.shape) for image in images]
        for name, given in ways(noise):
            model = fastcl.learn_image_prior(noisy, rng=0, noise=given, **settings)
            report(f"noise of {level}, {name}", model)


def ways(noise):
    """Pairs (what is known of the noise, the argument that says so)."""
    return (("known", noise), ("estimated", "estimate"), ("as they are", 0.0))


def compare_sounds(folder, quick):
    files = sorted(Path(folder).glob("*.wav"))[: 10 if quick else None]
    rate, sounds = read_all([file for k, file in enumerate(files) if k % 5])
    _, held_out = read_all(files[::5])
    settings = {"m": 50, **QUICK} if quick else {}
    seconds = sum(map(len, sounds)) / rate
    print(f"\n{len(sounds)} sounds, {seconds:.0f} s, tested on {len(held_out)}; SNR in dB of the")
    print("first stage and by default, at sigma " + " and ".join(f"{s:g}" for s in SOUND_SIGMAS))

    def report(name, model):
        words = f"{name:30}"
        for sigma in SOUND_SIGMAS:
            scores = []
            for second_stage in (False, True):
                found = []
                for k, clean in enumerate(held_out):
                    noisy = clean + sigma * np.random.default_rng(k).standard_normal(len(clean))
                    estimate = model(noisy, sigma, second_stage=second_stage)
                    found.append(signal_to_noise(clean, estimate))
                scores.append(np.mean(found))
            words += f"{scores[0]:>10.2f} {scores[1]:>6.2f}"
        print(words, flush=True)

    report("clean", fastcl.learn_audio_prior(sounds, rate, rng=0, **settings))
    for noise in SOUND_NOISES[:1] if quick else SOUND_NOISES:
        rng = np.random.default_rng(1)
        noisy = [sound + noise * rng.standard_normal(len(sound)) for sound in sounds]
        for name, given in ways(noise):
            model = fastcl.learn_audio_prior(noisy, rate, rng=0, noise=given, **settings)
            report(f"noise of {noise:g}, {name}", model)


def read(folder, most):
    """The first photographs of a folder, in grey, in [0, 1]."""
    opened = ImageFolder(folder)
    count = len(opened) if most is None else most
    return [as_photograph(opened[k], "image").astype(np.float64) for k in range(count)]


def main():
    parser = new_parser(__doc__)
    parser.add_argument("train", metavar="TRAIN_DIR", type=Path, nargs="?")
    parser.add_argument("test", metavar="TEST_DIR", type=Path, nargs="?")
    parser.add_argument("--sounds", metavar="DIR", type=Path)
    parser.add_argument("--only", choices=("vectors", "photographs", "sounds"))
    parser.add_argument("--sigma", type=float, default=25.0, help="of the test (%(default)s)")
    options = parser.parse_args()
    if options.only == "photographs" and options.test is None:
        stop("--only photographs needs TRAIN_DIR and TEST_DIR")
    if options.only == "sounds" and options.sounds is None:
        stop("--only sounds needs --sounds DIR")
    print(machine())
    if options.only in (None, "vectors"):
        compare_vectors(options.quick)
    if options.only in (None, "photographs") and options.test is not None:
        compare_photographs(options.train, options.test, options.sigma, options.quick)
    if options.only in (None, "sounds") and options.sounds is not None:
        compare_sounds(options.sounds, options.quick)


if __name__ == "__main__":
    main()
