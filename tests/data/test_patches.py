"""Signals to patches and back, against loops."""

import itertools

import numpy as np
import pytest
from bounds import assert_within

from fastcl.data import patches
from fastcl.data.patches import add_patches, extract_patches, patch_counts, patch_tiles

EPS = np.finfo(float).eps
# (shape (C, *axes), patch): one patch, one row of patches, one column, any other
SHAPES = [
    ((1, 4, 4), (4, 4)), ((1, 3, 9), (3, 3)), ((1, 9, 3), (3, 3)), ((1, 7, 11), (2, 2)),
    ((1, 5, 6), (1, 1)), ((3, 7, 8), (2, 4)), ((1, 17), (5,)), ((2, 9), (9,)), ((2, 33), (4,)),
    ((1, 4, 5, 6), (2, 3, 2)), ((2, 3, 6, 3), (3, 2, 1)),
]  # fmt: skip


@pytest.fixture(params=SHAPES, ids=str)
def signal_and_patch(request, rng):
    shape, patch = request.param
    return rng.standard_normal(shape), patch


def corners(shape, patch, stride=1):
    """First samples of the patches: multiples of the stride, and the last position."""
    places = []
    for size, side in zip(shape[1:], patch, strict=True):
        last = size - side
        places.append(sorted({*range(0, last + 1, stride), last}))
    return list(itertools.product(*places))


def window(signal, corner, patch):
    place = tuple(slice(at, at + side) for at, side in zip(corner, patch, strict=True))
    return signal[(slice(None), *place)]


def test_patches_equal_those_of_loops(backend, signal_and_patch):
    signal, patch = signal_and_patch
    found = backend.host(extract_patches(backend.array(signal), patch))
    expected = [window(signal, corner, patch).ravel() for corner in corners(signal.shape, patch)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 25, 10**6])
def test_tiles_have_every_patch_once_and_in_order(signal_and_patch, monkeypatch, most):
    signal, patch = signal_and_patch
    monkeypatch.setattr(patches, "CHUNK_PATCHES", most)
    tiles = patch_tiles(signal.shape[1:], patch)
    parts = [extract_patches(signal, patch, tile) for tile in tiles]
    np.testing.assert_array_equal(np.concatenate(parts), extract_patches(signal, patch))
    assert all(0 < len(part) <= most for part in parts)


def test_large_patches_come_in_small_tiles(rng):
    shape, patch = (2, 300, 301), (64, 64)
    sizes = [
        np.prod([len(range(1000)[part]) for part in tile])
        for tile in patch_tiles(shape[1:], patch, channels=2)
    ]
    assert max(sizes) * 2 * 64 * 64 <= patches.CHUNK_VALUES
    assert sum(sizes) == 237 * 238


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_adding_is_the_adjoint_of_extracting(backend, signal_and_patch, rng, stride):
    signal, patch = signal_and_patch
    stride = min(stride, *patch)
    total = backend.array(np.zeros(signal.shape))
    products = []
    for tile in patch_tiles(signal.shape[1:], patch, stride=stride):
        part = extract_patches(signal, patch, tile)
        values = rng.standard_normal(part.shape)
        add_patches(backend.array(values), total, patch, tile)
        products.append(part * values)
    products = np.concatenate(products)
    assert len(products) == len(corners(signal.shape, patch, stride))
    other = signal * backend.host(total)
    # Two sums of the same products, in different orders.
    assert abs(products.sum() - other.sum()) <= 2 * EPS * products.size * np.abs(products).sum()


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_adding_tile_by_tile_is_adding_every_patch(signal_and_patch, rng, monkeypatch, stride):
    signal, patch = signal_and_patch
    stride = min(stride, *patch)
    monkeypatch.setattr(patches, "CHUNK_PATCHES", 5)
    whole, parts = np.zeros(signal.shape), np.zeros(signal.shape)
    places = corners(signal.shape, patch, stride)
    by_corner = {corner: rng.standard_normal((len(signal), *patch)) for corner in places}
    for corner in places:
        window(whole, corner, patch)[:] += by_corner[corner]
    for tile in patch_tiles(signal.shape[1:], patch, stride=stride):
        inside = itertools.product(*(range(1000)[part] for part in tile))
        values = np.stack([by_corner[corner] for corner in inside])
        add_patches(values.reshape(len(values), -1), parts, patch, tile)
    # Sums of as many numbers as a patch has samples.
    size = np.prod(patch)
    assert_within(parts, whole, EPS * size**2 * max(map(np.max, map(np.abs, by_corner.values()))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_adding_is_bitwise_the_same_on_every_backend(
    backend, signal_and_patch, rng, monkeypatch, dtype, stride
):
    signal, patch = signal_and_patch
    monkeypatch.setattr(patches, "CHUNK_PATCHES", 7)
    expected = signal.astype(dtype)
    out = backend.array(expected.copy())
    for tile in patch_tiles(signal.shape[1:], patch, stride=stride):
        part = rng.standard_normal(extract_patches(signal, patch, tile).shape).astype(dtype)
        add_patches(part, expected, patch, tile)
        add_patches(backend.array(part), out, patch, tile)
        np.testing.assert_array_equal(backend.host(out), expected)


def test_adding_keeps_what_is_there(backend):
    out = backend.array(np.full((1, 3, 3), 5.0))
    add_patches(backend.array(np.ones((1, 9))), out, (3, 3))
    np.testing.assert_array_equal(backend.host(out), np.full((1, 3, 3), 6.0))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_counts_are_the_sums_of_patches_of_ones(signal_and_patch, stride):
    signal, patch = signal_and_patch
    total = np.zeros(signal.shape)
    for tile in patch_tiles(signal.shape[1:], patch, stride=stride):
        add_patches(np.ones_like(extract_patches(signal, patch, tile)), total, patch, tile)
    counts = patch_counts(signal.shape[1:], patch, stride)
    np.testing.assert_array_equal(np.broadcast_to(counts, signal.shape), total)
