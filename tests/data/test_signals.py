"""What counts as a signal or a photograph: shapes, types, channels, sequences of them."""

import numpy as np
import pytest

import fastcl
from fastcl import PatchTransform
from fastcl.data.signals import Signals, as_image, as_patch, as_photograph, as_signal


@pytest.mark.parametrize(
    ("shape", "n_axes", "axis", "found"),
    [
        ((9,), 1, None, (1, 9)), ((9, 2), 1, -1, (2, 9)), ((2, 9), 1, 0, (2, 9)),
        ((4, 5), 2, None, (1, 4, 5)), ((4, 5, 3), 2, -1, (3, 4, 5)), ((4, 3, 5), 2, 1, (3, 4, 5)),
        ((4, 5, 6), 3, None, (1, 4, 5, 6)), ((2, 4, 5, 6), 3, 0, (2, 4, 5, 6)),
    ],
)  # fmt: skip
def test_channels_become_the_first_axis(backend, rng, shape, n_axes, axis, found):
    given = rng.standard_normal(shape)
    signal = backend.host(as_signal(backend.array(given), "signal", n_axes, axis))
    assert signal.shape == found
    expected = given[None] if axis is None else np.moveaxis(given, axis, 0)
    np.testing.assert_array_equal(signal, expected)


@pytest.mark.parametrize(
    ("shape", "n_axes", "axis", "message"),
    [
        ((4, 4), 1, None, r"x must be a mono sound \(T,\), got shape \(4, 4\)"),
        ((4,), 1, -1, r"x must be a signal \(T, C\), got shape \(4,\)"),
        ((4, 4), 2, -1, r"x must be a colour image \(H, W, C\)"),
        ((4, 4), 3, None, r"x must be a signal \(D, H, W\)"),
        ((4, 4, 4), 3, -1, r"x must be a signal \(D, H, W, C\)"),
        ((4, 2, 4), 3, None, "x of 4 x 2 x 4 voxels is smaller than a patch of 3 x 3 x 3"),
        ((2,), 1, None, "x of 2 samples is smaller than a patch of 3"),
    ],
)
def test_other_shapes_are_refused_by_name(shape, n_axes, axis, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        as_signal(np.zeros(shape), "x", n_axes, axis, 3)


def test_samples_of_sound_are_divided_by_full_scale():
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        signal = as_signal(np.array([limits.min, 0, limits.max], dtype), "x", 1)
        np.testing.assert_allclose(signal, [[-1, 0, 1]], atol=1 / limits.max)


@pytest.mark.parametrize(
    ("patch", "n_axes", "expected"),
    [(3, 1, (3,)), (3, None, (3, 3)), ((2, 4), None, (2, 4)), ((5, 1, 1), 3, (5, 1, 1))],
)
def test_patches_have_a_side_for_each_axis(patch, n_axes, expected):
    assert as_patch(patch, n_axes) == expected


@pytest.mark.parametrize(
    ("patch", "n_axes", "error"),
    [
        (1, 2, ValueError), (0, 1, ValueError), ((2, 0), 2, ValueError), ((2, 2), 3, ValueError),
        ((2,) * 4, None, ValueError), ((), None, TypeError), (2.5, 2, TypeError),
        ("a", 2, TypeError), (None, 2, TypeError), (((2, 2),), 2, TypeError),
    ],
)  # fmt: skip
def test_bad_patches_are_named(patch, n_axes, error):
    with pytest.raises(error, match=r"^patch must"):
        as_patch(patch, n_axes)


def test_a_sequence_has_signals_of_one_kind(rng):
    items = [rng.random((6, 8, 3)), rng.random((9, 7, 3))]
    signals = Signals(items, "images", 4, -1)
    assert (signals.patch, signals.channels) == ((4, 4), 3)
    assert signals.shapes == [(6, 8), (9, 7)]
    np.testing.assert_array_equal(signals[1], items[1].transpose(2, 0, 1))
    for bad, message in [
        ([], "images is empty"),
        ([*items, rng.random((6, 8, 2))], r"images\[2\] has 2 channels, those before it 3"),
        ([*items, rng.random((6, 8))], r"images\[2\] must be a colour image"),
        ([*items, rng.random((6, 3, 3))], r"images\[2\] of 6 x 3 pixels is smaller"),
        ([rng.random((2,) * 5)], r"images\[0\] must have one to three axes"),
    ]:
        with pytest.raises(ValueError, match=message):
            Signals(bad, "images", 4, -1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_divided_by_their_largest_value(backend, dtype):
    top = np.iinfo(dtype).max
    image = backend.host(as_image(backend.array(np.array([[0, top], [top // 5, top]], dtype))))
    assert image.dtype == np.float64
    np.testing.assert_array_equal(image, [[0, 1], [(top // 5) / top, 1]])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float64),
        (bool, np.float64),
    ],
)
def test_other_types_keep_their_values(backend, given, expected):
    image = backend.host(as_image(backend.array(np.array([[0, 1], [1, 0]]).astype(given))))
    assert image.dtype == expected
    np.testing.assert_array_equal(image, [[0, 1], [1, 0]])


@pytest.mark.parametrize("given", [">f4", ">f8"])
def test_the_order_of_bytes_does_not_matter(rng, given):
    image = as_image(rng.standard_normal((6, 8)).astype(given))
    assert image.dtype == np.dtype(given).newbyteorder("=")
    np.testing.assert_array_equal(
        image, np.random.default_rng(0).standard_normal((6, 8)).astype(given)
    )


def test_strides_do_not_matter(rng):
    image = rng.standard_normal((6, 8))
    for view in (image[::2, ::-1], image.T):
        np.testing.assert_array_equal(as_image(view), view)
        assert as_image(view).flags.c_contiguous


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((8, 8, 3)), ValueError, r"photo must be a grey image.*colour"),
        (np.zeros((8, 8, 4)), ValueError, r"photo must be a grey image.*alpha"),
        (np.zeros((8, 8, 2)), ValueError, r"photo must be a grey image.*alpha"),
        (np.zeros(8), ValueError, "photo must be a grey image"),
        (1.0, ValueError, "photo must be a grey image"),
        (np.full((8, 8), np.nan), ValueError, "photo holds NaN"),
        (np.full((8, 8), np.inf), ValueError, "photo holds NaN"),
        (np.zeros((3, 8)), ValueError, "photo of 3 x 8 pixels is smaller than a patch of 4 x 4"),
        (np.zeros((8, 3)), ValueError, "photo of 8 x 3 pixels is smaller"),
        (np.zeros((0, 8)), ValueError, "photo of 0 x 8 pixels is smaller"),
        ("a", TypeError, "photo must hold numbers"),
        (None, TypeError, "photo must hold numbers"),
        (np.zeros((8, 8), complex), TypeError, "photo must be real"),
        ([[1.0, 2.0], [3.0]], ValueError, "photo is not a rectangular array"),
    ],
    ids=lambda value: (
        f"{value.shape} {value.dtype} {value.ravel()[:1]}"
        if isinstance(value, np.ndarray)
        else None
    ),
)
def test_what_is_not_an_image_is_refused_by_name(bad, error, message):
    with pytest.raises(error, match=message):
        as_image(bad, "photo", 4)


def test_wide_integers_are_refused_rather_than_turned_black():
    with pytest.raises(TypeError, match="image must hold uint8"):
        as_image(np.full((8, 8), 255))


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: 255 * rng.random((20, 20)),
        lambda rng: np.where(rng.random((20, 20)) < 0.996, 0.2, 255),  # dark, with a mean below 2
        lambda rng: 65535 * rng.random((20, 20)).astype(np.float32),
        lambda rng: 255 * rng.random((20, 20)) - 127,
        lambda rng: np.full((20, 20), 1e300),
    ],
    ids=["0..255", "dark", "0..65535", "around zero", "huge"],
)
def test_floats_on_another_scale_are_refused_wherever_photographs_are_taken(rng, make):
    image = make(rng)
    transform = PatchTransform(2, np.linalg.qr(rng.standard_normal((4, 4)))[0][:, 1:], np.ones(3))
    model = fastcl.SignalModel(transform, fastcl.Gaussian(np.zeros(3), np.eye(3)))
    words = r"must hold floats in \[0, 1\], got a mean of .* divide it by its white level"
    with pytest.raises(ValueError, match=rf"images\[0\] {words}"):
        fastcl.learn_image_prior([image], patch=2)
    with pytest.raises(ValueError, match=f"noisy {words}"):
        fastcl.denoise_image(model, image, 0.1)


def test_strong_noise_is_no_other_scale(rng):
    image = rng.random((50, 50)) + rng.standard_normal((50, 50))  # as much as sigma may be
    assert as_photograph(image, "image") is not None


@pytest.mark.parametrize("axis", [3, -4, 1.5, "last", True, (0,)])
def test_a_bad_axis_of_channels_is_named(axis):
    image = np.zeros((9, 9, 3))
    for call in (
        lambda: fastcl.sketch_signals([image], 3, channel_axis=axis),
        lambda: fastcl.sketch_images([image], 3, channel_axis=axis),
        lambda: fastcl.estimate_noise(image, axis),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^channel_axis must be"):
            call()
