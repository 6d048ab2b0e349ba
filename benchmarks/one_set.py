"""Unbiased gradients by one set of points or by two: python benchmarks/one_set.py

arXiv 2310.03085 draws two sets of N points, one for the residual and one for its gradient. fastcl
draws one: a point meets the residual of all the others, or, if the density is normalised, that of
the other half. At the three problems of steps.py, at the start and after 400 steps of Adam: the
variance of the gradient, summed over the parameters; ms per gradient; and the product of both
relative to two sets. The means of both over all draws must agree within five standard errors of
their difference, along that of two sets.

Then the spiral at equal seconds: G by quadrature and held-out nats, mean over the seeds of the
network, with either.
"""

import time

from timing import machine  # before NumPy

# isort: split
import numpy as np
from command import new_parser
from experiments import BOX, judge, learn_for, spiral_problem
from steps import METHODS, PROBLEMS, PROBLEMS_QUICK, make

import fastcl
from fastcl.learning import loop
from fastcl.learning.objective import Estimate, SketchMatching, backward, forward
from fastcl.validation import as_generator

STEPS = 400  # of Adam, before the second measurement
N_POINTS = 2000  # of the spiral


class TwoSets(SketchMatching):
    """The unbiased gradient as the paper has it, for a box."""

    def gradient(self, prior, method, points, rng=None, log_scale="learned"):
        assert method == "unbiased"
        x, independent = self._sample(points, rng), self._sample(points, rng)
        energy, _ = forward(prior, independent, self.dtype, keep=False)
        mu = np.exp(self._log_scale(prior, log_scale, energy) - energy)
        residual = (self.scale / points) * self.operator.sum(independent, mu) - self.z
        energy, state = forward(prior, x, self.dtype)
        a = self._log_scale(prior, log_scale, energy)
        mu = np.exp(a - energy)
        adjoint = self._adjoint(x, residual)
        power = self.scale * np.mean(mu * adjoint, dtype=np.float64)
        value = power - (residual.real * self.z.real + residual.imag * self.z.imag).sum()
        if log_scale == "normalised":
            adjoint -= power
        grad_energy = mu * adjoint * (-2 * self.scale / points)
        gradient = backward(prior, grad_energy.astype(self.dtype), state, self.dtype)
        gradient[-1] = -grad_energy.sum(dtype=np.float64) if log_scale == "learned" else 0
        return Estimate(float(value), gradient, a)


KINDS = {"two sets": TwoSets, "one set": SketchMatching}


def draws(kind, prior, sketch, box, count, log_scale, repeats):
    """(gradients (repeats, P), seconds of one)"""
    objective = KINDS[kind](sketch, box, prior.dtype)
    gradients = []
    start = time.perf_counter()
    for k in range(repeats):
        rng = as_generator(k)
        gradients.append(objective.gradient(prior, "unbiased", count, rng, log_scale).gradient)
    seconds = (time.perf_counter() - start) / repeats
    return np.array(gradients, np.float64), seconds


def compare_variances(problems, repeats):
    print(
        f"{'d':>2}{'m':>6}{'N':>6}  {'log-scale':12}{'steps':>6}  {'points':10}{'variance':>10}"
        f"{'ms':>7}{'variance x seconds':>20}{'apart':>7}"
    )
    for dim, m, count, widths, _ in problems:
        for log_scale in METHODS.values():
            prior, sketch, box = make(dim, m, widths, np.float32)
            box = fastcl.Box(box.low, box.high)
            for steps in (0, STEPS):
                if steps:
                    settings = {"n_points": count, "n_iter": steps, "log_scale": log_scale}
                    fastcl.learn(prior, sketch, box, rng=1, **settings)
                first = None
                for kind in KINDS:
                    gradients, seconds = draws(kind, prior, sketch, box, count, log_scale, repeats)
                    mean, variance = gradients.mean(axis=0), gradients.var(axis=0, ddof=1).sum()
                    first = first or (gradients, mean, variance * seconds)
                    along = [g @ first[1] / np.linalg.norm(first[1]) for g in (first[0], gradients)]
                    error = np.sqrt(sum(a.var(ddof=1) / repeats for a in along))
                    apart = abs(along[1].mean() - along[0].mean()) / error
                    assert apart < 5, apart
                    print(
                        f"{dim:>2}{m:>6}{count:>6}  {log_scale:12}{steps:>6}  {kind:10}"
                        f"{variance:>10.3g}{1e3 * seconds:>7.2f}"
                        f"{variance * seconds / first[2]:>20.2f}{apart:>7.1f}",
                        flush=True,
                    )


def compare_spirals(problem, seconds, seeds):
    print(f"\nspiral, {seconds} s of Adam with {N_POINTS} points per step, {seeds} seeds")
    print(f"{'log-scale':12}{'points':10}{'steps':>7}{'G':>9}{'nats':>8}  of every seed")
    for log_scale in METHODS.values():
        for kind, matching in KINDS.items():
            loop.SketchMatching = matching
            found, steps = [], []
            for seed in range(seeds):
                prior = fastcl.MLPPrior(2, rng=seed)
                settings = {"n_points": N_POINTS, "log_scale": log_scale}
                history = learn_for(seconds, prior, problem.sketch, BOX, **settings)
                found.append(judge(prior, problem, estimators=()))
                steps.append(len(history["value"]))
            loop.SketchMatching = SketchMatching
            means = [np.mean([each[name] for each in found]) for name in ("G", "nats")]
            each = " ".join(f"{figures['nats']:.3f}" for figures in found)
            print(
                f"{log_scale:12}{kind:10}{np.mean(steps):>7.0f}{means[0]:>9.3f}{means[1]:>8.3f}"
                f"  {each}",
                flush=True,
            )


def main():
    options = new_parser(__doc__).parse_args()
    print(machine())
    compare_variances(PROBLEMS_QUICK if options.quick else PROBLEMS, 20 if options.quick else 200)
    problem = spiral_problem(options.quick, n=2000 if options.quick else 1_000_000)
    compare_spirals(problem, 0.3 if options.quick else 10, 1 if options.quick else 3)


if __name__ == "__main__":
    main()
