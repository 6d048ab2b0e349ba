"""`fastcl sketch --noise`: what is learned from noisy files is without their noise."""

import imageio.v3 as iio
import numpy as np
import pytest
from commands import as_levels, run
from pictures import do_little, photograph
from scipy.io import wavfile

import fastcl
from fastcl.data.datasets import make_spiral


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    do_little(monkeypatch)


@pytest.mark.parametrize("dim", [2, 5])
def test_rows_are_deconvolved_and_their_frequencies_resolved(tmp_path, rng, capsys, dim):
    noise = 0.05
    clean = make_spiral(20_000, rng=0) if dim == 2 else rng.standard_normal((20_000, 5))
    y = clean + noise * rng.standard_normal(clean.shape)
    np.save(tmp_path / "y.npy", y)
    assert run(tmp_path, f"sketch y.npy -o s.npz -m 100 --noise {noise}") == 0
    sketch = fastcl.load(tmp_path / "s.npz")
    assert "standard deviation 0.05" in repr(sketch.noise)
    expected = fastcl.sketch(y, sketch.omega).deconvolve(noise)
    np.testing.assert_allclose(sketch.values, expected.values, atol=1e-12)
    if dim == 5:
        variances = np.diag(sketch.domain.covariances[0])
        np.testing.assert_allclose(variances, clean.var(axis=0), rtol=0.05)
    capsys.readouterr()
    assert run(tmp_path, "info s.npz") == 0
    assert "noise taken out" in capsys.readouterr().out
    assert run(tmp_path, "learn s.npz -o prior.npz --iterations 3 --points 50") == 0


def test_photographs_are_sketched_with_their_noise_in_grey_levels(tmp_path, rng):
    (tmp_path / "noisy").mkdir()
    for seed in range(3):
        noisy = photograph(seed) + 10 / 255 * rng.standard_normal(photograph(seed).shape)
        iio.imwrite(tmp_path / "noisy" / f"{seed}.png", as_levels(noisy))
    assert run(tmp_path, "sketch noisy -o s.npz --patch 4 --noise 0") == 2
    command = "sketch noisy -o s.npz --patch 4 -m 20 --noise 10"
    assert run(tmp_path, command) == 0
    assert fastcl.load(tmp_path / "s.npz").noise == pytest.approx(10 / 255)
    assert run(tmp_path, "learn s.npz -o model.npz --iterations 5 --points 100") == 0
    assert run(tmp_path, "learn s.npz -o model.npz --method unbiased") == 2


def test_noise_of_photographs_is_estimated_in_grey_levels(tmp_path, rng, capsys):
    (tmp_path / "noisy").mkdir()
    for seed in range(3):
        smooth = np.linspace(0.2, 0.8, 60)[:, None] * np.ones(50)
        noisy = smooth + (10 + 3 * seed) / 255 * rng.standard_normal(smooth.shape)
        iio.imwrite(tmp_path / "noisy" / f"{seed}.png", as_levels(noisy))
    assert run(tmp_path, "sketch noisy -o s.npz --patch 4 -m 20 --noise estimate") == 0
    noise = 255 * fastcl.load(tmp_path / "s.npz").noise
    assert 9 < noise < 11
    assert f"estimated noise: {noise:.3g} grey levels\n" in capsys.readouterr().out
    assert run(tmp_path, "info s.npz") == 0
    assert f"standard deviation {noise:.3g} grey levels" in capsys.readouterr().out
    assert run(tmp_path, "sketch noisy -o s.npz --patch 4 -m 20 --noise 0.1") == 0
    assert "did you mean 25.5?" in capsys.readouterr().err


def test_noise_of_sounds_is_given_or_estimated(tmp_path, rng, capsys):
    (tmp_path / "sounds").mkdir()
    tone = np.sin(np.linspace(0, 3000, 8000)) * (np.arange(8000) % 2000 < 1000)
    for index in range(2):
        noisy = 0.5 * tone + 0.05 * rng.standard_normal(8000)
        wavfile.write(tmp_path / "sounds" / f"{index}.wav", 8000, noisy.astype(np.float32))
    expected = 0.05 / np.sqrt(np.mean((0.5 * tone) ** 2))
    for noise in ("0.05", "estimate"):
        assert run(tmp_path, f"sketch sounds -o s.npz -m 20 --noise {noise}") == 0
        assert fastcl.load(tmp_path / "s.npz").noise == pytest.approx(expected, rel=0.1)
    assert "times the level of the sounds" in capsys.readouterr().out


def test_noise_of_rows_cannot_be_estimated(tmp_path, capsys):
    np.save(tmp_path / "x.npy", make_spiral(500, rng=0))
    assert run(tmp_path, "sketch x.npy -o s.npz -m 20 --noise estimate") == 2
    assert "--noise estimate is for a folder of signals" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(tmp_path, "sketch x.npy -o s.npz -m 20 --noise some")
    assert "--noise: 'some' is neither a number nor 'estimate'" in capsys.readouterr().err


def test_columns_of_any_units_have_a_gaussian_near_them(tmp_path, rng):
    rows = rng.standard_normal((3000, 6)) * [1e9, 1e9, 1, 1, 1, 1]
    rows[:, 1] += 2 * rows[:, 0]
    np.save(tmp_path / "x.npy", rows)
    for more in ("", " --noise 0.1"):
        assert run(tmp_path, f"sketch x.npy -o s.npz -m 20 --scale 0.5{more}") == 0
        variances = np.diag(fastcl.load(tmp_path / "s.npz").domain.covariances[0])
        expected = rows.var(axis=0) - (0.01 if more else 0)
        np.testing.assert_allclose(variances, expected, rtol=2e-3)


@pytest.mark.parametrize("noise", ["-1", "0", "nan"])
def test_bad_noise_is_one_line(tmp_path, capsys, noise):
    np.save(tmp_path / "x.npy", make_spiral(500, rng=0))
    assert run(tmp_path, f"sketch x.npy -o s.npz -m 20 --noise={noise}") == 2
    error = capsys.readouterr().err
    assert "--noise must be above zero" in error
    assert error.count("\n") == 1
