"""Threads for the kernels: a small pool that sleeps while it waits, and survives a fork.

A parallel kernel is a serial function without the GIL whose tasks are numbered. Every thread that
runs it draws the next number from a shared counter until there are none left, so it does not matter
how many threads there are: tasks are the same, and so is the result. The calling thread always
takes part, and returns as soon as all tasks are done: a thread that wakes late finds nothing to do.
A small call stays on the calling thread, for which waking another one would cost more.

Numba's `prange` takes its threads from OpenMP, TBB or a work queue. Compared with those, a forked
process starts a pool of its own, several Python threads may call at once, waiting threads take no
time from other processes, and a kernel compiles in less than half the time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .cache import cached_jit

INT64 = ir.IntType(64)
ONE = ir.Constant(INT64, 1)
MIN_COST = 1 << 20  # multiply-adds of a call that is worth waking a thread, 50 microseconds or so
SPINS = 100_000  # looks at the counters before a thread that waits for another one sleeps
NAP = 5e-5  # seconds
MAX_JOBS = 64  # offers that wait for a thread: beyond these, all threads would come too late
DRAWN, DONE, COUNT = 0, 1, 2  # places in `tasks`: how many are drawn, done, and there at all

# Kernels get the address of `tasks`, int64 (3,): Numba's generators keep a reference to an array
# for ever.


def _place(builder, arguments):
    """A pointer to tasks[place] for the arguments (tasks, place, ...)."""
    data = builder.inttoptr(arguments[0], INT64.as_pointer())
    return builder.gep(data, [arguments[1]])


@intrinsic
def add_one(typingctx, tasks, place):
    """tasks[place], which rises by one in the same atomic step."""

    def codegen(context, builder, signature, arguments):
        return builder.atomic_rmw("add", _place(builder, arguments), ONE, "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def look(typingctx, tasks, place):
    """tasks[place], read from memory every time."""

    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_place(builder, arguments), "acquire", 8)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def put(typingctx, tasks, place, value):
    """Write tasks[place] = value."""

    def codegen(context, builder, signature, arguments):
        builder.store_atomic(arguments[2], _place(builder, arguments), "release", 8)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), codegen


@numba.njit(nogil=True)  # Numba cannot cache a generator; the kernels that contain it are cached
def share(tasks, count):
    """Those of the numbers from 0 to count - 1 that this thread is the first to draw."""
    put(tasks, COUNT, count)
    task = add_one(tasks, DRAWN)
    while task < count:
        yield task
        add_one(tasks, DONE)
        task = add_one(tasks, DRAWN)


@cached_jit(nogil=True)
def all_done(tasks, spins):
    """Whether all tasks are done, or are so within `spins` looks."""
    for _ in range(spins):  # noqa: SIM110 - compiled
        if look(tasks, DONE) >= look(tasks, COUNT):
            return True
    return False


class _Job:
    """A call of a kernel that other threads may join."""

    __slots__ = ("error", "kernel", "shared")

    def __init__(self, kernel: Callable[..., None], tasks: NDArray, arguments: tuple) -> None:
        self.kernel = kernel
        self.shared: tuple[NDArray, tuple] | None = (tasks, arguments)  # None: the call has ended
        self.error: BaseException | None = None

    def join(self) -> None:
        """Take part in the call. A thread that comes late finds nothing to do."""
        shared = self.shared  # kept until this thread has left, whoever else has
        if shared is None:
            return
        try:
            self.kernel(*shared[1])
        except BaseException as error:
            self.error = error

    def finish(self, address: int) -> None:
        """Wait until all tasks are done, whatever interrupts the wait, and let the arrays go."""
        interruption: BaseException | None = None
        while True:
            try:
                while self.error is None and not all_done(address, SPINS):
                    time.sleep(NAP)
                break
            except BaseException as error:  # wait all the same: the arrays are being written
                interruption = error
        self.shared = None
        if self.error is not None:
            raise self.error
        if interruption is not None:
            raise interruption


class _Pool:
    """The threads of a process, asleep on a queue of jobs."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self.started = 0
        self.calls = 0  # parallel calls in progress: each has a thread of its own

    def offer(self, job: _Job, wanted: int) -> None:
        """Offer a call to `wanted` threads besides its own, fewer beside other calls."""
        with self.lock:
            self.calls += 1
            with contextlib.suppress(RuntimeError):  # a limit of threads, or the end of Python
                while self.started < wanted:
                    threading.Thread(target=self.work, name="fastcl", daemon=True).start()
                    self.started += 1
            wanted += 1 - self.calls
        for _ in range(min(wanted, MAX_JOBS - self.jobs.qsize())):
            self.jobs.put(job)

    def leave(self) -> None:
        """Note that a call has ended."""
        with self.lock:
            self.calls -= 1

    def work(self) -> None:
        """Join one call after another, for ever."""
        while True:
            job = self.jobs.get()
            job.join()
            del job  # and its arrays, which would be kept until the next call


_pool = _Pool()
_n_threads = int(numba.config.NUMBA_NUM_THREADS)


def _start_again() -> None:
    """Forget the threads, which a forked process does not have."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_again)


def get_num_threads() -> int:
    """The number of threads that a call may use, itself included.

    At the start it is the environment variable NUMBA_NUM_THREADS, if it is set, and otherwise the
    number of cores that this process may run on. Results do not depend on it.

    Returns
    -------
    int

    Examples
    --------
    >>> import fastcl
    >>> fastcl.get_num_threads() >= 1
    True
    """
    return _n_threads


def set_num_threads(count: int) -> None:
    """Set the number of threads that a call may use, itself included, from now on.

    Parameters
    ----------
    count : int
        At least 1. It holds for all threads of this process. Results do not depend on it.

    Raises
    ------
    TypeError, ValueError
        A count that is not an integer, or below 1.

    Examples
    --------
    >>> import fastcl
    >>> before = fastcl.get_num_threads()
    >>> fastcl.set_num_threads(1)
    >>> fastcl.get_num_threads()
    1
    >>> fastcl.set_num_threads(before)
    """
    global _n_threads
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"count must be an integer, got {count!r}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    _n_threads = int(count)


def parallel(jit: Callable, cost: Callable[..., float]) -> Callable[[Callable], Callable]:
    """A decorator for kernels with numbered tasks, compiled by `jit`.

    The first argument of the function is `tasks`, for `share`; callers leave it out. `cost` has
    the same arguments as the caller's, and returns about how many multiply-adds they take.
    """

    def decorate(function: Callable) -> Callable:
        kernel = jit(function)

        @functools.wraps(function)
        def call(*arguments: Any) -> None:
            tasks = np.zeros(3, np.int64)
            address = tasks.__array_interface__["data"][0]
            wanted = _n_threads - 1
            if wanted == 0 or cost(*arguments) < MIN_COST:
                kernel(address, *arguments)
                return
            pool, job = _pool, _Job(kernel, tasks, (address, *arguments))
            pool.offer(job, wanted)
            try:
                kernel(address, *arguments)
            except Exception as error:  # a task of this thread will never be done
                job.error = error
            finally:
                try:
                    pool.leave()
                finally:
                    job.finish(address)

        call.kernel = kernel  # type: ignore[attr-defined]
        return call

    return decorate
