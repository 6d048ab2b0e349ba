"""One CL-SGD step against torch, and the grid against random points: python benchmarks/steps.py

A step is the drawing of its points, the gradient and the update by Adam. In torch it is eager and
written as one would write it: the network by autograd, the phases as one matrix product, then their
cosines and sines. Before anything is timed both are given the same points; value and gradient must
agree, up to rounding in float64. Then they take turns in one process, median of five.

The second table is one step on a fixed grid of 20 points per axis and one at 4096 random points,
each in a new process that may use --limit GiB. It gives seconds (the median of five steps, or of as
many as 10 s allow, after a first one) and growth of the resident memory. It needs no torch:
--only grid.
"""

import itertools

from timing import in_turn, machine  # before NumPy

# isort: split
import numpy as np
from command import new_parser, require
from memory import step_in_child

import fastcl
from fastcl.learning.objective import SketchMatching

# d, m, points per step, widths of the network, target of the ratio to torch
PROBLEMS = (
    (2, 500, 400, (64, 128, 256), 3.0),
    (2, 500, 4000, (64, 128, 256), 2.5),
    (8, 4000, 4000, (64, 128), 12.0),
)
PROBLEMS_QUICK = ((2, 50, 40, (8, 16), 3.0),)
METHODS = {"unbiased": "learned", "normalised": "normalised"}  # -> log_scale
TURN = 0.2  # least seconds of a turn
# Largest relative difference of value and gradient: sums of some thousand terms that cancel.
TOLERANCE = {np.float32: 1e-4, np.float64: 1e-10}
GRID_DIMS = (2, 3, 4, 5, 6)
GRID_M = 500
GRID_WIDTHS = (64, 128, 256)
POINTS_PER_AXIS = 20
RANDOM_POINTS = 4096


class RecordingBox(fastcl.Box):
    """A box that keeps the points it was asked for."""

    def sample(self, *arguments, **settings):
        self.points = [*getattr(self, "points", []), super().sample(*arguments, **settings)]
        return self.points[-1].copy()


def halves(x):
    """The two halves into which an unbiased gradient of a normalised density splits its points."""
    return x[: len(x) // 2], x[len(x) // 2 :]


class TorchStep:
    """The step of one prior, sketch and box in torch, eager."""

    def __init__(self, prior, sketch, box, method):
        self.torch = torch = require("torch")
        self.method = method
        self.dtype = torch.float32 if prior.dtype == np.float32 else torch.float64
        self.layers = []
        start = 0
        for n_in, n_out in itertools.pairwise(int(size) for size in prior.sizes):
            end = start + (n_in + 1) * n_out
            matrix, bias = np.split(prior.theta[start:end], [n_in * n_out])
            self.layers.append((self.parameter(matrix.reshape(n_in, n_out)), self.parameter(bias)))
            start = end
        self.log_scale = self.parameter(prior.theta[-1:])
        self.parameters = [p for layer in self.layers for p in layer] + [self.log_scale]
        self.omega = self.constant(sketch.omega)
        self.z = self.constant(np.stack([sketch.values.real, sketch.values.imag]))
        self.low = self.constant(box.low)
        self.side = self.constant(box.high - box.low)
        self.volume = box.volume
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3)

    def constant(self, array):
        return self.torch.tensor(array, dtype=self.dtype)

    def parameter(self, array):
        return self.torch.tensor(array, dtype=self.dtype, requires_grad=True)

    def weights(self, x):
        """What every point adds to a sum over the points, (n,): c mu / n."""
        h = x
        for k, (matrix, bias) in enumerate(self.layers):
            h = self.torch.addmm(bias, h if k == 0 else self.torch.relu(h), matrix)
        energy = (h * h).sum(1)
        if METHODS[self.method] == "normalised":  # either half has mass one
            return self.torch.cat([self.torch.softmax(-e, 0) for e in halves(energy)])
        return (self.volume / len(x)) * self.torch.exp(self.log_scale - energy)

    def value(self, x):
        """An estimate of G in which no point meets itself."""
        torch, n, m = self.torch, len(x), len(self.omega)
        p = self.weights(x)
        phases = x @ self.omega.T
        cos, sin = torch.cos(phases), torch.sin(phases)
        if METHODS[self.method] == "learned":
            moments = torch.stack([p @ cos, -(p @ sin)])
            pairs = n / (n - 1) * ((moments**2).sum() - m * (p**2).sum())
            return pairs - 2 * (moments * self.z).sum() + (self.z**2).sum()
        one, other = (
            torch.stack([p @ cos, -(p @ sin)]) - self.z
            for p, cos, sin in zip(*map(halves, (p, cos, sin)), strict=True)
        )
        return (one * other).sum()

    def gradient(self, x):
        """Estimate of G; the gradients are left in the parameters."""
        self.optimizer.zero_grad()
        value = self.value(x)
        value.backward()
        return float(value.detach())

    def sample(self, count):
        x = self.torch.rand(count, len(self.low), dtype=self.dtype)
        return x * self.side + self.low

    def step(self, count):
        self.gradient(self.sample(count))
        self.optimizer.step()

    def flat_gradient(self):
        parts = (
            p.new_zeros(p.numel()) if p.grad is None else p.grad.ravel() for p in self.parameters
        )
        return self.torch.cat(list(parts)).detach().numpy()


def make(dim, m, widths, dtype):
    """(prior, sketch, box) of points with some structure to learn."""
    rng = np.random.default_rng(0)
    sides = 0.3 * np.sign(rng.standard_normal((2000, 1)))
    x = (sides + 0.1 * rng.standard_normal((2000, dim))).astype(dtype)
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(m, dim, 0.15, rng=0))
    prior = fastcl.MLPPrior(dim, widths, rng=0, dtype=dtype)
    box = RecordingBox([-1] * dim, [1] * dim)
    prior.initialise_on(box, rng=0)
    return prior, sketch, box


def check(dim, m, count, widths, method, dtype):
    """Largest relative difference of value and gradient from those of torch at equal points."""
    prior, sketch, box = make(dim, m, widths, dtype)
    objective = SketchMatching(sketch, box, dtype)
    theirs = TorchStep(prior, sketch, box, method)
    rng = np.random.default_rng(1)
    difference = 0
    for _ in range(2):
        box.points = []
        value, gradient, _ = objective.gradient(prior, "unbiased", count, rng, METHODS[method])
        (points,) = box.points
        torch_value = theirs.gradient(theirs.torch.tensor(points))
        torch_gradient = theirs.flat_gradient()
        error = np.linalg.norm(gradient - torch_gradient) / np.linalg.norm(torch_gradient)
        difference = max(difference, error, abs(value / torch_value - 1))
    assert difference < TOLERANCE[dtype], (dim, count, method, dtype, difference)
    return difference


def own_step(dim, m, count, widths, method):
    """A function that takes one step of fastcl."""
    prior, sketch, box = make(dim, m, widths, np.float32)
    objective = SketchMatching(sketch, fastcl.Box(box.low, box.high), prior.dtype)
    optimizer = fastcl.Adam(1e-3)
    rng = np.random.default_rng(0)

    def step():
        estimate = objective.gradient(prior, "unbiased", count, rng, METHODS[method])
        optimizer.update(prior.theta, estimate.gradient)

    return step


def compare_with_torch(problems, methods):
    torch = require("torch", 'pip install -e ".[benchmark]", or --only grid')
    print(f"torch {torch.__version__} on {torch.get_num_threads()} threads; ms per step")
    print(
        f"{'d':>2}{'m':>6}{'N':>6}  {'network':12}{'method':12}{'fastcl':>9}{'torch':>9}"
        f"{'ratio':>7}{'target':>8}{'float32':>11}{'float64':>10}  differ by"
    )
    for dim, m, count, widths, aim in problems:
        for method in methods:
            differences = [
                check(dim, m, count, widths, method, dtype) for dtype in (np.float32, np.float64)
            ]
            theirs = TorchStep(*make(dim, m, widths, np.float32), method)
            rivals = {
                "fastcl": own_step(dim, m, count, widths, method),
                "torch": lambda theirs=theirs, n=count: theirs.step(n),
            }
            times = in_turn(rivals, least=TURN)
            target = aim if method == "unbiased" else ""
            print(
                f"{dim:>2}{m:>6}{count:>6}  {'-'.join(map(str, widths)):12}{method:12}"
                f"{1e3 * times['fastcl']:>9.2f}{1e3 * times['torch']:>9.2f}"
                f"{times['torch'] / times['fastcl']:>7.2f}{target:>8}"
                f"{differences[0]:>11.0e}{differences[1]:>10.0e}",
                flush=True,
            )


def compare_with_grid(dims, limit):
    network = "-".join(map(str, GRID_WIDTHS))
    print(
        f"one step, m = {GRID_M}, network {network}; at most {limit / 2**30:.0f} GiB of addresses"
    )
    print(f"{'d':>2}  {'method':10}{'points':>12}{'seconds':>10}{'MiB':>10}")
    for dim in dims:
        for method, given in (("grid", POINTS_PER_AXIS), ("unbiased", RANDOM_POINTS)):
            points = POINTS_PER_AXIS**dim if method == "grid" else given
            try:
                mib, seconds = step_in_child(method, dim, GRID_M, given, GRID_WIDTHS, limit)
            except MemoryError:
                # activations of every layer, and the points, in float32
                least = 4 * points * (sum(GRID_WIDTHS) + 2 * dim)
                reason = f"does not fit: {least:.3g} bytes for points and activations alone"
                print(f"{dim:>2}  {method:10}{points:>12}  {reason}")
                continue
            print(f"{dim:>2}  {method:10}{points:>12}{seconds:>10.4f}{mib:>10.1f}", flush=True)


def main():
    parser = new_parser(__doc__)
    parser.add_argument(
        "--method", choices=METHODS, action="append", help="against torch; by default all"
    )
    parser.add_argument(
        "--dim", type=int, action="append", help=f"of the grid; by default {GRID_DIMS}"
    )
    parser.add_argument(
        "--limit", type=float, default=16, help="GiB that a step may use in the second table"
    )
    parser.add_argument("--only", choices=("torch", "grid"))
    options = parser.parse_args()
    print(machine())
    if options.only != "grid":
        problems = PROBLEMS_QUICK if options.quick else PROBLEMS
        compare_with_torch(problems, options.method or METHODS)
    if options.only != "torch":
        dims = options.dim or (GRID_DIMS[:1] if options.quick else GRID_DIMS)
        compare_with_grid(dims, int(options.limit * 2**30))


if __name__ == "__main__":
    main()
