"""Sums by finufft: their accuracy, memory and reproducibility, and when they are chosen."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import naive
import numpy as np
import pytest

import fastcl
from fastcl.fourier import features, methods, nufft, operator

needs_finufft = pytest.mark.skipif(not nufft.is_installed(), reason="finufft is not installed")
EPS = np.finfo(np.float64).eps


def make_problem(dtype, n, m, d, turns=3.0, offset=0.0):
    """Points in a box around `offset`, phases of up to `turns` across it, weights, coefficients.

    Some of the points are at the ends of the box.
    """
    rng = np.random.default_rng([n, m, d])
    x = rng.uniform(-1, 1, (n, d))
    x[::3] = np.sign(x[::3])
    omega = 2 * np.pi * turns / d / 2 * rng.uniform(-1, 1, (m, d))
    return (
        (x + offset).astype(dtype),
        omega,
        rng.standard_normal(n).astype(dtype),
        rng.standard_normal((m, 2)) @ [1, 1j],
    )


def assert_accurate(x, omega, weights, c, accuracy):
    """Both maps keep the accuracy, except for the rounding of phases in float64.

    A phase in radians is rounded when x and omega are centred and scaled, by 2 EPS in all, wherever
    the points are.
    """
    rounding = 2 * EPS * (np.abs(x).max(axis=0) @ np.abs(omega).max(axis=0)) + EPS * max(
        len(x), len(omega)
    )
    for w in (None, weights):
        total = np.abs(np.ones(len(x)) if w is None else w).sum(dtype=np.float64)
        error = np.abs(
            fastcl.feature_sum(x, omega, w, method="nufft", accuracy=accuracy)
            - naive.feature_sum(x, omega, w)
        )
        assert error.max() <= (accuracy + rounding) * total
    a = fastcl.feature_adjoint(x, omega, c, method="nufft", accuracy=accuracy)
    assert a.dtype == x.dtype
    c = c.astype(np.complex64 if x.dtype == np.float32 else np.complex128)
    error = np.abs(a.astype(np.float64) - naive.feature_adjoint(x, omega, c.astype(np.complex128)))
    assert error.max() <= (accuracy + rounding) * np.abs(c).sum(dtype=np.float64)


SIZES = [(1, 1), (1, 31), (3, 1), (3, 257), (31, 3), (31, 31), (257, 1021)]
SINGLE, DOUBLE = (1e-1, 1e-3, 1e-6, 2e-7), (1e-2, 1e-5, 1e-6, 1e-9, 1e-11, 1e-12, 1e-13)


@needs_finufft
@pytest.mark.parametrize(
    ("dtype", "accuracies"),
    [(np.float32, SINGLE), (np.float64, DOUBLE)],
    ids=["float32", "float64"],
)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_accuracy_asked_for_is_kept(dtype, accuracies, d):
    for n, m in SIZES:
        for accuracy in accuracies:
            assert_accurate(*make_problem(dtype, n, m, d), accuracy)


@needs_finufft
@pytest.mark.parametrize(("d", "turns"), [(1, 5000), (2, 500), (3, 40)])
@pytest.mark.parametrize("upsampling", nufft.UPSAMPLING, ids=str)
def test_the_accuracy_is_kept_over_many_turns_by_every_grid(monkeypatch, d, turns, upsampling):
    monkeypatch.setattr(nufft, "UPSAMPLING", [upsampling])
    for accuracy in (
        1e-3,
        max(1e-6, upsampling[1] * upsampling[2]),
        max(1e-12, upsampling[1] * upsampling[2]),
    ):
        assert_accurate(*make_problem(np.float64, 3, 257, d, turns), accuracy)
    assert_accurate(*make_problem(np.float32, 257, 31, d, turns), 1e-6)


@needs_finufft
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_far_from_the_origin_cost_neither_accuracy_nor_a_large_grid(monkeypatch, dtype, d):
    used = []
    run_piece = nufft.run_piece
    monkeypatch.setattr(
        nufft, "run_piece", lambda *arguments: used.append(arguments[-1]) or run_piece(*arguments)
    )
    for offset in (0, 1e3, -1e3):
        assert_accurate(*make_problem(dtype, 257, 31, d, offset=offset), 1e-6)
    assert max(grid.bytes for grid in used) < 2 * min(grid.bytes for grid in used)


@needs_finufft
def test_all_points_in_one_place_and_the_frequency_zero():
    for omega in (np.zeros((3, 2)), np.array([[1.0, -2.0]])):
        assert_accurate(np.full((5, 2), 7.0), omega, np.ones(5), np.ones(len(omega)) + 1j, 1e-12)


@needs_finufft
def test_layout_of_the_arguments_does_not_change_a_bit():
    x, omega, w, c = make_problem(np.float64, 257, 31, 2)
    options = {"method": "nufft"}
    for view in (
        np.asfortranarray(x),
        np.repeat(x, 2, axis=0)[::2],
        np.c_[x, x][:, :2],
        x[::-1][::-1],
    ):
        assert np.array_equal(
            fastcl.feature_sum(view, omega, w, **options),
            fastcl.feature_sum(x, omega, w, **options),
        )
        a = fastcl.feature_adjoint(view, np.asfortranarray(omega), np.repeat(c, 2)[::2], **options)
        assert np.array_equal(a, fastcl.feature_adjoint(x, omega, c, **options))


@needs_finufft
def test_out_takes_the_result():
    x, omega, w, c = make_problem(np.float32, 257, 31, 2)
    s, a = np.empty(31, np.complex128), np.empty(257, np.float32)
    assert fastcl.feature_sum(x, omega, w, s, "nufft") is s
    assert fastcl.feature_adjoint(x, omega, c, a, "nufft") is a
    assert np.array_equal(s, fastcl.feature_sum(x, omega, w, method="nufft"))
    assert np.array_equal(a, fastcl.feature_adjoint(x, omega, c, method="nufft"))


@needs_finufft
def test_groups_and_chunks_meet_without_a_gap(monkeypatch):
    monkeypatch.setattr(features, "GROUP_ROWS", 100)
    monkeypatch.setattr(operator, "CHUNK_ROWS", 30)
    assert_accurate(*make_problem(np.float64, 257, 31, 2), 1e-9)


@needs_finufft
@pytest.mark.parametrize(("n", "m"), [(100_000, 31), (31, 100_000), (100_000, 100_000)])
def test_number_of_threads_does_not_change_a_bit(monkeypatch, on_threads, n, m):
    pieces, run_plan = [], nufft.run_plan
    monkeypatch.setattr(
        nufft, "run_plan", lambda plan, *rest: pieces.append(plan.pieces) or run_plan(plan, *rest)
    )
    x, omega, w, c = make_problem(np.float64, n, m, 2)
    for call in (
        lambda: fastcl.feature_sum(x, omega, w, method="nufft"),
        lambda: fastcl.feature_adjoint(x, omega, c, method="nufft"),
    ):
        one, two = on_threads(call)
        assert np.array_equal(one, two)
    assert min(pieces) > 1 or n == m


@needs_finufft
@pytest.mark.parametrize("of_sources", [True, False])
def test_a_transform_in_pieces_is_the_transform(of_sources):
    x, omega, w, _ = make_problem(np.float64, 257, 1021, 2)
    sources, targets = np.ascontiguousarray(x.T), np.ascontiguousarray(omega.T)
    products = nufft.half_widths(sources) * nufft.half_widths(targets)
    grid = nufft.make_plan(2, 257, 1021, products, 1e-12, 2**30).grid
    for pieces in (1, 2, 16):
        plan = nufft.Plan(grid, pieces, of_sources)
        out = nufft.run_plan(plan, sources, w.astype(np.complex128), targets, -1, 3)
        assert np.abs(out - naive.feature_sum(x, omega, w)).max() <= 1e-12 * np.abs(w).sum()


PEAK = """
import re, sys
import numpy as np
from fastcl.fourier import nufft
d, extent, upsampling = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
grids = {grid.upsampling: grid for grid in nufft.candidate_grids(np.full(d, extent), 1e-6)}
x = np.ones((d, 100)) * np.linspace(-1, 1, 100)

def run(grid, extent):
    nufft.run_piece(x, np.ones(100, complex), extent * x, 1, grid)
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read()).group(1))

before = run(grids[upsampling], 1.0)
print((run(grids[upsampling], extent) - before) / grids[upsampling].bytes)
"""


@pytest.mark.slow
@needs_finufft
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads the peak memory of a process from /proc"
)
@pytest.mark.parametrize(("d", "extent"), [(1, 1e6), (2, 500.0), (3, 40.0)])
@pytest.mark.parametrize("upsampling", [2.0, 1.25])
def test_grids_take_the_memory_that_was_planned(d, extent, upsampling):
    command = [sys.executable, "-c", PEAK, str(d), str(extent), str(upsampling)]
    done = subprocess.run(
        command, cwd=Path(nufft.__file__).parents[2], capture_output=True, text=True, check=True
    )
    # Axes are rounded up to even products of 2, 3 and 5; sources that are far apart may need the
    # first grid once more, or not.
    assert 0.6 < float(done.stdout) < 1.25


# ---- what is refused ----------------------------------------------------------------------------


def both_maps(x, omega, **options):
    yield lambda: fastcl.feature_sum(x, omega, **options)
    yield lambda: fastcl.feature_adjoint(x, omega, np.ones(len(omega)), **options)
    yield lambda: fastcl.sketch(x, omega, **options)
    yield lambda: fastcl.Sketch(omega, **options).update(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "fast"}, "method must be one of 'auto', 'direct', 'nufft', got 'fast'"),
        ({"method": None}, "method must be one of"),
        ({"accuracy": 0.0}, "accuracy must be above zero"),
        ({"accuracy": -1e-6}, "accuracy must be above zero"),
        ({"accuracy": np.nan}, "accuracy must be above zero"),
        ({"accuracy": 1e-14}, "accuracy must be at least 1e-13 for points in float64, got 1e-14"),
    ],
)
def test_bad_options_are_refused(options, message):
    for call in both_maps(np.ones((3, 2)), np.ones((3, 2)), **options):
        with pytest.raises(ValueError, match=message):
            call()


def test_float32_points_cannot_have_the_accuracy_of_float64():
    for call in both_maps(np.ones((3, 2), np.float32), np.ones((3, 2)), accuracy=1e-12):
        with pytest.raises(
            ValueError, match="accuracy must be at least 2e-07 for points in float32, got 1e-12"
        ):
            call()
    with pytest.raises(TypeError, match="accuracy must be a number"):
        fastcl.feature_sum(np.ones((3, 2)), np.ones((3, 2)), accuracy="high")


def test_more_than_three_dimensions_are_refused():
    for call in both_maps(np.ones((3, 4)), np.ones((3, 4)), method="nufft"):
        with pytest.raises(ValueError, match="serves up to 3 dimensions, x has 4"):
            call()


def test_a_missing_finufft_is_named_and_auto_goes_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)  # importing it then fails
    monkeypatch.setattr(methods, "MIN_PAIRS", 0)
    x, omega, w, _ = make_problem(np.float64, 257, 31, 2)
    for call in both_maps(x, omega, method="nufft"):
        with pytest.raises(ImportError, match="needs finufft: pip install") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert np.array_equal(
        fastcl.feature_sum(x, omega, w), fastcl.feature_sum(x, omega, w, method="direct")
    )


@pytest.mark.parametrize(
    ("version", "works"),
    [("2.4.1", False), ("2.5.0", False), ("2.5.1", True), ("2.6.0rc1", True), ("10.0", True)],
)
def test_a_finufft_that_may_crash_is_refused_and_auto_goes_without(monkeypatch, version, works):
    monkeypatch.setitem(sys.modules, "finufft", SimpleNamespace(__version__=version))
    assert nufft.is_installed() is works
    if not works:
        with pytest.raises(ImportError, match=rf'^finufft {version} may .*"finufft>=2.5.1"$'):
            fastcl.feature_sum([[0.0]], [[1.0]], method="nufft")
        assert fastcl.feature_sum([[0.0]], [[1.0]]) == 1


@needs_finufft
def test_a_grid_beyond_the_bound_is_refused_before_finufft_is_called(monkeypatch):
    monkeypatch.setattr(nufft, "run_piece", None)
    monkeypatch.setattr(methods, "MIN_PAIRS", 0)
    price_pairs(monkeypatch, DEAR)
    x, omega, w, c = make_problem(np.float64, 31, 31, 3, turns=5000)
    for call in both_maps(x, omega, method="nufft"):
        with pytest.raises(
            ValueError, match=r'method="nufft" would need a grid of .* GiB, but may only take 1'
        ):
            call()
    assert np.array_equal(
        fastcl.feature_sum(x, omega, w), fastcl.feature_sum(x, omega, w, method="direct")
    )
    assert np.array_equal(
        fastcl.feature_adjoint(x, omega, c), fastcl.feature_adjoint(x, omega, c, method="direct")
    )


def test_grids_of_all_pieces_stay_within_the_bound():
    for dim, largest in ((1, 1e7), (2, 3000.0), (3, 200.0)):
        for extent in np.geomspace(1, largest, 30):
            for n in (1, 1000, 10**6):
                plan = nufft.make_plan(dim, n, 10_000, np.full(dim, extent), 1e-6, 2**28)
                assert plan is None or plan.grid.bytes * plan.pieces <= 2**28


@needs_finufft
def test_bad_points_are_refused():
    x = np.ones((3, 2))
    x[1, 1] = np.nan
    for call in both_maps(x, np.ones((3, 2)), method="nufft"):
        with pytest.raises(ValueError, match=r"x holds NaN or infinity in row 1$"):
            call()


# ---- the choice ---------------------------------------------------------------------------------

# Seconds of the direct kernels and of finufft, from benchmarks/RESULTS.md: float32, x standard
# normal and omega three times as wide, accuracy 1e-6.
TIMES = [
    ("sum", 1, 4_000, 500, 0.00039, 0.00072), ("adjoint", 1, 4_000, 500, 0.00024, 0.00110),
    ("sum", 1, 4_000, 10_000, 0.00655, 0.00278), ("adjoint", 1, 4_000, 10_000, 0.00351, 0.00158),
    ("sum", 1, 20_000, 2_000, 0.00678, 0.00195), ("adjoint", 1, 20_000, 2_000, 0.00354, 0.00349),
    ("sum", 1, 100_000, 500, 0.00825, 0.00427), ("adjoint", 1, 100_000, 500, 0.00419, 0.00904),
    ("sum", 1, 100_000, 2_000, 0.03040, 0.00378), ("adjoint", 1, 100_000, 2_000, 0.01798, 0.01080),
    ("sum", 2, 4_000, 500, 0.00045, 0.00126), ("adjoint", 2, 4_000, 500, 0.00028, 0.00206),
    ("sum", 2, 4_000, 10_000, 0.00745, 0.00466), ("adjoint", 2, 4_000, 10_000, 0.00431, 0.00329),
    ("sum", 2, 20_000, 2_000, 0.00683, 0.00305), ("adjoint", 2, 20_000, 2_000, 0.00434, 0.00625),
    ("sum", 2, 100_000, 500, 0.00909, 0.01016), ("adjoint", 2, 100_000, 500, 0.00487, 0.01977),
    ("sum", 2, 100_000, 2_000, 0.03381, 0.00949), ("adjoint", 2, 100_000, 2_000, 0.02005, 0.02408),
    ("sum", 3, 4_000, 500, 0.00045, 0.00657), ("adjoint", 3, 4_000, 500, 0.00050, 0.01001),
    ("sum", 3, 4_000, 10_000, 0.00748, 0.01516), ("adjoint", 3, 4_000, 10_000, 0.00441, 0.01890),
    ("sum", 3, 20_000, 2_000, 0.00728, 0.01716), ("adjoint", 3, 20_000, 2_000, 0.00455, 0.02314),
    ("sum", 3, 100_000, 500, 0.00905, 0.03258), ("adjoint", 3, 100_000, 500, 0.00556, 0.04727),
    ("sum", 3, 100_000, 2_000, 0.03354, 0.03589), ("adjoint", 3, 100_000, 2_000, 0.01983, 0.05490),
]  # fmt: skip


@pytest.mark.parametrize(("name", "d", "n", "m", "direct", "transform"), TIMES)
def test_auto_takes_the_faster_one_of_the_published_times(
    monkeypatch, name, d, n, m, direct, transform
):
    monkeypatch.setattr(methods, "is_installed", lambda: True)
    rng = np.random.default_rng(0)
    x, omega = rng.standard_normal((n, d), np.float32), 3 * rng.standard_normal((m, d))
    own = operator.PackedOperator.pack(omega, np.float32)
    chosen, chunks = methods.MethodChoice().choose(name, own, x, 0, n)
    assert sum(len(chunk) for _, chunk in chunks) == n
    taken = direct if chosen is own else transform
    assert taken <= 1.15 * min(direct, transform)


def price_pairs(monkeypatch, factor):
    """Multiply what the direct kernels are taken to cost."""
    prices = methods.PAIR_SECONDS.items()
    scaled = {key: tuple(factor * price for price in row) for key, row in prices}
    monkeypatch.setattr(methods, "PAIR_SECONDS", scaled)


CHEAP, DEAR = 1e-9, 1e9  # factors that leave no doubt


@needs_finufft
@pytest.mark.parametrize(("factor", "method"), [(DEAR, "nufft"), (CHEAP, "direct")])
def test_auto_takes_what_is_cheaper_by_the_prices(monkeypatch, factor, method):
    price_pairs(monkeypatch, factor)
    x, omega, w, c = make_problem(np.float32, 4000, 1000, 2)
    for function, given in ((fastcl.feature_sum, w), (fastcl.feature_adjoint, c)):
        results = {name: function(x, omega, given, method=name) for name in ("direct", "nufft")}
        assert not np.array_equal(*results.values())
        assert np.array_equal(function(x, omega, given), results[method])


@needs_finufft
def test_auto_weighs_the_grid_too():
    x, omega, _, _ = make_problem(np.float32, 20_000, 2000, 2)
    for spread, method in ((1, "nufft"), (100, "direct")):
        s = fastcl.feature_sum(x, spread * omega)
        assert np.array_equal(s, fastcl.feature_sum(x, spread * omega, method=method))


@needs_finufft
def test_the_choice_does_not_follow_the_number_of_threads(monkeypatch, on_threads):
    x, omega, w, _ = make_problem(np.float32, 4000, 1000, 2)
    chosen = set()
    price_pairs(monkeypatch, 20)
    for _ in range(25):
        price_pairs(monkeypatch, 0.75)
        one, two = on_threads(lambda: fastcl.feature_sum(x, omega, w))
        assert np.array_equal(one, two)
        chosen.add(one.tobytes())
    assert len(chosen) == 2


def test_small_problems_never_ask_for_finufft(monkeypatch):
    monkeypatch.setattr(methods, "is_installed", None)
    x, omega, w, _ = make_problem(np.float32, 2000, 1000, 2)
    assert np.array_equal(
        fastcl.feature_sum(x, omega, w), fastcl.feature_sum(x, omega, w, method="direct")
    )
    # Neither do those that finufft does not serve.
    x, omega = np.ones((10_000, 4)), np.ones((1000, 4))
    assert np.array_equal(
        fastcl.feature_sum(x, omega), fastcl.feature_sum(x, omega, method="direct")
    )


@needs_finufft
def test_a_sketch_keeps_its_method_but_not_in_files(tmp_path):
    x, omega, _, _ = make_problem(np.float64, 257, 31, 2)
    sk = fastcl.sketch([x[:100], x[100:]], omega, method="nufft", accuracy=1e-9)
    by_hand = sum(
        fastcl.feature_sum(part, omega, method="nufft", accuracy=1e-9)
        for part in (x[:100], x[100:])
    )
    assert np.array_equal(sk.values, by_hand / 257)
    assert np.abs(sk.values - naive.feature_sum(x, omega) / 257).max() <= 1e-9
    merged = (sk + sk).update(x)
    assert np.array_equal(
        merged.values,
        (2 * by_hand + fastcl.feature_sum(x, omega, method="nufft", accuracy=1e-9)) / 771,
    )
    sk.save(tmp_path / "s.npz")
    loaded = fastcl.Sketch.load(tmp_path / "s.npz").update(x)
    assert np.array_equal(loaded.values, (by_hand + fastcl.feature_sum(x, omega)) / 514)


@needs_finufft
def test_memory_does_not_grow_with_points_times_frequencies():
    def peak(n, m):
        x, omega, _, _ = make_problem(np.float64, n, m, 2)
        tracemalloc.start()
        try:
            fastcl.feature_sum(x, omega, method="nufft")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10, 10)
    # What NumPy holds per point: points 16, weights 16, room for ranges; per frequency: 16 pieces
    # of 16 bytes and the layouts.
    assert peak(50_000, 4000) < 100 * 50_000 + 400 * 4000 + 100_000
