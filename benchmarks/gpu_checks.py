"""The checks of `gpu.py`: the device against the host in float64.

The part of the host runs in processes of its own.
"""

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

# dtype -> largest error of the maps, relative to the sum of amplitudes
TYPES = {"float32": 1e-6, "float64": 1e-14}
CHECKED = 10_007  # points of the checks
CHECKED_M = 1021  # frequencies of the checks
CHECKED_DIMS = (1, 2, 3, 4, 8, 16, 35, 64, 192)
QUANTISED_DIMS = (1, 2, 8, 35, 192)
QUANTISED_BITS = (1, 4)
LEVELS = {"float32": 1e-4, "float64": 1e-9}  # share of the levels that may differ
NETWORKS = ((2, (64, 128, 256)), (8, (64, 128)), (35, (128, 64)))
# A ReLU unit that flips moves the energy by 1e-3 or more.
NETWORK_TOLERANCE = 1e-5
STEPS = 100  # of the run on host and device
WORKERS = 4  # processes of the host's part of the checks
WORKER_THREADS = 4  # threads of each


def image_model():
    """(a clean image, a model of some images after a few steps of learning)."""
    rng = np.random.default_rng(0)
    images = [rng.random((96, 96)).cumsum(axis=0).cumsum(axis=1) for _ in range(4)]
    images = [image / image.max() for image in images]
    model = fastcl.learn_image_prior(images, patch=6, m=500, n_iter=20, rng=0)
    fastcl.denoise_image(model, images[0], 0.1)
    return images[0], model


def compile_kernels():
    """Compile every variant of every kernel on all cores, instead of one by one at first launch."""
    start = time.perf_counter()
    with ThreadPoolExecutor(initializer=cupy().cuda.Device(0).use) as pool:
        variants = [(name, variant) for name, group in VARIANTS.items() for variant in group]
        list(pool.map(cuda.function, *zip(*variants, strict=True)))
    print(f"\n{len(variants)} kernels compiled in {time.perf_counter() - start:.1f} s", flush=True)


# ---- the maps ------------------------------------------------------------------------------------


def map_inputs(dim, dtype):
    """(x, omega, w, c)."""
    rng = np.random.default_rng(dim)
    x = (rng.standard_normal((CHECKED, dim)) / np.sqrt(dim)).astype(dtype)
    omega = rng.standard_normal((CHECKED_M, dim))
    w = rng.random(len(x)).astype(dtype)
    c = rng.standard_normal(CHECKED_M) + 1j * rng.standard_normal(CHECKED_M)
    return x, omega, w, c.astype(np.complex64)


def maps_on_host(dim, dtype):
    x, omega, w, c = map_inputs(dim, dtype)
    x = x.astype(np.float64)
    exact_sum = fastcl.feature_sum(x, omega, w, method="direct")
    return exact_sum, fastcl.feature_adjoint(x, omega, c, method="direct")


def check_maps(results):
    title = "Errors of the maps, relative to the sum of amplitudes"
    table = Table(title, ("d", "type", "sum", "adjoint"))
    for (dim, dtype), result in results.items():
        x, omega, w, c = map_inputs(dim, dtype)
        points, weights = cupy().asarray(x), cupy().asarray(w)
        sums = [fastcl.feature_sum(points, omega, weights).get() for _ in range(4)]
        adjoint = fastcl.feature_adjoint(points, omega, c).get()
        exact_sum, exact_adjoint = result()
        errors = (
            float(np.abs(sums[0] - exact_sum).max() / w.sum()),
            float(np.abs(adjoint - exact_adjoint).max() / np.abs(c).sum()),
        )
        same = all(np.array_equal(sums[0], other) for other in sums[1:])  # from run to run
        table.add(dim, dtype, *errors, good=same and all(error <= TYPES[dtype] for error in errors))


# ---- quantised sums ------------------------------------------------------------------------------


def quantised_inputs(dim, dtype):
    """(x, omega)."""
    rng = np.random.default_rng(dim)
    x = (rng.standard_normal((CHECKED, dim)) / np.sqrt(dim)).astype(dtype)
    return x, rng.standard_normal((CHECKED_M, dim))


def quantised_on_host(dim, dtype, bits):
    return fastcl.sketch(*quantised_inputs(dim, dtype), bits=bits, rng=0).total


def check_quantised(results):
    title = "Quantised sums, share of the levels that differ from the host's, at least"
    table = Table(title, ("d", "type", "bits", "share"))
    for (dim, dtype, bits), result in results.items():
        x, omega = quantised_inputs(dim, dtype)
        points = cupy().asarray(x)
        total, again = (fastcl.sketch(points, omega, bits=bits, rng=0).total for _ in range(2))
        difference = total - result()
        difference = np.abs([difference.real, difference.imag]).sum()  # two per level
        share = float(difference / 2 / (2 * CHECKED * CHECKED_M))
        good = np.array_equal(total, again) and share <= LEVELS[dtype]
        table.add(dim, dtype, bits, share, good=good)


# ---- the network ---------------------------------------------------------------------------------


def network_inputs(dim, widths):
    """(prior, x)."""
    x = np.random.default_rng(0).standard_normal((CHECKED, dim)).astype(np.float32)
    return fastcl.MLPPrior(dim, widths, rng=0), x


def network_on_host(dim, widths):
    prior, x = network_inputs(dim, widths)
    x = x.astype(np.float64)
    return prior.energy(x), prior.energy_grad(x)


def check_network(results):
    title = "The network, largest difference from float64 on the host relative to the largest value"
    table = Table(title, ("d", "energy", "gradient"))
    for (dim, widths), result in results.items():
        prior, x = network_inputs(dim, widths)
        x = cupy().asarray(x)
        found = prior.energy(x).get(), prior.energy_grad(x).get()
        errors = [
            float(np.abs(a - b).max() / np.abs(b).max())
            for a, b in zip(found, result(), strict=True)
        ]
        table.add(dim, *errors, good=all(error < NETWORK_TOLERANCE for error in errors))


# ---- a run ---------------------------------------------------------------------------------------


def spiral_run(place, dtype, factors):
    """theta after a run on the arrays that `place` makes.

    The run starts from its usual parameters times `factors`.
    """
    x = make_spiral(20_000, rng=0).astype(dtype)
    box = fastcl.Box(x.min(axis=0) - 0.1, x.max(axis=0) + 0.1)
    omega = fastcl.draw_frequencies(500, 2, 0.03, rng=0)
    prior = fastcl.MLPPrior(2, rng=0, dtype=dtype)
    prior.initialise_on(box, rng=0)
    prior.theta = place((prior.theta * factors).astype(dtype))
    sketch = fastcl.sketch(place(x), omega, method="direct")
    fastcl.learn(prior, sketch, box, method="unbiased", log_scale="learned", n_iter=STEPS, rng=0)
    return to_host(prior.theta)


def run_on_host(dtype):
    """theta of the run, and of one whose start differs by a rounding.

    Where roundings of the start grow, so do those of the steps.
    """
    noise = np.random.default_rng(0).standard_normal(fastcl.MLPPrior(2).theta.size)
    rounded = 1 + np.finfo(dtype).eps / 2 * noise
    return [spiral_run(np.asarray, dtype, factors) for factors in (1.0, rounded)]


def check_run(results):
    """The spiral on device and host from one seed: equal points, parameters that stay together."""
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
        # The device rounds differently at every step, the host's other run only at its start: the
        # device may differ by the errors of STEPS roundings.
        good = np.array_equal(*points) and difference <= max(1e-4, np.sqrt(STEPS) * spread)
        table.add(dtype, difference, spread, good=good)


# ---- all of them ---------------------------------------------------------------------------------


def make_checks(quick):
    """(check on the device, its part on the host, cases), the longest first."""
    dims, quantised_dims, networks = CHECKED_DIMS, QUANTISED_DIMS, NETWORKS
    if quick:
        dims, quantised_dims, networks = (2, 16), (2,), NETWORKS[:1]
    return (
        (check_run, run_on_host, [(dtype,) for dtype in TYPES]),
        (check_maps, maps_on_host, list(product(dims, TYPES))),
        (check_network, network_on_host, list(networks)),
        (check_quantised, quantised_on_host, list(product(quantised_dims, TYPES, QUANTISED_BITS))),
    )


def check_everything(quick=False):
    """Run every check; whether all came to their end."""
    threads = min(WORKER_THREADS, numba.config.NUMBA_NUM_THREADS)
    settings = (WORKERS, get_context("spawn"), fastcl.set_num_threads, (threads,))
    with ProcessPoolExecutor(*settings) as pool:
        jobs = [
            (check, {case: pool.submit(host, *case).result for case in cases})
            for check, host, cases in make_checks(quick)
        ]
        pool.submit(image_model)  # compiles the host's code, which is not timed with denoising
        compiled = attempt(compile_kernels)
        checked = [attempt(check, results) for check, results in reversed(jobs)]
    return compiled and all(checked)
