"""Held-out likelihood of patches of photographs, learned from their sketch alone.

    python benchmarks/patches.py PHOTOGRAPHS_DIR [--patches 3 4 6] [--seeds 0 1 2]

Every fourth photograph is held out; the others are sketched. For each side of the patches it prints
nats per patch, relative to the Gaussian scale mixture that the sketch starts from: of the
maximum-entropy density with the moments of the sketch, and of the mixture fitted to points drawn
from it. Also the mean over seeds and the spread (largest minus smallest), and the seconds to sketch
and to learn. The error of the likelihood is the spread of the log-normaliser over two annealing
runs, in the last column.
"""

import time
from pathlib import Path

import numpy as np
from command import new_parser

import fastcl
from fastcl.data.patches import extract_patches
from fastcl.data.readers import image_files, read_image

FREQUENCIES = {2: 1000, 3: 2000, 4: 4000}  # side of the patches -> m
MAX_FREQUENCIES = 4000  # m for other sides
EVERY = 31  # of the held-out patches, one in so many is used
QUICK = {"photographs": 12, "m": 100, "learn": {"n_iter": 20, "n_components": 4}}


def held_out_points(transform, images, patch, rng):
    """White coordinates (n, d) of patches of photographs, dithered as those of the sketch are."""
    patches = np.concatenate(
        [extract_patches(image[None], (patch, patch))[::EVERY] for image in images]
    )
    patches = patches + ((rng.random(patches.shape) - 0.5) / 255).astype(np.float32)
    return transform.whiten(patches)


def frequencies(patch, quick):
    """How many frequencies the sketch of patches of one side has."""
    return QUICK["m"] if quick else FREQUENCIES.get(patch, MAX_FREQUENCIES)


def run(images, held_out, patch, seed, quick):
    """One model.

    (seconds to sketch, seconds to learn, nats of the density, nats of the mixture, spread of the
    log-normaliser).
    """
    start = time.perf_counter()
    patch_sketch = fastcl.sketch_images(images, patch, frequencies(patch, quick), rng=seed)
    sketched = time.perf_counter()
    model = fastcl.learn_patches(patch_sketch, rng=seed, **(QUICK["learn"] if quick else {}))
    learned = time.perf_counter()
    x = held_out_points(patch_sketch.transform, held_out, patch, np.random.default_rng(seed))
    masses = [fastcl.log_normaliser(model.density.prior, rng=run) for run in range(2)]
    density = -model.density.energy(x).mean(dtype=np.float64) - np.mean(masses)
    gain = model.prior.log_density(x) - patch_sketch.reference.log_density(x)
    mixture = gain.mean(dtype=np.float64)
    return sketched - start, learned - sketched, density, mixture, np.ptp(masses)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("photographs", type=Path, help="folder of photographs")
    parser.add_argument(
        "--patches", type=int, nargs="+", default=[3, 4, 6], help="sides of the patches"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    files = image_files(options.photographs)
    if options.quick:
        files, options.patches, options.seeds = files[: QUICK["photographs"]], [3], [0]
    images = [read_image(path, grey=True).astype(np.float32) for path in files]
    train, held_out = [image for i, image in enumerate(images) if i % 4], images[::4]
    print(f"{len(train)} photographs sketched, {len(held_out)} held out")
    print("nats per patch, relative to the Gaussian scale mixture")
    print(
        f"{'d':>4}{'m':>6}{'seed':>6}{'sketch s':>10}{'learn s':>9}"
        f"{'density':>9}{'mixture':>9}{'normaliser spread':>19}"
    )
    for patch in options.patches:
        d, m = patch**2 - 1, frequencies(patch, options.quick)
        rows = []
        for seed in options.seeds:
            rows.append(run(train, held_out, patch, seed, options.quick))
            sketch, learn, density, mixture, spread = rows[-1]
            print(
                f"{d:>4}{m:>6}{seed:>6}{sketch:>10.1f}{learn:>9.1f}"
                f"{density:>9.3f}{mixture:>9.3f}{spread:>19.3f}",
                flush=True,
            )
        sketch, learn, density, mixture, _ = np.mean(rows, axis=0)
        spreads = np.ptp(rows, axis=0)
        print(
            f"{d:>4}{m:>6}  mean{sketch:>10.1f}{learn:>9.1f}{density:>9.3f}{mixture:>9.3f}"
            f"   spread {spreads[2]:.3f}, {spreads[3]:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
