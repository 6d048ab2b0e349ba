"""The ready models of the package: learned from photographs that wheels of other packages hold.

    python benchmarks/ready_models.py [--grey] [--colour] [--out fastcl/denoising/models] [--quick]
    python benchmarks/ready_models.py --compare [--sigma 25]

Learns a prior of grey photographs, one of colour, or by default both, through a sketch of all their
patches, and writes them without the maximum-entropy density, in single precision. Then the PSNR of
the photographs that were held out, with the model as it was learned and as it was read back. Needs
the extra "benchmark".

With --compare, the table of README: the held-out photographs, denoised by the models of the package
and by others. All but the last line are given the noise level; total variation and non-local means
are at their best of several settings, chosen with the clean photograph, and their seconds are those
of one setting.

All photographs are in the public domain, or under CC0 or CC BY 2.0: see models/NOTICE. coffee and
camera of scikit-image are held out. The other pictures that its wheel holds are textures, blurred,
of medicine or astronomy, or of an unclear licence.
"""

import time
from pathlib import Path

import numpy as np
from command import new_parser, require
from denoisers import NLM_FACTORS, TV_FACTORS, best_nlm, best_tv, find_bm3d, psnr, wavelets
from timing import machine

import fastcl
from fastcl.denoising.photographs import FOLDER, READY
from fastcl.files import write_npz

PHOTOGRAPHS = ("astronaut", "chelsea", "rocket")  # of scikit-image
SAMPLES = ("china.jpg", "flower.jpg")  # of scikit-learn
HELD_OUT = {"grey": "camera", "colour": "coffee"}
SETTINGS = {"grey": {"n_components": 40}, "colour": {"n_components": 60}}
QUICK = {"m": 200, "n_iter": 5, "n_components": 4, "n_samples": 5000, "subsample": 10_000}
QUICK["effort"] = fastcl.SearchEffort(chains=500, scored=4000, fit_steps=3, refine_steps=5)
SIGMAS = (15, 25, 50)


def training_photographs():
    """Photographs in colour, (H, W, 3) of 8 bits."""
    data = require("skimage.data")
    datasets = require("sklearn.datasets")
    photographs = [getattr(data, name)() for name in PHOTOGRAPHS]
    return photographs + [datasets.load_sample_image(name) for name in SAMPLES]


def held_out_photograph(kind):
    """The photograph on which a kind of model is tried, in [0, 1]."""
    return getattr(require("skimage.data"), HELD_OUT[kind])() / 255


def learn(kind, quick):
    """The model of a kind, of which a quick run takes a part of two photographs."""
    photographs = training_photographs()
    if quick:
        photographs = [photograph[:100, :100] for photograph in photographs[:2]]
    if kind == "grey":
        photographs = [require("skimage.color").rgb2gray(each) for each in photographs]
    settings = SETTINGS[kind] | (QUICK if quick else {})
    axis = -1 if kind == "colour" else None
    return fastcl.learn_image_prior(
        photographs, channel_axis=axis, rng=0, progress=True, **settings
    )


def write(model, path):
    """Write what denoising needs of a model, in single precision."""
    model.density = None
    arrays = {name: np.asarray(array) for name, array in model.to_arrays().items()}
    write_npz(
        path,
        model.kind,
        {
            name: array.astype(np.float32) if array.dtype == np.float64 else array
            for name, array in arrays.items()
        },
    )


def show(model, path, clean):
    """Print what the model does to a photograph, before and after it was written."""
    for sigma in SIGMAS:
        noisy = with_noise(clean, sigma)
        figures = [
            psnr(fastcl.denoise_image(each, noisy, sigma / 255), clean)
            for each in (model, fastcl.load(path))
        ]
        words = f"{figures[0]:.4f} dB as learned, {figures[1]:.4f} dB as read back"
        print(f"  sigma {sigma}: {psnr(noisy, clean):.2f} dB; {words}")


def with_noise(clean, sigma):
    return clean + sigma / 255 * np.random.default_rng(0).standard_normal(clean.shape)


def compare(photographs, sigma):
    """Print the table of photographs, name -> clean: dB and seconds of every method."""
    bm3d = find_bm3d()
    methods = {
        "noisy": lambda noisy, level, clean: noisy,
        "TV": best_tv,
        "NLM": best_nlm,
        "wavelets": lambda noisy, level, clean: wavelets(noisy, level),
        "BM3D": bm3d and (lambda noisy, level, clean: bm3d(noisy, level)),
        "fastcl, fast": lambda noisy, level, clean: fastcl.denoise_image(
            noisy, level, effort="fast"
        ),
        "fastcl": lambda noisy, level, clean: fastcl.denoise_image(noisy, level),
        "fastcl, best": lambda noisy, level, clean: fastcl.denoise_image(
            noisy, level, effort="best"
        ),
        "fastcl, estimated": lambda noisy, level, clean: fastcl.denoise_image(noisy),
    }
    tries = {"TV": len(TV_FACTORS), "NLM": len(NLM_FACTORS)}
    print(f"\n| sigma {sigma:g} |" + "".join(f" {name} (dB) | s |" for name in photographs))
    print("|---|" + "---|---|" * len(photographs))
    for method, denoise in methods.items():
        if denoise is None:
            continue
        line = f"| {method} |"
        for clean in photographs.values():
            noisy = with_noise(clean, sigma)
            denoise(noisy[:96, :96], sigma / 255, clean[:96, :96])  # compile
            start = time.perf_counter()
            found = denoise(noisy, sigma / 255, clean)
            seconds = (time.perf_counter() - start) / tries.get(method, 1)
            line += f" {psnr(found, clean):.2f} | {seconds:.2f} |"
        print(line, flush=True)


def main():
    parser = new_parser(__doc__)
    for kind in READY:
        parser.add_argument(f"--{kind}", action="store_true", help=f"the model of {kind} alone")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (%(default)s)")
    parser.add_argument("--compare", action="store_true", help="learn nothing, print the table")
    parser.add_argument("--sigma", type=float, default=25, help="of the table (%(default)s)")
    options = parser.parse_args()
    chosen = [kind for kind in READY if getattr(options, kind)] or READY
    clean = {kind: held_out_photograph(kind) for kind in chosen}
    if options.quick:
        clean = {kind: photograph[:64, :64] for kind, photograph in clean.items()}
    if options.compare:
        print(machine())
        compare({HELD_OUT[kind]: photograph for kind, photograph in clean.items()}, options.sigma)
        return
    for kind in chosen:
        start = time.perf_counter()
        model = learn(kind, options.quick)
        path = options.out / f"{kind}.npz"
        write(model, path)
        size = path.stat().st_size / 2**20
        print(f"{path}: {size:.2f} MiB, learned in {time.perf_counter() - start:.0f} s; {model}")
        print(f"{HELD_OUT[kind]}:")
        show(model, path, clean[kind])


if __name__ == "__main__":
    main()
