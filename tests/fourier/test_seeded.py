"""Frequencies kept as their seed: what they are, and what files of them hold."""

import numpy as np
import pytest

import fastcl
from fastcl.fourier.radii import DISTRIBUTIONS


def make(seed=3, law="folded_gaussian", m=200, dim=5):
    return fastcl.SeededFrequencies(m, dim, 0.5, law, seed)


@pytest.mark.parametrize("law", DISTRIBUTIONS)
def test_they_are_the_free_frequencies_of_their_seed_in_single_precision(law):
    free = fastcl.draw_frequencies(200, 5, 0.5, law, rng=3)
    seeded = np.asarray(make(law=law))
    assert seeded.dtype == np.float64
    np.testing.assert_array_equal(seeded, free.astype(np.float32))


def test_draw_frequencies_seeds_them_from_its_generator():
    def draw(rng):
        return fastcl.draw_frequencies(20, 2, 0.5, rng=rng, structure="seeded")

    generator = np.random.default_rng(7)
    assert draw(7) == draw(generator)
    assert draw(7) != draw(generator)
    assert type(draw(None)) is fastcl.SeededFrequencies


def test_a_file_keeps_the_seed_and_gives_the_same_sketch(tmp_path, rng):
    x = rng.standard_normal((300, 5))
    sk = fastcl.sketch(x, make())
    np.testing.assert_array_equal(sk.values, fastcl.sketch(x, np.asarray(make())).values)
    sk.save(tmp_path / "s.npz")
    loaded = fastcl.Sketch.load(tmp_path / "s.npz")
    assert loaded.omega == sk.omega
    np.testing.assert_array_equal((loaded + sk).values, sk.values)
    with np.load(tmp_path / "s.npz") as file:
        size = sum(file[name].nbytes for name in file.files)
    assert size < 16 * 200 + 1000  # the frequencies alone would take 8000


@pytest.mark.parametrize("change", [{"m": 201}, {"dim": 6}, {"law": "gaussian"}, {"seed": 4}])
def test_another_seed_or_distribution_is_another_fingerprint(tmp_path, change):
    arrays = fastcl.sketch(np.ones((3, 5)), make()).to_arrays()
    arrays |= {f"omega.{name}": value for name, value in change.items()}
    with pytest.raises(ValueError, match=r"not a sketch.*(fingerprint|sums)"):
        fastcl.Sketch.from_arrays(arrays)


@pytest.mark.parametrize(
    "size", [{"m": 10**12}, {"dim": 10**12}, {"m": 10**9, "total": np.ones(3, complex)}]
)
def test_a_small_file_does_not_ask_for_any_amount_of_memory(size):
    arrays = fastcl.sketch(np.ones((3, 5)), make()).to_arrays()
    arrays |= {name if name == "total" else f"omega.{name}": value for name, value in size.items()}
    with pytest.raises(
        ValueError,
        match=r"not a sketch: (seeded: m x dim must be at most|1000000000 frequencies)",
    ):
        fastcl.Sketch.from_arrays(arrays)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"m": 0}, ValueError, "m must be at least 1"),
        ({"dim": 2.5}, TypeError, "dim must be an integer"),
        ({"law": "cauchy"}, ValueError, "law must be one of"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": 2**63}, ValueError, "seed must be below"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        make(**change)


def test_a_scale_too_small_for_single_precision_is_refused():
    with pytest.raises(ValueError, match="larger scale"):
        fastcl.sketch(np.ones((3, 2)), fastcl.SeededFrequencies(5, 2, 1e-300, "gaussian", 0))
