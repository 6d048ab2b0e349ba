"""Steps of CL-SGD on a device without a word from the host: one chain of kernels, captured as a CUDA graph and replayed.

A step reads everything that changes from one to the next in device memory (its number, which keys the random points, and a row of
a table of rates), so the same graph is every step. The host fills the table, replays, and reads the history back.
"""

import weakref

import numpy as np

from .. import backend
from ..backend import empty, is_device, kernel, to_device_of
from ..fourier.operator import DirectOperator
from ..kernels.launchers import objective as glue
from ..kernels.launchers.optimizers import adam_step, sgd_step
from ..kernels.launchers.random import uniform_points
from ..measures.box import Box
from ..measures.counter_rng import WORD
from .optimizers import SGD, Adam

ROWS = 256  # of the table of rates: steps between two meetings of host and device
STEP, DIVERGED = 0, 2  # places of the counters, as in run.cuh


def can_capture(objective, prior, method, log_scale, optimizer):
    """Whether `CapturedSteps` serves this run: on a device, random points of a box, no metric, SGD or Adam."""
    return (
        is_device(prior.theta)
        and isinstance(objective.domain, Box)
        and objective.metric is None
        and isinstance(objective.packed, DirectOperator)
        and method != "grid"
        and log_scale != "profiled"
        and isinstance(optimizer, (SGD, Adam))
    )


class CapturedSteps:
    """The steps of a run: `SketchMatching.gradient`, `Optimizer.update` and the line of the history, all on the device.

    Device memory: the activations of the points, the parts of their feature sum and of the gradient of the network, and for
    every parameter the state of the optimiser and two or three copies.
    """

    def __init__(self, objective, prior, method, n_points, log_scale, optimizer, seed, mean=None):
        self.objective, self.prior, self.optimizer = objective, prior, optimizer
        objective.packed.check_phases(
            np.maximum(np.abs(objective.domain.low), np.abs(objective.domain.high))
        )
        self.n, self.learned, self.normalised = (
            n_points,
            log_scale == "learned",
            log_scale == "normalised",
        )
        theta, box, m = prior.theta, objective.domain, len(objective.z)

        def array(shape, dtype=theta.dtype):
            return empty(shape, dtype, theta)

        self.key = to_device_of(np.array([seed % WORD, seed // WORD], np.uint64), theta)
        self.low, self.side = (
            to_device_of(side.astype(theta.dtype), theta) for side in (box.low, box.high - box.low)
        )
        sets = (
            2 if method in ("unbiased", "normalised") else 1
        )  # the gradient's points come first, the residual's last
        self.points, self.energy, self.mu = (
            array((sets * n_points, box.dim)),
            array((sets, n_points)),
            array((sets, n_points)),
        )
        self.activations, self.no_activations = (
            array(kernel("activation_size", like=theta)(prior.sizes, n_points)),
            array(0),
        )
        self.amplitudes, self.phase_offsets, self.terms = array(m), array(m), array(m, np.float64)
        self.adjoint, self.weights, self.results = (
            array(n_points),
            array(n_points),
            array(2, np.float64),
        )
        self.gradient, self.previous, self.mean = np.zeros_like(theta), theta.copy(), mean
        self.counters, self.history = array(4, np.int64), array((ROWS, 2), np.float64)
        for name in optimizer.buffers:
            if getattr(optimizer, name) is None:
                setattr(optimizer, name, np.zeros_like(theta))
        self.tracks = method == "tracked"
        if self.tracks and objective.tracked is None:
            objective.tracked = np.zeros_like(objective.z)
        self.rates = array((ROWS, len(optimizer.rates(0)) + 1))
        self.shares = array(ROWS, np.float64)
        cuda = backend.cupy().cuda
        self.stream, self.pool, self.graph = cuda.Stream(non_blocking=True), cuda.MemoryPool(), None
        weakref.finalize(
            self, self.pool.free_all_blocks
        ).atexit = False  # a pool that is dropped keeps its free memory
        self.launched = 0  # steps before there is a graph
        cuda.get_current_stream().synchronize()  # the arrays above are there before the other stream reads them

    def advance(self, first, shares, averaging):
        """Take the steps first, first + 1, ..., one for each of the `shares` of `SketchMatching.gradient`, at most ROWS.

        `averaging` are the shares of theta in its running mean. Returns (values and norms (k, 2), whether the run diverged):
        where it did, the last line is that of the step which did, and theta is that before the last step which did not.
        """
        rates, padded = np.zeros(self.rates.shape, self.rates.dtype), np.zeros(ROWS)
        for row, share in enumerate(averaging):
            rates[row] = [*self.optimizer.rates(first + row), share]
        padded[: len(shares)] = shares
        before = backend.cupy().cuda.get_current_stream().record()
        with self.stream:
            try:
                self.stream.wait_event(before)  # what was last done to the parameters elsewhere
                self.rates[:] = to_device_of(rates, self.rates)
                self.shares[:] = to_device_of(padded, self.shares)
                self.counters[:] = to_device_of(np.array([first, 0, -1, 0]), self.counters)
                for _ in shares:
                    self._take_step()
                counters, history = self.counters.get(), self.history.get()
                diverged = bool(counters[DIVERGED] >= 0)
                if diverged:
                    self.prior.theta[:] = self.previous
            finally:
                self.stream.synchronize()  # steps on their way would move parameters that an interrupted run has put back
        return history[: counters[STEP] - first + diverged], diverged

    def _take_step(self):
        """One step: launched twice, then captured and replayed.

        The first time compiles, which a graph cannot hold, and makes the scratch of the prior, which outlives this object.
        The second fills a pool of the run's own: what a captured step allocates must be there, and live as long as the graph.
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

    def _step(self):
        prior, packed, volume, n = self.prior, self.objective.packed, self.objective.scale, self.n
        uniform_points(
            self.key,
            self.counters[STEP : STEP + 1].view(np.uint64),
            0,
            self.low,
            self.side,
            self.points,
            per_set=n,
        )
        x, independent = self.points[:n], self.points[-n:]
        theta, transposed = prior.weights()
        forward, part_rows = kernel("energy_forward", like=x), kernel("rows_of_part", like=x)(n)
        forward(theta, transposed, prior.sizes, x, part_rows, self.activations, self.energy[0])
        if len(self.energy) > 1:
            forward(
                theta,
                transposed,
                prior.sizes,
                independent,
                part_rows,
                self.no_activations,
                self.energy[1],
            )
        glue.density(self.energy, prior.theta[-1:], self.mu, volume, self.normalised)
        partial = packed.sum_parts(independent, self.mu[-1])
        tracked, shares = (self.objective.tracked, self.shares) if self.tracks else (None, None)
        polar = (self.amplitudes, self.phase_offsets)
        glue.residual(
            partial,
            self.objective.z,
            tracked,
            shares,
            self.counters,
            *polar,
            self.terms,
            volume / n,
        )
        packed.adjoint_polar(x, *polar, self.adjoint)
        glue.grad_energy(
            self.mu[0],
            self.adjoint,
            self.terms,
            self.weights,
            self.results,
            volume,
            self.tracks,
            self.normalised,
        )
        prior.backward(self.weights, (x, transposed, self.activations), self.gradient)
        glue.finish_gradient(self.gradient, self.results, self.history, self.counters, self.learned)
        captured = (self.counters, self.previous, self.mean)
        if isinstance(self.optimizer, Adam):
            adam_step(
                prior.theta,
                self.gradient,
                self.optimizer.first,
                self.optimizer.second,
                self.rates,
                captured,
            )
        else:
            sgd_step(
                prior.theta,
                self.gradient,
                self.optimizer.velocity,
                self.rates,
                self.optimizer.nesterov,
                captured,
            )
        glue.next_step(self.counters)
