"""The command line on files: what it writes when all is well, and one line and status 2 when it is not."""

import functools
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from test_images import do_little, photograph, psnr, with_noise

import fastcl
from fastcl import cli
from fastcl.datasets import make_spiral
from fastcl.objective import METHODS

CLEAN = photograph(100, (24, 30))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    do_little(monkeypatch)


def as_levels(image):
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def read_levels(path):
    return iio.imread(path) / 255


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which every command has been run: images and rows to sketch, to learn, and to be denoised."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "images").mkdir()
    for seed in range(4):
        iio.imwrite(folder / "images" / f"{seed}.png", as_levels(photograph(seed)))
    iio.imwrite(folder / "images" / "4.PNG", np.stack([as_levels(photograph(4))] * 3, axis=-1), extension=".png")
    (folder / "images" / "notes.txt").write_text("not an image")
    iio.imwrite(folder / "noisy.png", as_levels(with_noise(CLEAN)))
    np.save(folder / "noisy.npy", with_noise(CLEAN))
    rng = np.random.default_rng(0)
    np.save(folder / "rows2.npy", make_spiral(1000, rng=0).astype(np.float32))
    np.save(folder / "rows5.npy", rng.standard_normal((1000, 5)) @ rng.standard_normal((5, 5)))
    with pytest.MonkeyPatch.context() as patch:
        do_little(patch)
        for command in (
            "sketch images -o images.npz --patch 4 -m 20 --seed 3",
            "learn images.npz -o model.npz --iterations 15 --points 200",
            "learn images.npz -o network.npz --iterations 5 --points 50 --method normalised",
            "sketch rows2.npy -o s2.npz -m 100",
            "learn s2.npz -o p2.npz --iterations 30 --points 500 --checkpoint c2.npz",
            "sketch rows5.npy -o s5.npz -m 50",
            "learn s5.npz -o p5.npz --iterations 15 --points 200 --method naive",
        ):
            assert run(folder, command) == 0
    return folder


def run(folder, command):
    """Exit status of a command that is given in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return cli.main(command.split())


# ---- what the commands write -------------------------------------------------------------------------------------


def test_sketch_of_a_folder_holds_every_patch_of_every_image(made):
    sketch = fastcl.load(made / "images.npz")
    assert isinstance(sketch, fastcl.PatchSketch)
    assert sketch.sketch.count == 5 * 37 * 45
    assert sketch.sketch.omega.shape == (20, 15)


def test_sketch_of_images_is_that_of_the_library(made, monkeypatch):
    do_little(monkeypatch)
    levels = [as_levels(photograph(seed)) / 255 for seed in range(5)]
    expected = fastcl.sketch_images(levels, 4, 20, rng=3)
    # Upper-case suffixes sort with the others; three equal channels have that grey, to the rounding of its weights.
    np.testing.assert_allclose(fastcl.load(made / "images.npz").sketch.values, expected.sketch.values, atol=1e-4)


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
        np.testing.assert_allclose(sketch.domain.covariances[0], np.cov(rows.T), atol=1e-5 * rows.var())


def test_learn_of_rows_is_that_of_the_library(made):
    sketch = fastcl.load(made / "s2.npz")
    prior = fastcl.MLPPrior(2, rng=0)
    prior.start_near(sketch.domain, rng=0)
    fastcl.learn(prior, sketch, sketch.domain, n_points=500, n_iter=30, rng=0)
    np.testing.assert_array_equal(fastcl.load_prior(made / "p2.npz").theta, prior.theta)
    assert fastcl.load_prior(made / "p5.npz").reference is not None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("model", {"method": "max_entropy", "n_points": 200, "n_iter": 15}),
        ("network", {"method": "normalised", "n_points": 50, "n_iter": 5}),
    ],
)
def test_learn_of_images_is_that_of_the_library(made, monkeypatch, name, settings):
    do_little(monkeypatch)
    expected = fastcl.learn_patches(fastcl.load(made / "images.npz"), rng=0, **settings).to_arrays()
    arrays = fastcl.load_prior(made / f"{name}.npz").to_arrays()
    assert arrays.keys() == expected.keys()
    for key, array in ((key, np.asarray(array)) for key, array in expected.items()):
        if array.dtype.kind in "fc":  # the weights of a mixture are normalised once more when it is read
            np.testing.assert_allclose(arrays[key], array, rtol=1e-9, atol=0)
        else:
            np.testing.assert_array_equal(arrays[key], array)


def test_a_checkpoint_is_gone_on_from(made, tmp_path):
    assert run(tmp_path, f"learn {made / 's2.npz'} -o p.npz --iterations 10 --points 500 --checkpoint c.npz") == 0
    assert run(tmp_path, f"learn {made / 's2.npz'} -o p.npz --iterations 30 --points 500 --checkpoint c.npz") == 0
    np.testing.assert_array_equal(fastcl.load_prior(tmp_path / "p.npz").theta, fastcl.load_prior(made / "p2.npz").theta)


@pytest.mark.parametrize("estimator", ["mean", "map"])
def test_an_image_is_denoised(made, tmp_path, estimator):
    out = tmp_path / "clean.png"
    assert run(made, f"denoise model.npz noisy.png -o {out} --sigma 25 --estimator {estimator}") == 0
    assert psnr(CLEAN, read_levels(out)) > psnr(CLEAN, read_levels(made / "noisy.png")) + 4
    expected = fastcl.denoise_image(
        fastcl.load_prior(made / "model.npz"), read_levels(made / "noisy.png"), 25 / 255, estimator=estimator
    )
    np.testing.assert_array_equal(iio.imread(out), as_levels(expected))
    assert [file.name for file in tmp_path.iterdir()] == ["clean.png"]


def test_without_sigma_the_noise_of_an_image_is_estimated(made, tmp_path, capsys):
    out = tmp_path / "clean.npy"
    assert run(made, f"denoise model.npz noisy.npy -o {out}") == 0
    model, noisy = fastcl.load_prior(made / "model.npz"), np.load(made / "noisy.npy")
    sigma = fastcl.estimate_noise(noisy)
    np.testing.assert_allclose(np.load(out), fastcl.denoise_image(model, noisy, sigma), rtol=0, atol=1e-12)  # times 255, over 255
    assert f"denoised at sigma {255 * sigma:g}" in capsys.readouterr().out
    assert run(made, f"denoise model.npz noisy.png -o {tmp_path / 'clean.png'}") == 0
    assert psnr(CLEAN, read_levels(tmp_path / "clean.png")) > psnr(CLEAN, read_levels(made / "noisy.png")) + 3


def test_without_sigma_the_channels_share_one_estimate(made, tmp_path):
    noisy = as_levels(np.stack([with_noise(photograph(seed, (20, 24)), seed) for seed in (101, 102, 103)], axis=-1)) / 255
    iio.imwrite(tmp_path / "noisy.png", as_levels(noisy))
    assert run(tmp_path, f"denoise {made / 'model.npz'} noisy.png -o clean.npy") == 0
    sigma = np.mean([fastcl.estimate_noise(noisy[..., k]) for k in range(3)])
    model = fastcl.load_prior(made / "model.npz")
    channels = [fastcl.denoise_image(model, noisy[..., k], sigma) for k in range(3)]
    np.testing.assert_allclose(np.load(tmp_path / "clean.npy"), np.stack(channels, axis=-1), rtol=0, atol=1e-12)


def test_an_image_is_denoised_with_a_network(made, tmp_path):
    out = tmp_path / "clean.png"
    assert run(made, f"denoise network.npz noisy.png -o {out} --sigma 25") == 0
    assert psnr(CLEAN, read_levels(out)) > psnr(CLEAN, read_levels(made / "noisy.png")) + 4


@pytest.mark.parametrize(("sketch", "method"), [("images", "max_entropy"), ("s2", "normalised")])
def test_learn_tells_its_method(made, tmp_path, monkeypatch, capsys, sketch, method):
    do_little(monkeypatch)
    assert run(made, f"learn {sketch}.npz -o {tmp_path / 'p.npz'} --iterations 1 --points 50") == 0
    assert f"learned by the method {method}\n" in capsys.readouterr().out


def test_an_array_is_denoised_as_an_image(made, tmp_path):
    out = tmp_path / "clean.npy"
    assert run(made, f"denoise model.npz noisy.npy -o {out} --sigma 25 --strength 0.9") == 0
    model, noisy = fastcl.load_prior(made / "model.npz"), np.load(made / "noisy.npy")
    np.testing.assert_array_equal(np.load(out), fastcl.denoise_image(model, noisy, 25 / 255, 0.9))


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".tiff", ".bmp", ".pgm", ".npy", ".NPY", ".jpg", ".jpeg"])
def test_every_suffix_that_is_offered_can_be_written(made, tmp_path, suffix):
    out = tmp_path / f"clean{suffix}"
    assert run(made, f"denoise model.npz noisy.png -o {out} --sigma 25") == 0
    content = out.read_bytes()
    written = np.load(out) if suffix.lower() == ".npy" else iio.imread(content, extension=suffix.lower()) / 255
    assert written.shape == CLEAN.shape
    assert psnr(CLEAN, written) > psnr(CLEAN, read_levels(made / "noisy.png")) + 3


def test_colour_is_denoised_channel_by_channel(made, tmp_path):
    clean = np.stack([photograph(seed, (20, 24)) for seed in (101, 102, 103)], axis=-1)
    iio.imwrite(tmp_path / "noisy.png", as_levels(with_noise(clean)))
    assert run(tmp_path, f"denoise {made / 'model.npz'} noisy.png -o clean.png --sigma 25") == 0
    assert run(tmp_path, f"denoise {made / 'model.npz'} noisy.png -o clean.npy --sigma 25") == 0
    denoised, noisy = read_levels(tmp_path / "clean.png"), read_levels(tmp_path / "noisy.png")
    assert denoised.shape == (20, 24, 3)
    assert psnr(clean, denoised) > psnr(clean, noisy) + 3
    model = fastcl.load_prior(made / "model.npz")
    channels = [fastcl.denoise_image(model, noisy[..., k], 25 / 255) for k in range(3)]
    np.testing.assert_array_equal(np.load(tmp_path / "clean.npy"), np.stack(channels, axis=-1))


def test_sixteen_bits_are_read_on_their_own_scale(made, tmp_path):
    iio.imwrite(tmp_path / "noisy.png", np.round(65535 * np.clip(with_noise(CLEAN), 0, 1)).astype(np.uint16))
    assert run(tmp_path, f"denoise {made / 'model.npz'} noisy.png -o clean.png --sigma 25") == 0
    assert psnr(CLEAN, read_levels(tmp_path / "clean.png")) > psnr(CLEAN, read_levels(made / "noisy.png")) + 4


@pytest.mark.parametrize("name", ["2", "5"])
def test_rows_are_denoised(made, tmp_path, name):
    out = tmp_path / "clean.npy"
    assert run(made, f"denoise p{name}.npz rows{name}.npy -o {out} --sigma 0.1 --estimator map") == 0
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


# Beyond two dimensions G is the mean of many estimates, which take seconds each on a slow machine: a step or two do.
@pytest.mark.parametrize(
    "arguments",
    ["--seconds 0.2", "--dim 1 --seconds 0.2", "s2.npz --seconds 0.2", "s5.npz --seconds 0.01", "images.npz --seconds 0.01"],
)
def test_bench_writes_numbers_and_curves(made, tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.setattr("fastcl.bench.MLPPrior", functools.partial(fastcl.MLPPrior, widths=(8,)))  # a hundred times faster
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


# ---- bad input: one line, status 2, nothing written --------------------------------------------------------------


def png_of_size(width, height):
    """A PNG file that says it is this large, and is not."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")]
    packed = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.fixture(scope="module")
def bad(made):
    """The folder of `made` with everything in it that ought not to be used."""
    image = as_levels(photograph(0, (20, 20)))
    (made / "empty").mkdir()
    iio.imwrite(made / "flat.png", np.full((20, 20), 100, np.uint8))
    for name, content in {
        "alpha.png": np.stack([image] * 4, axis=-1),
        "grey-alpha.png": np.stack([image] * 2, axis=-1),
        "small.png": image[:3],
    }.items():
        iio.imwrite(made / name, content)
        (made / name.removesuffix(".png")).mkdir()
        iio.imwrite(made / name.removesuffix(".png") / name, content)
    (made / "text").mkdir()
    (made / "text" / "text.png").write_text("not an image")
    (made / "text.png").write_text("not an image")
    (made / "cut.png").write_bytes((made / "noisy.png").read_bytes()[:400])
    (made / "nothing.png").write_bytes(b"")
    (made / "bomb.png").write_bytes(png_of_size(60_000, 60_000))
    (made / "three-bytes.png").write_bytes(b"hi\n")
    for name, array in {
        "nan": np.full((9, 2), np.nan),
        "nan5": np.full((9, 5), np.nan),
        "line": np.zeros(9),
        "cube": np.zeros((9, 9, 9)),
        "none": np.zeros((0, 2)),
        "objects": np.array([[None, {}]], dtype=object),
        "words": np.array([["a", "b"]]),
        "complex": np.zeros((9, 2), complex),
        "late": np.r_[np.zeros((20, 2)), [[np.nan, 0]]],
    }.items():
        np.save(made / f"{name}.npy", array, allow_pickle=name == "objects")
    (made / "cut.npy").write_bytes((made / "rows2.npy").read_bytes()[:1000])
    (made / "text.npy").write_text("not an array")
    (made / "nothing.npy").write_bytes(b"")
    for name in ("s2", "images", "model", "p2", "c2"):
        (made / f"cut-{name}.npz").write_bytes((made / f"{name}.npz").read_bytes()[:-200])
    np.savez(made / "foreign.npz", omega=np.ones((3, 2)))
    (made / "text.npz").write_text("not an archive")
    bare = fastcl.sketch(np.zeros((3, 2)), np.ones((4, 2)))
    bare.save(made / "bare.npz")
    fastcl.Sketch(np.ones((4, 2))).save(made / "unfilled.npz")
    return made


BAD_COMMANDS = """
sketch missing -o OUT
sketch missing.npy -o OUT
sketch empty -o OUT
sketch text -o OUT
sketch alpha -o OUT --patch 4
sketch grey-alpha -o OUT --patch 4
sketch small -o OUT --patch 4
sketch noisy.png -o OUT
sketch model.npz -o OUT
sketch images -o OUT --patch 1
sketch images -o OUT --patch 0
sketch images -o OUT --patch -3
sketch images -o OUT --patch 41
sketch images -o OUT -m 0
sketch images -o OUT -m -5
sketch images -o OUT --seed -1
sketch images -o no/such/folder/s.npz
sketch images -o empty
sketch rows2.npy -o OUT -m 0
sketch rows2.npy -o OUT --scale 0
sketch rows2.npy -o OUT --scale -1
sketch rows2.npy -o OUT --scale nan
sketch rows2.npy -o OUT --seed -1
sketch nan.npy -o OUT
sketch nan5.npy -o OUT
sketch late.npy -o OUT --scale 1
sketch line.npy -o OUT
sketch cube.npy -o OUT
sketch none.npy -o OUT
sketch objects.npy -o OUT
sketch words.npy -o OUT
sketch complex.npy -o OUT
sketch cut.npy -o OUT
sketch text.npy -o OUT
sketch nothing.npy -o OUT
learn missing.npz -o OUT
learn empty -o OUT
learn cut-s2.npz -o OUT
learn cut-images.npz -o OUT
learn foreign.npz -o OUT
learn text.npz -o OUT
learn model.npz -o OUT
learn noisy.png -o OUT
learn rows2.npy -o OUT
learn bare.npz -o OUT
learn unfilled.npz -o OUT
learn s2.npz -o OUT --iterations 0
learn s2.npz -o OUT --points 0
learn s2.npz -o OUT --seed -1
learn s2.npz -o OUT --checkpoint cut-c2.npz
learn s2.npz -o OUT --checkpoint model.npz
learn s2.npz -o OUT --checkpoint c2.npz --seed 1
learn s2.npz -o OUT --checkpoint no/such/folder/c.npz
learn s2.npz -o no/such/folder/p.npz
learn s2.npz -o empty
learn s2.npz -o OUT --method max_entropy --iterations 2 --points 50
learn images.npz -o OUT --method grid
learn images.npz -o OUT --method max_entropy --iterations 0
learn images.npz -o OUT --method normalised --iterations 0 --points 2
learn images.npz -o OUT --points 0
learn images.npz -o OUT --seed -1
learn images.npz -o OUT --checkpoint new.npz
learn images.npz -o OUT --checkpoint new.npz --method max_entropy
learn s5.npz -o OUT --method grid
denoise missing.npz noisy.png -o OUT.png --sigma 25
denoise cut-model.npz noisy.png -o OUT.png --sigma 25
denoise foreign.npz noisy.png -o OUT.png --sigma 25
denoise s2.npz noisy.png -o OUT.png --sigma 25
denoise images.npz noisy.png -o OUT.png --sigma 25
denoise model.npz missing.png -o OUT.png --sigma 25
denoise model.npz text.png -o OUT.png --sigma 25
denoise model.npz cut.png -o OUT.png --sigma 25
denoise model.npz nothing.png -o OUT.png --sigma 25
denoise model.npz three-bytes.png -o OUT.png --sigma 25
denoise model.npz bomb.png -o OUT.png --sigma 25
denoise model.npz alpha.png -o OUT.png --sigma 25
denoise model.npz grey-alpha.png -o OUT.png --sigma 25
denoise model.npz small.png -o OUT.png --sigma 25
denoise model.npz empty -o OUT.png --sigma 25
denoise model.npz model.npz -o OUT.png --sigma 25
denoise model.npz noisy.png -o OUT.png --sigma 0
denoise model.npz noisy.png -o OUT.png --sigma -25
denoise model.npz noisy.png -o OUT.png --sigma nan
denoise model.npz noisy.png -o OUT.png --sigma inf
denoise model.npz flat.png -o OUT.png
denoise p2.npz rows2.npy -o OUT.npy
denoise model.npz noisy.png -o OUT.png --sigma 25 --strength 0
denoise model.npz noisy.png -o OUT.png --sigma 25 --strength nan
denoise model.npz noisy.png -o OUT.gif --sigma 25
denoise model.npz noisy.png -o OUT --sigma 25
denoise model.npz noisy.png -o no/such/folder/clean.png --sigma 25
denoise model.npz noisy.png -o empty --sigma 25
denoise model.npz nan.npy -o OUT.npy --sigma 25
denoise model.npz line.npy -o OUT.npy --sigma 25
denoise model.npz cube.npy -o OUT.npy --sigma 25
denoise model.npz text.npy -o OUT.npy --sigma 25
denoise p2.npz noisy.png -o OUT.png --sigma 25
denoise p2.npz rows2.npy -o OUT.png --sigma 1
denoise p2.npz rows5.npy -o OUT.npy --sigma 1
denoise p2.npz nan.npy -o OUT.npy --sigma 1
denoise p2.npz line.npy -o OUT.npy --sigma 1
denoise p2.npz objects.npy -o OUT.npy --sigma 1
denoise p2.npz cut.npy -o OUT.npy --sigma 1
denoise p2.npz rows2.npy -o OUT.npy --sigma 1 --strength -1
denoise p2.npz rows2.npy -o OUT.npy --sigma 1 --strength inf
bench missing.npz --out BENCH
bench model.npz --out BENCH
bench cut-s2.npz --out BENCH
bench bare.npz --out BENCH
bench unfilled.npz --out BENCH
bench --dim 0 --out BENCH
bench --dim -2 --out BENCH
bench --dim 100 --seconds 0.1 --out BENCH
bench --dim 300 --seconds 0.1 --out BENCH
bench --seconds 0 --out BENCH
bench --seconds nan --out BENCH
bench s2.npz --seconds 0.1 --out noisy.png
demo --iterations 0 --out BENCH
demo --out noisy.png
""".strip().splitlines()


def assert_refused(folder, command, capsys, status=2):
    """The command fails with one line, and no file in the folder is new, gone or changed."""
    capsys.readouterr()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert run(folder, command) == status
    err = capsys.readouterr().err
    assert err.startswith("fastcl")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert len(err.split(":")[-1].strip()) > 4  # there is a message behind the names
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return err


@pytest.mark.parametrize("command", BAD_COMMANDS)
def test_bad_input_is_one_line_and_leaves_the_output_as_it_was(bad, capsys, command):
    old = [bad / f"old{suffix}" for suffix in ("", ".png", ".gif", ".npy")]
    for path in old:
        path.write_bytes(b"the output of an earlier run")
    shutil.rmtree(bad / "new-bench", ignore_errors=True)  # of a test that failed
    assert_refused(bad, command.replace("OUT", "old").replace("BENCH", "new-bench"), capsys)
    assert not (bad / "new-bench").exists()


@pytest.mark.parametrize(
    "command",
    [
        "sketch images -o old", "learn s2.npz -o old", "denoise model.npz noisy.png -o old.png --sigma 25",
        "learn s2.npz -o /tmp/p.npz --checkpoint old",
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_found_before_the_work(bad, capsys, monkeypatch, command):
    # The superuser may write anywhere, so permissions cannot be taken away for real.
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in (".", str(bad)))
    assert "cannot be written" in assert_refused(bad, command, capsys)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sketch missing -o old", "missing"), ("sketch empty -o old", "empty"), ("sketch text -o old", "text.png"),
        ("sketch nan.npy -o old", "NaN"), ("sketch line.npy -o old", "line.npy must be 2-D"),
        ("sketch images -o old --patch 1", "patch must be at least 2"), ("sketch images -o old -m 0", "m must be at least 1"),
        ("denoise model.npz alpha.png -o old.png --sigma 25", "alpha"), ("learn cut-s2.npz -o old", "cut-s2.npz' is truncated"),
        ("denoise s2.npz noisy.png -o old.png --sigma 25", "holds a fastcl-sketch"),
        ("denoise p2.npz noisy.png -o old.png --sigma 25", "prior of vectors"),
        ("denoise model.npz noisy.png -o old.gif --sigma 25", "must end in .npy or .png"),
        ("denoise model.npz noisy.png -o old.png --sigma -1", "sigma must be above zero"),
        ("denoise p2.npz rows2.npy -o old.npy", "--sigma is needed"),
        ("denoise model.npz flat.png -o old.png", "no noise to estimate"),
        ("learn images.npz -o old --checkpoint new.npz", "--checkpoint is for networks"),
        ("learn bare.npz -o old", "no domain"), ("learn unfilled.npz -o old", "no domain"),
    ],
)  # fmt: skip
def test_messages_name_what_is_wrong(bad, capsys, command, words):
    assert words in assert_refused(bad, command, capsys)


@pytest.mark.parametrize(
    "command",
    [
        "", "paint", "sketch", "sketch images", "sketch images -o s.npz -m many", "learn s2.npz",
        "learn s2.npz -o p --method best",
        "denoise model.npz noisy.png", "denoise model.npz noisy.png -o clean.png --sigma much",
        "denoise model.npz noisy.png -o clean.png --sigma 25 --estimator median", "bench --dim two", "demo --now",
    ],
)  # fmt: skip
def test_arguments_that_make_no_command_exit_with_status_2(made, capsys, command):
    with pytest.raises(SystemExit) as caught:
        run(made, command)
    assert caught.value.code == 2
    assert "usage: fastcl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "sketch rows2.npy -o rows2.npy", "sketch rows2.npy -o ./rows2.npy", "learn s2.npz -o s2.npz",
        "learn s2.npz -o old --checkpoint old --iterations 1", "sketch rows2.npy -o pipe",
        "learn s2.npz -o pipe --iterations 1", "denoise model.npz noisy.png -o pipe.png --sigma 25",
    ],
)  # fmt: skip
def test_input_and_special_files_are_not_written_over(bad, capsys, command):
    for name in ("pipe", "pipe.png"):
        (bad / name).unlink(missing_ok=True)
        os.mkfifo(bad / name)  # as little a file to be replaced as /dev/null
    (bad / "old").unlink(missing_ok=True)
    assert_refused(bad, command, capsys)
    assert (bad / "pipe").is_fifo()
    assert (bad / "pipe.png").is_fifo()


def test_a_link_stays_a_link(made, tmp_path):
    (tmp_path / "link.npz").symlink_to("real.npz")
    for _ in range(2):
        assert run(tmp_path, f"sketch {made / 'rows2.npy'} -o link.npz -m 10") == 0
        assert (tmp_path / "link.npz").is_symlink()
        assert fastcl.load(tmp_path / "real.npz").count == 1000


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_a_failed_write_leaves_the_old_file(bad, capsys, monkeypatch, suffix):
    def full_disk(file, *args, **kwargs):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    (bad / f"old{suffix}").write_bytes(b"the output of an earlier run")
    monkeypatch.setattr(np, "save", full_disk)
    monkeypatch.setattr(iio, "imwrite", full_disk)
    assert "No space left" in assert_refused(bad, f"denoise model.npz noisy.png -o old{suffix} --sigma 25", capsys)


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("sketch images -o old", "sketch_images"), ("sketch rows2.npy -o old", "sketch_rows"),
        ("learn images.npz -o old", "learn_patches"),
        ("denoise model.npz noisy.png -o old.png --sigma 25", "denoise_image"),
    ],
)  # fmt: skip
def test_an_interruption_is_one_line_and_status_130(bad, capsys, monkeypatch, command, function):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, function, interrupt)
    assert "interrupted" in assert_refused(bad, command, capsys, status=130)


@pytest.mark.parametrize("arguments", ["s2.npz", "images.npz", "images.npz --method normalised"])
def test_interrupted_learning_is_not_passed_off_as_finished(bad, capsys, monkeypatch, arguments):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    (bad / "old").write_bytes(b"the output of an earlier run")
    do_little(monkeypatch)
    monkeypatch.setattr("fastcl.objective.SketchMatching.gradient", interrupt)
    monkeypatch.setattr("fastcl.metric.WhitenedMetric.apply", interrupt)
    capsys.readouterr()
    assert run(bad, f"learn {arguments} -o old") == 130
    assert capsys.readouterr().err.startswith("fastcl: interrupted: ")
    assert (bad / "old").read_bytes() == b"the output of an earlier run"
    assert fastcl.load_prior(bad / "old.partial.npz") is not None  # what was learned is not lost either


def test_a_result_that_is_not_finite_is_not_written(bad, capsys, monkeypatch):
    monkeypatch.setattr(cli, "denoise", lambda prior, noisy, *given, **named: noisy * np.inf)
    assert run(bad, "denoise p2.npz rows2.npy -o never.npy --sigma 1") == 2
    assert "the result is not finite" in capsys.readouterr().err
    assert not (bad / "never.npy").exists()


def test_a_missing_extra_is_named(bad, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio.v3", None)
    assert 'pip install "fastcl[demo]"' in assert_refused(bad, "denoise model.npz noisy.png -o old.png --sigma 25", capsys)
    assert 'pip install "fastcl[demo]"' in assert_refused(bad, "sketch images -o old", capsys)


# ---- in a process of its own -------------------------------------------------------------------------------------


def test_the_installed_command_tells_its_version():
    command = Path(sys.executable).with_name("fastcl")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fastcl {fastcl.__version__}\n", "")


def test_the_installed_command_fails_with_status_2(tmp_path):
    command = [Path(sys.executable).with_name("fastcl"), "learn", "none.npz", "-o", "p.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "fastcl learn: error: no such file: 'none.npz'\n")


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
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[] 0\n", "")
