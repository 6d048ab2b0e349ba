"""Learning from noisy data, against clean data and the noisy data as they are.

    python benchmarks/noise.py [TRAIN_DIR TEST_DIR] [--only vectors|photographs] [--quick]

Vectors: the spiral, whose own thickness is 0.02, with Gaussian noise; m = 500. Held-out nats of
clean points, by quadrature, of the network that learns from the clean sketch, from that of the
noisy points as it is, and from the deconvolved one, at frequencies that are drawn for the noise:
means over the seeds, and every seed. Then the same for other numbers of points, one seed, and the
largest noise at which the deconvolved sketch loses at most 0.1 nats against the clean one, by
interpolation, next to what theory says: with n points moments are resolved up to a radius of
sqrt(2 log(0.05 sqrt(n))) standard deviations of the noise, so the noise that n points bear is in
proportion to that number.

Photographs: priors of TRAIN_DIR, clean and with Gaussian noise, with the noise known to the fit and
as they are; PSNR on TEST_DIR at --sigma, of the first stage alone and by default.
"""

from pathlib import Path

from timing import machine  # before NumPy

# isort: split
import numpy as np
from command import new_parser, stop
from denoisers import add_noise
from skimage.metrics import peak_signal_noise_ratio

import fastcl
from fastcl.cli.demo import normalised_log_likelihood
from fastcl.data.datasets import make_spiral
from fastcl.data.readers import ImageFolder
from fastcl.data.signals import as_photograph

BOX = fastcl.Box([-1, -1], [1, 1])
M = 500
SCALE = 0.06
STEPS = 1500
N_POINTS = 2000
NOISES = (0.05, 0.1, 0.2)
COUNTS = {10**4: (0.01, 0.02, 0.03, 0.05, 0.07), 10**6: (0.05, 0.07, 0.1), 10**8: (0.07, 0.1, 0.14)}
BORNE = 0.1  # nats
CHUNK = 1_000_000
PHOTOGRAPH_NOISES = (10, 25)


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


def compare(n, noise, seeds, steps, held_out):
    """Nats of every seed, from the clean, the noisy and the deconvolved sketch; prints a line."""
    nats = {"clean": [], "as it is": [], "deconvolved": []}
    for seed in range(seeds):
        omega = fastcl.draw_frequencies(M, 2, SCALE, rng=seed)
        for_noise = fastcl.draw_frequencies(M, 2, SCALE, rng=seed, noise=noise, n_points=n)
        clean = fastcl.sketch(spiral_chunks(n, 0), omega)
        noisy = fastcl.sketch(spiral_chunks(n, noise), omega)
        sharp = fastcl.sketch(spiral_chunks(n, noise), for_noise).deconvolve(noise)
        for name, sketch in zip(nats, (clean, noisy, sharp), strict=True):
            nats[name].append(nats_of(sketch, held_out, seed, steps))
    means = {name: np.mean(values) for name, values in nats.items()}
    each = "; ".join(" ".join(f"{value:.3f}" for value in values) for values in nats.values())
    print(
        f"{n:>10}{noise:>7g}" + "".join(f"{value:>13.3f}" for value in means.values()), "  ", each,
        flush=True,
    )  # fmt: skip
    return means


def compare_vectors(quick):
    steps, held_out = (
        (20, make_spiral(200, rng=99)) if quick else (STEPS, make_spiral(20_000, rng=99))
    )
    print(
        f"{'points':>10}{'noise':>7}{'clean':>13}{'as it is':>13}{'deconvolved':>13}    every seed"
    )
    for noise in NOISES[:1] if quick else NOISES:
        compare(10**4 if quick else 10**6, noise, 1 if quick else 3, steps, held_out)
    if quick:
        return
    print("\nthe largest noise that the points bear")
    borne = {}
    for n, noises in COUNTS.items():
        losses = []
        for noise in noises:
            means = compare(n, noise, 1, steps, held_out)
            losses.append(means["clean"] - means["deconvolved"])
        worst = np.maximum.accumulate(losses)
        borne[n] = float(np.interp(BORNE, worst, noises))
    print(f"{'points':>10}{'noise borne':>13}{'over that of 1e6':>18}{'theory':>8}")
    reach = {n: np.sqrt(2 * np.log(0.05 * np.sqrt(n))) for n in COUNTS}
    for n in COUNTS:
        ratio = borne[n] / borne[10**6]
        print(f"{n:>10}{borne[n]:>13.3f}{ratio:>18.2f}{reach[n] / reach[10**6]:>8.2f}")


def compare_photographs(train, test, sigma, quick):
    images, held_out = read(train, 3 if quick else None), read(test, 1 if quick else None)
    settings = {"m": 100, "n_iter": 2, "n_components": 3, "n_samples": 2000} if quick else {}
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
        for name, given in (("known", noise), ("as they are", 0.0)):
            model = fastcl.learn_image_prior(noisy, rng=0, noise=given, **settings)
            report(f"noise of {level}, {name}", model)


def read(folder, most):
    """The first photographs of a folder, in grey, in [0, 1]."""
    opened = ImageFolder(folder)
    count = len(opened) if most is None else most
    return [as_photograph(opened[k], "image").astype(np.float64) for k in range(count)]


def main():
    parser = new_parser(__doc__)
    parser.add_argument("train", metavar="TRAIN_DIR", type=Path, nargs="?")
    parser.add_argument("test", metavar="TEST_DIR", type=Path, nargs="?")
    parser.add_argument("--only", choices=("vectors", "photographs"))
    parser.add_argument("--sigma", type=float, default=25.0, help="of the test (%(default)s)")
    options = parser.parse_args()
    if options.only == "photographs" and options.test is None:
        stop("--only photographs needs TRAIN_DIR and TEST_DIR")
    print(machine())
    if options.only != "photographs":
        compare_vectors(options.quick)
    if options.only != "vectors" and options.test is not None:
        compare_photographs(options.train, options.test, options.sigma, options.quick)


if __name__ == "__main__":
    main()
