"""One CL-SGD step beside the same step in torch, and grid discretisation beside random points: python benchmarks/steps.py

A step is the draw of its points, the gradient and the update by Adam. In torch it is eager: the network by autograd, the
phases as one matrix product, and their cosines and sines, as one would write it. Before anything is timed both are given the
same points: value and gradient have to agree, in float64 to rounding. Then they take turns in one process, median of five.

The second table is one step on a fixed grid of 20 points an axis, and one at 4096 random points, each in a new process that
may take --limit GiB: seconds (after a first one, the median of five, or of as many as
10 s allow) and growth of the resident memory.
"""

import argparse
import itertools

from timing import in_turn, machine  # before NumPy

# isort: split
import numpy as np
import torch
from memory import step_in_child

import fastcl
from fastcl.learning.objective import SketchMatching

PROBLEMS = (
    (2, 500, 400, (64, 128, 256), 3.0),
    (2, 500, 4000, (64, 128, 256), 2.5),
    (8, 4000, 4000, (64, 128), 12.0),
)
METHODS = {
    "unbiased": "learned",
    "normalised": "normalised",
    "tracked": "normalised",
}  # and the log-scale that goes with it
SHARE = 0.3  # of the new points in the running mean of "tracked"
TURN = 0.2  # seconds of a turn at least
TOLERANCE = {
    np.float32: 1e-4,
    np.float64: 1e-10,
}  # of value and gradient, relative; sums of some thousand terms that cancel
GRID_DIMS, POINTS_PER_AXIS, GRID_M, GRID_WIDTHS = (2, 3, 4, 5, 6), 20, 500, (64, 128, 256)


class RecordingBox(fastcl.Box):
    """A box that keeps the points it was asked for."""

    def sample(self, *arguments, **settings):
        self.points = [*getattr(self, "points", []), super().sample(*arguments, **settings)]
        return self.points[-1].copy()


class TorchStep:
    """The step of one prior, sketch and box in torch, eager."""

    def __init__(self, prior, sketch, box, method):
        self.method, self.dtype = (
            method,
            torch.float32 if prior.dtype == np.float32 else torch.float64,
        )
        self.layers, start, sizes = [], 0, [int(size) for size in prior.sizes]
        for n_in, n_out in itertools.pairwise(sizes):
            matrix, bias = np.split(prior.theta[start : start + (n_in + 1) * n_out], [n_in * n_out])
            self.layers.append((self.parameter(matrix.reshape(n_in, n_out)), self.parameter(bias)))
            start += (n_in + 1) * n_out
        self.log_scale = self.parameter(prior.theta[-1:])
        self.parameters = [p for layer in self.layers for p in layer] + [self.log_scale]
        self.omega = torch.tensor(sketch.omega, dtype=self.dtype)
        self.z = torch.tensor(np.stack([sketch.values.real, sketch.values.imag]), dtype=self.dtype)
        self.low, self.side = (
            torch.tensor(a, dtype=self.dtype) for a in (box.low, box.high - box.low)
        )
        self.volume, self.tracked = box.volume, None
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3)

    def parameter(self, array):
        return torch.tensor(array, dtype=self.dtype, requires_grad=True)

    def moments(self, x):
        """S_X mu, (2, m) real: real and imaginary parts."""
        h = x
        for k, (matrix, bias) in enumerate(self.layers):
            h = torch.addmm(bias, h if k == 0 else torch.relu(h), matrix)
        energy = (h * h).sum(1)
        if METHODS[self.method] == "normalised":  # mass one over the points, whatever the energy
            mu = torch.softmax(-energy, 0)
        else:
            mu = (self.volume / len(x)) * torch.exp(self.log_scale - energy)
        phases = x @ self.omega.T
        return torch.stack([mu @ torch.cos(phases), -(mu @ torch.sin(phases))])

    def gradient(self, x, independent):
        """Estimate of G; the gradients are left in the parameters."""
        self.optimizer.zero_grad()
        with torch.no_grad():
            residual = (
                self.tracked
                if self.method == "tracked" and self.tracked is not None
                else self.moments(independent)
            )
            residual = residual - self.z
        moments = self.moments(x)
        (2 * (residual * moments).sum()).backward()
        with torch.no_grad():
            if self.method == "tracked":
                self.tracked = self.z + residual + SHARE * (moments - self.z - residual)
                return float((residual * residual).sum())
            return float((residual * (moments - self.z)).sum())

    def sample(self, count):
        return torch.rand(count, len(self.low), dtype=self.dtype) * self.side + self.low

    def step(self, count):
        x = self.sample(count)
        self.gradient(x, x if self.method == "tracked" else self.sample(count))
        self.optimizer.step()

    def flat_gradient(self):
        return torch.cat(
            [
                p.grad.ravel() if p.grad is not None else torch.zeros(p.numel())
                for p in self.parameters
            ]
        ).numpy()


def make(dim, m, widths, dtype):
    """(prior, sketch, box) of points of which some structure can be learned."""
    rng = np.random.default_rng(0)
    x = (
        0.3 * np.sign(rng.standard_normal((2000, 1))) + 0.1 * rng.standard_normal((2000, dim))
    ).astype(dtype)
    sketch = fastcl.sketch(x, fastcl.draw_frequencies(m, dim, 0.15, rng=0))
    prior, box = (
        fastcl.MLPPrior(dim, widths, rng=0, dtype=dtype),
        RecordingBox([-1] * dim, [1] * dim),
    )
    prior.initialise_on(box, rng=0)
    return prior, sketch, box


def check(dim, m, count, widths, method, dtype):
    """Largest relative difference of value and gradient between fastcl and torch at the same points, over two steps."""
    prior, sketch, box = make(dim, m, widths, dtype)
    objective, rng = SketchMatching(sketch, box, dtype), np.random.default_rng(1)
    theirs, difference = TorchStep(prior, sketch, box, method), 0
    for _ in range(2):  # the second one of "tracked" has a past
        box.points = []
        value, gradient = objective.gradient(
            prior, method, count, rng, METHODS[method], share=SHARE
        )
        x, independent = (torch.tensor(points) for points in (box.points[0], box.points[-1]))
        torch_value, torch_gradient = theirs.gradient(x, independent), theirs.flat_gradient()
        norm = np.linalg.norm(torch_gradient)
        difference = max(
            difference,
            np.linalg.norm(gradient - torch_gradient) / norm,
            abs(value / torch_value - 1),
        )
    assert difference < TOLERANCE[dtype], (dim, count, method, dtype, difference)
    return difference


def own_step(dim, m, count, widths, method):
    prior, sketch, box = make(dim, m, widths, np.float32)
    box = fastcl.Box(box.low, box.high)
    objective, optimizer, rng = (
        SketchMatching(sketch, box, prior.dtype),
        fastcl.Adam(1e-3),
        np.random.default_rng(0),
    )
    gradient = np.empty_like(prior.theta)

    def step():
        objective.gradient(prior, method, count, rng, METHODS[method], gradient, SHARE)
        optimizer.update(prior.theta, gradient)

    return step


def compare_with_torch(methods):
    print(f"torch {torch.__version__} on {torch.get_num_threads()} threads; ms a step")
    print(
        f"{'d':>2}{'m':>6}{'N':>6}  {'network':12}{'method':12}{'fastcl':>9}{'torch':>9}{'ratio':>7}{'aim':>6}",
        end="",
    )
    print(f"{'float32':>11}{'float64':>10}  differ by")
    for dim, m, count, widths, aim in PROBLEMS:
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
            print(
                f"{dim:>2}{m:>6}{count:>6}  {'-'.join(map(str, widths)):12}{method:12}{1e3 * times['fastcl']:>9.2f}"
                f"{1e3 * times['torch']:>9.2f}{times['torch'] / times['fastcl']:>7.2f}{aim if method == 'unbiased' else '':>6}"
                f"{differences[0]:>11.0e}{differences[1]:>10.0e}",
                flush=True,
            )


def compare_with_grid(dims, limit):
    print(
        f"one step, m = {GRID_M}, network {'-'.join(map(str, GRID_WIDTHS))}; at most {limit / 2**30:.0f} GiB of addresses"
    )
    print(f"{'d':>2}  {'method':10}{'points':>12}{'seconds':>10}{'MiB':>10}")
    for dim in dims:
        for method, given in (("grid", POINTS_PER_AXIS), ("unbiased", 4096)):
            points = POINTS_PER_AXIS**dim if method == "grid" else given
            try:
                mib, seconds = step_in_child(method, dim, GRID_M, given, GRID_WIDTHS, limit)
            except MemoryError:
                least = (
                    4 * points * (sum(GRID_WIDTHS) + 2 * dim)
                )  # activations of every layer, and the points, in float32
                print(
                    f"{dim:>2}  {method:10}{points:>12}  does not fit: {least:.3g} bytes for points and activations alone"
                )
                continue
            print(f"{dim:>2}  {method:10}{points:>12}{seconds:>10.4f}{mib:>10.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--method", choices=METHODS, action="append", help="beside torch; by default all"
    )
    parser.add_argument(
        "--dim", type=int, action="append", help=f"of the grid; by default {GRID_DIMS}"
    )
    parser.add_argument(
        "--limit", type=float, default=16, help="GiB that a step beside the grid may take"
    )
    parser.add_argument("--only", choices=("torch", "grid"))
    options = parser.parse_args()
    print(machine())
    if options.only != "grid":
        compare_with_torch(options.method or METHODS)
    if options.only != "torch":
        compare_with_grid(options.dim or GRID_DIMS, int(options.limit * 2**30))


if __name__ == "__main__":
    main()
