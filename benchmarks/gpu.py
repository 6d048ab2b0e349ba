"""Everything on one GPU: checked against the host in float64, then timed beside torch: python benchmarks/gpu.py [--out FILE.json]

Times are between device events, after a warm-up, the median of five turns, over rotated inputs that no cache holds. torch runs
on the same device: the maps as the matrix product of a chunk with its cosines and sines, in float32 without tf32; the step
eager, and compiled and then captured whole as one CUDA graph, random points and Adam included. What the host has to say to the
checks is computed in processes of their own, while the kernels of the device are compiled. A part that fails leaves the others
alone, and the file has what was measured until then; the status is then 1. Without a GPU it is 2.
"""

import argparse
import json
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import ClassVar

from timing import machine  # before NumPy

# isort: split
import numba
import numpy as np
import torch
from steps import METHODS, PROBLEMS, TorchStep, make

import fastcl
from fastcl.backend import cupy, to_host
from fastcl.datasets import make_spiral
from fastcl.graphs import ROWS, CapturedSteps
from fastcl.kernels import cuda
from fastcl.kernels.launchers import VARIANTS
from fastcl.objective import SketchMatching

REPEATS = 5
MAPS = ((2, 10_000_000, 4096), (16, 10_000_000, 4096), (192, 1_000_000, 4096))  # d, n, m
CHUNK = 1 << 28  # pairs that torch takes at a time
STREAMED = 100_000_000  # points
TYPES = {"float32": 1e-6, "float64": 1e-14}  # and the largest error of the maps, over the sum of moduli
CHECKED, CHECKED_M = 10_007, 1021  # points and frequencies of the checks
CHECKED_DIMS, QUANTISED_DIMS, QUANTISED_BITS = (1, 2, 3, 4, 8, 16, 35, 64, 192), (1, 2, 8, 35, 192), (1, 4)
LEVELS = {"float32": 1e-4, "float64": 1e-9}  # share of them that may differ
NETWORKS = ((2, (64, 128, 256)), (8, (64, 128)), (35, (128, 64)))
KINKS = 3  # points at which a unit may be on either side, and the gradient another
STEPS = 100  # of the run that host and device share
WORKERS, WORKER_THREADS = 4, 4  # processes of the host's part of the checks, and their threads
ROWS_OF_PATCHES, SCALE = 1 << 20, 8  # of energy_grad, and how much larger than 96 pixels the image to denoise is


def device_seconds(function, calls=1):
    """Median over turns of the seconds of one call, between device events; `function` takes the number of the call."""
    events = cupy().cuda.Event(), cupy().cuda.Event()
    function(0)
    times = []
    for turn in range(REPEATS):
        events[0].record()
        for call in range(calls):
            function(1 + turn * calls + call)
        events[1].record()
        events[1].synchronize()
        times.append(cupy().cuda.get_elapsed_time(*events) / 1000 / calls)
    return float(np.median(times))


class Table:
    """Lines that are printed at once, and kept for the file."""

    every: ClassVar = []  # in the order of their making

    def __init__(self, title, columns):
        self.title, self.columns, self.rows, self.good = title, columns, [], []
        Table.every.append(self)
        print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)

    def add(self, *row, good=True):
        """Add a line; one that is not `good` is marked as a failure."""
        self.rows.append(row)
        self.good.append(bool(good))
        cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |{'' if good else ' FAILED'}", flush=True)

    def to_dicts(self):
        return [
            dict(zip((*self.columns, "good"), (*row, good), strict=True)) for row, good in zip(self.rows, self.good, strict=True)
        ]


def attempt(function, *arguments):
    """Whether the function came to its end; what stopped it is printed."""
    try:
        function(*arguments)
    except Exception:  # what else can be measured counts
        traceback.print_exc()
        return False
    return True


def compile_kernels():
    """Every variant of every kernel, by all cores: they are compiled one by one where they are first launched."""
    start = time.perf_counter()
    with ThreadPoolExecutor(initializer=cupy().cuda.Device(0).use) as pool:
        variants = [(name, variant) for name, group in VARIANTS.items() for variant in group]
        list(pool.map(cuda.function, *zip(*variants, strict=True)))
    print(f"\n{len(variants)} kernels compiled in {time.perf_counter() - start:.1f} s", flush=True)


# ---- checks: what the host says, and the device beside it ----------------------------------------------------------------


def map_inputs(dim, dtype):
    """(x, omega, w, c)."""
    rng = np.random.default_rng(dim)
    x = (rng.standard_normal((CHECKED, dim)) / np.sqrt(dim)).astype(dtype)
    omega, w = rng.standard_normal((CHECKED_M, dim)), rng.random(len(x)).astype(dtype)
    return x, omega, w, (rng.standard_normal(CHECKED_M) + 1j * rng.standard_normal(CHECKED_M)).astype(np.complex64)


def maps_on_host(dim, dtype):
    x, omega, w, c = map_inputs(dim, dtype)
    x = x.astype(np.float64)
    return fastcl.feature_sum(x, omega, w, method="direct"), fastcl.feature_adjoint(x, omega, c, method="direct")


def check_maps(results):
    cp, table = cupy(), Table("Errors of the maps, over the sum of moduli", ("d", "type", "sum", "adjoint"))
    for (dim, dtype), result in results.items():
        x, omega, w, c = map_inputs(dim, dtype)
        points, weights = cp.asarray(x), cp.asarray(w)
        sums = [fastcl.feature_sum(points, omega, weights).get() for _ in range(4)]
        exact, waves = result()
        errors = [
            float(np.abs(sums[0] - exact).max() / w.sum()),
            float(np.abs(fastcl.feature_adjoint(points, omega, c).get() - waves).max() / np.abs(c).sum()),
        ]
        same = all(np.array_equal(sums[0], other) for other in sums[1:])  # from run to run
        table.add(dim, dtype, *errors, good=same and all(error <= TYPES[dtype] for error in errors))


def quantised_inputs(dim, dtype):
    rng = np.random.default_rng(dim)
    return (rng.standard_normal((CHECKED, dim)) / np.sqrt(dim)).astype(dtype), rng.standard_normal((CHECKED_M, dim))


def quantised_on_host(dim, dtype, bits):
    return fastcl.sketch(*quantised_inputs(dim, dtype), bits=bits, rng=0)._total


def check_quantised(results):
    columns = ("d", "type", "bits", "share")
    table = Table("Quantised sums, share of the levels that differ from the host's, at least", columns)
    for (dim, dtype, bits), result in results.items():
        x, omega = quantised_inputs(dim, dtype)
        total, again = (fastcl.sketch(cupy().asarray(x), omega, bits=bits, rng=0)._total for _ in range(2))
        difference = np.abs([(total - result()).real, (total - result()).imag]).sum()  # of a level two
        share = float(difference / 2 / (2 * CHECKED * CHECKED_M))
        table.add(dim, dtype, bits, share, good=np.array_equal(total, again) and share <= LEVELS[dtype])


def network_inputs(dim, widths):
    return fastcl.MLPPrior(dim, widths, rng=0), np.random.default_rng(0).standard_normal((CHECKED, dim)).astype(np.float32)


def network_on_host(dim, widths):
    prior, x = network_inputs(dim, widths)
    x = x.astype(np.float64)
    return prior.energy(x)[:, None], prior.energy_grad(x)


def check_network(results):
    title = "The network, largest difference from float64 on the host over the largest value"
    table = Table(title, ("d", "energy", f"gradient, at all but {KINKS} points"))
    for (dim, widths), result in results.items():
        prior, x = network_inputs(dim, widths)
        x = cupy().asarray(x)
        found = prior.energy(x).get()[:, None], prior.energy_grad(x).get()
        energy, gradient = (np.abs(a - b).max(axis=1) / np.abs(b).max() for a, b in zip(found, result(), strict=True))
        errors = float(energy.max()), float(np.sort(gradient)[-1 - KINKS])
        table.add(dim, *errors, good=np.isfinite(gradient).all() and all(error < 1e-5 for error in errors))


def spiral_run(place, dtype, factors):
    """theta after a run where `place` puts arrays, which starts from its usual parameters times `factors`."""
    x = make_spiral(20_000, rng=0).astype(dtype)
    box = fastcl.Box(x.min(axis=0) - 0.1, x.max(axis=0) + 0.1)
    omega = fastcl.draw_frequencies(500, 2, 0.03, rng=0)
    prior = fastcl.MLPPrior(2, rng=0, dtype=dtype)
    prior.start_near(box, rng=0)
    prior.theta = place((prior.theta * factors).astype(dtype))
    fastcl.learn(prior, fastcl.sketch(place(x), omega, method="direct"), box, method="unbiased", n_iter=STEPS, rng=0)
    return to_host(prior.theta)


def run_on_host(dtype):
    """theta of the run, and of one whose start is a rounding away: where roundings of the start grow, so do those of steps."""
    noise = np.random.default_rng(0).standard_normal(fastcl.MLPPrior(2).theta.size)
    return [spiral_run(np.asarray, dtype, factors) for factors in (1.0, 1 + np.finfo(dtype).eps / 2 * noise)]


def check_run(results):
    """The spiral by device and by host from one seed: the same points, and parameters that stay together."""
    box = fastcl.Box([-1.0, -0.5], [1.0, 2.0])
    points = [to_host(box.sample(4096, 3, np.float32, like=like)) for like in (None, cupy().empty(0))]
    columns = ("type", "theta, device from host", "host from itself after one rounding")
    table = Table(f"Spiral, {STEPS} steps from one seed, largest differences", columns)
    for (dtype,), result in results.items():
        device = spiral_run(cupy().asarray, dtype, 1.0)
        host, rounded = result()
        difference, spread = (float(np.abs(theta - host).max()) for theta in (device, rounded))
        # The device rounds otherwise at every step, the other run of the host at its start alone: errors of STEPS roundings.
        table.add(dtype, difference, spread, good=np.array_equal(*points) and difference <= max(1e-4, np.sqrt(STEPS) * spread))


CHECKS = (  # the longest first
    (check_run, run_on_host, [(dtype,) for dtype in TYPES]),
    (check_maps, maps_on_host, list(product(CHECKED_DIMS, TYPES))),
    (check_network, network_on_host, list(NETWORKS)),
    (check_quantised, quantised_on_host, list(product(QUANTISED_DIMS, TYPES, QUANTISED_BITS))),
)


def check_everything():
    threads = min(WORKER_THREADS, numba.config.NUMBA_NUM_THREADS)
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), numba.set_num_threads, (threads,)) as pool:
        jobs = [(check, {case: pool.submit(host, *case).result for case in cases}) for check, host, cases in CHECKS]
        pool.submit(image_model)  # leaves its compiled code to `time_denoising`
        return all([attempt(compile_kernels), *(attempt(check, results) for check, results in reversed(jobs))])


# ---- the maps ----------------------------------------------------------------------------------------------------------


class MapProblem:
    """Two sets of points, frequencies and coefficients on the device, and the maps of fastcl and of torch on them."""

    def __init__(self, dim, n, m):
        cp, rng = cupy(), np.random.default_rng(0)
        self.step = CHUNK // m  # points that torch takes at a time
        generator = cp.random.default_rng(0)
        self.points = [generator.standard_normal((n, dim), dtype=np.float32) * np.float32(dim**-0.5) for _ in range(2)]
        self.omega, self.c = rng.standard_normal((m, dim)), rng.standard_normal((2, m))
        self.weights, self.out = cp.ones(n, np.float32), cp.empty(n, np.float32)
        self.torch_points = [torch.utils.dlpack.from_dlpack(points) for points in self.points]
        self.torch_omega, self.torch_c = (torch.tensor(a, dtype=torch.float32, device="cuda") for a in (self.omega, self.c))
        self.torch_weights = torch.ones(n, device="cuda")

    def sum(self, i):
        fastcl.feature_sum(self.points[i % 2], self.omega, self.weights)

    def adjoint(self, i):
        fastcl.feature_adjoint(self.points[i % 2], self.omega, self.c[0] + 1j * self.c[1], out=self.out)

    def phases(self, i):
        """(rows, phases) of one chunk after the other, by torch."""
        x = self.torch_points[i % 2]
        for start in range(0, len(x), self.step):
            rows = slice(start, start + self.step)
            yield rows, x[rows] @ self.torch_omega.T

    def torch_sum(self, i):
        total = torch.zeros(2, len(self.torch_omega), dtype=torch.float64, device="cuda")
        for rows, phases in self.phases(i):
            w = self.torch_weights[rows]
            total += torch.stack([w @ torch.cos(phases), -(w @ torch.sin(phases))])

    def torch_adjoint(self, i):
        torch.cat([torch.cos(phases) @ self.torch_c[0] - torch.sin(phases) @ self.torch_c[1] for _, phases in self.phases(i)])

    def torch_waves(self, i):
        """Product, cosines and sines alone, nothing summed."""
        for _, phases in self.phases(i):
            torch.cos(phases)
            torch.sin(phases)


def time_maps(sizes):
    columns = ("map", "d", "n", "m", "ms", "pairs/s", "torch ms", "product, cos, sin ms", "torch / fastcl", "waves / fastcl")
    table = Table("The maps, float32", columns)
    for dim, n, m in sizes:
        problem = MapProblem(dim, n, m)
        waves = device_seconds(problem.torch_waves)
        for name in ("sum", "adjoint"):
            ours, theirs = device_seconds(getattr(problem, name)), device_seconds(getattr(problem, f"torch_{name}"))
            table.add(name, dim, n, m, 1e3 * ours, n * m / ours, 1e3 * theirs, 1e3 * waves, theirs / ours, waves / ours)
        del problem
        torch.cuda.empty_cache()
        cupy().get_default_memory_pool().free_all_blocks()


def time_quantised(dim, n, m):
    table = Table("Sums of quantised features, float32", ("d", "n", "m", "bits", "ms", "pairs/s", "plain sum / quantised"))
    problem = MapProblem(dim, n, m)
    plain = device_seconds(problem.sum)
    for bits in (1, 4):
        seconds = device_seconds(lambda i, bits=bits: fastcl.sketch(problem.points[i % 2], problem.omega, bits=bits, rng=0))
        table.add(dim, n, m, bits, 1e3 * seconds, n * m / seconds, plain / seconds)


def stream(n):
    cp = cupy()
    rng, omega = np.random.default_rng(0), cp.asarray(np.random.default_rng(1).standard_normal((4096, 2)))
    x = rng.random((n, 2), np.float32)
    fastcl.sketch(x[: n // 100], omega)  # compiles
    pool = cp.get_default_memory_pool()
    pool.free_all_blocks()
    before, start = pool.total_bytes(), time.perf_counter()
    fastcl.sketch(x, omega)
    seconds = time.perf_counter() - start
    table = Table("Host points streamed through the device, d = 2, m = 4096", ("n", "s", "pairs/s", "device MiB"))
    table.add(n, seconds, n * 4096 / seconds, (pool.total_bytes() - before) / 2**20)


# ---- the step ----------------------------------------------------------------------------------------------------------


class TorchDeviceStep(TorchStep):
    """The step of `steps.py` on the device, without a word to the host."""

    def __init__(self, *arguments, compiled):
        super().__init__(*arguments)
        self.layers = [tuple(self.move(p) for p in layer) for layer in self.layers]
        self.log_scale = self.move(self.log_scale)
        self.parameters = [p for layer in self.layers for p in layer] + [self.log_scale]
        self.omega, self.z, self.low, self.side = (a.cuda() for a in (self.omega, self.z, self.low, self.side))
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, capturable=True, fused=True)
        self.loss = self.surrogate
        if compiled:
            torch.compiler.reset()  # or it would give up to compile the same code for other sizes again and again
            self.loss = torch.compile(self.surrogate, dynamic=False)  # for these sizes alone
        self.graph = None

    def move(self, parameter):
        return parameter.detach().cuda().requires_grad_()

    def surrogate(self, x, independent):
        with torch.no_grad():
            residual = self.moments(independent) - self.z
        return 2 * (residual * self.moments(x)).sum()

    def sample(self, count):
        return torch.rand(count, len(self.low), dtype=self.dtype, device="cuda") * self.side + self.low

    def step(self, count):
        self.optimizer.zero_grad(set_to_none=False)
        self.loss(self.sample(count), self.sample(count)).backward()
        self.optimizer.step()

    def capture(self, count):
        """Replays of the whole step as one CUDA graph."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                self.step(count)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step(count)
        return graph


def own_steps(dim, m, count, widths, method):
    """A function that takes ROWS captured steps."""
    prior, sketch, box = make(dim, m, widths, np.float32)
    box = fastcl.Box(box.low, box.high)
    prior.theta = cupy().asarray(prior.theta)
    objective = SketchMatching(sketch, box, prior.dtype, like=prior.theta)
    steps = CapturedSteps(objective, prior, method, count, METHODS[method], fastcl.Adam(1e-3), seed=0)
    return lambda i: steps.advance(i * ROWS, [0.3] * ROWS, [0.0] * ROWS)


def time_steps():
    columns = ("d", "m", "N", "method", "fastcl ms", "eager ms", "compiled, graph ms", "eager / fastcl", "compiled / fastcl")
    table = Table("One step, float32", columns)
    for dim, m, count, widths, _ in PROBLEMS:
        for method in ("unbiased", "normalised"):
            ours = device_seconds(own_steps(dim, m, count, widths, method)) / ROWS
            eager = TorchDeviceStep(*make(dim, m, widths, np.float32), method, compiled=False)
            theirs = device_seconds(lambda i, eager=eager, n=count: eager.step(n), calls=50)
            graph = TorchDeviceStep(*make(dim, m, widths, np.float32), method, compiled=True).capture(count)
            replay = device_seconds(lambda i, graph=graph: graph.replay(), calls=200)
            table.add(dim, m, count, method, 1e3 * ours, 1e3 * theirs, 1e3 * replay, theirs / ours, replay / ours)


# ---- denoising ---------------------------------------------------------------------------------------------------------


def image_model():
    """(a clean image, the model of some images, hardly learned)."""
    rng = np.random.default_rng(0)
    images = [rng.random((96, 96)).cumsum(axis=0).cumsum(axis=1) for _ in range(4)]
    images = [image / image.max() for image in images]
    model = fastcl.learn_image_prior(images, patch=6, m=500, n_iter=20, rng=0)
    fastcl.denoise_image(model, images[0], 0.1)
    return images[0], model


def time_denoising():
    cp, table = cupy(), Table("Denoising on the device", ("what", "size", "ms", "host ms", "largest difference"))
    rng = np.random.default_rng(0)
    prior = fastcl.MLPPrior(35, (128, 64), rng=0)
    x = rng.standard_normal((ROWS_OF_PATCHES, 35)).astype(np.float32)
    there = cp.asarray(x)
    prior.energy_grad(x[:1000])
    start = time.perf_counter()
    host = prior.energy_grad(x)
    seconds = time.perf_counter() - start
    own = device_seconds(lambda i: prior.energy_grad(there))
    difference = float(np.abs(prior.energy_grad(there).get() - host).max())
    table.add("energy_grad", f"{len(x)} x 35", 1e3 * own, 1e3 * seconds, difference)
    image, model = image_model()
    noisy = image.repeat(SCALE, 0).repeat(SCALE, 1)
    noisy += 0.1 * rng.standard_normal(noisy.shape)
    start = time.perf_counter()
    host = fastcl.denoise_image(model, noisy, 0.1)
    seconds = time.perf_counter() - start
    own = device_seconds(lambda i: fastcl.denoise_image(model, cp.asarray(noisy), 0.1))
    difference = float(np.abs(fastcl.denoise_image(model, cp.asarray(noisy), 0.1).get() - host).max())
    table.add("denoise_image", "{} x {}".format(*noisy.shape), 1e3 * own, 1e3 * seconds, difference)


PARTS = {
    "checks": check_everything,
    "maps": lambda: all([attempt(time_maps, MAPS), attempt(time_quantised, *MAPS[0])]),
    "stream": lambda: attempt(stream, STREAMED),
    "steps": lambda: attempt(time_steps),
    "denoising": lambda: attempt(time_denoising),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="JSON file for the tables")
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    try:
        if not cupy().cuda.is_available():
            raise ImportError("CuPy finds no GPU")
    except ImportError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 2
    properties = cupy().cuda.runtime.getDeviceProperties(0)
    print(f"{properties['name'].decode()}, {properties['multiProcessorCount']} multiprocessors")
    print(f"torch {torch.__version__}; {machine()}")
    stopped = []
    for name in options.only or PARTS:
        start = time.perf_counter()
        if not PARTS[name]():
            stopped.append(name)
        print(f"\n{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if options.out:
            with open(options.out, "w") as file:
                json.dump({table.title: table.to_dicts() for table in Table.every}, file)
    failed = sum(not good for table in Table.every for good in table.good)
    print(f"\n{failed} lines failed; parts that stopped: {', '.join(stopped) or 'none'}")
    return 1 if failed or stopped else 0


if __name__ == "__main__":
    sys.exit(main())
