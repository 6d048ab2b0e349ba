"""Photographs, made here of smooth fields and edges: the sketch of their patches, models, and denoising."""

from types import SimpleNamespace

import numpy as np
import pytest
from pictures import SIGMA, do_little, photograph, psnr, with_noise
from problems import threads

import fastcl
from fastcl.data import patches
from fastcl.data.patches import extract_patches
from fastcl.denoising import patch_model as images
from fastcl.denoising import patch_sketch
from fastcl.learning import adaptive
from fastcl.priors.chains import draw_samples

PATCH = 4
ESTIMATORS = ["mean", "map"]
NAMES = ["reference", "mixture", "network"]
METHODS = {
    "mixture": {"n_points": 500, "n_iter": 30, "n_components": 3},
    "network": {"method": "normalised", "widths": (16, 16), "n_points": 256, "n_iter": 20},
}


@pytest.fixture(scope="module")
def trained():
    """The sketch of some photographs and what it gives: the reference, a mixture, and a network times the reference."""
    with pytest.MonkeyPatch.context() as patch, threads(1):
        do_little(patch)
        sketch = fastcl.sketch_images([photograph(seed) for seed in range(4)], PATCH, m=40, rng=0)
        models = {
            name: fastcl.learn_patches(sketch, rng=0, **settings)
            for name, settings in METHODS.items()
        }
    return SimpleNamespace(
        sketch=sketch,
        models={"reference": fastcl.ImageModel(sketch.transform, sketch.reference)} | models,
    )


@pytest.fixture
def small_fit(monkeypatch):
    do_little(monkeypatch)
    monkeypatch.setattr(patch_sketch, "SUBSAMPLE", 2000)


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


# ---- the sketch --------------------------------------------------------------------------------------------------


def white_patches(image, transform):
    return transform.forward(extract_patches(image.astype(np.float32), transform.patch))[0]


def test_sketch_is_that_of_every_gaussianised_patch(small_fit, monkeypatch):
    monkeypatch.setattr(patch_sketch, "DITHER", 0)
    photographs = [photograph(0), photograph(1, (4, 31)), photograph(2, (4, 4))]
    result = fastcl.sketch_images(photographs, PATCH, m=50, rng=0)
    assert result.sketch.count == 37 * 45 + 28 + 1
    white = [white_patches(image, result.transform) for image in photographs]
    expected = fastcl.sketch(map(result.reference.gaussianise, white), result.sketch.omega)
    np.testing.assert_array_equal(result.sketch.values, expected.values)
    assert result.sketch.omega.shape == (50, PATCH**2 - 1)


def test_the_domain_of_the_sketch_is_the_normal_law(trained):
    domain = trained.sketch.sketch.domain
    np.testing.assert_array_equal(domain.means, np.zeros((1, PATCH**2 - 1)))
    np.testing.assert_array_equal(domain.covariances, np.eye(PATCH**2 - 1)[None])


def test_frequencies_are_chosen_on_patches_of_every_image(small_fit, monkeypatch):
    seen = []

    def scores(x, points, omega):
        seen.append(x)
        return np.ones(len(omega))

    monkeypatch.setattr(adaptive, "_scores", scores)
    monkeypatch.setattr(adaptive, "SCORED", 500)  # of the 2000 in the subsample
    rng = np.random.default_rng(0)
    loud, quiet = rng.random((40, 48)), 0.5 + 0.02 * rng.standard_normal((40, 48))
    fastcl.sketch_images([quiet, loud], PATCH, m=1, rng=0)
    lengths = np.linalg.norm(seen[0], axis=1)
    normal = np.sqrt(PATCH**2 - 1)
    assert (
        0.3 < (lengths > normal).mean() < 0.7
    )  # half the points that candidates are scored on come from either image


def test_sketch_does_not_depend_on_the_bands(small_fit, monkeypatch):
    photographs = [photograph(0), photograph(1, (20, 31))]
    whole = fastcl.sketch_images(photographs, PATCH, m=50, rng=0)
    monkeypatch.setattr(patches, "CHUNK_PATCHES", 100)
    parts = fastcl.sketch_images(photographs, PATCH, m=50, rng=0)
    assert parts.sketch.count == whole.sketch.count
    # The dither is drawn in the same order; white coordinates are single-precision sums of patch^2 products, magnified by
    # the smallest deviation, and a feature moves by at most |omega| of about 4 times that.
    rounding = PATCH**2 * np.finfo(np.float32).eps / whole.transform.stds.min()
    np.testing.assert_allclose(parts.sketch.values, whole.sketch.values, rtol=0, atol=4 * rounding)
    assert 4 * rounding < 0.01


def test_dither_is_uniform_over_one_grey_level():
    dithered = (
        patch_sketch._dither(np.full((200, 100), 0.5, np.float32), np.random.default_rng(0)) - 0.5
    )
    assert dithered.dtype == np.float32
    assert np.abs(dithered).max() <= 0.5 / 255 + 1e-7
    # 20000 draws: the mean is within five standard errors, the variance, of kurtosis 9/5, as well.
    assert abs(dithered.mean()) <= 5 / 255 / np.sqrt(12 * 20_000)
    assert abs(dithered.var() * 12 * 255**2 - 1) <= 5 * np.sqrt(0.8 / 20_000)


def test_rounding_to_grey_levels_does_not_leave_flat_patches(small_fit):
    # A dark ramp of few levels: most patches are constant, and without dither their coordinates are a lattice.
    image = np.round(np.linspace(0, 10, 40 * 48).reshape(40, 48)).astype(np.uint8)
    result = fastcl.sketch_images([image], PATCH, m=50, rng=0)
    # No axis is quieter than the dither, of deviation 1 / (255 sqrt(12)); a sample covariance of 2000 is 10 % off there.
    assert result.transform.stds.min() > 0.8 / 255 / np.sqrt(12)


def test_random_patches_are_patches_from_every_image(monkeypatch):
    monkeypatch.setattr(patch_sketch, "SUBSAMPLE", 300)
    flat = [np.full((10, 10), 0.25, np.float32), np.full((10, 30), 0.75, np.float32)]
    sample = patch_sketch._random_patches(
        patch_sketch.ImageList(flat, 4), 4, np.random.default_rng(0)
    )
    assert sample.shape[1] == 16
    assert (np.ptp(sample, axis=1) == 0).all()
    share = (sample[:, 0] == 0.25).mean()
    assert abs(share - 49 / (49 + 7 * 27)) < 0.01  # in proportion to the patches, rounded up
    positions = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    corners = patch_sketch._random_patches(
        patch_sketch.ImageList(positions, 4), 4, np.random.default_rng(0)
    )[:, 0]
    assert set(corners) == {
        10 * i + j for i in range(7) for j in range(7)
    }  # 300 draws of 49: missed with 49 exp(-300/49)


def test_gaussianised_patches_have_the_radii_of_normal_points(trained):
    white = np.concatenate(
        [white_patches(photograph(seed), trained.sketch.transform) for seed in range(4)]
    )
    squares = np.square(trained.sketch.reference.gaussianise(white)).sum(axis=1) / (PATCH**2 - 1)
    assert squares.mean() == pytest.approx(
        1, abs=0.3
    )  # without the dither, which fills the quiet directions


def test_integers_are_the_grey_levels_they_stand_for(small_fit):
    levels = np.round(255 * photograph(0)).astype(np.uint8)
    one, other = (
        fastcl.sketch_images([image], PATCH, m=20, rng=0) for image in (levels, levels / 255)
    )
    np.testing.assert_array_equal(one.sketch.values, other.sketch.values)


def test_sketch_follows_the_seed(small_fit):
    def values(rng):
        return fastcl.sketch_images([photograph(0)], PATCH, m=20, rng=rng).sketch.values

    np.testing.assert_array_equal(values(3), values(3))
    np.testing.assert_array_equal(values(3), values(np.random.default_rng(3)))
    assert (values(3) != values(4)).any()


# ---- learning ----------------------------------------------------------------------------------------------------


def test_learning_from_a_sketch_alone_gives_a_model(trained):
    for name in METHODS:
        model = trained.models[name]
        assert isinstance(model, fastcl.ImageModel)
        assert model.transform is trained.sketch.transform
        assert model.prior.dim == PATCH**2 - 1
        assert not model.interrupted
    network = trained.models["network"]
    assert isinstance(network.prior, fastcl.GaussianisedPrior)
    assert network.prior.prior.widths == (16, 16)
    assert network.density is None
    mixture = trained.models["mixture"]
    assert isinstance(mixture.prior, fastcl.MixtureOfScaleMixtures)
    assert len(mixture.prior.covariances) == 3
    assert isinstance(mixture.density, fastcl.GaussianisedPrior)
    assert mixture.density.reference is trained.sketch.reference
    np.testing.assert_array_equal(mixture.density.prior.omega, trained.sketch.sketch.omega)


def test_the_density_of_largest_entropy_has_the_moments_of_the_sketch(trained):
    sk, prior = trained.sketch.sketch, trained.models["mixture"].density.prior
    moments = fastcl.sketch(draw_samples(prior, 8000, rng=0, n_chains=4000), sk.omega).values
    off, base = np.abs(moments - sk.values), np.abs(sk.domain.sketch(sk.omega) - sk.values)
    assert np.sqrt((off**2).mean()) < 0.5 * np.sqrt((base**2).mean())


def test_the_mixture_is_fitted_to_the_density(trained):
    mixture, density = trained.models["mixture"].prior, trained.models["mixture"].density
    points = density.sample(8000, rng=1).astype(float)
    # Four thousand heavy-tailed points were fitted, others are drawn here.
    ours = np.einsum("k,kij->ij", mixture.term_weights, mixture.term_covariances)
    np.testing.assert_allclose(np.diag(ours), (points**2).mean(axis=0), rtol=0.3)
    gaussian = fastcl.Gaussian(np.zeros(mixture.dim), np.cov(points.T))
    assert mixture.log_density(points).mean() > gaussian.log_density(points).mean() + 1


@pytest.mark.parametrize("name", METHODS)
def test_no_steps_are_refused(trained, small_fit, monkeypatch, name):
    for default in ("N_ITER", "NETWORK_N_ITER"):
        monkeypatch.setattr(images, default, 2)
    with pytest.raises(ValueError, match=r"^n_iter must be at least 1"):
        fastcl.learn_patches(trained.sketch, **METHODS[name] | {"n_iter": 0})


@pytest.mark.parametrize(
    ("settings", "error", "name"),
    [
        ({"method": "grid"}, ValueError, "method"), ({"method": "best"}, ValueError, "method"),
        ({"n_iter": 2.5}, TypeError, "n_iter"),
        ({"n_points": 0}, ValueError, "n_points"), ({"ridge": 0}, ValueError, "ridge"), ({"rng": -1}, ValueError, "rng"),
        ({"widths": (4,)}, TypeError, "widths"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_settings_of_learning_are_named(trained, settings, error, name):
    with pytest.raises(error, match=name):
        fastcl.learn_patches(trained.sketch, **settings)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("mixture", "fastcl.priors.metric.WhitenedMetric.apply"),
        ("network", "fastcl.learning.objective.SketchMatching.gradient"),
    ],
)
def test_a_model_knows_that_its_learning_was_interrupted(
    trained, small_fit, monkeypatch, name, where
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    assert fastcl.learn_patches(trained.sketch, rng=0, **METHODS[name]).interrupted


def test_learning_lowers_the_objective(trained):
    prior, history = trained.models["network"].prior.prior, []
    fastcl.learn_patches(
        trained.sketch,
        widths=(16, 16),
        n_points=1024,
        n_iter=150,
        rng=0,
        method="naive",
        callback=lambda k, prior, value: history.append(value),
    )
    assert np.isfinite(prior.theta).all()
    assert np.mean(history[-20:]) < np.mean(history[:20])


@pytest.mark.parametrize("name", METHODS)
def test_learning_from_images_is_sketch_and_learning(small_fit, name):
    settings = METHODS[name] | {"n_points": 64, "n_iter": 5}
    model = fastcl.learn_image_prior([photograph(0)], PATCH, m=20, rng=5, **settings).to_arrays()
    rng = np.random.default_rng(5)
    sketch = fastcl.sketch_images([photograph(0)], PATCH, m=20, rng=rng)
    expected = fastcl.learn_patches(sketch, rng=rng, **settings).to_arrays()
    assert model.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(model[key], array)


# ---- denoising ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", NAMES)
def test_denoising_gains_decibels_on_a_held_out_photograph(trained, name, estimator):
    clean = photograph(100, (48, 40))
    noisy = with_noise(clean)
    denoised = fastcl.denoise_image(trained.models[name], noisy, SIGMA, estimator=estimator)
    assert denoised.shape == clean.shape
    assert psnr(clean, denoised) > psnr(clean, noisy) + 5  # 7 dB when written


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("shape", [(4, 4), (4, 30), (30, 4), (5, 4), (17, 23), (33, 6)])
def test_any_size_down_to_one_patch_is_denoised(trained, shape, estimator):
    clean = np.tile(photograph(101), (2, 2))[: shape[0], : shape[1]]
    noisy = with_noise(clean)
    denoised = fastcl.denoise_image(
        trained.models["reference"], noisy, SIGMA, estimator=estimator, n_iter=10
    )
    assert denoised.shape == shape
    assert psnr(clean, denoised) > psnr(clean, noisy)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_turned_photograph_of_a_turned_model_is_turned(trained, estimator):
    # Nothing in the way from image to patches and back may know rows from columns.
    transform = trained.sketch.transform
    turned = np.arange(PATCH**2).reshape(PATCH, PATCH).T.ravel()
    other = fastcl.ImageModel(
        fastcl.PatchTransform(PATCH, transform.axes[turned], transform.stds),
        trained.sketch.reference,
    )
    noisy = with_noise(photograph(102, (9, 13)))
    settings = {"estimator": estimator, "n_iter": 3}
    one = fastcl.denoise_image(trained.models["reference"], noisy, SIGMA, **settings)
    np.testing.assert_allclose(
        fastcl.denoise_image(other, noisy.T, SIGMA, **settings).T, one, rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", NAMES)
def test_a_constant_is_taken_out_and_put_back(trained, name, estimator):
    noisy, settings = with_noise(photograph(103, (12, 13))), {"estimator": estimator, "n_iter": 3}
    one, other = (
        fastcl.denoise_image(trained.models[name], noisy + shift, SIGMA, **settings)
        for shift in (0, 0.5)
    )
    np.testing.assert_allclose(other - 0.5, one, rtol=0, atol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_little_noise_leaves_the_photograph_alone(trained, estimator):
    image = photograph(104, (20, 20))
    for model in trained.models.values():
        np.testing.assert_allclose(
            fastcl.denoise_image(model, image, 1e-6, estimator=estimator), image, atol=1e-6
        )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", NAMES)
def test_bands_do_not_show(trained, monkeypatch, name, estimator):
    noisy, settings = with_noise(photograph(105, (20, 24))), {"estimator": estimator, "n_iter": 5}
    whole = fastcl.denoise_image(trained.models[name], noisy, SIGMA, **settings)
    monkeypatch.setattr(patches, "CHUNK_PATCHES", 50)
    banded = fastcl.denoise_image(trained.models[name], noisy, SIGMA, **settings)
    # Products of another number of rows may round otherwise, some 1e3 times EPS; the descent magnifies by its condition.
    np.testing.assert_allclose(banded, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", NAMES)
def test_single_precision_stays_single_precision(trained, name, estimator):
    noisy, settings = with_noise(photograph(106, (16, 17))), {"estimator": estimator, "n_iter": 5}
    exact = fastcl.denoise_image(trained.models[name], noisy, SIGMA, **settings)
    rounded = fastcl.denoise_image(
        trained.models[name], noisy.astype(np.float32), SIGMA, **settings
    )
    assert (exact.dtype, rounded.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=0.1 / 255)  # a tenth of a grey level


def test_integers_are_denoised_as_grey_levels(trained):
    levels = np.round(255 * np.clip(with_noise(photograph(107)), 0, 1)).astype(np.uint8)
    denoised = fastcl.denoise_image(trained.models["reference"], levels, SIGMA)
    np.testing.assert_array_equal(
        denoised, fastcl.denoise_image(trained.models["reference"], levels / 255, SIGMA)
    )


def test_more_strength_is_smoother(trained):
    noisy = with_noise(photograph(108))
    rough = [
        np.abs(
            np.diff(
                fastcl.denoise_image(trained.models["reference"], noisy, SIGMA, strength, "map"),
                axis=0,
            )
        ).sum()
        for strength in (0.3, 1.0, 3.0)
    ]
    assert rough[0] > rough[1] > rough[2]


def test_denoising_follows_the_seed(trained):
    noisy = with_noise(photograph(109, (16, 17)))

    def denoise(rng):
        return fastcl.denoise_image(trained.models["network"], noisy, SIGMA, rng=rng)

    np.testing.assert_array_equal(denoise(3), denoise(3))
    assert (denoise(3) != denoise(4)).any()


def test_input_is_left_alone(trained):
    noisy = with_noise(photograph(110, (16, 17)))
    given = noisy.copy()
    fastcl.denoise_image(trained.models["network"], noisy, SIGMA)
    np.testing.assert_array_equal(noisy, given)


# ---- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_denoises_to_the_same_bits(trained, tmp_path, name):
    noisy, path = with_noise(photograph(111, (16, 17))), tmp_path / "model.npz"
    trained.models[name].save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.npz"]
    for estimator in ESTIMATORS:
        one, other = (
            fastcl.denoise_image(model, noisy, SIGMA, estimator=estimator, n_iter=3)
            for model in (trained.models[name], fastcl.load_prior(path))
        )
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_sketch_learns_to_the_same_bits(trained, small_fit, tmp_path, name):
    trained.sketch.save(tmp_path / "s.npz")
    loaded = fastcl.load(tmp_path / "s.npz")
    assert isinstance(loaded, fastcl.PatchSketch)
    assert loaded.sketch.count == trained.sketch.sketch.count
    settings = METHODS[name] | {"n_points": 64, "n_iter": 3}
    one, other = (
        fastcl.learn_patches(sketch, rng=0, **settings).to_arrays()
        for sketch in (trained.sketch, loaded)
    )
    for key, array in one.items():
        np.testing.assert_array_equal(other[key], array)


# ---- bad input ---------------------------------------------------------------------------------------------------


BAD_IMAGES = [
    (np.zeros((3, 9)), ValueError, "smaller than a patch of 4 x 4"), (np.zeros((9, 9, 3)), ValueError, "colour"),
    (np.zeros((9, 9, 4)), ValueError, "alpha"), (np.full((9, 9), np.nan), ValueError, "NaN"),
    (np.zeros(9), ValueError, "grey image"), ("photograph", TypeError, "numbers"), (None, TypeError, "numbers"),
    (np.zeros((9, 9), complex), TypeError, "real"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "error", "message"), BAD_IMAGES)
def test_bad_images_are_named(trained, bad, error, message):
    with pytest.raises(error, match=f"^noisy .*{message}"):
        fastcl.denoise_image(trained.models["reference"], bad, SIGMA)
    with pytest.raises(error, match=rf"^images\[1\] .*{message}"):
        fastcl.sketch_images([photograph(0), bad], PATCH)


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"images": []}, ValueError, "images is empty"), ({"images": photograph(0)}, ValueError, r"pass \[image\]"),
        ({"patch": 1}, ValueError, "patch"), ({"patch": 4.0}, TypeError, "patch"), ({"m": 0}, ValueError, "m "),
        ({"m": 2.5}, TypeError, "m "), ({"rng": "0"}, TypeError, "rng"), ({"rng": -1}, ValueError, "rng"),
    ],
    ids=lambda value: " ".join(f"{k}={str(v)[:9]}" for k, v in value.items()) if isinstance(value, dict) else None,
)  # fmt: skip
def test_bad_arguments_of_the_sketch_are_named(arguments, error, name):
    with pytest.raises(error, match=f"^{name}|{name}$"):
        fastcl.sketch_images(**{"images": [photograph(0)], "patch": PATCH} | arguments)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("sigma", 0, ValueError), ("sigma", -1.0, ValueError), ("sigma", np.nan, ValueError), ("sigma", "1", TypeError),
        ("sigma", [1.0], TypeError), ("strength", 0, ValueError), ("strength", None, TypeError), ("n_samples", 0, ValueError),
        ("n_iter", 0, ValueError), ("n_iter", 2.5, TypeError), ("model", None, TypeError),
        ("model", fastcl.Gaussian(np.zeros(15), np.eye(15)), TypeError), ("model", fastcl.MLPPrior(15, (4,)), TypeError),
    ],
    ids=str,
)  # fmt: skip
def test_bad_arguments_of_denoising_are_named(trained, estimator, name, value, error):
    arguments = {
        "model": trained.models["network"],
        "noisy": photograph(0),
        "sigma": SIGMA,
        "estimator": estimator,
    }
    with pytest.raises(error, match=f"^{name} "):
        fastcl.denoise_image(**arguments | {name: value})


def test_an_unknown_estimator_is_named(trained):
    with pytest.raises(ValueError, match="estimator must be one of"):
        fastcl.denoise_image(trained.models["network"], photograph(0), SIGMA, estimator="median")


def test_a_prior_that_does_not_fit_the_patches_is_refused(trained):
    for prior in (fastcl.MLPPrior(5, (4,), rng=0), fastcl.Gaussian(np.zeros(5), np.eye(5))):
        with pytest.raises(ValueError, match=r"prior.*dimension"):
            fastcl.ImageModel(trained.sketch.transform, prior)
