"""The checks of `gpu.py`: what the device says against the host in float64, which speaks from processes of its own."""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from multiprocessing import get_context

import numba
import numpy as np
from tables import Table, attempt

import fastcl
from fastcl.backend import cupy, to_host
from fastcl.data.datasets import make_spiral
from fastcl.kernels import cuda
from fastcl.kernels.launchers import VARIANTS

TYPES = {
    "float32": 1e-6,
    "float64": 1e-14,
}  # and the largest error of the maps, over the sum of moduli
CHECKED, CHECKED_M = 10_007, 1021  # points and frequencies of the checks
CHECKED_DIMS, QUANTISED_DIMS, QUANTISED_BITS = (
    (1, 2, 3, 4, 8, 16, 35, 64, 192),
    (1, 2, 8, 35, 192),
    (1, 4),
)
LEVELS = {"float32": 1e-4, "float64": 1e-9}  # share of them that may differ
NETWORKS = ((2, (64, 128, 256)), (8, (64, 128)), (35, (128, 64)))
STEPS = 100  # of the run that host and device share
WORKERS, WORKER_THREADS = 4, 4  # processes of the host's part of the checks, and their threads


def image_model():
    """(a clean image, the model of some images, hardly learned)."""
    rng = np.random.default_rng(0)
    images = [rng.random((96, 96)).cumsum(axis=0).cumsum(axis=1) for _ in range(4)]
    images = [image / image.max() for image in images]
    model = fastcl.learn_image_prior(images, patch=6, m=500, n_iter=20, rng=0)
    fastcl.denoise_image(model, images[0], 0.1)
    return images[0], model


def compile_kernels():
    """Every variant of every kernel, by all cores: they are compiled one by one where they are first launched."""
    start = time.perf_counter()
    with ThreadPoolExecutor(initializer=cupy().cuda.Device(0).use) as pool:
        variants = [(name, variant) for name, group in VARIANTS.items() for variant in group]
        list(pool.map(cuda.function, *zip(*variants, strict=True)))
    print(f"\n{len(variants)} kernels compiled in {time.perf_counter() - start:.1f} s", flush=True)


def map_inputs(dim, dtype):
    """(x, omega, w, c)."""
    rng = np.random.default_rng(dim)
    x = (rng.standard_normal((CHECKED, dim)) / np.sqrt(dim)).astype(dtype)
    omega, w = rng.standard_normal((CHECKED_M, dim)), rng.random(len(x)).astype(dtype)
    return (
        x,
        omega,
        w,
        (rng.standard_normal(CHECKED_M) + 1j * rng.standard_normal(CHECKED_M)).astype(np.complex64),
    )


def maps_on_host(dim, dtype):
    x, omega, w, c = map_inputs(dim, dtype)
    x = x.astype(np.float64)
    return fastcl.feature_sum(x, omega, w, method="direct"), fastcl.feature_adjoint(
        x, omega, c, method="direct"
    )


def check_maps(results):
    cp, table = (
        cupy(),
        Table("Errors of the maps, over the sum of moduli", ("d", "type", "sum", "adjoint")),
    )
    for (dim, dtype), result in results.items():
        x, omega, w, c = map_inputs(dim, dtype)
        points, weights = cp.asarray(x), cp.asarray(w)
        sums = [fastcl.feature_sum(points, omega, weights).get() for _ in range(4)]
        exact, waves = result()
        errors = [
            float(np.abs(sums[0] - exact).max() / w.sum()),
            float(
                np.abs(fastcl.feature_adjoint(points, omega, c).get() - waves).max()
                / np.abs(c).sum()
            ),
        ]
        same = all(np.array_equal(sums[0], other) for other in sums[1:])  # from run to run
        table.add(dim, dtype, *errors, good=same and all(error <= TYPES[dtype] for error in errors))


def quantised_inputs(dim, dtype):
    rng = np.random.default_rng(dim)
    return (rng.standard_normal((CHECKED, dim)) / np.sqrt(dim)).astype(dtype), rng.standard_normal(
        (CHECKED_M, dim)
    )


def quantised_on_host(dim, dtype, bits):
    return fastcl.sketch(*quantised_inputs(dim, dtype), bits=bits, rng=0)._total


def check_quantised(results):
    columns = ("d", "type", "bits", "share")
    table = Table(
        "Quantised sums, share of the levels that differ from the host's, at least", columns
    )
    for (dim, dtype, bits), result in results.items():
        x, omega = quantised_inputs(dim, dtype)
        total, again = (
            fastcl.sketch(cupy().asarray(x), omega, bits=bits, rng=0)._total for _ in range(2)
        )
        difference = np.abs(
            [(total - result()).real, (total - result()).imag]
        ).sum()  # of a level two
        share = float(difference / 2 / (2 * CHECKED * CHECKED_M))
        table.add(
            dim, dtype, bits, share, good=np.array_equal(total, again) and share <= LEVELS[dtype]
        )


def network_inputs(dim, widths):
    return fastcl.MLPPrior(dim, widths, rng=0), np.random.default_rng(0).standard_normal(
        (CHECKED, dim)
    ).astype(np.float32)


def network_on_host(dim, widths):
    prior, x = network_inputs(dim, widths)
    x = x.astype(np.float64)
    return prior.energy(x), prior.energy_grad(x)


def check_network(results):
    title = "The network, largest difference from float64 on the host over the largest value"
    table = Table(title, ("d", "energy", "gradient"))
    for (dim, widths), result in results.items():
        prior, x = network_inputs(dim, widths)
        x = cupy().asarray(x)
        found = prior.energy(x).get(), prior.energy_grad(x).get()
        errors = [
            float(np.abs(a - b).max() / np.abs(b).max())
            for a, b in zip(found, result(), strict=True)
        ]
        table.add(
            dim, *errors, good=all(error < 1e-5 for error in errors)
        )  # a unit that flips moves it by 1e-3 or more


def spiral_run(place, dtype, factors):
    """theta after a run where `place` puts arrays, which starts from its usual parameters times `factors`."""
    x = make_spiral(20_000, rng=0).astype(dtype)
    box = fastcl.Box(x.min(axis=0) - 0.1, x.max(axis=0) + 0.1)
    omega = fastcl.draw_frequencies(500, 2, 0.03, rng=0)
    prior = fastcl.MLPPrior(2, rng=0, dtype=dtype)
    prior.initialise_on(box, rng=0)
    prior.theta = place((prior.theta * factors).astype(dtype))
    fastcl.learn(
        prior,
        fastcl.sketch(place(x), omega, method="direct"),
        box,
        method="unbiased",
        n_iter=STEPS,
        rng=0,
    )
    return to_host(prior.theta)


def run_on_host(dtype):
    """theta of the run, and of one whose start is a rounding away: where roundings of the start grow, so do those of steps."""
    noise = np.random.default_rng(0).standard_normal(fastcl.MLPPrior(2).theta.size)
    return [
        spiral_run(np.asarray, dtype, factors)
        for factors in (1.0, 1 + np.finfo(dtype).eps / 2 * noise)
    ]


def check_run(results):
    """The spiral by device and by host from one seed: the same points, and parameters that stay together."""
    box = fastcl.Box([-1.0, -0.5], [1.0, 2.0])
    points = [
        to_host(box.sample(4096, 3, np.float32, like=like)) for like in (None, cupy().empty(0))
    ]
    columns = ("type", "theta, device from host", "host from itself after one rounding")
    table = Table(f"Spiral, {STEPS} steps from one seed, largest differences", columns)
    for (dtype,), result in results.items():
        device = spiral_run(cupy().asarray, dtype, 1.0)
        host, rounded = result()
        difference, spread = (float(np.abs(theta - host).max()) for theta in (device, rounded))
        # The device rounds otherwise at every step, the other run of the host at its start alone: errors of STEPS roundings.
        table.add(
            dtype,
            difference,
            spread,
            good=np.array_equal(*points) and difference <= max(1e-4, np.sqrt(STEPS) * spread),
        )


CHECKS = (  # the longest first
    (check_run, run_on_host, [(dtype,) for dtype in TYPES]),
    (check_maps, maps_on_host, list(product(CHECKED_DIMS, TYPES))),
    (check_network, network_on_host, list(NETWORKS)),
    (check_quantised, quantised_on_host, list(product(QUANTISED_DIMS, TYPES, QUANTISED_BITS))),
)


def check_everything():
    threads = min(WORKER_THREADS, numba.config.NUMBA_NUM_THREADS)
    with ProcessPoolExecutor(
        WORKERS, get_context("spawn"), numba.set_num_threads, (threads,)
    ) as pool:
        jobs = [
            (check, {case: pool.submit(host, *case).result for case in cases})
            for check, host, cases in CHECKS
        ]
        pool.submit(
            image_model
        )  # for the code that it compiles, which the times of denoising are without
        return all(
            [
                attempt(compile_kernels),
                *(attempt(check, results) for check, results in reversed(jobs)),
            ]
        )
