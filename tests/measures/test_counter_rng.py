"""Counter-based uniform points: known answers, and that a point depends on its counter alone."""

import numpy as np
import pytest
from scipy.stats import kstest

import fastcl
from fastcl.kernels.random import philox
from fastcl.measures.counter_rng import Stream

# Counter, key and result of philox4x32-10, from the known answers that Random123 ships (kat_vectors).
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
ZERO, ONE = np.zeros(5), np.ones(5)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_words(counter, key, expected):
    assert tuple(map(int, philox(*map(np.uint64, counter + key)))) == expected


@pytest.mark.parametrize(("dtype", "bits", "words"), [(np.float32, 24, 4), (np.float64, 53, 2)])
def test_a_coordinate_is_that_of_its_counter(dtype, bits, words):
    stream = Stream(seed=(7 << 32) + 3, step=11)
    stream.uniform(1, ZERO, ONE, dtype)  # one set before
    points = stream.uniform(300, ZERO, ONE, dtype)
    for i, k in [(0, 0), (0, 4), (256, 1), (299, 3)]:
        w = [int(word) for word in philox(*map(np.uint64, (i, k // words, 11, 1, 3, 7)))]
        integer = (
            w[k % 4] >> 8 if words == 4 else (w[2 * (k % 2)] >> 5 << 26) | (w[2 * (k % 2) + 1] >> 6)
        )
        assert points[i, k] == integer * 2.0**-bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_do_not_depend_on_how_many_are_drawn_nor_by_how_many_threads(on_threads, dtype):
    one, two = on_threads(lambda: Stream(5, 1).uniform(1021, -ONE, ONE, dtype))
    assert np.array_equal(one, two)
    assert np.array_equal(Stream(5, 1).uniform(31, -ONE, ONE, dtype), one[:31])


def test_seed_step_and_set_each_give_other_points():
    stream = Stream(5, 1)
    sets = [stream.uniform(10, ZERO, ONE, np.float64), stream.uniform(10, ZERO, ONE, np.float64)]
    sets += [
        Stream(5, 2).uniform(10, ZERO, ONE, np.float64),
        Stream(6, 1).uniform(10, ZERO, ONE, np.float64),
    ]
    sets += [Stream(5 + 2**32, 1).uniform(10, ZERO, ONE, np.float64)]
    values = np.concatenate(sets).ravel()
    assert np.unique(values).size == values.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "dim"), [(1, 1), (257, 2), (300, 5), (31, 64)])
def test_a_device_draws_the_points_of_the_host_to_the_bit(device, dtype, n, dim):
    low, high = -np.arange(1.0, dim + 1), np.pi * np.arange(1.0, dim + 1)
    host, there = Stream((7 << 32) + 3, 11), Stream((7 << 32) + 3, 11)
    like = device.array(np.empty(0))
    for _ in range(2):  # the second set differs
        assert np.array_equal(
            device.host(there.uniform(n, low, high, dtype, like)), host.uniform(n, low, high, dtype)
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 2, 3, 7])
def test_a_box_is_filled_uniformly(dtype, dim):
    low, high = -np.arange(1.0, dim + 1), 2 * np.arange(1.0, dim + 1)
    points = fastcl.Box(low, high).sample(20_000, rng=0, dtype=dtype)
    assert (points.shape, points.dtype) == ((20_000, dim), dtype)
    assert (points >= low).all()
    assert (points <= high).all()
    unit = (points - low) / (high - low)
    # One test a coordinate and one a pair of neighbours, at one in a million: a sound generator with this seed passes.
    assert min(kstest(unit[:, k], "uniform").pvalue for k in range(dim)) > 1e-6
    correlations = np.corrcoef(unit.T).reshape(dim, dim)[~np.eye(dim, dtype=bool)]
    assert (np.abs(correlations) < 5 / np.sqrt(20_000)).all()
    assert np.abs(np.corrcoef(unit[1:, 0], unit[:-1, 0])[0, 1]) < 5 / np.sqrt(20_000)


def test_one_generator_gives_a_box_new_points_at_every_call():
    box, rng = fastcl.Box([0.0], [1.0]), np.random.default_rng(0)
    first, second = box.sample(5, rng), box.sample(5, rng)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, box.sample(5, np.random.default_rng(0)))


def test_other_laws_draw_from_the_generator_of_the_stream():
    law = fastcl.Gaussian([0.0, 0.0], np.eye(2))
    assert np.array_equal(law.sample(5, Stream(3, 2)), law.sample(5, Stream(3, 2)))
    assert not np.array_equal(law.sample(5, Stream(3, 2)), law.sample(5, Stream(3, 1)))
