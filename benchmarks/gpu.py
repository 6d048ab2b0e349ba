"""Everything on one GPU, checked and then timed: python benchmarks/gpu.py [--out FILE.json]

The device is checked against the host in float64 and timed against torch. Times are between device
events, after a warm-up: the median of five turns, over rotated inputs so that no cache holds them.
torch runs on the same device: the maps as the matrix product of a chunk with its cosines and sines,
in float32 without tf32; the step both eager and compiled, then captured whole as one CUDA graph,
random points and Adam included. What the checks need from the host is computed in separate
processes while the kernels of the device are compiled. A part that fails leaves the others alone,
and the file has what was measured until then; the status is then 1. Without a GPU it is 2. The maps
of torch are compared with those of fastcl before they are timed; its step is the one that
`steps.py` compares on the host.
"""

import json
import sys
import time

from timing import machine  # before NumPy

# isort: split
import numpy as np
from command import new_parser, require, require_gpu
from gpu_checks import check_everything, image_model
from steps import METHODS, PROBLEMS, PROBLEMS_QUICK, TorchStep, make
from tables import Table, attempt

import fastcl
from fastcl.backend import cupy
from fastcl.learning.cuda_graph import ROWS, CapturedSteps
from fastcl.learning.objective import SketchMatching

REPEATS = 5
MAPS = ((2, 10_000_000, 4096), (16, 10_000_000, 4096), (192, 1_000_000, 4096))  # d, n, m
MAPS_QUICK = ((2, 10_000, 256), (16, 10_000, 256))
TOLERANCE = 1e-4  # between fastcl and torch, which adds tens of thousands of points in float32
CHUNK = 1 << 28  # pairs that torch takes at a time
STREAMED = 100_000_000  # points
STREAMED_QUICK = 1_000_000
STREAMED_M = 4096
PATCHES = 1 << 20  # points of energy_grad
PATCHES_QUICK = 1 << 12
SCALE = 8  # side of the image to denoise, in units of 96 pixels
SCALE_QUICK = 1


def device_seconds(function, calls=1):
    """Median over turns of the seconds per call, between device events.

    `function` takes the number of the call.
    """
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


# ---- the maps ------------------------------------------------------------------------------------


class MapProblem:
    """Two sets of points, frequencies and coefficients on the device, and both libraries' maps."""

    def __init__(self, dim, n, m):
        self.torch = torch = require("torch")
        cp = cupy()
        rng = np.random.default_rng(0)
        generator = cp.random.default_rng(0)
        self.rows = CHUNK // m  # points that torch takes at a time
        self.points = [
            generator.standard_normal((n, dim), dtype=np.float32) * np.float32(dim**-0.5)
            for _ in range(2)
        ]
        self.omega = rng.standard_normal((m, dim))
        self.c = rng.standard_normal((2, m))  # real and imaginary parts
        self.weights = cp.ones(n, np.float32)
        self.out = cp.empty(n, np.float32)
        self.torch_points = [torch.utils.dlpack.from_dlpack(points) for points in self.points]
        self.torch_omega = torch.tensor(self.omega, dtype=torch.float32, device="cuda")
        self.torch_c = torch.tensor(self.c, dtype=torch.float32, device="cuda")
        self.torch_weights = torch.ones(n, device="cuda")

    def sum(self, i):
        return fastcl.feature_sum(self.points[i % 2], self.omega, self.weights)

    def adjoint(self, i):
        c = self.c[0] + 1j * self.c[1]
        return fastcl.feature_adjoint(self.points[i % 2], self.omega, c, out=self.out)

    def phases(self, i):
        """(rows, phases) of one chunk after the other, by torch."""
        x = self.torch_points[i % 2]
        for start in range(0, len(x), self.rows):
            rows = slice(start, start + self.rows)
            yield rows, x[rows] @ self.torch_omega.T

    def torch_sum(self, i):
        torch = self.torch
        total = torch.zeros(2, len(self.torch_omega), dtype=torch.float64, device="cuda")
        for rows, phases in self.phases(i):
            w = self.torch_weights[rows]
            total += torch.stack([w @ torch.cos(phases), -(w @ torch.sin(phases))])
        return torch.complex(*total)

    def torch_adjoint(self, i):
        torch = self.torch
        real, imag = self.torch_c
        parts = [
            torch.cos(phases) @ real - torch.sin(phases) @ imag for _, phases in self.phases(i)
        ]
        return torch.cat(parts)

    def torch_sincos(self, i):
        """Product, cosines and sines alone; nothing is summed."""
        for _, phases in self.phases(i):
            self.torch.cos(phases)
            self.torch.sin(phases)

    def difference(self, name):
        """The largest difference between fastcl and torch, relative to the sum of amplitudes."""
        ours = getattr(self, name)(0).get()
        theirs = getattr(self, f"torch_{name}")(0).cpu().numpy()
        scale = len(self.out) if name == "sum" else np.hypot(*self.c).sum()
        return float(np.abs(ours - theirs).max() / scale)


def time_maps(sizes):
    columns = ("map", "d", "n", "m", "difference", "ms", "pairs/s", "torch ms")
    columns += ("product, cos, sin ms", "torch / fastcl", "product, cos, sin / fastcl")
    table = Table("The maps, float32", columns)
    for dim, n, m in sizes:
        problem = MapProblem(dim, n, m)
        sincos = device_seconds(problem.torch_sincos)
        for name in ("sum", "adjoint"):
            difference = problem.difference(name)
            ours = device_seconds(getattr(problem, name))
            theirs = device_seconds(getattr(problem, f"torch_{name}"))
            times = 1e3 * ours, n * m / ours, 1e3 * theirs, 1e3 * sincos
            ratios = theirs / ours, sincos / ours
            row = (name, dim, n, m, difference, *times, *ratios)
            table.add(*row, good=difference <= TOLERANCE)
        torch = problem.torch
        del problem
        torch.cuda.empty_cache()
        cupy().get_default_memory_pool().free_all_blocks()


def time_quantised(dim, n, m):
    columns = ("d", "n", "m", "bits", "ms", "pairs/s", "plain sum / quantised")
    table = Table("Sums of quantised features, float32", columns)
    problem = MapProblem(dim, n, m)
    plain = device_seconds(problem.sum)
    for bits in (1, 4):

        def quantised(i, bits=bits):
            return fastcl.sketch(problem.points[i % 2], problem.omega, bits=bits, rng=0)

        seconds = device_seconds(quantised)
        table.add(dim, n, m, bits, 1e3 * seconds, n * m / seconds, plain / seconds)


def stream(n):
    cp = cupy()
    x = np.random.default_rng(0).random((n, 2), np.float32)
    omega = cp.asarray(np.random.default_rng(1).standard_normal((STREAMED_M, 2)))
    fastcl.sketch(x[: n // 100], omega)  # compiles
    pool = cp.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    start = time.perf_counter()
    fastcl.sketch(x, omega)
    seconds = time.perf_counter() - start
    title = f"Host points streamed through the device, d = 2, m = {STREAMED_M}"
    table = Table(title, ("n", "s", "pairs/s", "device MiB"))
    table.add(n, seconds, n * STREAMED_M / seconds, (pool.total_bytes() - before) / 2**20)


# ---- the step ------------------------------------------------------------------------------------


class TorchDeviceStep(TorchStep):
    """The step of `steps.py` on the device, without synchronising with the host."""

    def __init__(self, *arguments, compiled):
        super().__init__(*arguments)
        torch = self.torch
        self.layers = [tuple(self.move(p) for p in layer) for layer in self.layers]
        self.log_scale = self.move(self.log_scale)
        self.parameters = [p for layer in self.layers for p in layer] + [self.log_scale]
        self.omega = self.omega.cuda()
        self.z = self.z.cuda()
        self.low = self.low.cuda()
        self.side = self.side.cuda()
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, capturable=True, fused=True)
        self.loss = self.value
        if compiled:
            # Otherwise torch gives up on compiling the same code for new sizes again and again.
            torch.compiler.reset()
            self.loss = torch.compile(self.value, dynamic=False)  # for these sizes only

    def move(self, parameter):
        return parameter.detach().cuda().requires_grad_()

    def sample(self, count):
        x = self.torch.rand(count, len(self.low), dtype=self.dtype, device="cuda")
        return x * self.side + self.low

    def step(self, count):
        self.optimizer.zero_grad(set_to_none=False)
        self.loss(self.sample(count)).backward()
        self.optimizer.step()

    def capture(self, count):
        """The whole step as one CUDA graph."""
        cuda = self.torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(5):
                self.step(count)
        cuda.current_stream().wait_stream(side)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            self.step(count)
        return graph


def own_steps(dim, m, count, widths, method):
    """A function that takes ROWS captured steps."""
    prior, sketch, box = make(dim, m, widths, np.float32)
    prior.theta = cupy().asarray(prior.theta)
    objective = SketchMatching(sketch, fastcl.Box(box.low, box.high), prior.dtype, like=prior.theta)
    steps = CapturedSteps(
        objective, prior, "unbiased", count, METHODS[method], fastcl.Adam(1e-3), seed=0
    )
    return lambda i: steps.advance(i * ROWS, ROWS)


def time_steps(problems):
    columns = ("d", "m", "N", "method", "fastcl ms", "eager ms", "compiled, graph ms")
    columns += ("eager / fastcl", "compiled / fastcl")
    table = Table("One step, float32", columns)
    for dim, m, count, widths, _ in problems:
        for method in METHODS:
            ours = device_seconds(own_steps(dim, m, count, widths, method)) / ROWS
            made = make(dim, m, widths, np.float32)
            eager = TorchDeviceStep(*made, method, compiled=False)
            theirs = device_seconds(lambda i, eager=eager, n=count: eager.step(n), calls=50)
            made = make(dim, m, widths, np.float32)
            graph = TorchDeviceStep(*made, method, compiled=True).capture(count)
            replay = device_seconds(lambda i, graph=graph: graph.replay(), calls=200)
            times = 1e3 * ours, 1e3 * theirs, 1e3 * replay
            table.add(dim, m, count, method, *times, theirs / ours, replay / ours)


# ---- denoising -----------------------------------------------------------------------------------


def compare_places(table, what, size, function, given):
    """Time `function` on the host and on the device, and add a row to the table."""
    start = time.perf_counter()
    host = function(given)
    host_seconds = time.perf_counter() - start
    there = cupy().asarray(given)
    seconds = device_seconds(lambda i: function(there))
    difference = float(np.abs(function(there).get() - host).max())
    table.add(what, size, 1e3 * seconds, 1e3 * host_seconds, difference)


def time_denoising(n, scale):
    columns = ("what", "size", "ms", "host ms", "largest difference")
    table = Table("Denoising on the device", columns)
    rng = np.random.default_rng(0)
    prior = fastcl.MLPPrior(35, (128, 64), rng=0)
    x = rng.standard_normal((n, 35)).astype(np.float32)
    prior.energy_grad(x[:1000])  # compiles
    compare_places(table, "energy_grad", f"{n} x 35", prior.energy_grad, x)
    image, model = image_model()
    noisy = image.repeat(scale, 0).repeat(scale, 1)
    noisy += 0.1 * rng.standard_normal(noisy.shape)
    size = "{} x {}".format(*noisy.shape)
    compare_places(
        table, "denoise_image", size, lambda given: fastcl.denoise_image(model, given, 0.1), noisy
    )


def make_parts(quick):
    """Name -> function that runs the part and says whether it came to its end."""
    maps = MAPS_QUICK if quick else MAPS
    streamed = STREAMED_QUICK if quick else STREAMED
    problems = PROBLEMS_QUICK if quick else PROBLEMS
    denoised = (PATCHES_QUICK, SCALE_QUICK) if quick else (PATCHES, SCALE)
    return {
        "checks": lambda: check_everything(quick),
        "maps": lambda: all([attempt(time_maps, maps), attempt(time_quantised, *maps[0])]),
        "stream": lambda: attempt(stream, streamed),
        "steps": lambda: attempt(time_steps, problems),
        "denoising": lambda: attempt(time_denoising, *denoised),
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--out", help="JSON file for the tables")
    parser.add_argument(
        "--only", choices=make_parts(False), action="append", help="repeatable; by default all"
    )
    options = parser.parse_args()
    torch = require("torch")
    properties = require_gpu().cuda.runtime.getDeviceProperties(0)
    print(f"{properties['name'].decode()}, {properties['multiProcessorCount']} multiprocessors")
    print(f"torch {torch.__version__}; {machine()}")
    parts = make_parts(options.quick)
    stopped = []
    for name in options.only or parts:
        start = time.perf_counter()
        if not parts[name]():
            stopped.append(name)
        print(f"\n{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if options.out:
            with open(options.out, "w") as file:
                json.dump({table.title: table.to_dicts() for table in Table.every}, file)
    failed = sum(not good for table in Table.every for good in table.good)
    print(f"\n{failed} rows failed; parts that stopped: {', '.join(stopped) or 'none'}")
    return 1 if failed or stopped else 0


if __name__ == "__main__":
    sys.exit(main())
