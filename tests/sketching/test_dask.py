"""Sketches of dask arrays: one result under every scheduler, even if workers die."""

import naive
import numpy as np
import pytest
from bounds import assert_within

import fastcl

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
cloudpickle = pytest.importorskip("cloudpickle")

EPS = np.finfo(np.float64).eps
SCHEDULERS = ["synchronous", "threads", "processes"]


@pytest.fixture
def omega():
    return fastcl.draw_frequencies(40, dim=3, scale=0.7, rng=1)


@pytest.fixture
def x(rng):
    return rng.standard_normal((1003, 3))


def combine(blocks, omega):
    """(sums, count) that the tasks and their tree must give, in one process and obvious loops."""
    parts = []
    for block in blocks:
        sketch = fastcl.Sketch(omega, method="direct")
        parts.append(
            (sketch.update(block).total, len(block))
            if len(block)
            else (np.zeros(len(omega), complex), 0)
        )
    while len(parts) > 1:
        groups = [parts[start : start + 8] for start in range(0, len(parts), 8)]
        parts = []
        for group in groups:
            total, count = group[0]
            for sums, rows in group[1:]:
                total, count = total + sums, count + rows
            parts.append((total, count))
    return parts[0]


def assert_sum_of_blocks(sketch, blocks, omega):
    total, count = combine(blocks, omega)
    assert sketch.count == count
    assert np.array_equal(sketch.values, total / count)


def in_blocks(x, rows):
    return [x[start : start + rows] for start in range(0, len(x), rows)]


def sketch_synchronously(*arguments, **options):
    with dask.config.set(scheduler="synchronous"):
        return fastcl.sketch(*arguments, **options)


# ---- one result, however it is computed ----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_gives_the_result_of_one_process(x, omega, scheduler, dtype):
    x = x.astype(dtype)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        sk = fastcl.sketch(
            da.from_array(x, chunks=(50, 3)), omega
        )  # 21 blocks: a tree of three levels
    assert_sum_of_blocks(sk, in_blocks(x, 50), omega)
    assert np.array_equal(sk.omega, omega)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_sketch_of_the_array(x, omega, dtype):
    """Two sums of the same rounded features, with eps more for three levels of eight sums."""
    x = x.astype(dtype)
    sk, whole = (
        sketch_synchronously(da.from_array(x, chunks=(50, 3)), omega),
        fastcl.sketch(x, omega),
    )
    bound = 2 * naive.feature_error(x, omega, np.finfo(dtype).eps).mean(axis=0) + 3 * 8 * EPS
    assert_within(sk.values, whole.values, bound)
    assert (sk.count, sk.dim) == (1003, 3)
    assert (sk + whole).count == sk.update(x).count == 2006  # it is a sketch like any other


def test_one_block_is_the_array(x, omega):
    assert np.array_equal(
        sketch_synchronously(da.from_array(x, chunks=-1), omega).values,
        fastcl.sketch(x, omega).values,
    )


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["synchronous", "processes"])
@pytest.mark.parametrize(
    ("dim", "options"),
    [(3, {"structure": "harmonic", "harmonics": 4}), (100, {"structure": "hadamard"})],
)
def test_structured_frequencies_travel(rng, scheduler, dim, options):
    x, omega = (
        rng.standard_normal((300, dim)),
        fastcl.draw_frequencies(512, dim, 5.0, rng=1, **options),
    )
    with dask.config.set(scheduler=scheduler, num_workers=2):
        sk = fastcl.sketch(da.from_array(x, chunks=(100, dim)), omega)
    assert_sum_of_blocks(sk, in_blocks(x, 100), omega)
    assert sk.omega == omega


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("bits", [1, 3])
def test_quantised_features_are_bitwise_those_of_the_array(x, omega, scheduler, bits):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        sk = fastcl.sketch(da.from_array(x, chunks=(50, 3)), omega, bits=bits, rng=5)
    # Levels are integers, so the order of the sums does not matter.
    whole = fastcl.sketch(x, omega, bits=bits, rng=5)
    assert np.array_equal(sk.values, whole.values)
    assert (sk.count, sk.bits, sk.fingerprint) == (1003, bits, whole.fingerprint)
    assert np.array_equal((sk + whole).values, sk.values)


def test_finufft_is_used_only_by_name(monkeypatch, x):
    pytest.importorskip("finufft")
    omega, array = (
        fastcl.draw_frequencies(40, dim=3, scale=0.7, rng=1),
        da.from_array(x, chunks=(500, 3)),
    )
    direct = sketch_synchronously(array, omega, method="direct").values
    monkeypatch.setattr("fastcl.fourier.methods.MIN_PAIRS", 0)
    monkeypatch.setattr("fastcl.fourier.methods.is_cheaper", lambda *arguments: True)
    assert np.array_equal(sketch_synchronously(array, omega).values, direct)
    other = sketch_synchronously(array, omega, method="nufft").values
    assert (
        0 < np.abs(other - direct).max() < 2e-12
    )  # the accuracy of the sum, and of the direct one less


# ---- blocks of all kinds -------------------------------------------------------------------------


def test_unknown_and_empty_blocks_are_read(x, omega):
    x[100:200, 0] = -50  # the third and the fourth block keep nothing
    array = da.from_array(x, chunks=(50, 3))
    kept = array[array[:, 0] > -10]
    assert np.isnan(kept.shape[0])
    assert_sum_of_blocks(
        sketch_synchronously(kept, omega),
        [block[block[:, 0] > -10] for block in in_blocks(x, 50)],
        omega,
    )
    assert_sum_of_blocks(
        sketch_synchronously(da.from_array(x, chunks=((0, 3, 0, 1000), 3)), omega),
        [x[:0], x[:3], x[:0], x[3:]],
        omega,
    )


def test_blocks_of_columns_are_joined(x, omega):
    array = da.from_array(x, chunks=(100, 2))
    assert_sum_of_blocks(sketch_synchronously(array, omega), in_blocks(x, 100), omega)
    assert_sum_of_blocks(
        sketch_synchronously(array[array[:, 0] > -9], omega), in_blocks(x, 100), omega
    )  # rows unknown


@pytest.mark.parametrize("change", [
    lambda block: (9 * block).astype(np.int16), lambda block: block > 0,
    lambda block: block.astype(np.float16), lambda block: block.astype(">f8"),
    np.asfortranarray, lambda block: (9 * block).astype(int).tolist(),
])  # fmt: skip
def test_blocks_are_whatever_an_array_can_be(x, omega, change):
    array = da.from_array(x, chunks=(300, 3)).map_blocks(change, dtype=float, meta=np.empty((0, 0)))
    assert_sum_of_blocks(
        sketch_synchronously(array, omega),
        [np.asarray(change(block)) for block in in_blocks(x, 300)],
        omega,
    )


# ---- what the tasks hold -------------------------------------------------------------------------


def test_the_frequencies_are_in_the_graph_once(x):
    omega, graphs = fastcl.draw_frequencies(5000, dim=3, scale=0.7, rng=1), []
    with dask.callbacks.Callback(start=lambda graph: graphs.append(dict(graph))):
        sketch_synchronously(da.ones((640, 3), chunks=(10, 3)), omega)
    assert len(graphs[0]) == 1 + 64 + 8 + 1  # reading a block and summing it are one task
    sizes = sorted(len(cloudpickle.dumps(task)) for task in graphs[0].values())
    assert sizes[-2] < omega.nbytes / 10 < omega.nbytes < sizes[-1]


# ---- what is refused, and what is shown ----------------------------------------------------------


def never(block):
    raise AssertionError("a block was computed")


def unread(shape, dtype=float):
    return da.ones(shape, chunks=3).map_blocks(
        never, dtype=dtype, meta=np.empty((0,) * len(shape), dtype)
    )


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (unread((10, 2)), ValueError, "x must have 3 columns, got 2"),
        (unread((10,)), ValueError, r"x must be 2-D .* pass x\[:, None\]"),
        (unread((10, 3, 3)), ValueError, "x must be 2-D"),
        (unread(()), ValueError, "x must be 2-D"),
        (unread((0, 3)), ValueError, "x is empty"),
        (unread((10, 3), complex), TypeError, "x must be real"),
        (unread((10, 3), object), TypeError, "x must hold numbers"),
        (unread((10, 3))[:, unread((3,)) > 0], ValueError, "x has an unknown number of columns"),
        (dask.delayed(never)(0), TypeError, "x is a dask Delayed"),
        ([unread((10, 3))], TypeError, r"x\[0\] is a dask array, which only fastcl.sketch reads"),
    ],
)
def test_bad_arrays_are_refused_before_anything_is_computed(omega, x, error, match):
    with pytest.raises(error, match=match):
        fastcl.sketch(x, omega)


def test_what_makes_no_sense_is_refused(tmp_path, omega, device):
    with pytest.raises(ValueError, match="checkpoint"):
        fastcl.sketch(unread((10, 3)), omega, checkpoint=tmp_path / "s.npz")
    with pytest.raises(TypeError, match="omega is a CuPy array"):
        fastcl.sketch(unread((10, 3)), device.array(omega))
    with pytest.raises(ValueError, match="accuracy must be at least"):
        fastcl.sketch(unread((10, 3), np.float32), omega, accuracy=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_bad_block_is_an_error_of_one_line(x, omega, scheduler):
    x[555, 1] = np.nan
    with (
        dask.config.set(scheduler=scheduler, num_workers=2),
        pytest.raises(ValueError, match=r"^x holds NaN or infinity in row 55 \(block 5 of x\)$"),
    ):
        fastcl.sketch(da.from_array(x, chunks=(100, 3)), omega)


def test_blocks_that_are_not_what_was_said_are_refused(x, omega):
    array = da.from_array(x, chunks=(100, 3))
    wide = array.map_blocks(lambda block: np.ones((3, 4)), dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(ValueError, match="x must have 3 columns, got 4"):
        sketch_synchronously(wide, omega)
    with pytest.raises(ValueError, match="x is empty: its blocks have no rows"):
        sketch_synchronously(array[array[:, 0] > 100], omega)


def test_other_functions_say_what_to_do(x, omega):
    array = da.from_array(x)
    for call in (
        lambda: fastcl.feature_sum(array, omega),
        lambda: fastcl.Sketch(omega).update(array),
    ):
        with pytest.raises(
            TypeError,
            match=r"x is a dask array, which only fastcl.sketch reads: pass x.compute\(\)",
        ):
            call()


def test_progress_is_that_of_dask(monkeypatch, x, omega, capsys):
    bars, bar = [], pytest.importorskip("dask.diagnostics").ProgressBar
    monkeypatch.setattr(
        "dask.diagnostics.ProgressBar", lambda minimum: (bars.append(minimum), bar(minimum=0))[1]
    )
    sketch_synchronously(da.from_array(x), omega, progress=True)
    assert bars == [2]
    assert "100% Completed" in capsys.readouterr().out
