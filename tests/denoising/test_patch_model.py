"""Learning from the sketch of patches, models in files, and what is refused."""

import numpy as np
import pytest
from pictures import LEARNING, PATCH, SIGMA, photograph, with_noise

import fastcl
from fastcl.denoising import patch_model
from fastcl.priors.chains import draw_samples

pytestmark = pytest.mark.usefixtures("one_thread")

ESTIMATORS = ["mean", "map"]
NAMES = ["reference", *LEARNING]


def test_learning_from_a_sketch_alone_gives_a_model(trained):
    for name in LEARNING:
        model = trained.models[name]
        assert isinstance(model, fastcl.SignalModel)
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


def test_the_maximum_entropy_density_has_the_moments_of_the_sketch(trained):
    sk, prior = trained.sketch.sketch, trained.models["mixture"].density.prior
    moments = fastcl.sketch(draw_samples(prior, 8000, rng=0, n_chains=4000), sk.omega).values
    off, base = np.abs(moments - sk.values), np.abs(sk.domain.sketch(sk.omega) - sk.values)
    assert np.sqrt((off**2).mean()) < 0.5 * np.sqrt((base**2).mean())


def test_the_mixture_is_fitted_to_the_density(trained):
    mixture, density = trained.models["mixture"].prior, trained.models["mixture"].density
    points = density.sample(8000, rng=1).astype(float)
    # It was fitted to four thousand heavy-tailed points; these are others.
    ours = np.einsum("k,kij->ij", mixture.term_weights, mixture.term_covariances)
    np.testing.assert_allclose(np.diag(ours), (points**2).mean(axis=0), rtol=0.3)
    gaussian = fastcl.Gaussian(np.zeros(mixture.dim), np.cov(points.T))
    assert mixture.log_density(points).mean() > gaussian.log_density(points).mean() + 1


@pytest.mark.parametrize("name", LEARNING)
def test_no_steps_are_refused(trained, small_fit, monkeypatch, name):
    monkeypatch.setattr(patch_model, "N_ITER", 2)
    monkeypatch.setattr(patch_model, "NETWORK_N_ITER", {"unbiased": 2})
    with pytest.raises(ValueError, match=r"^n_iter must be at least 1"):
        fastcl.learn_patches(trained.sketch, **LEARNING[name] | {"n_iter": 0})


@pytest.mark.parametrize(
    ("settings", "error", "name"),
    [
        ({"method": "grid"}, ValueError, "method"), ({"method": "best"}, ValueError, "method"),
        ({"n_iter": 2.5}, TypeError, "n_iter"),
        ({"n_points": 0}, ValueError, "n_points"), ({"n_samples": 0}, ValueError, "n_samples"),
        ({"ridge": 0}, ValueError, "ridge"), ({"rng": -1}, ValueError, "rng"),
        ({"widths": (4,)}, TypeError, "widths"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_settings_of_learning_are_named(trained, settings, error, name):
    with pytest.raises(error, match=name):
        fastcl.learn_patches(trained.sketch, **settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_iters": 1}, TypeError, r"unknown setting 'n_iters': did you mean 'n_iter'\?"),
        ({"xyz": 1}, TypeError, r"unknown setting 'xyz': it is none of \[.*'n_iter'"),
        ({"widths": (4,)}, TypeError, "unknown setting 'widths'"),
        ({"ridge": 0.1, "method": "naive"}, TypeError, "unknown setting 'ridge'"),
        ({"n_iter": 0}, ValueError, "n_iter must be at least 1"),
        ({"n_components": 0}, ValueError, "n_components must be at least 1"),
        ({"method": "grid"}, ValueError, "method must be one of"),
    ],
    ids=str,
)
def test_settings_are_checked_before_the_images_are_read(monkeypatch, settings, error, message):
    monkeypatch.setattr(patch_model, "sketch_images", lambda *given, **named: pytest.fail("read"))
    with pytest.raises(error, match=message):
        fastcl.learn_image_prior([photograph(0)], PATCH, m=20, **settings)


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
    assert fastcl.learn_patches(trained.sketch, rng=0, **LEARNING[name]).interrupted


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


@pytest.mark.parametrize("name", LEARNING)
def test_learning_from_images_is_sketch_and_learning(small_fit, name):
    settings = LEARNING[name] | {"n_points": 64, "n_iter": 5}
    model = fastcl.learn_image_prior([photograph(0)], PATCH, m=20, rng=5, **settings).to_arrays()
    rng = np.random.default_rng(5)
    sketch = fastcl.sketch_images([photograph(0)], PATCH, m=20, rng=rng)
    expected = fastcl.learn_patches(sketch, rng=rng, **settings).to_arrays()
    assert model.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(model[key], array)


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_denoises_bitwise_identically(trained, tmp_path, name):
    noisy, path = with_noise(photograph(111, (16, 17))), tmp_path / "model.npz"
    trained.models[name].save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.npz"]
    for estimator in ESTIMATORS:
        one, other = (
            fastcl.denoise_image(model, noisy, SIGMA, estimator=estimator, n_iter=3)
            for model in (trained.models[name], fastcl.load_prior(path))
        )
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", LEARNING)
def test_a_saved_sketch_learns_bitwise_identically(trained, small_fit, tmp_path, name):
    trained.sketch.save(tmp_path / "s.npz")
    loaded = fastcl.load(tmp_path / "s.npz")
    assert isinstance(loaded, fastcl.PatchSketch)
    assert loaded.sketch.count == trained.sketch.sketch.count
    settings = LEARNING[name] | {"n_points": 64, "n_iter": 3}
    one, other = (
        fastcl.learn_patches(sketch, rng=0, **settings).to_arrays()
        for sketch in (trained.sketch, loaded)
    )
    for key, array in one.items():
        np.testing.assert_array_equal(other[key], array)


# ---- bad input -----------------------------------------------------------------------------------


BAD_IMAGES = [
    (np.zeros((3, 9)), ValueError, "smaller than a patch of 4 x 4"),
    (np.zeros((9, 9, 3)), ValueError, "colour"),
    (np.zeros((9, 9, 4)), ValueError, "alpha"),
    (np.full((9, 9), np.nan), ValueError, "NaN"),
    (np.zeros(9), ValueError, "grey image"),
    ("photograph", TypeError, "numbers"),
    (None, TypeError, "numbers"),
    (np.zeros((9, 9), complex), TypeError, "real"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_IMAGES)
def test_bad_images_are_named(trained, bad, error, message):
    with pytest.raises(error, match=f"^noisy .*{message}"):
        fastcl.denoise_image(trained.models["reference"], bad, SIGMA)
    with pytest.raises(error, match=rf"^images\[1\] .*{message}"):
        fastcl.sketch_images([photograph(0), bad], PATCH)


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"images": []}, ValueError, "images is empty"),
        ({"images": photograph(0)}, ValueError, r"pass \[image\]"),
        ({"patch": 1}, ValueError, "patch"),
        ({"patch": 4.0}, TypeError, "patch"),
        ({"m": 0}, ValueError, "m "),
        ({"m": 2.5}, TypeError, "m "),
        ({"subsample": 0}, ValueError, "subsample "),
        ({"effort": 3}, TypeError, "effort "),
        ({"rng": "0"}, TypeError, "rng"),
        ({"rng": -1}, ValueError, "rng"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_bad_arguments_of_the_sketch_are_named(arguments, error, name):
    with pytest.raises(error, match=f"^{name}|{name}$"):
        fastcl.sketch_images(**{"images": [photograph(0)], "patch": PATCH} | arguments)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("sigma", 0, ValueError),
        ("sigma", -1.0, ValueError),
        ("sigma", np.nan, ValueError),
        ("sigma", "1", TypeError),
        ("sigma", [1.0, 2.0], ValueError),
        ("strength", 0, ValueError),
        ("strength", None, TypeError),
        ("n_samples", 0, ValueError),
        ("n_iter", 0, ValueError),
        ("n_iter", 2.5, TypeError),
        ("model", None, TypeError),
        ("model", fastcl.Gaussian(np.zeros(15), np.eye(15)), TypeError),
        ("model", fastcl.MLPPrior(15, (4,)), TypeError),
    ],
    ids=str,
)
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
            fastcl.SignalModel(trained.sketch.transform, prior)


def test_a_model_takes_densities_alone(trained):
    for thing in (None, fastcl.Box(np.zeros(15), np.ones(15))):
        with pytest.raises(TypeError, match=r"^prior must be a fastcl\.Prior"):
            fastcl.SignalModel(trained.sketch.transform, thing)


def test_a_sketch_with_another_reference_is_not_learned_from(trained):
    normal = fastcl.Gaussian(np.zeros(PATCH**2 - 1), np.eye(PATCH**2 - 1))
    sketch = fastcl.PatchSketch(trained.sketch.transform, normal, trained.sketch.sketch)
    for method in ("max_entropy", "unbiased"):
        with pytest.raises(ValueError, match="has no Gaussian scale mixture"):
            fastcl.learn_patches(sketch, method)


@pytest.fixture(scope="module")
def truncated():
    """(sketch of 6 of 24 axes, its model, an image): texture, which is strong along all axes."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:60, :90] / 10.0
    smooth = 0.5 + 0.05 * np.sin(rows + columns / 3)
    texture = np.where(columns > 5, rng.standard_normal((60, 90)) / 6, 0)
    image = np.stack([smooth + texture, smooth + texture / 2, smooth**2 + texture], axis=-1)
    image = np.clip(image, 0, 1)
    sketch = fastcl.sketch_images([image], 3, 60, 0, channel_axis=-1, dim=6, subsample=4000)
    model = fastcl.learn_patches(sketch, rng=0, n_iter=5, n_components=4, n_samples=4000)
    return sketch, model, image


@pytest.mark.slow
def test_axes_beyond_the_sketch_are_the_tail_of_the_mixture(truncated, tmp_path):
    sketch, model, image = truncated
    assert (sketch.transform.dim, sketch.pilot.head_dim, sketch.pilot.dim) == (6, 6, 24)
    assert (model.transform.dim, model.prior.head_dim, model.prior.dim) == (24, 6, 24)
    assert model.density.dim == 6
    patches = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1)).reshape(-1, 27)
    white = model.transform.whiten(patches)
    prior = model.prior
    # A patch of texture has long coordinates along all axes: a tail of one size says less.
    head = fastcl.MixtureOfScaleMixtures(prior.covariances, prior.scales, prior.weights)
    normal = fastcl.Gaussian(np.zeros(18), np.eye(18))
    apart = head.log_density(white[:, :6]) + normal.log_density(white[:, 6:])
    assert prior.log_density(white).mean() > apart.mean() + 2
    sketch.save(tmp_path / "sketch.npz")
    again = fastcl.learn_patches(
        fastcl.load(tmp_path / "sketch.npz"), rng=0, n_iter=5, n_components=4, n_samples=4000
    )
    np.testing.assert_array_equal(again.prior.tails, model.prior.tails)


@pytest.mark.slow
def test_a_network_leaves_the_tail_to_the_transform(truncated):
    sketch, _, image = truncated
    settings = {"method": "naive", "widths": (4,), "n_iter": 2, "n_points": 100}
    model = fastcl.learn_patches(sketch, rng=0, **settings)
    assert model.transform is sketch.transform
    noisy = image + 0.05
    assert np.isfinite(fastcl.denoise_image(model, noisy, 0.05, second_stage=False)).all()


def test_a_pilot_of_other_axes_is_refused(truncated):
    sketch, _, _ = truncated
    parts = sketch.transform, sketch.reference, sketch.sketch
    for pilot, message in (
        (fastcl.MixtureOfScaleMixtures([np.eye(5)], [1.0], [[1.0]], np.ones((1, 19))), "share"),
        (fastcl.MixtureOfScaleMixtures([np.eye(6)], [1.0], [[1.0]], np.ones((1, 17))), "axes"),
    ):
        with pytest.raises(ValueError, match=message):
            fastcl.PatchSketch(*parts, pilot=pilot)
