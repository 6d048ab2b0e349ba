"""Everything on one GPU: checked against the host in float64, then timed beside torch: python benchmarks/gpu.py [--out FILE.json]

Times are between device events, after a warm-up, the median of five turns, over rotated inputs that no cache holds. torch runs
on the same device: the maps as the matrix product of a chunk with its cosines and sines, in float32 without tf32; the step
eager, and compiled and then captured whole as one CUDA graph, random points and Adam included. Without a GPU it says so and
ends with status 2.
"""

import argparse
import json
import sys
import time

from timing import machine  # before NumPy

# isort: split
import numpy as np
import torch
from steps import METHODS, PROBLEMS, TorchStep, make

import fastcl
from fastcl.backend import cupy, to_host
from fastcl.datasets import make_spiral
from fastcl.graphs import ROWS, CapturedSteps
from fastcl.objective import SketchMatching

REPEATS = 5
MAPS = ((2, 10_000_000, 4096), (16, 10_000_000, 4096), (192, 1_000_000, 4096))  # d, n, m
CHUNK = 1 << 28  # pairs that torch takes at a time
STREAMED = 100_000_000  # points
CHECKED, CHECKED_M = 10_007, 1021  # points and frequencies of the checks
STEPS = 100  # of the run that host and device share
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

    def __init__(self, title, columns):
        self.title, self.columns, self.rows = title, columns, []
        print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)

    def add(self, *row):
        self.rows.append(row)
        print(f"| {' | '.join(f'{cell:.4g}' if isinstance(cell, float) else str(cell) for cell in row)} |", flush=True)


# ---- checks ------------------------------------------------------------------------------------------------------------


def check_maps():
    cp, table = cupy(), Table("Errors of the maps, over the sum of moduli", ("d", "type", "sum", "adjoint"))
    for dim in (1, 2, 3, 4, 8, 16, 35, 64, 192):
        for dtype, limit in ((np.float32, 1e-6), (np.float64, 1e-14)):
            rng = np.random.default_rng(dim)
            x = (rng.standard_normal((CHECKED, dim)) / np.sqrt(dim)).astype(dtype)
            omega, w = rng.standard_normal((CHECKED_M, dim)), rng.random(len(x)).astype(dtype)
            c = (rng.standard_normal(CHECKED_M) + 1j * rng.standard_normal(CHECKED_M)).astype(np.complex64)
            exact = fastcl.feature_sum(x.astype(np.float64), omega, w, method="direct")
            waves = fastcl.feature_adjoint(x.astype(np.float64), omega, c, method="direct")
            points = cp.asarray(x)
            errors = [
                float(np.abs(fastcl.feature_sum(points, omega, cp.asarray(w)).get() - exact).max() / w.sum()),
                float(np.abs(fastcl.feature_adjoint(points, omega, c).get() - waves).max() / np.abs(c).sum()),
            ]
            again = [fastcl.feature_sum(points, omega, cp.asarray(w)).get() for _ in range(3)]
            assert all(np.array_equal(again[0], other) for other in again), "bits differ from run to run"
            table.add(dim, np.dtype(dtype).name, *errors)
            assert max(errors) <= limit, (dim, dtype, errors)
    return table


def check_quantised():
    cp = cupy()
    table = Table("Quantised sums, share of the levels that differ from the host's, at least", ("d", "type", "bits", "share"))
    for dim in (1, 2, 8, 35, 192):
        for dtype, limit in ((np.float32, 1e-4), (np.float64, 1e-9)):
            rng = np.random.default_rng(dim)
            x, omega = (rng.standard_normal((CHECKED, dim)) / np.sqrt(dim)).astype(dtype), rng.standard_normal((CHECKED_M, dim))
            for bits in (1, 4):
                given = x, cp.asarray(x), cp.asarray(x)
                host, device, again = (fastcl.sketch(points, omega, bits=bits, rng=0)._total for points in given)
                assert np.array_equal(device, again), "bits differ from run to run"
                difference = np.abs([(device - host).real, (device - host).imag]).sum()  # of a level two
                table.add(dim, np.dtype(dtype).name, bits, float(difference / 2 / (2 * CHECKED * CHECKED_M)))
                assert table.rows[-1][-1] <= limit, table.rows[-1]
    return table


def check_network():
    cp = cupy()
    table = Table("The network, largest difference from float64 on the host over the largest value", ("d", "energy", "gradient"))
    for dim, widths in ((2, (64, 128, 256)), (8, (64, 128)), (35, (128, 64))):
        prior = fastcl.MLPPrior(dim, widths, rng=0)
        x = np.random.default_rng(0).standard_normal((CHECKED, dim)).astype(np.float32)
        exact = prior.energy(x.astype(np.float64)), prior.energy_grad(x.astype(np.float64))
        found = prior.energy(cp.asarray(x)).get(), prior.energy_grad(cp.asarray(x)).get()
        errors = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, exact, strict=True)]
        table.add(dim, *errors)
        assert max(errors) < 1e-5, errors  # a kink of a unit may be on either side, at a point or two
    return table


def check_run():
    """The spiral by device and by host from one seed: the same points, and parameters that stay together."""
    cp = cupy()
    x = make_spiral(20_000, rng=0).astype(np.float32)
    box = fastcl.Box(x.min(axis=0) - 0.1, x.max(axis=0) + 0.1)
    omega = fastcl.draw_frequencies(500, 2, fastcl.estimate_scale(x, rng=0), rng=0)
    points = [box.sample(4096, 3, np.float32, like=like) for like in (None, cp.empty(0))]
    assert np.array_equal(points[0], points[1].get()), "other points"
    columns = ("type", "points", "theta, device from host", "host from itself after one rounding")
    table = Table(f"Spiral, {STEPS} steps from one seed, largest differences", columns)

    def run(place, dtype, factors):
        prior = fastcl.MLPPrior(2, rng=0, dtype=dtype)
        prior.start_near(box, rng=0)
        prior.theta = place((prior.theta * factors).astype(dtype))
        fastcl.learn(prior, fastcl.sketch(place(x), omega), box, method="unbiased", n_iter=STEPS, rng=0)
        return to_host(prior.theta)

    for dtype in (np.float32, np.float64):  # where a rounding of the start grows, so do those of the steps
        size = fastcl.MLPPrior(2, rng=0).theta.size
        factors = 1 + np.finfo(dtype).eps / 2 * np.random.default_rng(0).standard_normal(size)
        host, device = (run(place, dtype, 1.0) for place in (np.asarray, cp.asarray))
        rounded = run(np.asarray, dtype, factors)
        table.add(np.dtype(dtype).name, "equal", float(np.abs(device - host).max()), float(np.abs(rounded - host).max()))
    return table


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
    return table


def time_quantised(dim, n, m):
    table = Table("Sums of quantised features, float32", ("d", "n", "m", "bits", "ms", "pairs/s", "plain sum / quantised"))
    problem = MapProblem(dim, n, m)
    plain = device_seconds(problem.sum)
    for bits in (1, 4):
        seconds = device_seconds(lambda i, bits=bits: fastcl.sketch(problem.points[i % 2], problem.omega, bits=bits, rng=0))
        table.add(dim, n, m, bits, 1e3 * seconds, n * m / seconds, plain / seconds)
    return table


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
    return table


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
        self.loss = torch.compile(self.surrogate) if compiled else self.surrogate
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
    return table


# ---- denoising ---------------------------------------------------------------------------------------------------------


def time_denoising():
    cp, table = cupy(), Table("Denoising on the device", ("what", "size", "ms", "host ms", "largest difference"))
    rng = np.random.default_rng(0)
    prior = fastcl.MLPPrior(35, (128, 64), rng=0)
    x = rng.standard_normal((ROWS_OF_PATCHES, 35)).astype(np.float32)
    there = cp.asarray(x)
    start = time.perf_counter()
    host = prior.energy_grad(x)
    seconds = time.perf_counter() - start
    own = device_seconds(lambda i: prior.energy_grad(there))
    difference = float(np.abs(prior.energy_grad(there).get() - host).max())
    table.add("energy_grad", f"{len(x)} x 35", 1e3 * own, 1e3 * seconds, difference)
    images = [rng.random((96, 96)).cumsum(axis=0).cumsum(axis=1) for _ in range(4)]
    model = fastcl.learn_image_prior([image / image.max() for image in images], patch=6, m=500, n_iter=20, rng=0)
    noisy = (images[0] / images[0].max()).repeat(SCALE, 0).repeat(SCALE, 1)
    noisy += 0.1 * rng.standard_normal(noisy.shape)
    start = time.perf_counter()
    host = fastcl.denoise_image(model, noisy, 0.1)
    seconds = time.perf_counter() - start
    own = device_seconds(lambda i: fastcl.denoise_image(model, cp.asarray(noisy), 0.1))
    difference = float(np.abs(fastcl.denoise_image(model, cp.asarray(noisy), 0.1).get() - host).max())
    table.add("denoise_image", "{} x {}".format(*noisy.shape), 1e3 * own, 1e3 * seconds, difference)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="JSON file for the tables")
    parser.add_argument("--only", choices=("checks", "maps", "stream", "steps", "denoising"), action="append")
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
    parts = {
        "checks": lambda: [check_maps(), check_quantised(), check_network(), check_run()],
        "maps": lambda: [time_maps(MAPS), time_quantised(*MAPS[0])],
        "stream": lambda: [stream(STREAMED)],
        "steps": lambda: [time_steps()],
        "denoising": lambda: [time_denoising()],
    }
    tables = []
    for name, part in parts.items():
        if options.only is None or name in options.only:
            tables += part()
    if options.out:
        with open(options.out, "w") as file:
            json.dump({table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in tables}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
