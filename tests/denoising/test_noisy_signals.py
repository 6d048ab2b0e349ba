"""Priors learned from noisy signals, whose noise is known to the fit and no part of the prior."""

import numpy as np
import pytest
from pictures import MIN_SEARCH

import fastcl
from fastcl.data.patches import extract_patches
from fastcl.denoising.noisy_signals import AddedNoise
from fastcl.measures.scale_mixture_noise import maximise_without_noise, noisy_responsibilities
from fastcl.measures.scale_mixtures import MixtureOfScaleMixtures

COVARIANCES = [[[4.0, 0.5], [0.5, 0.1]], [[0.2, 0.0], [0.0, 3.0]]]
MIXTURE = MixtureOfScaleMixtures(COVARIANCES, [0.3, 1.0], [[0.2, 0.3], [0.4, 0.1]])
NOISE = np.array([0.5, 0.3])


def noisy_points(n, rng):
    return MIXTURE.sample(n, rng) + NOISE * rng.standard_normal((n, 2))


def in_loops(mixture, y, noise):
    """One step of expectation-maximisation, term by term, with the posterior of every point."""
    k, n_scales = mixture.weights.shape
    terms = mixture.term_covariances.reshape(k, n_scales, 2, 2)
    logs = np.empty((len(y), k, n_scales))
    for a in range(k):
        for b in range(n_scales):
            whole = terms[a, b] + np.diag(noise**2)
            logs[:, a, b] = np.log(mixture.weights[a, b]) - np.linalg.slogdet(whole)[1] / 2
            logs[:, a, b] -= (y * np.linalg.solve(whole, y.T).T).sum(axis=1) / 2
    shares = np.exp(logs - logs.max(axis=(1, 2), keepdims=True))
    shares /= shares.sum(axis=(1, 2), keepdims=True)
    covariances = np.zeros((k, 2, 2))
    for a in range(k):
        for b in range(n_scales):
            gain = terms[a, b] @ np.linalg.inv(terms[a, b] + np.diag(noise**2))
            mean, rest = y @ gain.T, terms[a, b] - gain @ terms[a, b]
            second = (shares[:, a, b, None] * mean).T @ mean + shares[:, a, b].sum() * rest
            covariances[a] += second / mixture.scales[b] ** 2
        covariances[a] /= shares[:, a].sum()
    return covariances, shares


def test_a_step_equals_that_of_the_posteriors_in_loops(rng):
    y = noisy_points(300, rng)
    covariances, shares = in_loops(MIXTURE, y, NOISE)
    np.testing.assert_allclose(noisy_responsibilities(MIXTURE, y, NOISE), shares, atol=1e-12)
    found, counts = maximise_without_noise(MIXTURE, y, NOISE)
    np.testing.assert_allclose(found, covariances, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(counts, shares.sum(axis=0), rtol=1e-12)


def test_a_fit_finds_the_distribution_behind_the_noise(rng):
    y, held = noisy_points(40_000, rng), MIXTURE.sample(5000, rng)
    settings = {"n_components": 2, "n_iter": 60, "rng": 0}
    known = MixtureOfScaleMixtures.fit(y, noise=NOISE, **settings)
    unknown = MixtureOfScaleMixtures.fit(y, **settings)
    best = MIXTURE.log_density(held).mean()
    assert known.log_density(held).mean() > best - 0.1
    assert known.log_density(held).mean() > unknown.log_density(held).mean() + 0.2
    again = MixtureOfScaleMixtures.fit(y, noise=NOISE, **settings)
    np.testing.assert_array_equal(again.covariances, known.covariances)


def test_a_tail_loses_its_noise_too(rng):
    n, noise = 30_000, 0.4
    sizes = rng.choice([0.5, 2.0], n)[:, None]
    x = np.column_stack(
        [sizes * rng.standard_normal((n, 2)), 0.3 * sizes * rng.standard_normal((n, 1))]
    )
    y = x + noise * rng.standard_normal(x.shape)
    settings = {"n_components": 1, "n_scales": 6, "n_iter": 40, "rng": 0, "n_tail": 1}
    mixture = MixtureOfScaleMixtures.fit(y, noise=noise, **settings)
    variances = np.einsum("t,tii->i", mixture.term_weights, mixture.term_covariances)
    np.testing.assert_allclose(variances, x.var(axis=0), rtol=0.06)


def test_one_scale_keeps_its_size(rng):
    x = rng.standard_normal((5000, 3)) * [1.0, 2.0, 0.5]
    y = x + 0.5 * rng.standard_normal(x.shape)
    mixture = MixtureOfScaleMixtures.fit(y, 1, 1, rng=0, noise=0.5)
    found = np.sqrt(np.diag(mixture.term_covariances[0]))
    np.testing.assert_allclose(found, [1.0, 2.0, 0.5], rtol=0.1)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (0.0, "noise must be above zero"),
        ([0.1], r"noise must have shape \(2,\)"),
        (np.nan, "noise"),
        (1e-300, "noise must be from 1e-150"),
    ],
)
def test_bad_noise_of_a_fit_is_named(rng, noise, message):
    with pytest.raises(ValueError, match=message):
        MixtureOfScaleMixtures.fit(noisy_points(100, rng), 2, noise=noise)


# ---- signals ------------------------------------------------------------------------------------

SIGMA = 0.1
QUICK = {"patch": 4, "m": 200, "effort": MIN_SEARCH, "rng": 0}


def waves(rng, count, shape=(96, 96)):
    """Smooth pictures in [0, 1] with edges."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pictures = []
    for _ in range(count):
        a, b, c = rng.uniform(0.05, 0.3, 3)
        wave = np.sin(a * rows + b * columns) + np.sign(np.sin(c * rows - a * columns))
        pictures.append(0.5 + 0.2 * wave)
    return pictures


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    clean = waves(rng, 6)
    noisy = [image + SIGMA * rng.standard_normal(image.shape) for image in clean]
    settings = QUICK | {"n_components": 6, "n_samples": 20_000, "n_iter": 40, "n_points": 2000}
    return {
        "clean": fastcl.learn_image_prior(clean, **settings),
        "noise known": fastcl.learn_image_prior(noisy, noise=SIGMA, **settings),
        "as it is": fastcl.learn_image_prior(noisy, **settings),
    }


def test_a_prior_of_noisy_photographs_denoises_as_one_of_clean_ones(models):
    rng = np.random.default_rng(1)
    (clean,) = waves(rng, 1)
    for sigma in (SIGMA, 2 * SIGMA):
        noisy = clean + sigma * rng.standard_normal(clean.shape)
        error = {
            name: np.square(fastcl.denoise_image(model, noisy, sigma, second_stage=False) - clean)
            for name, model in models.items()
        }
        mean = {name: squares.mean() for name, squares in error.items()}
        assert mean["noise known"] < 1.25 * mean["clean"]
        assert mean["noise known"] < 0.9 * mean["as it is"]


def test_the_noise_of_a_sketch_survives_its_file(tmp_path):
    images = [image + 0.1 for image in waves(np.random.default_rng(0), 2, (40, 40))]
    sketch = fastcl.sketch_images(images, noise=0.05, **QUICK)
    assert sketch.noise == 0.05
    sketch.save(tmp_path / "s.npz")
    loaded = fastcl.load(tmp_path / "s.npz")
    assert loaded.noise == 0.05
    assert fastcl.sketch_images(images, **QUICK).noise == 0
    with pytest.raises(ValueError, match="method must be 'max_entropy' for noisy signals"):
        fastcl.learn_patches(loaded, method="unbiased")
    settings = {"n_iter": 2, "n_components": 2, "n_samples": 500, "n_points": 200, "rng": 0}
    one, other = (fastcl.learn_patches(each, **settings) for each in (sketch, loaded))
    np.testing.assert_array_equal(one.prior.covariances, other.prior.covariances)


def test_axes_beyond_the_sketch_lose_their_noise(rng):
    clean = waves(rng, 4)
    noisy = [image + SIGMA * rng.standard_normal(image.shape) for image in clean]
    settings = QUICK | {"dim": 8, "n_iter": 5, "n_components": 3, "n_samples": 20_000}
    model = fastcl.learn_signal_prior(noisy, noise=SIGMA, **settings)
    assert model.prior.dim == 15
    assert model.prior.head_dim == 8
    patches = np.concatenate([extract_patches(i[None], (4, 4)) for i in clean])
    expected = model.transform.whiten(patches).var(axis=0)
    mixture = model.prior
    found = np.einsum("t,tii->i", mixture.term_weights, mixture.term_covariances)
    noise = (SIGMA / model.transform.stds) ** 2
    # Of the last axes almost all is noise; what is left of it is small.
    assert np.abs(found - expected)[8:].max() < 0.15
    assert (noise[8:] > 0.5).any()


def test_signals_with_different_noise_get_that_of_the_noisiest(rng):
    clean = waves(rng, 4)
    levels = [0.02, 0.0, 0.1, 0.05]
    noisy = [i + s * rng.standard_normal(i.shape) for i, s in zip(clean, levels, strict=True)]
    sketch = fastcl.sketch_images(noisy, noise=levels, **QUICK)
    assert sketch.noise == 0.1
    even = [image + 0.1 * rng.standard_normal(image.shape) for image in clean]
    expected = fastcl.Sketch(sketch.sketch.omega)
    for image in even:
        patches = extract_patches(image.astype(np.float32)[None], (4, 4))
        patches += (rng.random(patches.shape, np.float32) - np.float32(0.5)) / 255
        expected.update(sketch.scale_mixture.gaussianise(sketch.transform.whiten(patches)))
    # Both have noise of their own: a moment of 34,000 patches, which overlap, errs by 0.02 or so.
    np.testing.assert_allclose(sketch.sketch.values, expected.values, atol=0.05)
    uneven = fastcl.sketch_images(noisy, noise=0.1, **QUICK)
    assert np.abs(uneven.sketch.values - sketch.sketch.values).max() > 0.05


def test_a_pass_over_signals_with_different_noise_resumes(tmp_path, rng):
    images = [image + 0.1 for image in waves(rng, 3, (30, 30))]
    settings = QUICK | {"noise": [0.05, 0.1, 0.0]}
    unbroken = fastcl.sketch_images(images, **settings)
    settings |= {"checkpoint": tmp_path / "s.npz", "checkpoint_every": 500}
    opened = Stopping(images, 1)
    with pytest.raises(KeyboardInterrupt):
        fastcl.sketch_images(opened, **settings)
    assert 0 < fastcl.load(tmp_path / "s.npz").sketch.count < unbroken.sketch.count
    opened.left = np.inf
    resumed = fastcl.sketch_images(opened, **settings)
    np.testing.assert_array_equal(resumed.sketch.values, unbroken.sketch.values)
    assert resumed.noise == unbroken.noise == 0.1
    with pytest.raises(ValueError, match="belongs to other settings"):
        fastcl.sketch_images(opened, **settings | {"noise": 0.1})


class Stopping:
    """Images that are interrupted when the last one is opened for the third time."""

    def __init__(self, images, left):
        self.images = images
        self.shapes = [image.shape for image in images]
        self.left = left

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index == len(self) - 1:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return self.images[index]

    def describe(self):
        return "images"


def test_noise_is_estimated_from_the_signals_with_the_least_texture(rng):
    smooth = waves(rng, 5)
    rough = [image + 0.05 * rng.standard_normal(image.shape) for image in waves(rng, 5)]
    noisy = [image + 0.08 * rng.standard_normal(image.shape) for image in smooth + rough]
    sketch = fastcl.sketch_images(noisy, noise="estimate", **QUICK)
    assert sketch.noise == pytest.approx(0.08, rel=0.1)
    # Without noise and texture in half of them, nothing is taken out.
    ramp = np.add.outer(np.arange(96), np.arange(96)) / 256
    least = min(map(fastcl.estimate_noise, noisy))
    assert fastcl.sketch_images([ramp, *noisy], noise="estimate", **QUICK).noise == least
    assert fastcl.sketch_images([ramp] * 5 + noisy[:5], noise="estimate", **QUICK).noise == 0


def test_a_channel_without_noise_does_not_hide_that_of_the_others(rng):
    (clean,) = waves(rng, 1)
    colour = np.stack([clean + 0.1 * rng.standard_normal(clean.shape), np.zeros_like(clean)], -1)
    settings = QUICK | {"noise": "estimate", "channel_axis": -1}
    assert fastcl.sketch_images([colour], **settings).noise == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("sigma", np.random.default_rng(0).uniform(0, 1, 50))
def test_signals_with_the_same_noise_get_no_more(rng, sigma):
    patches = rng.standard_normal((10, 4)).astype(np.float32)
    added = AddedNoise(0.0, np.full(3, sigma))
    assert added.complete(patches, 1, rng) is patches


@pytest.mark.parametrize(
    ("noise", "error", "message"),
    [
        (-0.1, ValueError, "noise must be zero or above"),
        (np.nan, ValueError, "noise must be zero or above"),
        (np.inf, ValueError, "noise must be zero or above"),
        ([0.1, -0.1], ValueError, "noise must be zero or above for all signals, got -0.1"),
        ([0.1, np.nan], ValueError, "noise holds NaN or infinity"),
        ([0.1] * 3, ValueError, "noise must be a number, or one for each of 2 images, got 3"),
        ([0.1], ValueError, "noise must be a number, or one for each of 2 images, got 1"),
        ([[0.1]], ValueError, "noise must have shape"),
        ("guess", ValueError, "noise must be a number, one per signal, or 'estimate', got 'guess'"),
        (None, TypeError, "noise must be a number"),
        (1e-300, ValueError, "noise must be from 1e-18"),
        ([0.1, 1e-30], ValueError, "noise must be from 1e-18"),
        ([], ValueError, "noise must be a number, or one for each of 2 images, got 0"),
        (
            10,
            ValueError,
            r"noise of 10 is more than images\[0\] can have, whose standard deviation",
        ),
        ([0.1, 3], ValueError, r"noise of 3 is more than images\[1\] can have, whose standard dev"),
    ],
)
def test_bad_noise_of_signals_is_named(noise, error, message):
    with pytest.raises(error, match=message):
        fastcl.sketch_images(waves(np.random.default_rng(0), 2, (20, 20)), noise=noise, **QUICK)


def test_noise_is_not_estimated_from_two_rows(rng):
    strips = [rng.random((50, 60)), rng.random((2, 50))]
    with pytest.raises(ValueError, match=r"noise cannot be estimated in images\[1\], which has 2"):
        fastcl.sketch_images(strips, **QUICK | {"noise": "estimate", "patch": 2})


def test_a_network_may_learn_from_signals_without_noise(rng):
    settings = QUICK | {"method": "unbiased", "n_iter": 2, "n_points": 20, "widths": (4,)}
    fastcl.learn_image_prior(waves(rng, 2, (20, 20)), noise=[0.0, 0.0], **settings)
    with pytest.raises(ValueError, match="method must be 'max_entropy' for noisy signals"):
        fastcl.learn_image_prior(waves(rng, 2, (20, 20)), noise="estimate", **settings)
