"""Steps of CL-SGD that stay on the device: one chain of kernels, captured as a CUDA graph.

A step reads everything that changes from one to the next in device memory: its number, which keys
the random points, and a row of a table of rates. So one graph serves every step. The host fills the
table, replays the graph, and reads the history back.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import backend
from ..backend import empty, is_device, kernel, to_device_of, to_host
from ..fourier.operator import DirectOperator
from ..kernels.launchers import objective as launchers
from ..kernels.launchers.objective import DIVERGED, RUN_SIZE, STEP
from ..kernels.launchers.optimizers import adam_step, sgd_step
from ..kernels.launchers.random import uniform_points
from ..measures.box import Box
from ..measures.counter_rng import WORD
from ..priors.base import Prior
from ..priors.mlp import MLPPrior
from .objective import SketchMatching
from .optimizers import SGD, Adam, Optimizer

ROWS = 256  # rows of the table of rates: steps that the device takes without the host


def captured_steps(
    objective: SketchMatching,
    prior: Prior,
    method: str,
    points: int,
    log_scale: str,
    optimizer: Optimizer,
    seed: int,
) -> CapturedSteps | None:
    """The steps of this run on a device, or None if they cannot be captured.

    They can for an `MLPPrior` on a device, random points of a box, plain frequencies, SGD or Adam.
    """
    if not is_device(prior.theta) or method == "grid":
        return None
    if not isinstance(objective.domain, Box) or not isinstance(objective.operator, DirectOperator):
        return None
    # Types are compared, as a subclass may compute something else.
    if type(prior) is MLPPrior and (type(optimizer) is SGD or type(optimizer) is Adam):
        return CapturedSteps(objective, prior, method, points, log_scale, optimizer, seed)
    return None


class Residual(NamedTuple):
    """A residual in polar form, and the terms of G that it gives, each (m,)."""

    amplitudes: NDArray
    phase_offsets: NDArray
    terms: NDArray


class CapturedSteps:
    """The steps of a run: `SketchMatching.gradient`, `Optimizer.update` and the history.

    Device memory: the activations of the points, the parts of their feature sum and of the gradient
    of the network, and for every parameter the state of the optimiser and two copies.
    """

    def __init__(
        self,
        objective: SketchMatching,
        prior: MLPPrior,
        method: str,
        n_points: int,
        log_scale: str,
        optimizer: SGD | Adam,
        seed: int,
    ) -> None:
        box, operator = objective.domain, objective.operator
        assert isinstance(box, Box)
        assert isinstance(operator, DirectOperator)
        self.box = box
        self.operator = operator
        self.objective = objective
        self.prior = prior
        self.optimizer = optimizer
        self.n = n_points
        self.learned = log_scale == "learned"
        self.normalised = log_scale == "normalised"
        operator.check_phases(np.maximum(np.abs(box.low), np.abs(box.high)))
        for name in optimizer.buffers:
            if getattr(optimizer, name) is None:
                setattr(optimizer, name, np.zeros_like(prior.theta))
        # Which residual a point meets, see `SketchMatching`.
        halved = method == "unbiased" and self.normalised
        self.leaves_out = method == "unbiased" and not halved
        middle = n_points // 2
        self.parts = [slice(middle), slice(middle, n_points)] if halved else [slice(n_points)]
        self._allocate(seed)
        cuda = backend.cupy().cuda
        self.stream = cuda.Stream(non_blocking=True)
        self.pool = cuda.MemoryPool()
        # A pool that is dropped keeps its free memory.
        weakref.finalize(self, self.pool.free_all_blocks).atexit = False
        self.graph: Any = None
        self.launched = 0  # steps before there is a graph
        # The arrays above are there before the other stream reads them.
        cuda.get_current_stream().synchronize()

    def _allocate(self, seed: int) -> None:
        """The arrays that steps share."""
        theta, box, n, m = self.prior.theta, self.box, self.n, len(self.objective.z)

        def array(shape: int | tuple[int, ...], dtype: DTypeLike = theta.dtype) -> NDArray:
            return empty(shape, dtype, theta)

        self.key = to_device_of(np.array([seed % WORD, seed // WORD], np.uint64), theta)
        self.low = to_device_of(box.low.astype(theta.dtype), theta)
        self.side = to_device_of((box.high - box.low).astype(theta.dtype), theta)
        self.points = array((n, box.dim))
        self.energy = array(n)
        self.mu = array(n)
        self.activations = array(kernel("activation_size", like=theta)(self.prior.sizes, n))
        self.residuals = [Residual(array(m), array(m), array(m, np.float64)) for _ in self.parts]
        self.log_scale = array(1)  # of a half, which nobody reads
        self.adjoint = array(n)
        self.weights = array(n)
        self.results = array(2, np.float64)
        self.gradient = np.zeros_like(theta)
        self.previous = theta.copy()
        self.counters = array(RUN_SIZE, np.int64)
        self.history = array((ROWS, 2), np.float64)
        self.rates = array((ROWS, len(self.optimizer.rates(0))))

    def advance(self, first: int, count: int) -> tuple[NDArray, bool]:
        """Take the steps first, first + 1, ..., `count` of them, at most ROWS.

        Returns (values and norms (k, 2), whether the run diverged). If it did, the last line is
        that of the step at which it did, and theta is that before the last good step.
        """
        rates = np.zeros(self.rates.shape, self.rates.dtype)
        for row in range(count):
            rates[row] = self.optimizer.rates(first + row)
        before = backend.cupy().cuda.get_current_stream().record()
        with self.stream:
            try:
                self.stream.wait_event(before)  # what was last done to the parameters elsewhere
                self.rates[:] = to_device_of(rates, self.rates)
                self.counters[:] = to_device_of(np.array([first, 0, -1, 0]), self.counters)
                for _ in range(count):
                    self._take_step()
                counters, history = to_host(self.counters), to_host(self.history)
                diverged = bool(counters[DIVERGED] >= 0)
                if diverged:
                    self.prior.theta[:] = self.previous
            finally:
                # Steps still running would move parameters that an interrupted run has put back.
                self.stream.synchronize()
        return history[: counters[STEP] - first + diverged], diverged

    def _take_step(self) -> None:
        """One step: launched twice, then captured and replayed.

        The first launch compiles, which a graph cannot hold, and makes the scratch of the prior,
        which outlives this object. The second fills a memory pool of the run's own: what a captured
        step allocates must be there, and live as long as the graph.
        """
        if self.graph is not None:
            self.graph.launch(self.stream)
            return
        self.launched += 1
        if self.launched == 1:
            self._step()
            return
        with backend.cupy().cuda.using_allocator(self.pool.malloc):
            self._step()
            self.stream.begin_capture()
            try:
                self._step()
            finally:
                self.graph = self.stream.end_capture()
        self.scratch = self.prior.scratch()  # the graph reads and writes it

    def _step(self) -> None:
        """Points, gradient, update and history of one step, launched on the current stream."""
        step = self.counters[STEP : STEP + 1].view(np.uint64)
        uniform_points(self.key, step, 0, self.low, self.side, self.points)
        self._launch_gradient()
        self._launch_update()
        launchers.next_step(self.counters)

    def _launch_gradient(self) -> None:
        prior, x, n = self.prior, self.points, self.n
        theta, transposed = prior.weights()
        part_rows = kernel("rows_of_part", like=x)(n)
        kernel("energy_forward", like=x)(
            theta, transposed, prior.sizes, x, part_rows, self.activations, self.energy
        )
        launchers.density(
            self.energy, prior.theta[-1:], self.mu, self.objective.scale, self.normalised
        )
        if len(self.parts) == 2:  # both halves have mass one
            for part in self.parts:
                mu, volume = self.mu[part], self.objective.scale
                launchers.density(self.energy[part], self.log_scale, mu, volume, True)
        for part, residual in zip(self.parts, self.residuals, strict=True):
            self._launch_residual(part, residual)
        for part, residual in zip(self.parts, reversed(self.residuals), strict=True):
            self._launch_grad_energy(part, residual)
        prior.backward(self.weights, (x, transposed, self.activations), self.gradient)
        launchers.finish_gradient(
            self.gradient, self.results, self.history, self.counters, self.learned
        )

    def _launch_residual(self, part: slice, residual: Residual) -> None:
        x, objective = self.points[part], self.objective
        partial = self.operator.sum_parts(x, self.mu[part])
        others = self.n / (self.n - 1) if self.leaves_out else 1.0
        launchers.residual(
            partial, objective.z, objective.moment_weights, *residual, objective.scale / len(x),
            others,
        )  # fmt: skip

    def _launch_grad_energy(self, part: slice, residual: Residual) -> None:
        x, mu, adjoint = self.points[part], self.mu[part], self.adjoint[part]
        volume, weight = self.objective.scale, self.objective.total_weight
        self.operator.adjoint_polar(x, residual.amplitudes, residual.phase_offsets, adjoint)
        own = volume / (self.n - 1) * weight if self.leaves_out else 0.0
        launchers.grad_energy(
            mu, adjoint, residual.terms, self.weights[part], self.results, volume, own,
            1 / len(self.parts), self.normalised,
        )  # fmt: skip

    def _launch_update(self) -> None:
        theta, optimizer = self.prior.theta, self.optimizer
        captured = (self.counters, self.previous)
        if isinstance(optimizer, Adam):
            moments = (optimizer.first, optimizer.second)
            adam_step(theta, self.gradient, *moments, self.rates, captured)
        else:
            settings = (self.rates, optimizer.nesterov)
            sgd_step(theta, self.gradient, optimizer.velocity, *settings, captured)
