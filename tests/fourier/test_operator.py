"""Every way to compute the two maps has the same interface, and `pack` picks the right one."""

import naive
import numpy as np
import pytest

import fastcl
from fastcl.fourier import operator
from fastcl.fourier.methods import METHODS, MethodChoice
from fastcl.fourier.nufft import NufftOperator, is_installed
from fastcl.fourier.operator import (
    DirectOperator,
    HadamardOperator,
    HarmonicOperator,
    PackedOperator,
)

N, M, D = 257, 32, 3
STRUCTURES = {
    None: DirectOperator,
    "seeded": DirectOperator,
    "harmonic": HarmonicOperator,
    "hadamard": HadamardOperator,
}
over_structures = pytest.mark.parametrize(("structure", "kind"), STRUCTURES.items())


@pytest.fixture(autouse=True)
def _hadamard_kernels_at_every_size(monkeypatch):
    monkeypatch.setattr(operator, "HADAMARD_COST", 0)


def make_operator(structure):
    omega = fastcl.draw_frequencies(M, D, 0.5, rng=0, structure=structure)
    return PackedOperator.pack(omega, np.float64)


def make_points():
    rng = np.random.default_rng(1)
    return (
        rng.standard_normal((N, D)),
        rng.standard_normal(N),
        rng.standard_normal((M, 2)) @ (1, 1j),
    )


def assert_maps(own, x):
    """Sum, sum of ones and adjoint against loops.

    Errors are below 1e-9 of the sums of magnitudes: finufft is asked for that here.
    """
    _, w, c = make_points()
    omega = np.asarray(own.omega)
    for weights in (w, np.empty(0)):
        expected = naive.feature_sum(x, omega, weights if len(weights) else None)
        total = np.abs(weights).sum() if len(weights) else N
        assert np.abs(own.sum(x, weights) - expected).max() <= 1e-9 * total
    out = np.full(N, np.nan)
    assert own.adjoint(x, c, out) is out
    assert np.abs(out - naive.feature_adjoint(x, omega, c)).max() <= 1e-9 * np.abs(c).sum()


@over_structures
def test_pack_picks_the_kernels_of_the_structure(structure, kind):
    own = make_operator(structure)
    assert type(own) is kind
    assert isinstance(own, PackedOperator)
    assert (own.freqs.shape, own.freqs.dtype, own.on_device) == ((M, D), np.float64, False)
    assert_maps(own, make_points()[0])


@over_structures
@pytest.mark.skipif(not is_installed(), reason="finufft is not installed")
def test_finufft_serves_the_frequencies_of_every_operator(structure, kind):
    own, x = make_operator(structure), make_points()[0]
    for name in ("sum", "adjoint"):
        chosen, chunks = MethodChoice("nufft", 1e-9).choose(name, own, x, 0, N)
        assert type(chosen) is NufftOperator
        [(first, points)] = chunks
        assert first == 0
        assert np.array_equal(points, x)
        assert_maps(chosen, points)


@pytest.mark.parametrize("method", METHODS)
def test_the_chosen_way_covers_the_rows_asked_for(method):
    if method == "nufft" and not is_installed():
        pytest.skip("finufft is not installed")
    own, x = make_operator(None), make_points()[0]
    chosen, chunks = MethodChoice(method).choose("sum", own, x, 100, 250)
    pieces = list(chunks)
    assert pieces[0][0] == 100
    assert np.array_equal(np.concatenate([chunk for _, chunk in pieces]), x[100:250])
    assert (chosen is own) == (method != "nufft")
