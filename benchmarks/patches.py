"""Held-out likelihood of patches of photographs, learned from their sketch alone.

    python benchmarks/patches.py PHOTOGRAPHS_DIR [--patches 3 4 6] [--seeds 0 1 2]

Every fourth photograph is held out; the others are sketched. For each side of the patches: nats a patch, over the
Gaussian scale mixture that the sketch starts from, of the density of largest entropy with the moments of the sketch and of the
mixture fitted to points drawn from it; the mean over seeds and the spread (largest minus smallest), and the seconds to sketch
and to learn. The spread of the log-mass over two annealing runs is printed beside, as the error of the likelihood.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import fastcl
from fastcl.data.patches import extract_patches
from fastcl.data.readers import image_files, read_image

FREQUENCIES = {3: 2000, 4: 4000}  # by the side of the patches
MOST = 4000  # frequencies for other sides
EVERY = 31  # of the held-out patches one is looked at


def held_out_points(transform, images, patch, rng):
    """White coordinates (n, d) of patches of photographs, dithered as those of the sketch are."""
    patches = np.concatenate([extract_patches(image, patch)[::EVERY] for image in images])
    patches = patches + ((rng.random(patches.shape) - 0.5) / 255).astype(np.float32)
    return transform.forward(patches)[0]


def run(images, held_out, patch, seed):
    """One model: (seconds to sketch, seconds to learn, nats of the density, nats of the mixture, spread of the log-mass)."""
    start = time.perf_counter()
    patch_sketch = fastcl.sketch_images(images, patch, FREQUENCIES.get(patch, MOST), rng=seed)
    sketched = time.perf_counter()
    model = fastcl.learn_patches(patch_sketch, rng=seed)
    learned = time.perf_counter()
    x = held_out_points(patch_sketch.transform, held_out, patch, np.random.default_rng(seed))
    masses = [fastcl.log_normaliser(model.density.prior, rng=run) for run in range(2)]
    density = -model.density.energy(x).mean(dtype=np.float64) - np.mean(masses)
    mixture = (model.prior.log_density(x) - patch_sketch.reference.log_density(x)).mean(
        dtype=np.float64
    )
    return sketched - start, learned - sketched, density, mixture, np.ptp(masses)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description="Held-out likelihood of patches learned from a sketch"
    )
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--patches", type=int, nargs="+", default=[3, 4, 6])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    images = [
        read_image(path, grey=True).astype(np.float32) for path in image_files(options.photographs)
    ]
    train, held_out = [image for i, image in enumerate(images) if i % 4], images[::4]
    print(
        f"{len(train)} photographs sketched, {len(held_out)} held out; nats a patch over the Gaussian scale mixture"
    )
    print(
        f"{'d':>4}{'m':>6}{'seed':>6}{'sketch s':>10}{'learn s':>9}{'density':>9}{'mixture':>9}{'mass spread':>13}"
    )
    for patch in options.patches:
        rows = []
        for seed in options.seeds:
            rows.append(run(train, held_out, patch, seed))
            sketch, learn, density, mixture, spread = rows[-1]
            m, d = FREQUENCIES.get(patch, MOST), patch**2 - 1
            print(
                f"{d:>4}{m:>6}{seed:>6}{sketch:>10.1f}{learn:>9.1f}{density:>9.3f}{mixture:>9.3f}{spread:>13.3f}",
                flush=True,
            )
        means, spreads = np.mean(rows, axis=0), np.ptp(rows, axis=0)
        print(
            f"{d:>4}{m:>6}  mean{means[0]:>10.1f}{means[1]:>9.1f}{means[2]:>9.3f}{means[3]:>9.3f}",
            end="",
        )
        print(f"   spread {spreads[2]:.3f}, {spreads[3]:.3f}", flush=True)


if __name__ == "__main__":
    main()
