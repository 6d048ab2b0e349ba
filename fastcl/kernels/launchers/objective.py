"""Launchers of objective.cu."""

from __future__ import annotations

import numpy as np

from ..cuda import THREADS, TYPES, WARP, Array, expressions, launch

WIDE = 512  # threads of kernels that run as one block
STEP, ROW, DIVERGED, BAD = range(4)  # places of the counters of a captured run, see run.cuh
RUN_SIZE = 4  # counters of a captured run
NAMES = ("density", "residual", "grad_energy", "finish_gradient")

RUN_CONSTANTS = {"RUN_STEP": STEP, "RUN_ROW": ROW, "RUN_DIVERGED": DIVERGED, "RUN_BAD": BAD}
CONSTANTS = {"objective": {"WIDE": WIDE, **RUN_CONSTANTS}}
VARIANTS = {
    "objective": [
        *(variant for name in NAMES for variant in expressions(name, TYPES.values())),
        "next_step",
    ]
}


def _launch(
    name: str, dtype: np.dtype, grid: int, threads: int, arguments: tuple[object, ...]
) -> None:
    launch("objective", name, (TYPES[dtype],), grid, threads, arguments)


def density(energy: Array, log_scale: Array, mu: Array, volume: float, normalised: bool) -> None:
    """mu (n,) = exp(a - energy) for energy (n,), a = log_scale (1,).

    If `normalised`, a is first set so that the mass is one.
    """
    sizes = np.int64(len(energy)), np.float64(volume), np.int32(normalised)
    _launch("density", energy.dtype, 1, WIDE, (energy, log_scale, mu, *sizes))


def residual(
    partial: Array,
    z: Array,
    moment_weights: Array,
    amplitudes: Array,
    phase_offsets: Array,
    terms: Array,
    factor: float,
    others: float,
) -> None:
    """Amplitudes and phase_offsets (m,) of the residual, and terms (m,) of G.

    partial (parts, blocks, 2, block_width) are the parts of a feature sum. For the adjoint, sums
    are multiplied by `others`.
    """
    parts, blocks, _, block_width = partial.shape
    m = len(z)
    factors = np.float64(factor), np.float64(others)
    sizes = map(np.int32, (parts, blocks, block_width, m))
    arguments = (
        partial, z, moment_weights, amplitudes, phase_offsets, terms, *factors, *sizes,
    )  # fmt: skip
    _launch("residual", amplitudes.dtype, -(-m // WARP), THREADS, arguments)


def grad_energy(
    mu: Array,
    adjoint: Array,
    terms: Array,
    weights: Array,
    results: Array,
    volume: float,
    own: float,
    share: float,
    normalised: bool,
) -> None:
    """weights (n,) = `share` times the derivatives of G with respect to the energies of the points.

    results (2,) = the value of G, and its derivative with respect to the log-scale. From the
    adjoint `own` mu is taken away.
    """
    factors = np.float64(volume), mu.dtype.type(own), np.float64(share)
    sizes = np.int64(len(mu)), np.int32(len(terms)), np.int32(normalised)
    arguments = (mu, adjoint, terms, weights, results, *factors, *sizes)
    _launch("grad_energy", mu.dtype, 1, WIDE, arguments)


def finish_gradient(
    gradient: Array, results: Array, history: Array, run: Array, learned: bool
) -> None:
    """Set the last entry of gradient (P,), and a row of history (steps, 2): value and norm."""
    arguments = (gradient, results, history, run, np.int64(gradient.size), np.int32(learned))
    _launch("finish_gradient", gradient.dtype, 1, WIDE, arguments)


def next_step(run: Array) -> None:
    """Advance the counters of the run."""
    launch("objective", "next_step", (), 1, 1, (run,))
