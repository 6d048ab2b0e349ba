"""The demonstrations on small data, and short runs of the comparison of methods."""

from functools import partial
from unittest import mock

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.data
from pictures import do_little
from scipy.io import wavfile

import fastcl
from fastcl.cli import bench, demo
from fastcl.learning.objective import METHODS

# A spiral of few points and a small network: the demonstration in a second or two.
SMALL_SPIRAL = {"n_points": 300, "widths": (8, 8)}
SILENT = {"progress": False, "report": lambda line: None}


def assert_is_a_picture(path):
    image = iio.imread(path)
    assert min(image.shape[:2]) > 200
    assert image[..., :3].std() > 20


def test_spiral_demo_compares_the_methods_and_draws_them(tmp_path):
    lines = []
    results = demo.spiral_demo(
        tmp_path, n_iter=20, **SMALL_SPIRAL, progress=False, report=lines.append
    )
    assert set(results) == {"grid", "unbiased", "normalised"}
    for row in results.values():
        assert set(row) == {"value", "log_likelihood", "map_snr", "mean_snr", "seconds"}
        assert np.isfinite(list(row.values())).all()
    text = "\n".join(lines)
    for method, row in results.items():
        assert method in text
        assert f"{row['value']:.2f}" in text
    assert_is_a_picture(tmp_path / "spiral.png")
    assert [file.name for file in tmp_path.iterdir()] == ["spiral.png"]


@pytest.mark.slow
def test_more_steps_of_the_spiral_fit_better(tmp_path):
    few, many = (
        demo.spiral_demo(tmp_path, n_iter, **SMALL_SPIRAL, **SILENT) for n_iter in (2, 300)
    )
    assert few.keys() == many.keys()
    for method in few:
        assert many[method]["value"] < few[method]["value"]
        assert many[method]["log_likelihood"] > few[method]["log_likelihood"]


@pytest.fixture
def small_signals(monkeypatch):
    """Few moments and few steps for the song; returns arguments of `photograph_demo`."""
    do_little(monkeypatch)
    few_steps = {"n_points": 500, "n_iter": 5, "n_components": 3, "n_samples": 4000}
    monkeypatch.setattr(demo, "SONG_LEARNING", few_steps)
    monkeypatch.setattr(demo, "SONG_M", 40)
    monkeypatch.setattr(demo, "denoise_image", partial(fastcl.denoise_image, small_colour()))
    return {"clean": skimage.data.coffee()[100:180, 200:300]}


def small_colour():
    """A model of colour: the scale mixture of patches of a photograph."""
    images = [skimage.data.astronaut()[100:200, 150:250] / 255]
    sketch = fastcl.sketch_images(images, 3, 20, rng=0, channel_axis=-1)
    return fastcl.SignalModel(sketch.transform, sketch.reference, channel_axis=-1)


def test_photograph_demo_denoises_and_draws(small_signals, tmp_path):
    lines = []
    results = demo.photograph_demo(tmp_path, **small_signals, progress=False, report=lines.append)
    assert set(results) == {"noisy", "TV", "fastcl"}
    # Twenty-four thousand samples: 0.1 dB is three standard errors.
    assert abs(results["noisy"]["psnr"] + 20 * np.log10(25 / 255)) < 0.2
    assert results["fastcl"]["psnr"] > results["noisy"]["psnr"] + 7
    assert results["fastcl"]["ssim"] > results["noisy"]["ssim"]
    text = "\n".join(lines)
    for name in ("noisy", "TV", "fastcl"):
        assert f"{results[name]['psnr']:.2f}" in text
    assert_is_a_picture(tmp_path / "photograph.png")


def test_song_demo_denoises_draws_and_writes_sounds(small_signals, tmp_path):
    lines = []
    results = demo.song_demo(tmp_path, 3, progress=False, report=lines.append)
    assert results["fastcl"] > results["noisy"] + 4
    assert f"{results['fastcl']:.1f} dB" in "\n".join(lines)
    assert_is_a_picture(tmp_path / "song.png")
    songs = {}
    for name in ("noisy", "fastcl", "clean"):
        rate, songs[name] = wavfile.read(tmp_path / f"song-{name}.wav")
        assert (rate, songs[name].dtype, songs[name].shape) == (16000, np.int16, (16000,))
    ratio = demo.signal_to_noise(songs["clean"].astype(float), songs["fastcl"])
    assert ratio == pytest.approx(results["fastcl"], abs=0.1)


@pytest.mark.slow
def test_run_makes_the_folder_and_returns_all(small_signals, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "spiral_demo", partial(demo.spiral_demo, **SMALL_SPIRAL))
    photograph = partial(demo.photograph_demo, **small_signals)
    monkeypatch.setattr(demo, "photograph_demo", photograph)
    monkeypatch.setattr(demo, "song_demo", partial(demo.song_demo, seconds=1.5))
    lines, folder = [], tmp_path / "new" / "folder"
    results = demo.run(folder, n_iter=2, progress=False, report=lines.append)
    assert set(results) == {"spiral", "photograph", "song", "seconds", "peak_mib"}
    sounds = [f"song-{name}.wav" for name in ("clean", "fastcl", "noisy")]
    expected = ["photograph.png", *sounds, "song.png", "spiral.png"]
    assert sorted(file.name for file in folder.iterdir()) == expected
    assert str(folder) in lines[-1]


def test_signal_to_noise_is_in_decibels_of_power():
    clean = np.full((10, 2), 3.0)
    assert demo.signal_to_noise(clean, clean + 0.3) == pytest.approx(20)


def test_log_likelihood_is_normalised_over_the_box():
    # A constant density, whatever its constant, is uniform.
    prior, box = fastcl.MLPPrior(2, (4,), rng=0), fastcl.Box([-1, -2], [1, 2])
    prior.theta[:] = 0
    prior.log_scale = 5
    points = box.sample(100, rng=0)
    assert demo.normalised_log_likelihood(prior, box, points) == pytest.approx(-np.log(8))


@pytest.mark.parametrize("method", METHODS)
def test_bench_of_one_method_on_a_line(method):
    points = 20 if method == "grid" else 256
    row = bench._run_method(bench.example_sketch(1), method, points, 0.05, (8,), mock.Mock())
    assert row["steps"] >= 1
    assert row["step_seconds"] > 0
    assert row["step_mib"] > 0
    assert np.isfinite(row["value"]).all()
    assert row["seconds"][0] == 0
    assert len(row["seconds"]) == len(row["value"])


def test_bench_follows_the_objective_down():
    row = bench._run_method(bench.example_sketch(1), "grid", 20, 0.5, (8,), mock.Mock())
    assert row["value"][-1] < row["value"][0]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_example_of_the_bench_is_in_its_box(dim):
    sketch = bench.example_sketch(dim)
    assert (sketch.dim, sketch.domain.dim, sketch.count) == (dim, dim, 20_000)
    assert isinstance(sketch.domain, fastcl.Box)


def test_bench_of_a_sketch_without_domain_is_refused():
    with pytest.raises(ValueError, match="no domain"):
        bench.run(fastcl.sketch(np.zeros((3, 2)), np.ones((4, 2))), 0.1)
