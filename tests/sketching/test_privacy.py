"""Releases of a sketch: the distribution of their noise, the sensitivity it hides, the account."""

import numpy as np
import pytest

import fastcl
from fastcl.sketching import privacy
from fastcl.sketching.quantised import Quantiser

M = 400


@pytest.fixture
def sk(rng):
    return fastcl.sketch(rng.standard_normal((1000, 2)), rng.standard_normal((M, 2)))


def noise_of(sk, **given):
    """The 2 m numbers that a release added to the sums."""
    difference = fastcl.release(sk, **given).total - sk.total
    return np.concatenate([difference.real, difference.imag])


# ---- the noise -----------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_laplace_noise_has_the_scale_of_the_sensitivity(sk, epsilon):
    noise = np.concatenate([noise_of(sk, epsilon=epsilon, rng=seed) for seed in range(20)])
    scale = 2 * np.sqrt(2) * M / epsilon
    # |Laplace| is exponential: its mean and its standard deviation are the scale. Compared with
    # that, rounding to 2^-16 is nothing.
    assert abs(np.abs(noise).mean() / scale - 1) < 5 / np.sqrt(len(noise))
    assert abs(noise.mean()) < 5 * np.sqrt(2) * scale / np.sqrt(len(noise))
    assert abs((np.abs(noise) > scale).mean() - np.exp(-1)) < 5 * 0.5 / np.sqrt(len(noise))


def test_gaussian_noise_has_the_std_of_the_formula(sk):
    given = {"epsilon": 0.5, "delta": 1e-5, "mechanism": "gaussian"}
    noise = np.concatenate([noise_of(sk, rng=seed, **given) for seed in range(20)])
    std = 2 * np.sqrt(M) * privacy.gaussian_std(0.5, 1e-5)
    assert abs(noise.std() / std - 1) < 5 / np.sqrt(2 * len(noise))
    # The fourth power of a standard normal has mean 3 and variance 96.
    assert abs((noise**4).mean() / std**4 / 3 - 1) < 5 * np.sqrt(96 / 9 / len(noise))


@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.3])
@pytest.mark.parametrize("epsilon", [0.01, 1.0, 30.0])
def test_the_gaussian_std_solves_the_exact_formula(epsilon, delta):
    from scipy.stats import norm

    s = privacy.gaussian_std(epsilon, delta)

    def loss(s):
        return norm.cdf(0.5 / s - epsilon * s) - np.exp(
            epsilon + norm.logcdf(-0.5 / s - epsilon * s)
        )

    assert loss(s) == pytest.approx(delta, rel=1e-4)
    assert loss(1.01 * s) < delta < loss(0.99 * s)
    if epsilon <= 1:  # the classical formula holds, and this one never needs more noise
        assert s <= np.sqrt(2 * np.log(1.25 / delta)) / epsilon


@pytest.mark.parametrize("scale", [1, 3, 1000])
def test_discrete_laplace_numbers_have_their_distribution(scale):
    drawn = privacy.draw_discrete_laplace(scale, 40_000, np.random.default_rng(scale))
    ratio = np.exp(-1 / scale)
    for k in (0, 1, -1, scale, -2 * scale):
        p = (1 - ratio) / (1 + ratio) * ratio ** abs(k)
        assert abs((drawn == k).mean() - p) <= 5 * np.sqrt(p / len(drawn))
    variance = 2 * ratio / (1 - ratio) ** 2
    assert abs(drawn.var() / variance - 1) < 5 * np.sqrt(6 / len(drawn))


def test_sums_lie_on_the_grid_and_the_seed_decides(sk):
    one, same, other = (fastcl.release(sk, 1.0, rng=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.total, same.total)
    assert (one.total != other.total).any()
    assert (np.rint(one.total.real / privacy.GRID) == one.total.real / privacy.GRID).all()
    first, second = (fastcl.release(sk, 1.0) for _ in range(2))
    assert (first.total != second.total).any()  # by default from the operating system


# ---- the sensitivity -----------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [None, 1, 2, 3, 8])
def test_the_sensitivity_is_the_largest_change_that_a_point_can_make(bits):
    rng = np.random.default_rng(0)
    omega = rng.standard_normal((1, 1))
    dither = None if bits is None else rng.uniform(0, 6, 1)
    empty = fastcl.Sketch(omega, bits=bits, dither=dither)
    first, second = privacy.sensitivity(empty)
    points = np.linspace(0, 2 * np.pi, 1001)[:, None] / omega[0]
    sums = np.unique([empty.sum_rows(point[None]) for point in points])
    moved = sums[:, None] - sums
    lengths = np.abs(moved.real) + np.abs(moved.imag)
    assert lengths.max() <= first * (1 + 1e-12)
    assert np.abs(moved).max() <= second * (1 + 1e-12)
    assert (
        lengths.max() > 0.99 * first
    )  # not all of it: the points miss the narrow cells of many bits
    assert np.abs(moved).max() > 0.99 * second


def test_sensitivities_grow_with_the_frequencies_as_derived(sk):
    assert privacy.sensitivity(sk) == pytest.approx((2 * np.sqrt(2) * M, 2 * np.sqrt(M)))
    assert Quantiser(1, np.zeros(3), 3).highest_levels.tolist() == [[1, 1]]


# ---- the account ---------------------------------------------------------------------------------


def test_a_release_is_a_sketch_with_its_privacy(tmp_path, sk):
    released = fastcl.release(sk, 0.5, rng=0)
    assert (released.privacy, sk.privacy, sk.spent) == ((0.5, 0.0), None, (0.5, 0.0))
    assert "privacy=(0.5, 0.0)" in repr(released)
    released.save(tmp_path / "s.npz")
    loaded = fastcl.load(tmp_path / "s.npz")
    assert loaded.privacy == (0.5, 0.0)
    np.testing.assert_array_equal(loaded.values, released.values)
    sk.save(tmp_path / "raw.npz")
    assert fastcl.load(tmp_path / "raw.npz").spent == (0.5, 0.0)


def test_releases_of_the_same_data_add_up_and_those_of_others_do_not(rng, sk):
    other = fastcl.sketch(rng.standard_normal((50, 2)), sk.omega)
    first, second = (fastcl.release(sk, epsilon, rng=0) for epsilon in (0.5, 0.25))
    apart = fastcl.release(other, 2.0, 1e-6, "gaussian", rng=0)
    assert sk.spent == (0.75, 0.0)
    assert (first + second).privacy == (0.75, 0.0)
    assert (first + apart).privacy == (2.0, 1e-6)
    assert ((first + apart) + second).privacy == (2.0, 1e-6)
    assert ((first + first) + first).privacy == (1.5, 0.0)
    assert (first + other).privacy is None
    assert (sk + other).spent == (2.0 if other.spent[0] == 2.0 else 0.75, 1e-6)


def test_files_and_copies_keep_the_account(tmp_path, sk):
    sk.save(tmp_path / "raw.npz")
    copies = [fastcl.load(tmp_path / "raw.npz") for _ in range(2)]
    one, two = (fastcl.release(copy, 1.0, rng=seed) for seed, copy in enumerate(copies))
    # They are of the same points, though neither copy knew of the other.
    assert (one + two).privacy == (2.0, 0.0)


def test_noise_takes_no_raw_points_and_is_not_released_again(rng, sk):
    released = fastcl.release(sk, 1.0, rng=0)
    with pytest.raises(ValueError, match="a released sketch takes no raw points"):
        released.update(rng.standard_normal((3, 2)))
    with pytest.raises(ValueError, match="the sketch is released"):
        fastcl.release(released, 1.0)
    with pytest.raises(ValueError, match="the sketch is mixed"):
        fastcl.release(released + fastcl.sketch(np.ones((3, 2)), sk.omega), 1.0)
    with pytest.raises(ValueError, match="counts the same data twice"):
        fastcl.release(sk + sk, 1.0)
    assert sk.spent == (1.0, 0.0)


def test_merged_sketches_keep_the_identities_of_their_parts(rng, sk):
    other = fastcl.sketch(rng.standard_normal((50, 2)), sk.omega)
    both = sk + other  # merged before anything was released
    released = fastcl.release(both, 1.0, rng=0)
    assert (sk.spent, other.spent) == ((0.0, 0.0), (0.0, 0.0))  # the parts do not know
    merged = released + fastcl.release(sk, 0.25, rng=1) + fastcl.release(other, 0.5, rng=2)
    assert merged.privacy == (1.5, 0.0)


def test_checkpoints_and_dask_arrays_have_identities(tmp_path, rng, sk):
    x, path = rng.standard_normal((100, 2)), tmp_path / "s.npz"
    # The second one reads nothing but the checkpoint.
    passes = [fastcl.sketch(x, sk.omega, checkpoint=path) for _ in range(2)]
    one, two = (fastcl.release(given, 1.0, rng=0) for given in passes)
    assert (one + two).privacy == (2.0, 0.0)
    array = pytest.importorskip("dask.array")
    of_dask = fastcl.sketch(array.from_array(x), sk.omega)
    assert fastcl.release(of_dask, 1.0, rng=0).privacy == (1.0, 0.0)


def test_files_from_before_the_account_are_raw(sk):
    arrays = {
        name: array for name, array in sk.to_arrays().items() if not name.startswith("privacy.")
    }
    loaded = fastcl.Sketch.from_arrays(arrays)
    assert fastcl.release(loaded, 1.0, rng=0).privacy == loaded.spent == (1.0, 0.0)


def test_an_empty_sketch_leaves_the_privacy_as_it_is(sk):
    released, empty = fastcl.release(sk, 1.0, rng=0), fastcl.Sketch(sk.omega)
    assert (empty + released).privacy == (released + empty).privacy == (1.0, 0.0)


def test_a_release_says_nothing_else_about_the_data(tmp_path, rng):
    x = rng.standard_normal((100, 2))
    # A checkpoint holds a checksum of rows of x.
    raw = fastcl.sketch(x, np.ones((3, 2)), checkpoint=tmp_path / "s.npz")
    raw.domain = fastcl.Box(x.min(axis=0), x.max(axis=0))
    arrays = fastcl.release(raw, 1.0, rng=0).to_arrays()
    names = {name.partition(".")[0] for name in arrays}
    assert names == {"omega", "total", "count", "fingerprint", "privacy"}


@pytest.mark.parametrize("name", ["state", "identities", "spent", "repeated"])
def test_a_damaged_account_is_refused(sk, name):
    arrays = fastcl.release(sk, 1.0, rng=0).to_arrays()
    missing = {key: array for key, array in arrays.items() if key != f"privacy.{name}"}
    for damaged in (
        missing,
        *(arrays | {f"privacy.{name}": strange} for strange in (np.nan, -np.ones((1, 2)), 1j)),
    ):
        with pytest.raises(ValueError, match="account of privacy is damaged"):
            fastcl.Sketch.from_arrays(damaged)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"epsilon": 0}, ValueError, "epsilon must be above zero"),
        ({"epsilon": "1"}, TypeError, "epsilon must be a number"),
        ({"epsilon": 1e-300}, ValueError, "epsilon is too small"),
        ({"epsilon": 1, "delta": 0.1}, ValueError, "delta must be 0 for Laplace"),
        ({"epsilon": 1, "mechanism": "gaussian"}, ValueError, "delta must be"),
        (
            {"epsilon": 1, "delta": 1.0, "mechanism": "gaussian"},
            ValueError,
            "delta must be between",
        ),
        ({"epsilon": 1, "mechanism": "cauchy"}, ValueError, "mechanism must be one of"),
    ],
)
def test_bad_arguments_are_named(sk, given, error, message):
    with pytest.raises(error, match=message):
        fastcl.release(sk, **given)
    assert sk.spent == (0.0, 0.0)


def test_only_sketches_of_something_are_released():
    with pytest.raises(ValueError, match="the sketch is empty"):
        fastcl.release(fastcl.Sketch([[1.0]]), 1.0)
    with pytest.raises(TypeError, match="sketch must be a Sketch"):
        fastcl.release(np.zeros(3), 1.0)


def test_learning_takes_a_release_as_it_is(rng):
    x = rng.normal(0.3, 0.2, (20_000, 2))
    sk = fastcl.sketch(x, fastcl.draw_frequencies(200, 2, 0.2, rng=0))
    prior, box = fastcl.MLPPrior(2, (16, 16), rng=0), fastcl.Box([-1, -1], [1, 1])
    before = fastcl.grid_gradient(prior, sk, box)[0]
    released = fastcl.release(sk, 10.0, rng=0)
    fastcl.learn(prior, released, box, n_points=500, n_iter=200, optimizer=fastcl.Adam(3e-3), rng=0)
    assert fastcl.grid_gradient(prior, sk, box)[0] < before / 10
