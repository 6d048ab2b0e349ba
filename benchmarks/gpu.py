"""Everything on one GPU: checked against the host in float64, then timed beside torch: python benchmarks/gpu.py [--out FILE.json]

Times are between device events, after a warm-up, the median of five turns, over rotated inputs that no cache holds. torch runs
on the same device: the maps as the matrix product of a chunk with its cosines and sines, in float32 without tf32; the step
eager, and compiled and then captured whole as one CUDA graph, random points and Adam included. What the host has to say to the
checks is computed in processes of their own, while the kernels of the device are compiled. A part that fails leaves the others
alone, and the file has what was measured until then; the status is then 1. Without a GPU it is 2. The maps of torch are compared
with those of fastcl before they are timed; its step is the one that `steps.py` compares on the host.
"""

import argparse
import json
import sys
import time

from timing import machine  # before NumPy

# isort: split
import numpy as np
import torch
from gpu_checks import check_everything, image_model
from steps import METHODS, PROBLEMS, TorchStep, make
from tables import Table, attempt

import fastcl
from fastcl.backend import cupy
from fastcl.learning.cuda_graph import ROWS, CapturedSteps
from fastcl.learning.objective import SketchMatching

REPEATS = 5
MAPS = ((2, 10_000_000, 4096), (16, 10_000_000, 4096), (192, 1_000_000, 4096))  # d, n, m
TOLERANCE = 1e-4  # between fastcl and torch, which adds tens of thousands of points in float32
CHUNK = 1 << 28  # pairs that torch takes at a time
STREAMED = 100_000_000  # points
ROWS_OF_PATCHES, SCALE = (
    1 << 20,
    8,
)  # of energy_grad, and how much larger than 96 pixels the image to denoise is


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


# ---- the maps ----------------------------------------------------------------------------------------------------------


class MapProblem:
    """Two sets of points, frequencies and coefficients on the device, and the maps of fastcl and of torch on them."""

    def __init__(self, dim, n, m):
        cp, rng = cupy(), np.random.default_rng(0)
        self.step = CHUNK // m  # points that torch takes at a time
        generator = cp.random.default_rng(0)
        self.points = [
            generator.standard_normal((n, dim), dtype=np.float32) * np.float32(dim**-0.5)
            for _ in range(2)
        ]
        self.omega, self.c = rng.standard_normal((m, dim)), rng.standard_normal((2, m))
        self.weights, self.out = cp.ones(n, np.float32), cp.empty(n, np.float32)
        self.torch_points = [torch.utils.dlpack.from_dlpack(points) for points in self.points]
        self.torch_omega, self.torch_c = (
            torch.tensor(a, dtype=torch.float32, device="cuda") for a in (self.omega, self.c)
        )
        self.torch_weights = torch.ones(n, device="cuda")

    def sum(self, i):
        return fastcl.feature_sum(self.points[i % 2], self.omega, self.weights)

    def adjoint(self, i):
        return fastcl.feature_adjoint(
            self.points[i % 2], self.omega, self.c[0] + 1j * self.c[1], out=self.out
        )

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
        return torch.complex(*total)

    def torch_adjoint(self, i):
        real, imag = self.torch_c
        return torch.cat(
            [torch.cos(phases) @ real - torch.sin(phases) @ imag for _, phases in self.phases(i)]
        )

    def difference(self, name):
        """The largest one between fastcl and torch, over the sum of moduli."""
        ours, theirs = getattr(self, name)(0).get(), getattr(self, f"torch_{name}")(0).cpu().numpy()
        return float(
            np.abs(ours - theirs).max()
            / (len(self.out) if name == "sum" else np.hypot(*self.c).sum())
        )

    def torch_waves(self, i):
        """Product, cosines and sines alone, nothing summed."""
        for _, phases in self.phases(i):
            torch.cos(phases)
            torch.sin(phases)


def time_maps(sizes):
    times = (
        "ms",
        "pairs/s",
        "torch ms",
        "product, cos, sin ms",
        "torch / fastcl",
        "waves / fastcl",
    )
    columns = ("map", "d", "n", "m", "difference", *times)
    table = Table("The maps, float32", columns)
    for dim, n, m in sizes:
        problem = MapProblem(dim, n, m)
        waves = device_seconds(problem.torch_waves)
        for name in ("sum", "adjoint"):
            difference = problem.difference(name)
            ours, theirs = (
                device_seconds(getattr(problem, name)),
                device_seconds(getattr(problem, f"torch_{name}")),
            )
            row = (
                name,
                dim,
                n,
                m,
                difference,
                1e3 * ours,
                n * m / ours,
                1e3 * theirs,
                1e3 * waves,
                theirs / ours,
                waves / ours,
            )
            table.add(*row, good=difference <= TOLERANCE)
        del problem
        torch.cuda.empty_cache()
        cupy().get_default_memory_pool().free_all_blocks()


def time_quantised(dim, n, m):
    table = Table(
        "Sums of quantised features, float32",
        ("d", "n", "m", "bits", "ms", "pairs/s", "plain sum / quantised"),
    )
    problem = MapProblem(dim, n, m)
    plain = device_seconds(problem.sum)
    for bits in (1, 4):
        seconds = device_seconds(
            lambda i, bits=bits: fastcl.sketch(
                problem.points[i % 2], problem.omega, bits=bits, rng=0
            )
        )
        table.add(dim, n, m, bits, 1e3 * seconds, n * m / seconds, plain / seconds)


def stream(n):
    cp = cupy()
    rng, omega = (
        np.random.default_rng(0),
        cp.asarray(np.random.default_rng(1).standard_normal((4096, 2))),
    )
    x = rng.random((n, 2), np.float32)
    fastcl.sketch(x[: n // 100], omega)  # compiles
    pool = cp.get_default_memory_pool()
    pool.free_all_blocks()
    before, start = pool.total_bytes(), time.perf_counter()
    fastcl.sketch(x, omega)
    seconds = time.perf_counter() - start
    table = Table(
        "Host points streamed through the device, d = 2, m = 4096",
        ("n", "s", "pairs/s", "device MiB"),
    )
    table.add(n, seconds, n * 4096 / seconds, (pool.total_bytes() - before) / 2**20)


# ---- the step ----------------------------------------------------------------------------------------------------------


class TorchDeviceStep(TorchStep):
    """The step of `steps.py` on the device, without a word to the host."""

    def __init__(self, *arguments, compiled):
        super().__init__(*arguments)
        self.layers = [tuple(self.move(p) for p in layer) for layer in self.layers]
        self.log_scale = self.move(self.log_scale)
        self.parameters = [p for layer in self.layers for p in layer] + [self.log_scale]
        self.omega, self.z, self.low, self.side = (
            a.cuda() for a in (self.omega, self.z, self.low, self.side)
        )
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
        return (
            torch.rand(count, len(self.low), dtype=self.dtype, device="cuda") * self.side + self.low
        )

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
    steps = CapturedSteps(
        objective, prior, method, count, METHODS[method], fastcl.Adam(1e-3), seed=0
    )
    return lambda i: steps.advance(i * ROWS, [0.3] * ROWS, [0.0] * ROWS)


def time_steps():
    columns = (
        "d",
        "m",
        "N",
        "method",
        "fastcl ms",
        "eager ms",
        "compiled, graph ms",
        "eager / fastcl",
        "compiled / fastcl",
    )
    table = Table("One step, float32", columns)
    for dim, m, count, widths, _ in PROBLEMS:
        for method in ("unbiased", "normalised"):
            ours = device_seconds(own_steps(dim, m, count, widths, method)) / ROWS
            eager = TorchDeviceStep(*make(dim, m, widths, np.float32), method, compiled=False)
            theirs = device_seconds(lambda i, eager=eager, n=count: eager.step(n), calls=50)
            graph = TorchDeviceStep(
                *make(dim, m, widths, np.float32), method, compiled=True
            ).capture(count)
            replay = device_seconds(lambda i, graph=graph: graph.replay(), calls=200)
            table.add(
                dim,
                m,
                count,
                method,
                1e3 * ours,
                1e3 * theirs,
                1e3 * replay,
                theirs / ours,
                replay / ours,
            )


# ---- denoising ---------------------------------------------------------------------------------------------------------


def time_denoising():
    cp, table = (
        cupy(),
        Table("Denoising on the device", ("what", "size", "ms", "host ms", "largest difference")),
    )
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
    difference = float(
        np.abs(fastcl.denoise_image(model, cp.asarray(noisy), 0.1).get() - host).max()
    )
    table.add("denoise_image", "{} x {}".format(*noisy.shape), 1e3 * own, 1e3 * seconds, difference)


PARTS = {
    "checks": check_everything,
    "maps": lambda: all([attempt(time_maps, MAPS), attempt(time_quantised, *MAPS[0])]),
    "stream": lambda: attempt(stream, STREAMED),
    "steps": lambda: attempt(time_steps),
    "denoising": lambda: attempt(time_denoising),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
