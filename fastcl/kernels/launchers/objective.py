"""Launchers of objective.cu."""

import numpy as np

from ..cuda import THREADS, TYPES, expressions, launch

NULL = np.uint64(0)
WIDE = 512  # threads of the kernels that are one block
RUN_SIZE = 4  # counters of a captured run, as in run.cuh: step, row, diverged, bad
NAMES = ("density", "residual", "grad_energy", "finish_gradient")

VARIANTS = [
    *(variant for name in NAMES for variant in expressions(name, TYPES.values())),
    "next_step",
]


def _launch(name, dtype, grid, threads, arguments):
    launch("objective", name, (TYPES[dtype],), grid, threads, arguments)


def density(energy, log_scale, mu, volume, normalised):
    """mu (sets, n) = exp(a - energy) for energy (sets, n) and a = log_scale (1,), which `normalised` sets first."""
    sets, n = energy.shape
    _launch("density", energy.dtype, sets, WIDE,
            (energy, log_scale, mu, np.int64(n), np.float64(volume), np.int32(normalised)))  # fmt: skip


def residual(partial, z, tracked, shares, run, amplitudes, phase_offsets, terms, factor):
    """Moduli and arguments (m,) of the residual, from the parts of a feature sum (parts, blocks, 2, lanes); terms (m,) of G."""
    parts, blocks, _, lanes = partial.shape
    m = len(z)
    tracked, shares = (NULL if array is None else array for array in (tracked, shares))
    _launch("residual", amplitudes.dtype, -(-m // 32), THREADS,
            (partial, z, tracked, shares, run, amplitudes, phase_offsets, terms, np.float64(factor), np.int32(parts), np.int32(blocks),
             np.int32(lanes), np.int32(m)))  # fmt: skip


def grad_energy(mu, adjoint, terms, weights, results, volume, tracked, normalised):
    """Weights (n,) of the points in the gradient; results (2,): the value of G and its derivative by the log-scale."""
    _launch("grad_energy", mu.dtype, 1, WIDE,
            (mu, adjoint, terms, weights, results, np.float64(volume), np.int64(len(mu)), np.int32(len(terms)),
             np.int32(tracked), np.int32(normalised)))  # fmt: skip


def finish_gradient(gradient, results, history, run, learned):
    """The last entry of the gradient (P,), and a line of the history (steps, 2): value and norm."""
    _launch("finish_gradient", gradient.dtype, 1, WIDE,
            (gradient, results, history, run, np.int64(gradient.size), np.int32(learned)))  # fmt: skip


def next_step(run):
    """Advance the counters of the run."""
    launch("objective", "next_step", (), 1, 1, (run,))
