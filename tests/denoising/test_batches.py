"""Batches of signals, and which of them has which level of the noise."""

import numpy as np
import pytest
from test_denoise_signal import model_for

import fastcl

SOUND = fastcl.PatchTransform((4, 4), np.eye(16), np.ones(16))
SCALES = fastcl.GaussianScaleMixture(np.eye(16), [0.1, 1.0], [0.5, 0.5])
STEREO = fastcl.PatchTransform((4, 4), np.eye(32), np.ones(32), channels=2)
BOTH_SCALES = fastcl.GaussianScaleMixture(np.eye(32), [0.1, 1.0], [0.5, 0.5])

# Name -> (model, shape of a signal).
MODELS = {
    "series": (model_for((7,), 1, None), (30,)),
    "grey": (model_for((3, 3), 1, None), (8, 9)),
    "colour in front": (model_for((3, 3), 3, 0), (3, 8, 9)),
    "colour behind": (model_for((3, 3), 3, -1), (8, 9, 3)),
    "volume": (model_for((2, 2, 2), 1, None), (4, 5, 6)),
    "sound": (fastcl.SignalModel(SOUND, SCALES, rate=8000), (500,)),
    "stereo": (fastcl.SignalModel(STEREO, BOTH_SCALES, channel_axis=0, rate=8000), (2, 500)),
}


@pytest.fixture(params=MODELS)
def problem(request, rng):
    """(model, four noisy signals)"""
    model, shape = MODELS[request.param]
    return model, rng.standard_normal((4, *shape))


def one_by_one(model, batch, sigmas):
    return np.stack([model(one, sigma) for one, sigma in zip(batch, sigmas, strict=True)])


def test_each_signal_of_a_batch_has_a_number_of_its_own(problem):
    model, batch = problem
    sigmas = np.array([0.1, 0.2, 0.3, 0.4])
    expected = one_by_one(model, batch, sigmas)
    ones = [1] * (batch.ndim - 1)
    for given in (sigmas, list(sigmas), sigmas.reshape(4, *ones), sigmas[:, None]):
        np.testing.assert_array_equal(model(batch, given), expected)
    for given in (0.2, [0.2], np.full((1, 1, *ones[1:]), 0.2)):
        np.testing.assert_array_equal(model(batch, given), one_by_one(model, batch, 4 * [0.2]))


def test_each_signal_of_a_batch_has_levels_of_its_own(problem, rng):
    model, batch = problem
    axis = model.channel_axis
    if axis is not None:
        levels = rng.uniform(0.1, 0.4, (4, model.transform.channels))
        expected = one_by_one(model, batch, levels)
        np.testing.assert_array_equal(model(batch, levels), expected)
        shape = np.ones(batch.ndim, int)
        shape[0], shape[axis + 1 if axis >= 0 else axis] = levels.shape
        np.testing.assert_array_equal(model(batch, levels.reshape(shape)), expected)
        same = one_by_one(model, batch, 4 * [levels[0]])
        np.testing.assert_array_equal(model(batch, levels[0]), same)
        np.testing.assert_array_equal(model(batch, levels.reshape(shape)[:1]), same)
    if model.rate is None:
        maps = rng.uniform(0.1, 0.4, batch.shape)
        np.testing.assert_array_equal(model(batch, maps), one_by_one(model, batch, maps))
        np.testing.assert_array_equal(
            model(batch, maps[0]), one_by_one(model, batch, 4 * [maps[0]])
        )


@pytest.mark.parametrize("name", ["series", "grey", "volume", "sound"])
def test_a_model_without_channels_takes_an_axis_of_one(rng, name):
    model, shape = MODELS[name]
    batch, sigmas = rng.standard_normal((4, 1, *shape)), np.array([0.1, 0.2, 0.3, 0.4])
    expected = one_by_one(model, batch[:, 0], sigmas)[:, None]
    for given in (sigmas, sigmas[:, None], sigmas.reshape(4, 1, *[1] * len(shape))):
        np.testing.assert_array_equal(model(batch, given), expected)
    assert model(batch).shape == batch.shape
    if model.rate is None:
        maps = rng.uniform(0.1, 0.4, batch.shape)
        expected = one_by_one(model, batch[:, 0], maps[:, 0])[:, None]
        np.testing.assert_array_equal(model(batch, maps), expected)


def test_counts_of_a_batch_are_denoised_one_by_one(rng):
    model = MODELS["grey"][0]
    counts = rng.poisson([[[2.0]], [[20.0]], [[200.0]]], (3, 8, 9))
    found = model(counts, noise="poisson")
    expected = [model(one, noise="poisson") for one in counts]
    np.testing.assert_array_equal(found, np.stack(expected))


@pytest.mark.parametrize(
    ("name", "count", "shape"),
    [
        ("colour in front", 3, (3,)), ("colour behind", 3, (3,)), ("stereo", 2, (2,)),
        ("colour in front", 3, (3, 8, 9)), ("colour in front", 3, (3, 1, 1)),
        ("grey", 8, (8, 1)), ("series", 30, (30,)),
    ],
)  # fmt: skip
def test_a_sigma_with_two_meanings_is_refused(rng, name, count, shape):
    model, size = MODELS[name]
    batch = rng.standard_normal((count, *size))
    with pytest.raises(ValueError, match=r"may be one for each of .* give it the . axes of noisy"):
        model(batch, np.full(shape, 0.2))
    # With all the axes it has one.
    sigmas = np.linspace(0.1, 0.4, count)
    found = model(batch, sigmas.reshape(count, *[1] * len(size)))
    np.testing.assert_array_equal(found, one_by_one(model, batch, sigmas))


def test_levels_of_channels_count_for_all_with_an_axis_of_one(rng):
    model, shape = MODELS["colour in front"]
    noisy = rng.standard_normal((3, *shape))
    levels = np.array([0.1, 0.5, 1.0])
    expected = [fastcl.denoise_signal(model, one, levels) for one in noisy]
    found = fastcl.denoise_signal(model, noisy, levels.reshape(1, 3, 1, 1))
    np.testing.assert_array_equal(found, expected)


def test_a_batch_of_one_has_one_sigma(rng):
    model, shape = MODELS["colour in front"]
    noisy = rng.standard_normal((1, *shape))
    levels = rng.uniform(0.1, 0.4, (1, 1, 8, 9))
    expected = model(noisy[0], np.broadcast_to(levels[0], shape))[None]
    for given in (levels, levels[0], levels[0, 0]):
        np.testing.assert_array_equal(model(noisy, given), expected)


@pytest.mark.parametrize("shape", [(2,), (3, 4), (4, 2), (4, 8, 8), (2, 1, 1, 1), (0,)])
def test_a_sigma_that_fits_nothing_is_refused(rng, shape):
    batch = rng.standard_normal((4, 3, 8, 9))
    with pytest.raises(ValueError, match="sigma must be a number, or one for each of 4 signals"):
        MODELS["colour in front"][0](batch, np.full(shape, 0.2))


def test_a_level_is_broadcast_to_a_signal(rng):
    model, shape = MODELS["colour in front"]
    noisy, levels = rng.standard_normal(shape), np.array([0.1, 0.2, 0.4])
    for placed in (levels.reshape(3, 1, 1), levels):
        np.testing.assert_array_equal(model(noisy, placed), model(noisy, levels))
    rows = rng.uniform(0.1, 0.4, (1, 8, 1))
    np.testing.assert_array_equal(model(noisy, rows), model(noisy, np.broadcast_to(rows, shape)))


@pytest.mark.parametrize("name", ["grey", "colour behind"])
def test_a_batch_on_a_device_is_denoised_there(backend, rng, name):
    model, shape = MODELS[name]
    batch, sigmas = rng.standard_normal((2, *shape)), np.array([0.1, 0.4])
    expected = model(batch, sigmas, second_stage=False)
    for given in (sigmas, backend.array(sigmas)):
        found = model(backend.array(batch), given, second_stage=False)
        np.testing.assert_allclose(backend.host(found), expected, rtol=0, atol=1e-10)


class Tensor:
    """What fastcl sees of a tensor of another library on the CPU."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape, self.ndim = self.values.shape, self.values.ndim

    def size(self):
        return self.shape

    def item(self):
        return self.values.item()

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_tensors_of_other_libraries_are_denoised(rng):
    """The denoiser for tensors that `SignalModel` shows, with batches as plug-and-play has them."""
    grey, colour = MODELS["grey"][0], MODELS["colour behind"][0]
    colour = fastcl.SignalModel(colour.transform, colour.prior, colour.precisions)
    colour.channel_axis = 0
    for model, shape in ((grey, (2, 1, 8, 9)), (colour, (2, 3, 8, 9))):
        noisy = rng.standard_normal(shape).astype(np.float32)

        def denoiser(noisy, sigma, model=model):
            return Tensor(model(noisy.detach().cpu(), sigma))

        for sigma in ([0.1, 0.2], [[[[0.1]]], [[[0.2]]]]):
            found = denoiser(Tensor(noisy), Tensor(sigma)).values
            one, other = (model(part[None], s) for part, s in zip(noisy, (0.1, 0.2), strict=True))
            np.testing.assert_array_equal(found, np.concatenate([one, other]))
            assert found.dtype == np.float32
        for sigma in (0.1, Tensor(0.1), Tensor([0.1])):
            np.testing.assert_array_equal(denoiser(Tensor(noisy), sigma).values, model(noisy, 0.1))
