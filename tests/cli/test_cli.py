"""The command line on files: what every command writes, here and in a process of its own."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from commands import CLEAN, as_levels, read_levels, run
from pictures import do_little, photograph, psnr, with_noise

import fastcl
from fastcl.cli import bench
from fastcl.denoising.restoration import EFFORTS
from fastcl.learning.energy_matching import EnergyMatching
from fastcl.learning.objective import METHODS


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    do_little(monkeypatch)


def test_sketch_of_a_folder_holds_every_patch_of_every_image(made):
    sketch = fastcl.load(made / "images.npz")
    assert isinstance(sketch, fastcl.PatchSketch)
    assert sketch.sketch.count == 5 * 37 * 45
    assert sketch.sketch.omega.shape == (20, 15)


def test_sketch_of_images_is_that_of_the_library(made, monkeypatch):
    do_little(monkeypatch)
    levels = [as_levels(photograph(seed)) / 255 for seed in range(5)]
    expected = fastcl.sketch_images(levels, 4, 20, rng=3)
    # Upper-case suffixes sort with the others. Three equal channels become that grey, up to the
    # rounding of the weights.
    np.testing.assert_allclose(
        fastcl.load(made / "images.npz").sketch.values, expected.sketch.values, atol=1e-4
    )


@pytest.mark.parametrize(("name", "dim"), [("2", 2), ("5", 5)])
def test_sketch_of_rows_is_that_of_the_library_with_a_domain(made, name, dim):
    sketch, rows = fastcl.load(made / f"s{name}.npz"), np.load(made / f"rows{name}.npy")
    np.testing.assert_array_equal(sketch.values, fastcl.sketch(rows, sketch.omega).values)
    if dim == 2:
        assert (sketch.domain.low < rows.min(axis=0)).all()
        assert (sketch.domain.high > rows.max(axis=0)).all()
    else:
        # Every row is in the sample of at most 20000.
        np.testing.assert_allclose(sketch.domain.means[0], rows.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(
            sketch.domain.covariances[0], np.cov(rows.T), atol=1e-5 * rows.var()
        )


def test_learn_of_rows_is_that_of_the_library(made):
    sketch = fastcl.load(made / "s2.npz")
    prior = fastcl.MLPPrior(2, rng=0)
    prior.initialise_on(sketch.domain, rng=0)
    fastcl.learn(prior, sketch, sketch.domain, n_points=500, n_iter=30, rng=0)
    np.testing.assert_array_equal(fastcl.load_prior(made / "p2.npz").theta, prior.theta)
    assert fastcl.load_prior(made / "p5.npz").reference is not None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("model", {"method": "max_entropy", "n_points": 200, "n_iter": 15}),
        ("network", {"method": "unbiased", "n_points": 50, "n_iter": 5}),
    ],
)
def test_learn_of_images_is_that_of_the_library(made, monkeypatch, name, settings):
    do_little(monkeypatch)
    expected = fastcl.learn_patches(fastcl.load(made / "images.npz"), rng=0, **settings).to_arrays()
    arrays = fastcl.load_prior(made / f"{name}.npz").to_arrays()
    assert arrays.keys() == expected.keys()
    for key, array in ((key, np.asarray(array)) for key, array in expected.items()):
        if array.dtype.kind in "fc":  # the weights of a mixture are normalised again on reading
            np.testing.assert_allclose(arrays[key], array, rtol=1e-9, atol=0)
        else:
            np.testing.assert_array_equal(arrays[key], array)


def test_learning_resumes_from_a_checkpoint(made, tmp_path):
    for steps in (10, 30):
        settings = f"--iterations {steps} --points 500 --checkpoint c.npz"
        assert run(tmp_path, f"learn {made / 's2.npz'} -o p.npz {settings}") == 0
    np.testing.assert_array_equal(
        fastcl.load_prior(tmp_path / "p.npz").theta, fastcl.load_prior(made / "p2.npz").theta
    )


def test_learning_by_chains_resumes_from_a_checkpoint(made, tmp_path, monkeypatch):
    gradient = EnergyMatching.gradient

    def interrupted(self, prior, method, points, stream, *rest):
        if stream.step == 8:
            raise KeyboardInterrupt
        return gradient(self, prior, method, points, stream, *rest)

    command = f"learn {made / 's5.npz'} --iterations 20 --points 200 --seed 1"
    assert run(tmp_path, f"{command} -o unbroken.npz") == 0
    with monkeypatch.context() as patch:
        patch.setattr(EnergyMatching, "gradient", interrupted)
        assert run(tmp_path, f"{command} -o p.npz --checkpoint c.npz") == 130
    steps = []

    def recorded(self, prior, method, points, stream, *rest):
        steps.append(stream.step)
        return gradient(self, prior, method, points, stream, *rest)

    monkeypatch.setattr(EnergyMatching, "gradient", recorded)
    assert run(tmp_path, f"{command} -o p.npz --checkpoint c.npz") == 0
    assert steps == list(range(8, 20))
    thetas = [fastcl.load_prior(tmp_path / name).theta for name in ("p.npz", "unbroken.npz")]
    np.testing.assert_array_equal(*thetas)


@pytest.mark.parametrize("estimator", ["mean", "map"])
def test_an_image_is_denoised(made, tmp_path, estimator):
    out = tmp_path / "clean.png"
    assert (
        run(made, f"denoise model.npz noisy.png -o {out} --sigma 25 --estimator {estimator}") == 0
    )
    assert psnr(CLEAN, read_levels(out)) > psnr(CLEAN, read_levels(made / "noisy.png")) + 4
    expected = fastcl.denoise_image(
        fastcl.load_prior(made / "model.npz"),
        read_levels(made / "noisy.png"),
        25 / 255,
        estimator=estimator,
    )
    np.testing.assert_array_equal(iio.imread(out), as_levels(expected))
    assert [file.name for file in tmp_path.iterdir()] == ["clean.png"]


def test_without_sigma_the_noise_of_an_image_is_estimated(made, tmp_path, capsys):
    out = tmp_path / "clean.npy"
    assert run(made, f"denoise model.npz noisy.npy -o {out}") == 0
    model, noisy = fastcl.load_prior(made / "model.npz"), np.load(made / "noisy.npy")
    sigma = fastcl.estimate_noise(noisy)
    expected = fastcl.denoise_image(model, noisy, sigma)
    np.testing.assert_allclose(np.load(out), expected, rtol=0, atol=1e-12)  # times 255, over 255
    assert f"denoised at sigma {255 * sigma:g}" in capsys.readouterr().out
    assert run(made, f"denoise model.npz noisy.png -o {tmp_path / 'clean.png'}") == 0
    assert (
        psnr(CLEAN, read_levels(tmp_path / "clean.png"))
        > psnr(CLEAN, read_levels(made / "noisy.png")) + 3
    )


def test_less_than_one_grey_level_of_noise_is_done_with_a_warning(made, tmp_path, capsys):
    assert run(made, f"denoise model.npz noisy.png -o {tmp_path / 'clean.png'} --sigma 0.1") == 0
    assert "--sigma 0.1 is less than one grey level" in capsys.readouterr().err
    assert run(made, f"denoise model.npz noisy.png -o {tmp_path / 'clean.png'} --sigma 1") == 0
    assert "warning" not in capsys.readouterr().err


def test_an_estimated_scale_is_printed(made, tmp_path, capsys):
    assert run(tmp_path, f"sketch {made / 'rows2.npy'} -o s.npz -m 10") == 0
    rng = np.random.default_rng(0)
    rng.choice(1000, 1000, replace=False)  # which rows to look at: all
    estimate = fastcl.estimate_scale(np.load(made / "rows2.npy"), rng)
    assert f"estimated scale: {estimate:.3g}\n" in capsys.readouterr().out
    assert run(tmp_path, f"sketch {made / 'rows2.npy'} -o s.npz -m 10 --scale 0.1") == 0
    assert "scale" not in capsys.readouterr().out


def test_columns_far_from_zero_leave_the_reference_alone(tmp_path, rng):
    x = 0.01 * rng.standard_normal((5000, 4)) + [0, 0, 0, 2000]
    np.save(tmp_path / "x.npy", x)
    assert run(tmp_path, "sketch x.npy -o s.npz -m 10") == 0
    covariance = fastcl.load(tmp_path / "s.npz").domain.covariance
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), x.std(axis=0), rtol=1e-3)


def test_columns_in_different_units_are_sketched_in_units_of_their_own(tmp_path, rng, capsys):
    x = rng.standard_normal((5000, 2)) * [1, 1e5]
    np.save(tmp_path / "x.npy", x)
    assert run(tmp_path, "sketch x.npy -o s.npz -m 300") == 0
    assert "standard deviations of a column" in capsys.readouterr().out
    sk = fastcl.load(tmp_path / "s.npz")
    lengths = np.sqrt((sk.omega**2).mean(axis=0))
    assert lengths[0] / lengths[1] == pytest.approx(1e5, rel=0.3)
    assert (sk.domain.high - sk.domain.low < 1.5 * np.ptp(x, axis=0)).all()


def test_without_sigma_the_channels_share_one_estimate(made, tmp_path, capsys):
    noisy = np.stack([with_noise(photograph(seed, (20, 24)), seed) for seed in range(3)], axis=-1)
    noisy = as_levels(noisy) / 255
    iio.imwrite(tmp_path / "noisy.png", as_levels(noisy))
    assert run(tmp_path, f"denoise {made / 'model.npz'} noisy.png -o clean.npy") == 0
    sigma = 255 * np.mean([fastcl.estimate_noise(noisy[..., k]) for k in range(3)])
    assert f"denoised at sigma {sigma:g}; 3 channels" in capsys.readouterr().out


def test_an_image_is_denoised_with_a_network(made, tmp_path):
    out = tmp_path / "clean.png"
    assert run(made, f"denoise network.npz noisy.png -o {out} --sigma 25") == 0
    assert psnr(CLEAN, read_levels(out)) > psnr(CLEAN, read_levels(made / "noisy.png")) + 4


@pytest.mark.parametrize(("sketch", "method"), [("images", "max_entropy"), ("s2", "unbiased")])
def test_learn_prints_its_method(made, tmp_path, monkeypatch, capsys, sketch, method):
    do_little(monkeypatch)
    assert run(made, f"learn {sketch}.npz -o {tmp_path / 'p.npz'} --iterations 1 --points 50") == 0
    assert f"learned by the method {method}\n" in capsys.readouterr().out


@pytest.mark.parametrize("effort", EFFORTS)
def test_an_array_is_denoised_as_an_image(made, tmp_path, effort):
    out, options = tmp_path / "clean.npy", f"--sigma 25 --strength 0.9 --effort {effort}"
    assert run(made, f"denoise model.npz noisy.npy -o {out} {options}") == 0
    model, noisy = fastcl.load_prior(made / "model.npz"), np.load(made / "noisy.npy")
    expected = fastcl.denoise_image(model, noisy, 25 / 255, 0.9, effort=effort)
    np.testing.assert_array_equal(np.load(out), expected)


@pytest.mark.parametrize(
    "suffix", [".png", ".PNG", ".tif", ".tiff", ".bmp", ".pgm", ".npy", ".NPY", ".jpg", ".jpeg"]
)
def test_every_suffix_on_offer_can_be_written(made, tmp_path, suffix):
    out = tmp_path / f"clean{suffix}"
    assert run(made, f"denoise model.npz noisy.png -o {out} --sigma 25") == 0
    content = out.read_bytes()
    written = (
        np.load(out)
        if suffix.lower() == ".npy"
        else iio.imread(content, extension=suffix.lower()) / 255
    )
    assert written.shape == CLEAN.shape
    assert psnr(CLEAN, written) > psnr(CLEAN, read_levels(made / "noisy.png")) + 3


def test_colour_is_denoised_in_luminance_and_chroma_by_a_model_of_grey(made, tmp_path):
    grey, tint = photograph(100, (40, 48)), photograph(101, (40, 48))
    clean = np.stack([grey, 0.8 * grey + 0.2 * tint, 0.6 * grey + 0.4 * tint], axis=-1)
    iio.imwrite(tmp_path / "noisy.png", as_levels(with_noise(clean)))
    assert run(tmp_path, f"denoise {made / 'model.npz'} noisy.png -o clean.png --sigma 25") == 0
    assert run(tmp_path, f"denoise {made / 'model.npz'} noisy.png -o clean.npy --sigma 25") == 0
    result, noisy = np.load(tmp_path / "clean.npy"), read_levels(tmp_path / "noisy.png")
    np.testing.assert_array_equal(iio.imread(tmp_path / "clean.png"), as_levels(result))
    model = fastcl.load_prior(made / "model.npz")
    channels = [fastcl.denoise_image(model, noisy[..., k], 25 / 255) for k in range(3)]
    assert psnr(clean, result) > psnr(clean, np.stack(channels, axis=-1)) + 0.5
    luminance = fastcl.denoise_image(model, noisy.mean(axis=2), 25 / 255 / 3**0.5)
    np.testing.assert_allclose(result.mean(axis=2), luminance, atol=1e-12)


def test_sixteen_bits_are_read_on_their_own_scale(made, tmp_path):
    iio.imwrite(
        tmp_path / "noisy.png", np.round(65535 * np.clip(with_noise(CLEAN), 0, 1)).astype(np.uint16)
    )
    assert run(tmp_path, f"denoise {made / 'model.npz'} noisy.png -o clean.png --sigma 25") == 0
    assert (
        psnr(CLEAN, iio.imread(tmp_path / "clean.png") / 65535)
        > psnr(CLEAN, read_levels(made / "noisy.png")) + 4
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_image_keeps_its_depth(made, tmp_path, capsys):
    floats = with_noise(CLEAN).astype(np.float32)
    colours = np.round(65535 * np.clip(np.dstack([floats] * 3), 0, 1)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "floats.tif", floats)
    tifffile.imwrite(tmp_path / "colours.tif", colours, photometric="rgb")
    for name, out, dtype in (
        ("floats.tif", "clean.tif", np.float32),
        ("floats.tif", "clean.png", np.uint8),
        ("colours.tif", "clean.tif", np.uint16),
    ):
        assert run(tmp_path, f"denoise {made / 'model.npz'} {name} -o {out} --sigma 25") == 0
        assert iio.imread(tmp_path / out).dtype == dtype
    assert "warning" not in capsys.readouterr().err
    assert run(tmp_path, f"denoise {made / 'model.npz'} colours.tif -o clean.png --sigma 25") == 0
    assert iio.imread(tmp_path / "clean.png").dtype == np.uint8
    assert "clean.png is written with 8 bits of 16" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["2", "5"])
def test_rows_are_denoised(made, tmp_path, name):
    out = tmp_path / "clean.npy"
    assert (
        run(made, f"denoise p{name}.npz rows{name}.npy -o {out} --sigma 0.1 --estimator map") == 0
    )
    prior, rows = fastcl.load_prior(made / f"p{name}.npz"), np.load(made / f"rows{name}.npy")
    denoised = np.load(out)
    assert (denoised.dtype, denoised.shape) == (rows.dtype, rows.shape)
    np.testing.assert_array_equal(denoised, fastcl.denoise(prior, rows, 0.1))


def test_an_array_can_be_replaced_by_its_own_clean_version(made, tmp_path):
    rows = np.load(made / "rows5.npy")[:20]
    np.save(tmp_path / "rows.npy", rows)
    assert run(tmp_path, f"denoise {made / 'p5.npz'} rows.npy -o rows.npy --sigma 0.1") == 0
    expected = fastcl.denoise(fastcl.load_prior(made / "p5.npz"), rows, 0.1, estimator="mean")
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), expected)


# Beyond two dimensions G is the mean of many estimates, which take seconds each on a slow machine:
# a step or two will do.
@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        "--seconds 0.2",
        "--dim 1 --seconds 0.2",
        "s2.npz --seconds 0.2",
        "s5.npz --seconds 0.01",
        "images.npz --seconds 0.01",
    ],
)
def test_bench_writes_numbers_and_curves(made, tmp_path, monkeypatch, capsys, arguments):
    # A hundred times faster.
    monkeypatch.setattr(bench, "run", functools.partial(bench.run, widths=(8,)))
    assert run(made, f"bench {arguments} --out {tmp_path / 'new' / 'bench'}") == 0
    results = json.loads((tmp_path / "new" / "bench" / "bench.json").read_text())
    image = iio.imread(tmp_path / "new" / "bench" / "bench.png")
    assert image.shape[2] in (3, 4)
    assert np.ptp(image[..., :3]) > 100
    assert set(results["methods"]) == set(METHODS)
    table = capsys.readouterr().out
    for method, row in results["methods"].items():
        assert method in table
        if "left_out" in row:
            assert method == "grid"
            continue
        assert row["step_seconds"] > 0
        assert row["step_mib"] > 0
        assert np.isfinite(row["value"]).all()
        assert len(row["value"]) == len(row["seconds"]) >= 2
        assert row["seconds"] == sorted(row["seconds"])
    assert ("left_out" in results["methods"]["grid"]) == (results["dim"] > 3)


def test_the_gaussian_near_rows_is_that_of_each_column(tmp_path):
    rows = 0.01 * np.random.default_rng(0).standard_normal((5000, 5)) + [0, 0, 0, 2000, 1e6]
    rows[:, 2] = 7  # a constant column
    np.save(tmp_path / "rows.npy", rows)
    assert run(tmp_path, "sketch rows.npy -o s.npz -m 10 --scale 0.005") == 0
    domain = fastcl.load(tmp_path / "s.npz").domain
    np.testing.assert_allclose(domain.mean, rows.mean(axis=0))
    stds = np.sqrt(np.diag(domain.covariance))
    np.testing.assert_allclose(stds, [0.01, 0.01, 0.005, 0.01, 0.01], rtol=0.05)


def test_a_sketch_made_in_python_is_learned_from_within_a_box(made, tmp_path):
    sk = fastcl.sketch(np.load(made / "rows2.npy"), fastcl.load(made / "s2.npz").omega)
    sk.save(tmp_path / "s.npz")
    steps = "--iterations 5 --points 100"
    for corners in ("--low -1 -1.5 --high 1 1.5", "--low -1 --high 1"):
        assert run(tmp_path, f"learn s.npz -o p.npz {corners} {steps}") == 0
    prior = fastcl.MLPPrior(2, rng=0)
    box = fastcl.Box([-1, -1], [1, 1])
    prior.initialise_on(box, rng=0)
    fastcl.learn(prior, sk, box, n_points=100, n_iter=5, rng=0)
    np.testing.assert_array_equal(fastcl.load_prior(tmp_path / "p.npz").theta, prior.theta)


@pytest.mark.filterwarnings("default")
def test_bad_images_are_skipped_with_a_warning_each(made, tmp_path, capsys):
    shutil.copytree(made / "images", tmp_path / "images")
    (tmp_path / "images" / "text.png").write_text("not an image")
    iio.imwrite(tmp_path / "images" / "tiny.png", as_levels(photograph(0, (3, 20))))
    settings = "-o s.npz --patch 4 -m 20 --seed 3"
    assert run(tmp_path, f"sketch images {settings}") == 2
    assert "text.png" in capsys.readouterr().err
    assert run(tmp_path, f"sketch images {settings} --skip-bad") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("fastcl sketch: warning: skipped: ") for line in lines] == [True] * 2
    np.testing.assert_array_equal(
        fastcl.load(tmp_path / "s.npz").sketch.values,
        fastcl.load(made / "images.npz").sketch.values,
    )


# ---- in a process of its own ---------------------------------------------------------------------


def test_the_installed_command_prints_its_version():
    command = Path(sys.executable).with_name("fastcl")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fastcl {fastcl.__version__}\n", "")


def test_the_package_runs_as_a_module(tmp_path):
    command = [sys.executable, "-m", "fastcl"]
    settings = {"capture_output": True, "text": True, "timeout": 120, "cwd": tmp_path}
    done = subprocess.run([*command, "--version"], **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fastcl {fastcl.__version__}\n", "")
    done = subprocess.run([*command, "learn", "none.npz", "-o", "p.npz"], **settings)
    assert done.returncode == 2
    assert done.stderr == "fastcl learn: error: no such file: 'none.npz'\n"


def test_the_installed_command_fails_with_status_2(tmp_path):
    command = [Path(sys.executable).with_name("fastcl"), "learn", "none.npz", "-o", "p.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "fastcl learn: error: no such file: 'none.npz'\n",
    )


def test_import_is_light():
    program = """
import sys
from numba.core import event
recorder = event.RecordingListener()
with event.install_listener("numba:compile", recorder):
    import fastcl, fastcl.cli
heavy = {"skimage", "matplotlib", "tqdm", "imageio", "torch", "cupy"} & set(sys.modules)
print(sorted(heavy), len(recorder.buffer))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("[] 0\n", "")
