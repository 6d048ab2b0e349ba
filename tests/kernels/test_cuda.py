"""The CUDA kernels and their launchers: how work is split, constants, every small d, any unit."""

import re
import shutil

import naive
import numpy as np
import pytest
from backends import BACKENDS
from bounds import assert_within

import fastcl
from fastcl.fourier.structured import MAX_HARMONICS, HarmonicFrequencies
from fastcl.kernels import cuda, launchers
from fastcl.kernels.launchers import features

EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}

on_devices = pytest.mark.parametrize(
    "backend", [name for name in BACKENDS if name != "numba"], indirect=True
)


@pytest.mark.slow
@on_devices
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "m", "d"), [(4500, 5, 2), (4500, 5, 9), (300, 4500, 2), (300, 4500, 9)]
)
def test_long_sums_are_those_of_short_ones(backend, monkeypatch, dtype, n, m, d):
    # As on a device of one block: one part takes all points, and a block of the adjoint takes many,
    # in several tiles and with several additions to the float64 total.
    monkeypatch.setattr(features, "BLOCKS", 1)
    rng = np.random.default_rng([n, m, d])
    x, omega = rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((m, d))
    w, c = rng.standard_normal(n).astype(dtype), rng.standard_normal(m).astype(np.float32)
    error = naive.feature_error(x, omega, EPS[dtype])
    s = backend.host(fastcl.feature_sum(backend.array(x), omega, backend.array(w)))
    assert_within(s, naive.feature_sum(x, omega, w), 2 * np.abs(w) @ error)
    a, exact = (
        backend.host(fastcl.feature_adjoint(backend.array(x), omega, c)),
        naive.feature_adjoint(x, omega, c),
    )
    assert_within(a, exact, error @ np.abs(c) + EPS[dtype] * np.abs(exact))


def test_a_changed_header_changes_the_source_of_all_kernels(monkeypatch, tmp_path):
    # CuPy's cache looks kernels up by the source that it is given, not by what this includes.
    folder = tmp_path / "kernels"
    shutil.copytree(cuda.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = {name: cuda.source(name) for name in launchers.VARIANTS}
    monkeypatch.setattr(cuda, "FOLDER", folder)
    assert {name: cuda.source(name) for name in launchers.VARIANTS} == before
    with (folder / "common.cuh").open("a") as header:
        header.write("// changed\n")
    assert all(cuda.source(name) != text for name, text in before.items())


def text_with_headers(name):
    """The text of a file and of all that it includes."""
    text = (cuda.FOLDER / name).read_text()
    return text + "".join(map(text_with_headers, re.findall(r'#include "(.+)"', text)))


@pytest.mark.parametrize("name", launchers.CONSTANTS)
def test_a_file_takes_its_constants_from_its_launcher_alone(name):
    text = text_with_headers(f"{name}.cu")
    for constant, value in launchers.CONSTANTS[name].items():
        assert f"-D{constant}={value}" in cuda.options(name)
        if not constant.startswith("RUN_"):  # an enumeration, of which a file may use a part
            assert re.search(rf"\b{constant}\b", re.sub("//.*", "", text)), "used by nothing"
        assert not re.search(rf"\b{constant}\s*=[^=]", text), "defined twice"


@on_devices
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", features.SMALL_DIMS)
def test_many_points_are_added_by_kernels_of_every_small_dimension(backend, monkeypatch, dtype, d):
    monkeypatch.setattr(
        features, "BLOCKS", 1
    )  # so that blocks of the adjoint do not share the frequencies
    rng = np.random.default_rng(d)
    x, omega = rng.standard_normal((301, d)).astype(dtype), rng.standard_normal((17, d))
    c, error = rng.standard_normal(17).astype(np.float32), naive.feature_error(x, omega, EPS[dtype])
    s = backend.host(fastcl.feature_sum(backend.array(x), omega))
    assert_within(s, naive.feature_sum(x, omega), 2 * error.sum(axis=0))
    a, exact = (
        backend.host(fastcl.feature_adjoint(backend.array(x), omega, c)),
        naive.feature_adjoint(x, omega, c),
    )
    assert_within(a, exact, error @ np.abs(c) + EPS[dtype] * np.abs(exact))


@on_devices
@pytest.mark.parametrize("d", [16, 37])
def test_columns_of_any_unit_keep_the_digits_of_their_phases(backend, d):
    # float16, in which tensor cores multiply, ends at 65504 and at 6e-8.
    rng = np.random.default_rng(d)
    units = np.float32(10.0) ** rng.integers(-25, 26, d)
    units[-1] = 0
    x, omega = (
        (rng.standard_normal((41, d)) * units).astype(np.float32),
        rng.standard_normal((19, d)) / np.where(units, units, 1),
    )
    x[0] *= 1e-3  # a row, and
    omega[:, 0] *= 1e-6  # a column, far below the others
    c, error = (
        rng.standard_normal(19).astype(np.float32),
        naive.feature_error(x, omega, EPS[np.float32]),
    )
    s = backend.host(fastcl.feature_sum(backend.array(x), omega))
    assert_within(s, naive.feature_sum(x, omega), 2 * error.sum(axis=0))
    a, exact = (
        backend.host(fastcl.feature_adjoint(backend.array(x), omega, c)),
        naive.feature_adjoint(x, omega, c),
    )
    assert_within(a, exact, error @ np.abs(c) + EPS[np.float32] * np.abs(exact))


@on_devices
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("harmonics", range(2, MAX_HARMONICS + 1))
def test_every_number_of_harmonics_has_its_kernel(backend, dtype, harmonics):
    rng = np.random.default_rng(harmonics)
    x, omega = (
        rng.standard_normal((41, 2)).astype(dtype),
        HarmonicFrequencies(rng.standard_normal((3, 2)), harmonics),
    )
    c = rng.standard_normal(len(omega)).astype(np.float32)
    error = naive.harmonic_error(x, omega[:], harmonics, EPS[dtype])
    s = backend.host(fastcl.feature_sum(backend.array(x), omega))
    assert_within(s, naive.feature_sum(x, omega), 2 * error.sum(axis=0))
    a, exact = (
        backend.host(fastcl.feature_adjoint(backend.array(x), omega, c)),
        naive.feature_adjoint(x, omega, c),
    )
    assert_within(a, exact, error @ np.abs(c) + EPS[dtype] * np.abs(exact))
