"""The pool of threads: shared calls, forks, several callers at once, errors and interruptions."""

import _thread
import ctypes
import gc
import signal
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest

import fastcl
from fastcl.kernels import threads


def plain(function):
    """A kernel that is not compiled."""
    return threads.parallel(lambda function: function, cost=lambda *_: np.inf)(function)


lock = threading.Lock()


def draw(tasks, count):
    """As `share`, without the compiler."""
    tasks = np.ctypeslib.as_array((ctypes.c_int64 * 3).from_address(tasks))
    tasks[threads.COUNT] = count
    while True:
        with lock:
            task = int(tasks[threads.DRAWN])
            tasks[threads.DRAWN] += 1
        if task >= count:
            return
        yield task
        with lock:
            tasks[threads.DONE] += 1


@pytest.fixture
def two_threads():
    before = fastcl.get_num_threads()
    fastcl.set_num_threads(2)
    yield
    fastcl.set_num_threads(before)


def test_every_task_is_done_once_on_any_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr(threads, "MIN_COST", 0)
    x, omega, before = rng.standard_normal((2000, 3)), rng.standard_normal((600, 3)), []
    count = fastcl.get_num_threads()
    try:
        for number in (1, 2, 3, 8):
            fastcl.set_num_threads(number)
            before.append(fastcl.feature_sum(x, omega, method="direct"))
    finally:
        fastcl.set_num_threads(count)
    for sums in before[1:]:
        np.testing.assert_array_equal(sums, before[0])


def test_two_threads_work_at_the_same_time(two_threads):
    seen, together = set(), threading.Barrier(2, timeout=60)

    @plain
    def kernel(tasks):
        for _ in draw(tasks, 2):
            seen.add(threading.get_ident())
            together.wait()

    kernel()
    assert len(seen) == 2


def test_a_small_call_stays_on_its_thread(two_threads, monkeypatch):
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threads, "MIN_COST", np.inf)
    fastcl.feature_sum(np.ones((100, 3)), np.ones((200, 3)), method="direct")
    assert threads._pool.started == 0
    monkeypatch.setattr(threads, "MIN_COST", 0)
    fastcl.feature_sum(np.ones((100, 3)), np.ones((200, 3)), method="direct")
    assert threads._pool.started == 1


@pytest.mark.parametrize("in_caller", [True, False])
def test_an_error_in_any_thread_is_raised(two_threads, in_caller):
    caller, together = threading.get_ident(), threading.Barrier(2, timeout=60)

    @plain
    def kernel(tasks):
        for _ in draw(tasks, 2):
            together.wait()
            if (threading.get_ident() == caller) == in_caller:
                raise IndexError("in one thread")

    for _ in range(2):  # the pool is still there
        with pytest.raises(IndexError, match="in one thread"):
            kernel()


@pytest.fixture
def heeded_interrupts():
    """Ctrl-C raises KeyboardInterrupt, as it does not in a shell's background process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_call_waits_until_nobody_writes(two_threads, heeded_interrupts):
    caller, together, ended = threading.get_ident(), threading.Barrier(2, timeout=60), []

    @plain
    def kernel(tasks):
        for _ in draw(tasks, 2):
            together.wait()
            if threading.get_ident() != caller:
                time.sleep(0.1)  # the caller has done its task, and waits
                _thread.interrupt_main()
                time.sleep(0.3)
                ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        kernel()
    assert ended == [True]


def test_a_thread_that_comes_late_is_not_waited_for(two_threads):
    busy, gate = threading.Event(), threading.Event()

    @plain
    def long(tasks):
        for _ in draw(tasks, 2):
            if threading.current_thread().name == "fastcl":
                busy.set()
            gate.wait(60)

    other = threading.Thread(target=long)
    other.start()
    busy.wait(60)  # the only thread of the pool is inside the call of somebody else
    done = []

    @plain
    def short(tasks):
        done.extend(draw(tasks, 5))

    short()
    assert done == [0, 1, 2, 3, 4]
    gate.set()
    other.join(60)


def test_calls_that_no_thread_joins_leave_no_memory_behind(two_threads, monkeypatch):
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    fastcl.set_num_threads(3)
    busy, gate = threading.Barrier(4, timeout=60), threading.Event()

    @plain
    def long(tasks):
        for _ in draw(tasks, 3):
            busy.wait()
            gate.wait(60)

    @plain
    def short(tasks, array):
        for _ in draw(tasks, 1):
            pass

    other = threading.Thread(target=long)
    other.start()
    busy.wait()  # the threads of the pool are inside the call of somebody else, and offers wait
    tracemalloc.start()
    try:
        for _ in range(500):
            short(np.empty(10_000))
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gate.set()
        other.join(60)
    assert kept < 50_000  # bytes: less than one of the arrays


def test_arrays_are_let_go(two_threads):
    @plain
    def kernel(tasks, array):
        pass

    array = np.ones(3)
    gone = weakref.ref(array)
    kernel(array)
    del array
    for _ in range(200):  # the thread may still be about to find that it comes too late
        gc.collect()
        if gone() is None:
            return
        time.sleep(0.01)
    pytest.fail("an array of a call that has ended is kept")


def test_calls_leave_no_memory_behind():
    operator = fastcl.FeatureOperator(np.ones((3, 2)))
    x, kept = np.ones((4, 2)), []
    tracemalloc.start()
    try:
        for _ in range(3):
            for _ in range(500):
                operator.sum(x)
            kept.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert min(np.diff(kept)) < 500 * 16  # bytes; the least, because other threads allocate too


@pytest.mark.parametrize(
    ("count", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_bad_number_of_threads_is_refused(count, error):
    before = fastcl.get_num_threads()
    with pytest.raises(error, match="count must be"):
        fastcl.set_num_threads(count)
    assert fastcl.get_num_threads() == before


def test_a_call_does_without_threads_that_cannot_be_started(two_threads, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threads, "MIN_COST", 0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    sums = fastcl.feature_sum(np.ones((100, 3)), np.zeros((200, 3)), method="direct")
    np.testing.assert_array_equal(sums, np.full(200, 100.0))
