"""A user's prior is one class: it saves, loads and denoises like the package's own."""

import numpy as np
import pytest

import fastcl


class Ring(fastcl.Prior, kind="ring"):
    """A density around a circle: R(x) = (|x| - radius)^2 / (2 width^2)."""

    dim = 2

    def __init__(self, radius, width):
        self.radius = float(radius)
        self.width = float(width)

    def energy_and_grad(self, x):
        lengths = np.linalg.norm(x, axis=1)
        offsets = (lengths - self.radius) / self.width
        return offsets**2 / 2, (offsets / self.width / lengths)[:, None] * x

    def to_arrays(self):
        return {"radius": self.radius, "width": self.width}

    @classmethod
    def from_arrays(cls, arrays):
        return cls(arrays["radius"], arrays["width"])


RING = Ring(1.0, 0.1)


@pytest.fixture
def noisy():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 300)
    clean = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return clean, clean + 0.3 * np.random.default_rng(1).standard_normal(clean.shape)


@pytest.mark.parametrize("estimator", ["map", "mean"])
def test_it_denoises(noisy, estimator):
    clean, y = noisy
    estimate = fastcl.denoise(RING, y, sigma=0.3, estimator=estimator)
    assert ((estimate - clean) ** 2).mean() < 0.7 * ((y - clean) ** 2).mean()
    if estimator == "map":
        # The objective is quadratic in the radius: data and circle weighted by sigma^2 and width^2.
        lengths = np.linalg.norm(y, axis=1)
        expected = (lengths * 0.1**2 + 1.0 * 0.3**2) / (0.1**2 + 0.3**2)
        np.testing.assert_allclose(np.linalg.norm(estimate, axis=1), expected, rtol=1e-3)


def test_it_is_saved_and_loaded(tmp_path, noisy):
    RING.save(tmp_path / "ring.npz")
    loaded = fastcl.load_prior(tmp_path / "ring.npz")
    assert type(loaded) is Ring
    y = noisy[1]
    np.testing.assert_array_equal(loaded.log_density(y), RING.log_density(y))
    found = Ring.load(tmp_path / "ring.npz").energy_grad(y)
    np.testing.assert_array_equal(found, RING.energy_grad(y))


def test_it_is_saved_as_part_of_another_object(tmp_path):
    transform = fastcl.PatchTransform(2, np.eye(4)[:, 1:3], np.ones(2))
    fastcl.SignalModel(transform, RING).save(tmp_path / "model.npz")
    assert type(fastcl.load(tmp_path / "model.npz").prior) is Ring


def test_without_a_kind_it_cannot_be_saved(tmp_path):
    class Nameless(fastcl.Prior):
        dim = 1

    with pytest.raises(TypeError, match=r"Nameless has no kind to be saved under"):
        Nameless().save(tmp_path / "p.npz")
    assert list(tmp_path.iterdir()) == []


def test_it_has_a_log_normaliser():
    box = fastcl.Box([-2, -2], [2, 2])
    # 2 pi times the integral of r exp(-(r - 1)^2 / (2 width^2)), which is that of a Gaussian.
    expected = np.log(2 * np.pi * 0.1 * np.sqrt(2 * np.pi))
    assert abs(fastcl.log_normaliser(RING, box, n_points=4000) - expected) < 0.1


def test_a_kind_belongs_to_one_class():
    with pytest.raises(ValueError, match=r"the kind 'box' is taken by fastcl\.measures\.box\.Box"):

        class Mine(fastcl.Prior, kind="box"):
            pass


def test_a_subclass_is_not_saved_as_its_parent(tmp_path):
    class Doubled(Ring):
        def energy(self, x):
            return 2 * super().energy(x)

    with pytest.raises(TypeError, match="Doubled has no kind"):
        Doubled(1.0, 0.1).save(tmp_path / "p.npz")


@pytest.mark.parametrize(
    ("name", "value"),
    [("inner", None), ("inner", {}), ("kind", 1.0), ("file", 1.0), ("day", np.datetime64("2020"))],
)
def test_what_a_file_cannot_hold_is_refused_before_it_is_written(tmp_path, name, value):
    class Odd(fastcl.Prior, kind="odd"):
        dim = 1

        def to_arrays(self):
            return {name: value}

    with pytest.raises((TypeError, ValueError), match=repr(name)):
        Odd().save(tmp_path / "p.npz")
    assert list(tmp_path.iterdir()) == []


def test_its_log_scale_may_be_set():
    ring = Ring(1.0, 0.1)
    before = ring.log_density([[1.0, 0.0]])
    ring.log_scale = 2.0
    np.testing.assert_allclose(ring.log_density([[1.0, 0.0]]), before + 2)


def test_a_reference_that_is_not_standard_normal_is_refused():
    class Flat(fastcl.Prior):
        dim = 2
        reference = fastcl.Gaussian([1.0, 0.0], np.eye(2))

    mixture = fastcl.GaussianScaleMixture(np.eye(2), [1.0], [1.0])
    with pytest.raises(ValueError, match=r"must be N\(0, I\)"):
        fastcl.GaussianisedPrior(Flat(), mixture)


def test_a_method_that_is_missing_is_named():
    class Unfinished(fastcl.Prior):
        dim = 2

    with pytest.raises(NotImplementedError, match="Unfinished must define energy_and_grad"):
        fastcl.denoise(Unfinished(), [[1.0, 2.0]], 0.1)

    class Unsampled(fastcl.ReferenceMeasure):
        dim = 2

    with pytest.raises(NotImplementedError, match="Unsampled must define log_density"):
        fastcl.denoise(Unsampled(), [[1.0, 2.0]], 0.1)
