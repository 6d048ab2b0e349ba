"""Bad input on the command line: one line, status 2, and no file of the user's changed or lost."""

import errno
import os
import shutil
import struct
import sys
import zlib

import imageio.v3 as iio
import numpy as np
import pytest
from commands import as_levels, run
from pictures import do_little, photograph

import fastcl
from fastcl.cli import commands as cli


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    do_little(monkeypatch)


def png_of_size(width, height):
    """A PNG file whose header claims this size, without the pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.fixture(scope="module")
def bad(made, tmp_path_factory):
    """A copy of the folder `made`, with files in it that must be refused."""
    folder = shutil.copytree(made, tmp_path_factory.mktemp("bad"), dirs_exist_ok=True)
    image = as_levels(photograph(0, (20, 20)))
    (folder / "empty").mkdir()
    iio.imwrite(folder / "flat.png", np.full((20, 20), 100, np.uint8))
    for name, content in {
        "alpha.png": np.stack([image] * 4, axis=-1),
        "grey-alpha.png": np.stack([image] * 2, axis=-1),
        "small.png": image[:3],
    }.items():
        iio.imwrite(folder / name, content)
        (folder / name.removesuffix(".png")).mkdir()
        iio.imwrite(folder / name.removesuffix(".png") / name, content)
    (folder / "levels").mkdir()
    levels = np.float32(255) * photograph(0, (20, 20)).astype(np.float32)
    iio.imwrite(folder / "levels" / "levels.tif", levels)
    np.save(folder / "levels.npy", levels)
    (folder / "text").mkdir()
    (folder / "text" / "text.png").write_text("not an image")
    (folder / "text.png").write_text("not an image")
    (folder / "cut.png").write_bytes((folder / "noisy.png").read_bytes()[:400])
    (folder / "nothing.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(png_of_size(60_000, 60_000))
    (folder / "three-bytes.png").write_bytes(b"hi\n")
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
        np.save(folder / f"{name}.npy", array, allow_pickle=name == "objects")
    (folder / "cut.npy").write_bytes((folder / "rows2.npy").read_bytes()[:1000])
    (folder / "text.npy").write_text("not an array")
    (folder / "nothing.npy").write_bytes(b"")
    for name in ("s2", "images", "model", "p2", "c2"):
        (folder / f"cut-{name}.npz").write_bytes((folder / f"{name}.npz").read_bytes()[:-200])
    np.savez(folder / "foreign.npz", omega=np.ones((3, 2)))
    (folder / "text.npz").write_text("not an archive")
    bare = fastcl.sketch(np.zeros((3, 2)), np.ones((4, 2)))
    bare.save(folder / "bare.npz")
    fastcl.Sketch(np.ones((4, 2))).save(folder / "unfilled.npz")
    return folder


BAD_COMMANDS = """
sketch missing -o OUT
sketch missing.npy -o OUT
sketch empty -o OUT
sketch text -o OUT
sketch alpha -o OUT --patch 4
sketch grey-alpha -o OUT --patch 4
sketch small -o OUT --patch 4
sketch levels -o OUT --patch 4
sketch noisy.png -o OUT
sketch model.npz -o OUT
sketch images -o OUT --patch 1
sketch images -o OUT --patch 0
sketch images -o OUT --patch -3
sketch images -o OUT --patch 41
sketch images -o OUT -m 0
sketch images -o OUT --scale 1
sketch rows2.npy -o OUT --patch 6
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
learn s2.npz -o OUT --method best
learn images.npz -o OUT --method grid
learn images.npz -o OUT --method max_entropy --iterations 0
learn images.npz -o OUT --method unbiased --iterations 0 --points 2
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
denoise model.npz levels/levels.tif -o OUT.png --sigma 25
denoise model.npz levels.npy -o OUT.png --sigma 25
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
    """Check that the command fails with one line and leaves every file in the folder as it was."""
    capsys.readouterr()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert run(folder, command) == status
    err = capsys.readouterr().err
    assert err.startswith("fastcl")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert len(err.split(":")[-1].strip()) > 4  # a message follows the names
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return err


@pytest.mark.parametrize("command", BAD_COMMANDS)
def test_bad_input_is_one_line_and_leaves_the_output_as_it_was(bad, capsys, command):
    old = [bad / f"old{suffix}" for suffix in ("", ".png", ".gif", ".npy")]
    for path in old:
        path.write_bytes(b"the output of an earlier run")
    shutil.rmtree(bad / "new-bench", ignore_errors=True)  # from a test that failed
    assert_refused(bad, command.replace("OUT", "old").replace("BENCH", "new-bench"), capsys)
    assert not (bad / "new-bench").exists()


@pytest.mark.parametrize(
    "command",
    [
        "sketch images -o old",
        "learn s2.npz -o old",
        "denoise model.npz noisy.png -o old.png --sigma 25",
        "learn s2.npz -o /tmp/p.npz --checkpoint old",
    ],
)
def test_a_folder_that_cannot_be_written_is_found_before_the_work(
    bad, capsys, monkeypatch, command
):
    # The superuser may write anywhere, so permissions cannot really be taken away.
    def refuse(path, flags, mode=0o777):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    assert "cannot be written" in assert_refused(bad, command, capsys)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sketch missing -o old", "missing"),
        ("sketch empty -o old", "empty"),
        ("sketch text -o old", "text.png"),
        ("sketch levels -o old --patch 4", "levels.tif' must hold floats in [0, 1], got a mean of"),
        ("denoise model.npz levels/levels.tif -o old.png", "levels.tif' must hold floats in"),
        ("denoise model.npz levels.npy -o old.png", "noisy must hold floats in [0, 1]"),
        ("sketch small -o old --patch 4", "small.png' of 3 x 20 pixels is smaller than"),
        ("sketch nan.npy -o old", "x holds NaN or infinity in row"),
        ("sketch line.npy -o old", "save x[:, None]"),
        ("sketch line.npy -o old", "line.npy must be 2-D"),
        ("sketch images -o old --patch 1", "patch must be at least 2"),
        ("sketch images -o old -m 0", "m must be at least 1"),
        ("denoise model.npz alpha.png -o old.png --sigma 25", "alpha"),
        ("learn cut-s2.npz -o old", "cut-s2.npz' is truncated"),
        ("denoise p2.npz noisy.png -o old.png --sigma 25", "prior of vectors"),
        ("denoise model.npz noisy.png -o old.gif --sigma 25", "must end in .npy or .png"),
        ("denoise model.npz noisy.png -o old.png --sigma -1", "sigma must be above zero"),
        ("denoise p2.npz rows2.npy -o old.npy", "--sigma is needed"),
        ("denoise model.npz flat.png -o old.png", "no noise to estimate"),
        ("denoise s2.npz noisy.png -o old.png --sigma 25", "holds a sketch, expected"),
        ("denoise model.npz noisy.png -o old.png --sigma 256", "for 25 levels of 255"),
        ("sketch images -o old --scale 1", "--scale is for an array"),
        ("sketch rows2.npy -o old --patch 6", "--patch is for a folder of signals"),
        ("learn model.npz -o old", "holds a signal model, expected Sketch or PatchSketch"),
        ("learn s2.npz -o old --method max_entropy", "an array must be one of unbiased, naive"),
        ("learn images.npz -o old --method grid", "signals must be one of max_entropy, unbiased"),
        (
            "learn images.npz -o old --checkpoint new.npz",
            "--checkpoint is not for the method max_entropy",
        ),
        ("learn bare.npz -o old", "no domain"),
        ("learn bare.npz -o old", "give --low and --high to `fastcl learn`"),
        ("learn bare.npz -o old --low 0", "--low and --high go together"),
        ("learn bare.npz -o old --low 0 --high 1 1 1", "must have one number, or 2"),
        ("learn bare.npz -o old --low 1 --high -1", "low must be below high"),
        ("learn images.npz -o old --low 0 --high 1", "are for a sketch of an array"),
        ("learn unfilled.npz -o old", "holds no points"),
        ("learn rows2.npy -o old", "make one from the data with `fastcl sketch`"),
        ("learn images -o old", "make one from the data with `fastcl sketch`"),
        ("denoise s2.npz noisy.png -o old.png --sigma 25", "run `fastcl learn` on it first"),
        ("denoise images.npz noisy.png -o old.png", "run `fastcl learn` on it first"),
        ("sketch rows2.npy -o old --skip-bad", "--skip-bad is for a folder of signals"),
        ("sketch rows2.npy -o -", "must be a file, not '-'"),
        ("learn s2.npz -o -", "must be a file, not '-'"),
        ("denoise model.npz noisy.png -o - --sigma 25", "must be a file, not '-'"),
        ("info text.npz", "text.npz' is truncated or was not written by fastcl"),
        ("info cut-s2.npz", "cut-s2.npz' is truncated"),
        ("info foreign.npz", "foreign.npz' is truncated or was not written by fastcl"),
        ("info text.png", "text.png' is not a readable image"),
    ],
)
def test_messages_name_what_is_wrong(bad, capsys, command, words):
    assert words in assert_refused(bad, command, capsys)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "paint",
        "sketch",
        "sketch images",
        "sketch images -o s.npz -m many",
        "learn s2.npz",
        "learn s2.npz -o p --lows 1",
        "learn s2.npz s5.npz -o p",
        "denoise model.npz noisy.png",
        "denoise model.npz noisy.png -o clean.png --sigma much",
        "denoise model.npz noisy.png -o clean.png --sigma 25 --estimator median",
        "bench --dim two",
        "demo --now",
    ],
)
def test_arguments_that_make_no_command_exit_with_status_2(made, capsys, command):
    with pytest.raises(SystemExit) as caught:
        run(made, command)
    assert caught.value.code == 2
    assert "usage: fastcl" in capsys.readouterr().err


def test_a_misspelt_option_shows_the_usage_of_its_command(made, capsys):
    with pytest.raises(SystemExit) as caught:
        run(made, "denoise model.npz noisy.png -o clean.png --sgima 25")
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("usage: fastcl denoise")
    assert err.endswith("error: unknown: --sgima 25 (did you mean --sigma?)\n")


def test_a_read_only_output_is_refused_before_the_work(bad, capsys):
    for suffix in ("", ".png"):
        (bad / f"old{suffix}").write_bytes(b"the output of an earlier run")
        (bad / f"old{suffix}").chmod(0o444)
    try:
        for command in (
            "sketch rows2.npy -o old",
            "learn s2.npz -o old",
            "denoise model.npz noisy.png -o old.png --sigma 25",
        ):
            assert "is read-only" in assert_refused(bad, command, capsys)
    finally:
        for suffix in ("", ".png"):
            (bad / f"old{suffix}").chmod(0o644)


@pytest.mark.parametrize(
    "command",
    [
        "sketch rows2.npy -o rows2.npy",
        "sketch rows2.npy -o ./rows2.npy",
        "learn s2.npz -o s2.npz",
        "learn s2.npz -o old --checkpoint old --iterations 1",
        "sketch rows2.npy -o pipe",
        "learn s2.npz -o pipe --iterations 1",
        "denoise model.npz noisy.png -o pipe.png --sigma 25",
    ],
)
def test_input_and_special_files_are_not_written_over(bad, capsys, command):
    for name in ("pipe", "pipe.png"):
        (bad / name).unlink(missing_ok=True)
        os.mkfifo(bad / name)  # must not be replaced by a file, just like /dev/null
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
    monkeypatch.setattr(
        "PIL.Image.Image.save", lambda image, file, *given, **named: full_disk(file)
    )
    assert "No space left" in assert_refused(
        bad, f"denoise model.npz noisy.png -o old{suffix} --sigma 25", capsys
    )


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("sketch images -o old", "signals.sketch_images"),
        ("sketch rows2.npy -o old", "sketch_rows"),
        ("learn images.npz -o old", "learn_patches"),
        ("denoise model.npz noisy.png -o old.png --sigma 25", "signals.denoise_image"),
    ],
)
def test_an_interruption_is_one_line_and_status_130(bad, capsys, monkeypatch, command, function):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{cli.__name__}.{function}", interrupt)
    assert "interrupted" in assert_refused(bad, command, capsys, status=130)


@pytest.mark.parametrize("arguments", ["s2.npz", "images.npz", "images.npz --method unbiased"])
def test_interrupted_learning_is_not_passed_off_as_finished(bad, capsys, monkeypatch, arguments):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    (bad / "old").write_bytes(b"the output of an earlier run")
    do_little(monkeypatch)
    monkeypatch.setattr("fastcl.learning.objective.SketchMatching.gradient", interrupt)
    monkeypatch.setattr("fastcl.priors.metric.WhitenedMetric.apply", interrupt)
    capsys.readouterr()
    assert run(bad, f"learn {arguments} -o old") == 130
    assert capsys.readouterr().err.startswith("fastcl: interrupted: ")
    assert (bad / "old").read_bytes() == b"the output of an earlier run"
    # What was learned is not lost either.
    assert fastcl.load_prior(bad / "old.partial.npz") is not None


def test_a_result_that_is_not_finite_is_not_written(bad, capsys, monkeypatch):
    monkeypatch.setattr(cli, "denoise", lambda prior, noisy, *given, **named: noisy * np.inf)
    assert run(bad, "denoise p2.npz rows2.npy -o never.npy --sigma 1") == 2
    assert "the result is not finite" in capsys.readouterr().err
    assert not (bad / "never.npy").exists()


def test_a_missing_extra_is_named(bad, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert 'pip install "fastcl[demo]"' in assert_refused(
        bad, "denoise model.npz noisy.png -o old.png --sigma 25", capsys
    )
    assert 'pip install "fastcl[demo]"' in assert_refused(bad, "sketch images -o old", capsys)
