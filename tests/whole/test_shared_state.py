"""One object in several threads: every point counted once, every result that of one thread."""

import copy
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastcl

THREADS = 4


@pytest.fixture(autouse=True)
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(function):
    """The results of function(k) for k below THREADS, all started at once."""
    barrier = threading.Barrier(THREADS)

    def run(k):
        barrier.wait()
        return function(k)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_a_sketch_that_threads_update_counts_every_point_once(rng, monkeypatch):
    def slow_total(sketch):
        total = sketch.sums[0]
        time.sleep(1e-4)  # time for other threads to add their sums
        return total

    monkeypatch.setattr(fastcl.Sketch, "total", property(slow_total))
    x = rng.standard_normal((4000, 2))
    omega = fastcl.draw_frequencies(20, dim=2, scale=1.0, rng=0)
    sk = fastcl.Sketch(omega)
    in_threads(lambda k: [sk.update(part) for part in np.array_split(x[k::THREADS], 20)])
    assert sk.count == 4000
    np.testing.assert_allclose(sk.values, fastcl.sketch(x, omega).values, rtol=0, atol=1e-13)
    assert len(sk.accountant.spent) == 1


def test_moments_are_read_whole_while_points_are_added():
    sk = fastcl.Sketch([[1.0]]).update([[0.0]])

    def use(k):
        for _ in range(2000):
            if k:
                assert abs(sk.values - 1) < 1e-12  # sums and count of the same points
            else:
                sk.add_sums([1000], 1000)

    in_threads(use)


def test_releases_in_threads_all_count():
    sk = fastcl.Sketch([[1.0]]).update([[0.0]])
    in_threads(lambda k: [fastcl.release(sk, epsilon=1.0) for _ in range(50)])
    assert sk.spent == (50.0 * THREADS, 0.0)


def test_a_copy_of_a_sketch_can_be_updated_like_the_original():
    sk = fastcl.Sketch([[1.0]]).update([[0.0]])
    for other in (copy.copy(sk), copy.deepcopy(sk), pickle.loads(pickle.dumps(sk))):
        assert other.update([[0.0]]).count == 2
    assert sk.count == 1


def test_one_prior_denoises_at_several_levels_at_once(rng):
    prior = fastcl.GaussianMixture(
        [0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [np.eye(2), 0.1 * np.eye(2)]
    )
    y = rng.standard_normal((50, 2))
    expected = [prior.posterior_mean(y, 0.1 + k) for k in range(THREADS)]

    class Slow(dict):
        def __setitem__(self, place, kept):
            super().__setitem__(place, kept)
            time.sleep(1e-3)  # time for another thread to put its own factors there

    prior._cache._kept = Slow()

    def check(k):
        for _ in range(20):
            np.testing.assert_array_equal(prior.posterior_mean(y, 0.1 + k), expected[k])

    in_threads(check)


def test_gradients_of_one_prior_in_threads_are_those_of_one_thread(rng):
    prior = fastcl.MLPPrior(dim=1, widths=(16, 32), rng=0)
    sk = fastcl.sketch(rng.standard_normal((100, 1)), [[1.0], [2.0]])
    box = fastcl.Box([-3.0], [3.0])

    def gradient(k):
        return fastcl.unbiased_gradient(prior, sk, box, n_points=300 + 100 * k, rng=k)[1]

    expected = [gradient(k) for k in range(THREADS)]

    def check(k):
        for _ in range(50):
            np.testing.assert_array_equal(gradient(k), expected[k])

    in_threads(check)


def test_one_network_denoises_in_several_threads(rng):
    prior = fastcl.MLPPrior(dim=2, widths=(16, 32), rng=0)
    y = rng.standard_normal((200, 2))

    def denoise(k):
        given = y[: 50 * (k + 1)].astype(np.float32 if k % 2 else np.float64)
        return fastcl.denoise(prior, given, sigma=0.3, n_samples=16)

    expected = [denoise(k) for k in range(THREADS)]

    def check(k):
        for _ in range(5):
            np.testing.assert_array_equal(denoise(k), expected[k])

    in_threads(check)


@pytest.mark.parametrize("shared", ["prior", "optimizer"])
def test_a_prior_or_an_optimizer_learns_in_one_thread_at_a_time(shared):
    def arguments():
        return {"prior": fastcl.MLPPrior(dim=1, widths=(8,), rng=0), "optimizer": fastcl.Adam(1e-3)}

    sk = fastcl.sketch([[0.0]], [[1.0]])
    box = fastcl.Box([-1.0], [1.0])
    outer = arguments()

    def learn(**settings):
        return fastcl.learn(sketch=sk, domain=box, n_points=8, n_iter=3, rng=0, **settings)

    def learn_again(*_):
        with pytest.raises(RuntimeError, match=f"^{shared} is in use in another thread"):
            learn(**arguments() | {shared: outer[shared]})
        learn(**arguments())

    learn(**outer, callback=learn_again)
    learn(**outer)  # free again
