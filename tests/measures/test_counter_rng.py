"""Counter-based random numbers: published answers, and points that depend only on their counter."""

import numpy as np
import pytest
from scipy.stats import kstest

import fastcl
from fastcl.kernels.random import philox
from fastcl.measures.counter_rng import Stream

# Counter, key and result of philox4x32-10: the known answers shipped with Random123 (kat_vectors).
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
ZERO = np.zeros(5)
ONE = np.ones(5)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_words(counter, key, expected):
    assert tuple(map(int, philox(*map(np.uint64, counter + key)))) == expected


@pytest.mark.parametrize(("dtype", "per_call"), [(np.float32, 4), (np.float64, 2)])
def test_a_coordinate_is_computed_from_its_counter(dtype, per_call):
    stream = Stream(seed=(7 << 32) + 3, step=11)
    stream.uniform(1, ZERO, ONE, dtype)  # the next set is number 1
    points = stream.uniform(300, ZERO, ONE, dtype)
    for i, k in [(0, 0), (0, 4), (256, 1), (299, 3)]:
        words = list(map(int, philox(*map(np.uint64, (i, k // per_call, 11, 1, 3, 7)))))
        if dtype == np.float32:  # the upper 24 bits of one word
            expected = (words[k % 4] >> 8) * 2.0**-24
        else:  # 27 bits of one word, then 26 of the next
            first, second = words[2 * (k % 2) :][:2]
            expected = ((first >> 5 << 26) | (second >> 6)) * 2.0**-53
        assert points[i, k] == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_do_not_depend_on_how_many_are_drawn_or_on_the_number_of_threads(on_threads, dtype):
    one, two = on_threads(lambda: Stream(5, 1).uniform(1021, -ONE, ONE, dtype))
    assert np.array_equal(one, two)
    assert np.array_equal(Stream(5, 1).uniform(31, -ONE, ONE, dtype), one[:31])


def test_another_seed_step_or_set_gives_other_points():
    stream = Stream(5, 1)
    # The first stream twice, for two sets.
    streams = [stream, stream, Stream(5, 2), Stream(6, 1), Stream(5 + 2**32, 1)]
    sets = [each.uniform(10, ZERO, ONE, np.float64) for each in streams]
    values = np.concatenate(sets).ravel()
    assert np.unique(values).size == values.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "dim"), [(1, 1), (257, 2), (300, 5), (31, 64)])
def test_points_on_a_device_are_bitwise_identical_to_those_on_the_host(device, dtype, n, dim):
    low = -np.arange(1.0, dim + 1)
    high = np.pi * np.arange(1.0, dim + 1)
    host_stream = Stream((7 << 32) + 3, 11)
    device_stream = Stream((7 << 32) + 3, 11)
    like = device.array(np.empty(0))
    for _ in range(2):  # two sets, which differ
        found = device_stream.uniform(n, low, high, dtype, like)
        assert np.array_equal(device.host(found), host_stream.uniform(n, low, high, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 2, 3, 7])
def test_a_box_is_filled_uniformly(dtype, dim):
    low = -np.arange(1.0, dim + 1)
    high = 2 * np.arange(1.0, dim + 1)
    points = fastcl.Box(low, high).sample(20_000, rng=0, dtype=dtype)
    assert (points.shape, points.dtype) == ((20_000, dim), dtype)
    assert (points >= low).all()
    assert (points <= high).all()
    unit = (points - low) / (high - low)
    # At most seven tests at one in a million each, and correlations below five standard errors.
    assert min(kstest(unit[:, k], "uniform").pvalue for k in range(dim)) > 1e-6
    correlations = np.corrcoef(unit.T).reshape(dim, dim)[~np.eye(dim, dtype=bool)]
    assert (np.abs(correlations) < 5 / np.sqrt(20_000)).all()
    assert np.abs(np.corrcoef(unit[1:, 0], unit[:-1, 0])[0, 1]) < 5 / np.sqrt(20_000)


def test_one_generator_gives_a_box_new_points_at_every_call():
    box = fastcl.Box([0.0], [1.0])
    rng = np.random.default_rng(0)
    first = box.sample(5, rng)
    assert not np.array_equal(first, box.sample(5, rng))
    assert np.array_equal(first, box.sample(5, np.random.default_rng(0)))


def test_reference_measures_draw_from_the_generator_of_a_stream():
    gaussian = fastcl.Gaussian([0.0, 0.0], np.eye(2))
    points = gaussian.sample(5, Stream(3, 2))
    assert np.array_equal(points, gaussian.sample(5, Stream(3, 2)))
    assert not np.array_equal(points, gaussian.sample(5, Stream(3, 1)))
