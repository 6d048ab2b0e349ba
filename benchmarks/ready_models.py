"""The ready models of the package: learned from photographs that wheels of other packages hold.

    python benchmarks/ready_models.py [--grey] [--colour] [--out fastcl/denoising/models] [--quick]

Learns a prior of grey photographs, one of colour, or by default both, through a sketch of all their
patches, and writes them without the maximum-entropy density, in single precision. Then the PSNR of
the photographs that were held out, with the model as it was learned and as it was read back. Needs
the extra "benchmark".

All photographs are in the public domain, or under CC0 or CC BY 2.0: see models/NOTICE. coffee and
camera of scikit-image are held out. The other pictures that its wheel holds are textures, blurred,
of medicine or astronomy, or of an unclear licence.
"""

import time
from pathlib import Path

import numpy as np
from command import new_parser, require

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


def psnr(image, clean):
    """Peak signal-to-noise ratio in dB."""
    return -10 * np.log10(np.square(image - clean).mean())


def main():
    parser = new_parser(__doc__)
    for kind in READY:
        parser.add_argument(f"--{kind}", action="store_true", help=f"the model of {kind} alone")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (%(default)s)")
    options = parser.parse_args()
    chosen = [kind for kind in READY if getattr(options, kind)] or READY
    for kind in chosen:
        start = time.perf_counter()
        model = learn(kind, options.quick)
        path = options.out / f"{kind}.npz"
        write(model, path)
        size = path.stat().st_size / 2**20
        print(f"{path}: {size:.2f} MiB, learned in {time.perf_counter() - start:.0f} s; {model}")
        clean = held_out_photograph(kind)
        if options.quick:
            clean = clean[:64, :64]
        for sigma in SIGMAS:
            noisy = clean + sigma / 255 * np.random.default_rng(0).standard_normal(clean.shape)
            figures = [
                psnr(fastcl.denoise_image(each, noisy, sigma / 255), clean)
                for each in (model, fastcl.load(path))
            ]
            words = f"{figures[0]:.4f} dB as learned, {figures[1]:.4f} dB as read back"
            print(f"{HELD_OUT[kind]} at sigma {sigma}: {psnr(noisy, clean):.2f} dB; {words}")


if __name__ == "__main__":
    main()
