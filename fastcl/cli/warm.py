"""`fastcl warm`: compile the kernels ahead, for images of containers and for first calls.

Each job calls public functions on a few points, so that every kernel is compiled for the types of
arguments with which these functions call it. Jobs run in processes of their own, side by side.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..denoising.patch_model import learn_image_prior
from ..denoising.photographs import denoise_image
from ..denoising.vectors import denoise
from ..fourier.features import feature_adjoint
from ..fourier.frequencies import draw_frequencies
from ..fourier.structured import Frequencies
from ..kernels.cache import cache_folder
from ..kernels.threads import get_num_threads
from ..learning.adaptive import adapt_frequencies
from ..learning.decoders import decode_mixture
from ..learning.loop import learn
from ..measures.box import Box
from ..measures.gaussian_scale_mixtures import GaussianScaleMixture
from ..measures.mixtures import Gaussian
from ..measures.scale_mixtures import MixtureOfScaleMixtures
from ..priors.gaussianised import GaussianisedPrior
from ..priors.max_entropy import max_entropy
from ..priors.mlp import MLPPrior
from ..sketching.data_set import sketch

MAX_PROCESSES = 4  # 300 MiB each


def _rows(dim: int, dtype: DTypeLike) -> NDArray:
    return np.random.default_rng(0).standard_normal((500, dim)).astype(dtype)


def warm_features(dtype: DTypeLike) -> None:
    """Sums and adjoints with frequencies of every structure, and quantised sums."""
    for structure in (None, "harmonic", "hadamard"):
        x = _rows(50 if structure == "hadamard" else 2, dtype)
        omega: Frequencies = draw_frequencies(64, x.shape[1], 1.0, structure=structure, rng=0)
        values = sketch(x, omega).values
        feature_adjoint(x, omega, values)
    sketch(_rows(2, dtype), draw_frequencies(64, 2, 1.0, rng=0), bits=1, rng=0)


def warm_network(dtype: DTypeLike) -> None:
    """Learning of a network by all methods, over a box and a Gaussian, and denoising with it."""
    x = _rows(2, dtype)
    sk = sketch(x, draw_frequencies(20, 2, 1.0, rng=0))
    for domain in (Box([-4, -4], [4, 4]), Gaussian(np.zeros(2), np.eye(2))):
        reference = None if isinstance(domain, Box) else domain
        prior = MLPPrior(2, (32, 64), rng=0, reference=reference, dtype=dtype)
        prior.initialise_on(domain, rng=0)
        for method in ("unbiased", "naive") + (("grid",) if reference is None else ()):
            learn(prior, sk, domain, method=method, n_points=100, n_iter=2, rng=0)
        for points in (x[:20], x[:20].astype(np.float64)):
            denoise(prior, points, sigma=0.5, estimator="mean", rng=0)
            denoise(prior, points, sigma=0.5)


def warm_mixtures(dtype: DTypeLike) -> None:
    """Scale mixtures, densities of maximum entropy, and decoders."""
    x, normal = _rows(2, dtype), Gaussian(np.zeros(2), np.eye(2))
    scale_mixture = GaussianScaleMixture.fit(x)
    u = scale_mixture.gaussianise(x)
    density = max_entropy(sketch(u, adapt_frequencies(u, 20, normal, rng=0)), normal, n_iter=5)
    prior = GaussianisedPrior(density, scale_mixture)
    denoise(prior, x[:20], sigma=0.5, estimator="mean", rng=0)
    denoise(prior, x[:20], sigma=0.5)
    mixture = MixtureOfScaleMixtures.fit(x, 2, rng=0)
    mixture.log_density(x)
    decode_mixture(sketch(x, draw_frequencies(50, 2, 1.0, rng=0)), 2, [-4, -4], [4, 4], rng=0)


def warm_photographs(dtype: DTypeLike) -> None:
    """Learning a model of photographs, and denoising with it."""
    image = np.random.default_rng(0).random((64, 64)).cumsum(axis=0).astype(dtype) / 64
    model = learn_image_prior([image], patch=4, m=100, n_components=2, n_iter=2, rng=0)
    denoise_image(model, image, sigma=0.1 if image.itemsize == 4 else 1e-3)  # weak: in double


TASKS: dict[str, Callable[[DTypeLike], None]] = {
    "networks": warm_network,  # the longest comes first
    "photographs": warm_photographs,
    "mixtures": warm_mixtures,
    "sums of features": warm_features,
}


def _run(job: tuple[str, str]) -> str:
    name, dtype = job
    with np.errstate(all="ignore"):
        TASKS[name](dtype)
    return f"{name} in {dtype}"


def run(report: Callable[[str], object] = print) -> None:
    """Compile the kernels in several processes, and report what is done."""
    jobs = [(name, dtype) for name in TASKS for dtype in ("float32", "float64")]
    count = min(get_num_threads(), MAX_PROCESSES, len(jobs))
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        for done, title in enumerate(pool.imap_unordered(_run, jobs), 1):
            report(f"{done} of {len(jobs)}: {title}")
    if not os.access(cache_folder(), os.R_OK):
        raise OSError("nothing is kept: set NUMBA_CACHE_DIR to a folder that can be written")
    report(f"compiled kernels are in {cache_folder()}")
