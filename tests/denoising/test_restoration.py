"""The noise of a photograph, estimated from it alone; the passes of half-quadratic splitting."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import fastcl
from fastcl.data import patches

PATCH = 3
TRANSFORM = fastcl.PatchTransform.fit(
    gaussian_filter(np.random.default_rng(0).standard_normal((600, PATCH, PATCH)), 0.7).reshape(
        600, -1
    )
)
PRIOR = fastcl.GaussianScaleMixture(np.eye(PATCH**2 - 1), [0.5, 1.5], [0.6, 0.4])


def image(name, shape=(150, 170)):
    rows, columns = np.indices(shape) / max(shape)
    if name == "flat":
        return np.full(shape, 0.4)
    if name == "gradient":
        return 0.2 + 0.3 * rows + 0.4 * columns
    if name == "edges":
        return np.where((8 * rows).astype(int) % 2 == (8 * columns).astype(int) % 2, 0.3, 0.7)
    # A fine weave, about twenty pixels per period.
    return 0.5 + 0.15 * np.sin(40 * rows) * np.cos(35 * columns + 3 * rows)


def noisy(clean, sigma, seed=0):
    return clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)


# ---- the noise -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [5 / 255, 25 / 255, 50 / 255])
@pytest.mark.parametrize("name", ["flat", "gradient", "edges", "weave"])
def test_the_noise_is_estimated_within_15_per_cent(name, sigma):
    # Of 25,000 values with correlated neighbours, the median alone is about 2 % off.
    assert fastcl.estimate_noise(noisy(image(name), sigma)) == pytest.approx(sigma, rel=0.15)


def hide(name, image, rng):
    """A noisy image with parts that hold no noise."""
    height, width = image.shape
    if name in ("40% of columns", "49% of columns"):
        chosen = rng.permutation(width)[: int(float(name[:2]) / 100 * width)]
        image[:, chosen] = 0
    elif name == "border":
        image[:, : width // 2] = 0
    elif name == "frame":
        image = np.pad(image, 80, constant_values=0.5)
    elif name == "repeated edge":
        image = np.pad(image, 80, mode="edge")
    elif name == "pixels":
        image[rng.random(image.shape) < 0.4] = 0
    elif name == "saturated":
        image[height // 3 :] += 0.7
        image = np.clip(image, 0, 1)
    elif name == "pixels twice":
        image = image.repeat(2, axis=0).repeat(2, axis=1)
    elif name == "bits":
        image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
        image[:60] = 255
    return image


@pytest.mark.parametrize(
    "name",
    [
        "40% of columns",
        "49% of columns",
        "border",
        "frame",
        "repeated edge",
        "pixels",
        "saturated",
        "pixels twice",
        "bits",
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_without_noise_do_not_count(rng, name, dtype):
    sigma = 25 / 255
    given = hide(name, noisy(image("weave", (300, 340)), sigma).astype(dtype), rng)
    # The estimate from "pixels" rests on a hundredth of the 3 x 3 windows.
    assert fastcl.estimate_noise(given) == pytest.approx(sigma, rel=0.1)


def test_many_estimates_have_the_right_mean():
    values = [
        fastcl.estimate_noise(noisy(image("flat", (60, 60)), 0.1, seed)) for seed in range(60)
    ]
    # 0.001 is the bias of a median of 3364 values.
    assert abs(np.mean(values) - 0.1) < 5 * np.std(values) / np.sqrt(60) + 0.001


def test_planes_and_straight_edges_are_not_noise():
    clean = image("gradient") + (np.arange(170) > 80) * 0.2 + (np.arange(150) > 30)[:, None] * 0.1
    assert fastcl.estimate_noise(noisy(clean, 1e-4)) == pytest.approx(1e-4, rel=0.1)


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_the_estimate_scales_with_the_image_and_forgets_a_constant(factor):
    given = noisy(image("weave"), 0.1)
    assert fastcl.estimate_noise(factor * given) == pytest.approx(
        factor * fastcl.estimate_noise(given), rel=1e-12
    )
    assert fastcl.estimate_noise(given + 0.3) == pytest.approx(
        fastcl.estimate_noise(given), rel=1e-10
    )
    assert fastcl.estimate_noise(given.T) == pytest.approx(fastcl.estimate_noise(given), rel=1e-10)


def test_integers_and_single_precision_are_on_the_same_scale():
    given = np.clip(noisy(image("gradient"), 25 / 255), 0, 1)
    exact = fastcl.estimate_noise(given)
    assert fastcl.estimate_noise(given.astype(np.float32)) == pytest.approx(exact, rel=1e-5)
    assert fastcl.estimate_noise(np.round(255 * given).astype(np.uint8)) == pytest.approx(
        exact, rel=0.02
    )
    assert fastcl.estimate_noise(np.round(65535 * given).astype(np.uint16)) == pytest.approx(
        exact, rel=0.001
    )


def test_the_estimate_is_that_of_the_mask_wherever_the_image_is(backend):
    mask = np.outer([1, -2, 1], [1, -2, 1]) / 6
    for shape in ((3, 3), (3, 8), (20, 31)):
        given = noisy(image("weave", shape), 0.1)
        values = [
            (given[i : i + 3, j : j + 3] * mask).sum()
            for i in range(shape[0] - 2)
            for j in range(shape[1] - 2)
        ]
        exact = np.median(np.abs(values)) / 0.6744897501960817
        assert fastcl.estimate_noise(backend.array(given)) == pytest.approx(exact, rel=1e-12)
        assert fastcl.estimate_noise(backend.array(given.astype(np.float32))) == pytest.approx(
            exact, rel=1e-5
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, 0.7, 1.0])
def test_a_constant_image_has_no_noise_to_estimate(level, dtype):
    with pytest.raises(ValueError, match="no noise to estimate: pass sigma"):
        fastcl.estimate_noise(np.full((20, 30), level, dtype))


def test_the_smallest_image_is_one_value_of_the_mask():
    given = np.zeros((3, 3))
    given[1, 1] = 0.6  # times 4 / 6
    assert fastcl.estimate_noise(given) == pytest.approx(0.4 / 0.6744897501960817)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((2, 9)), ValueError, "smaller"),
        (np.zeros((9, 9, 3)), ValueError, "colour"),
        (None, TypeError, "numbers"),
        (np.full((9, 9), np.nan), ValueError, "NaN"),
        (np.zeros((9, 9), complex), TypeError, "real"),
        ("x", TypeError, "numbers"),
    ],
)
def test_bad_images_are_named(bad, error, message):
    with pytest.raises(error, match=f"^signal .*{message}"):
        fastcl.estimate_noise(bad)


# ---- restoration ---------------------------------------------------------------------------------

MODEL = fastcl.SignalModel(TRANSFORM, PRIOR)


@pytest.mark.parametrize("estimator", ["mean", "map"])
def test_without_sigma_the_noise_is_estimated(estimator):
    given = noisy(image("weave", (30, 34)), 0.1)
    sigma = fastcl.estimate_noise(given)
    one, other, another = (
        fastcl.denoise_image(MODEL, given, s, estimator=estimator, n_iter=3)
        for s in (None, sigma, 1.2 * sigma)
    )
    np.testing.assert_array_equal(one, other)
    assert (one != another).any()


def test_an_image_without_noise_needs_sigma():
    flat = image("flat", (10, 12))
    with pytest.raises(ValueError, match="pass sigma"):
        fastcl.denoise_image(MODEL, flat)
    np.testing.assert_allclose(fastcl.denoise_image(MODEL, flat, 0.1), flat, rtol=1e-6)


def test_precisions_are_those_of_the_model(tmp_path):
    given = noisy(image("weave", (20, 24)), 0.1)
    results = {}
    for precisions in [(1.5, 4.0), (4.0, 1.5), (2.0,), (1.0, 4.0, 16)]:
        model = fastcl.SignalModel(TRANSFORM, PRIOR, precisions=precisions)
        assert model.precisions == precisions
        model.save(tmp_path / "m.npz")
        loaded = fastcl.load_prior(tmp_path / "m.npz")
        assert loaded.precisions == precisions
        results[precisions] = fastcl.denoise_image(model, given, 0.1)
        np.testing.assert_array_equal(fastcl.denoise_image(loaded, given, 0.1), results[precisions])
    values = list(results.values())
    assert all((values[i] != values[j]).any() for i in range(4) for j in range(i))
    default = fastcl.denoise_image(MODEL, given, 0.1)
    np.testing.assert_array_equal(results[1.5, 4.0], default)


def test_one_pass_is_written_out():
    """One pass is a weighted mean of the image and of the posterior means of its patches."""
    given, beta, sigma = noisy(image("gradient", (7, 8)), 0.1), 2.5, 0.1
    corners = [(i, j) for i in range(7 - PATCH + 1) for j in range(8 - PATCH + 1)]
    total, counts = np.zeros((7, 8)), np.zeros((7, 8))
    for i, j in corners:
        window = given[i : i + PATCH, j : j + PATCH].reshape(1, -1)
        coordinates, mean = TRANSFORM.forward(window)
        clean = PRIOR.posterior_mean(coordinates, sigma / np.sqrt(beta) / TRANSFORM.stds)
        total[i : i + PATCH, j : j + PATCH] += TRANSFORM.inverse(clean, mean).reshape(PATCH, PATCH)
        counts[i : i + PATCH, j : j + PATCH] += 1
    model = fastcl.SignalModel(TRANSFORM, PRIOR, precisions=[beta])
    expected = (given + beta * total) / (1 + beta * counts)
    np.testing.assert_allclose(
        fastcl.denoise_image(model, given, sigma, second_stage=False), expected, rtol=0, atol=1e-12
    )


def models():
    """Models with the kinds of priors that have CUDA kernels, for patches of side 2 and 3."""
    rng = np.random.default_rng(4)
    for side in (2, 3):
        dim = side**2 - 1
        roots = np.eye(dim) + 0.3 * rng.standard_normal((3, dim, dim))
        shapes = roots @ roots.swapaxes(1, 2)
        transform = fastcl.PatchTransform.fit(
            gaussian_filter(rng.standard_normal((600, side, side)), 0.7).reshape(600, -1)
        )
        scales = fastcl.GaussianScaleMixture(shapes[0], [0.5, 1.5], [0.6, 0.4])
        network = fastcl.MLPPrior(
            dim, (8, 16), rng=0, reference=fastcl.Gaussian(np.zeros(dim), np.eye(dim))
        )
        priors = {
            "one shape": scales,
            "network": fastcl.GaussianisedPrior(network, scales),
            "three shapes": fastcl.MixtureOfScaleMixtures(
                shapes, [0.5, 1.0, 1.5], rng.uniform(0.1, 1, (3, 3))
            ),
            "Gaussians": fastcl.GaussianMixture(
                [0.3, 0.7], 0.1 * rng.standard_normal((2, dim)), shapes[:2]
            ),
        }
        for name, prior in priors.items():
            yield pytest.param(fastcl.SignalModel(transform, prior), id=f"{name}, side {side}")


@pytest.mark.parametrize("settings", [{}, {"strength": 0.7}, {"estimator": "map"}], ids=str)
@pytest.mark.parametrize("model", list(models()))
def test_an_image_on_a_device_is_denoised_there(backend, monkeypatch, model, settings):
    settings = {"n_iter": 3, "second_stage": False, **settings}
    for dtype, shape, most in (
        (np.float32, (11, 8), 30),
        (np.float64, (5, 9), 1000),
        (np.float64, (3, 3), 1000),
    ):
        monkeypatch.setattr(patches, "DEVICE_CHUNK_PATCHES", most)
        given = noisy(image("weave", shape), 0.1).astype(dtype)
        expected = fastcl.denoise_image(model, given, 0.1, **settings)
        found = backend.host(fastcl.denoise_image(model, backend.array(given), 0.1, **settings))
        assert found.dtype == dtype
        assert np.abs(expected - given).max() > 0.001
        # About fifty roundings of numbers below one in each of two or three passes, magnified by
        # the division by the smallest standard deviation and the product with the largest.
        magnified = model.transform.stds.max() / model.transform.stds.min()
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=100 * magnified * np.finfo(dtype).eps
        )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_integers_on_a_device_are_photographs_and_their_noise_is_estimated(backend, kind):
    given = np.round(
        np.iinfo(kind).max * np.clip(noisy(image("weave", (13, 9)), 0.1), 0, 1)
    ).astype(kind)
    found = backend.host(fastcl.denoise_image(MODEL, backend.array(given)))
    # In single precision, in which the groups are.
    np.testing.assert_allclose(found, fastcl.denoise_image(MODEL, given), rtol=0, atol=1e-5)


def test_files_from_before_the_precisions_have_the_default():
    arrays = MODEL.to_arrays()
    del arrays["precisions"]
    assert fastcl.SignalModel.from_arrays(arrays).precisions == MODEL.precisions


@pytest.mark.parametrize("precisions", [(0.0,), (-1.0,), (1.0, np.nan), (np.inf,), ()])
def test_bad_precisions_are_named(precisions):
    with pytest.raises(ValueError, match=r"^precisions"):
        fastcl.SignalModel(TRANSFORM, PRIOR, precisions=precisions)


def test_noise_and_images_on_the_scale_of_255_are_refused():
    given = noisy(image("weave"), 0.1)
    with pytest.raises(ValueError, match="sigma must be on the scale of the image"):
        fastcl.denoise_image(MODEL, given, sigma=25)
    with pytest.raises(ValueError, match=r"noisy must hold floats in .* divide it by"):
        fastcl.denoise_image(MODEL, 255 * given, sigma=0.1)
    with pytest.raises(ValueError, match=r"images\[1\] must hold floats in .* divide it by"):
        fastcl.sketch_images([given, 255 * given], patch=4, m=10)
