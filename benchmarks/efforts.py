"""What denoising a photograph takes at every effort, by its size, and the rate of its kernel.

It runs nothing by itself: `photographs.py` prints it. Photographs are grey, in [0, 1]; sigma is on
that scale.
"""

import tempfile
from pathlib import Path

from timing import in_turn  # before NumPy

# isort: split
import numpy as np
from denoisers import add_noise, psnr
from memory import in_child
from peak import multiply_adds_per_second

import fastcl
from fastcl.data.patches import extract_patches
from fastcl.denoising.restoration import EFFORTS

DENOISE = """
files, (effort, sigma, runs) = sys.argv[1:4], sys.argv[4:]
model, noisy = fastcl.load_prior(files[0]), np.load(files[1])
settings = {"sigma": float(sigma), "effort": effort}
fastcl.denoise_image(model, noisy[:64, :64], **settings)  # compiles
clean = noisy.copy()

def denoise():
    clean[...] = fastcl.denoise_image(model, noisy, **settings)

report(denoise, runs=int(runs), most=np.inf)
np.save(files[2], clean)
"""


def filled(image, rows, columns):
    """An image (rows, columns), filled with an image and its mirror images."""
    return np.pad(image, ((0, rows), (0, columns)), mode="symmetric")[:rows, :columns]


def report_sizes(model, image, sigma, sizes):
    """Print what every effort takes, and loses, at sizes (rows, columns) -> runs."""
    print(f"\n{'pixels':14}{'effort':10}{'seconds':>9}{'MiB':>8}{'dB below best':>15}")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("model.npz", "noisy.npy", "clean.npy")]
        model.save(files[0])
        for (rows, columns), runs in sizes.items():
            clean, found = filled(image, rows, columns), {}
            np.save(files[1], add_noise(clean, sigma, seed=0).astype(np.float32))
            for effort in reversed(EFFORTS):
                mib, seconds = in_child(DENOISE, *files, effort, sigma, runs)
                found[effort] = psnr(np.load(files[2]), clean)
                print(
                    f"{f'{rows} x {columns}':14}{effort:10}{seconds:>9.2f}{mib:>8.0f}"
                    f"{found['best'] - found[effort]:>15.2f}",
                    flush=True,
                )


def report_kernel(model, image, sigma):
    """Print the rate at which the mixture's posterior means of all patches are computed."""
    prior, transform = model.prior, model.transform
    if not isinstance(prior, fastcl.MixtureOfScaleMixtures):
        return
    noisy = add_noise(image, sigma, seed=0).astype(np.float32)
    white, _ = transform.forward(extract_patches(noisy[None], transform.patch), sigma)
    noise = transform.white_noise(1.0)
    before = multiply_adds_per_second()
    seconds = in_turn({"means": lambda: prior.posterior_mean(white, noise, sigma)})["means"]
    peak = max(before, multiply_adds_per_second())
    k, d = prior.covariances.shape[:2]
    count = len(white) * (2 * k * d * d + 2 * k * prior.scales.size * prior.dim)
    print(
        f"\nposterior means of {len(white)} patches: {count / seconds / 1e9:.1f} G multiply-adds "
        f"per second, {count / seconds / peak:.0%} of the peak"
    )
