"""Photographs in colour, sounds and volumes on the command line: sketched, learned and denoised."""

import re
import shutil

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from commands import as_levels, run
from pictures import do_little, photograph, psnr
from scipy.io import wavfile
from scipy.ndimage import gaussian_filter

import fastcl
from fastcl.data import sound_formats
from fastcl.denoising import photographs

SIGMA = 0.1
RATE = 8000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    do_little(monkeypatch)


def colour(seed, shape=(30, 34)):
    grey, tint = photograph(seed, shape), photograph(seed + 1000, shape)
    return np.stack([grey, 0.7 * grey + 0.3 * tint, 0.5 * grey + 0.5 * tint], axis=-1)


def note(seed, n=4000):
    """A note with two harmonics that dies away, within 0.9 of full scale."""
    t = np.arange(n)
    pitch = 0.05 * (1 + seed % 5)
    return 0.3 * np.exp(-t / n) * sum(np.sin(k * pitch * t + seed) / k for k in (1, 2, 3))


def volume(seed, shape=(12, 24, 26)):
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.5)
    return 0.2 + 0.3 * (field > 0.01) + 0.3 * (field > -0.02)


def with_noise(signal, seed=0):
    return signal + SIGMA * np.random.default_rng(seed).standard_normal(signal.shape)


def write_sound(path, sound, sample="int16", rate=RATE):
    with open(path, "wb") as file:
        sound_formats.write_sound(file, sound, rate, sample)


def write_stack(path, stack, **settings):
    tifffile.imwrite(path, stack, **{"photometric": "minisblack"} | settings)


def learn(folder, name, settings):
    assert run(folder, f"sketch {name} -o {name}.npz -m 20 {settings}") == 0
    assert run(folder, f"learn {name}.npz -o model-{name}.npz --iterations 5 --points 200") == 0


@pytest.fixture(scope="module")
def signals(made, tmp_path_factory):
    """A folder with data of all kinds and a model of each."""
    folder = tmp_path_factory.mktemp("signals")
    shutil.copy(made / "model.npz", folder / "model-grey.npz")
    for name in ("colour", "grey", "sounds", "stereo", "stacks", "arrays"):
        (folder / name).mkdir()
    for seed in range(4):
        iio.imwrite(folder / "colour" / f"{seed}.png", as_levels(colour(seed)))
        iio.imwrite(folder / "grey" / f"{seed}.png", as_levels(photograph(seed)))
        write_sound(folder / "sounds" / f"{seed}.wav", note(seed))
        write_sound(folder / "stereo" / f"{seed}.wav", np.stack([note(seed), note(seed)], 1))
        write_stack(folder / "stacks" / f"{seed}.tif", as_levels(volume(seed)))
        np.save(folder / "arrays" / f"{seed}.npy", volume(seed).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        do_little(patch)
        learn(folder, "colour", "--patch 3 --colour")
        learn(folder, "sounds", "")
        learn(folder, "stereo", "")
        learn(folder, "stacks", "--patch 2,3,3")
    return folder


def snr(clean, noisy):
    return 10 * np.log10((clean**2).mean() / ((clean - noisy) ** 2).mean())


def test_photographs_in_colour_have_a_prior_of_their_own(signals, tmp_path, capsys):
    clean = colour(100)
    iio.imwrite(tmp_path / "noisy.png", as_levels(with_noise(clean)))
    noisy = iio.imread(tmp_path / "noisy.png") / 255
    results = {}
    for name in ("colour", "grey"):
        model = signals / f"model-{name}.npz"
        assert run(tmp_path, f"denoise {model} noisy.png -o {name}.png --sigma 25.5") == 0
        results[name] = iio.imread(tmp_path / f"{name}.png") / 255
        assert ("3 channels by a model of one" in capsys.readouterr().out) == (name == "grey")
    assert psnr(clean, results["colour"]) > psnr(clean, noisy) + 4
    expected = fastcl.denoise_image(fastcl.load(signals / "model-colour.npz"), noisy, 0.1)
    np.testing.assert_array_equal(as_levels(results["colour"]), as_levels(expected))
    assert fastcl.load(signals / "colour.npz").sketch.count == 4 * 28 * 32


@pytest.fixture
def ready(signals, tmp_path, monkeypatch):
    """Small models of the folder in place of the ready ones."""
    folder = tmp_path / "ready"
    folder.mkdir()
    for kind in ("grey", "colour"):
        shutil.copy(signals / f"model-{kind}.npz", folder / f"{kind}.npz")
    monkeypatch.setattr(photographs, "FOLDER", folder)


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_photographs_need_no_prior(signals, ready, tmp_path, capsys, kind):
    clean = colour(100) if kind == "colour" else photograph(100, (30, 34))
    iio.imwrite(tmp_path / "noisy.png", as_levels(with_noise(clean)))
    np.save(tmp_path / "noisy.npy", with_noise(clean))
    for suffix in ("png", "npy"):
        for settings in ("", " --sigma 25.5"):
            files = f"noisy.{suffix} -o clean.{suffix}"
            assert run(tmp_path, f"denoise {files}{settings}") == 0
            line = capsys.readouterr().out
            assert re.match(r"clean.\w+: denoised at sigma 2\d", line)
            assert "channels by a model of one" not in line
            found = (tmp_path / f"clean.{suffix}").read_bytes()
            assert run(tmp_path, f"denoise {signals / f'model-{kind}.npz'} {files}{settings}") == 0
            assert (tmp_path / f"clean.{suffix}").read_bytes() == found
            capsys.readouterr()
    assert psnr(clean, np.load(tmp_path / "clean.npy")) > psnr(clean, with_noise(clean)) + 4


def test_a_grey_photograph_may_be_kept_in_three_channels(signals, ready, tmp_path, capsys):
    levels = as_levels(with_noise(photograph(100, (30, 34))))
    iio.imwrite(tmp_path / "one.png", levels)
    iio.imwrite(tmp_path / "three.png", np.stack([levels] * 3, axis=-1))
    for prior in ("", f"{signals / 'model-grey.npz'} "):
        for name in ("one", "three"):
            assert run(tmp_path, f"denoise {prior}{name}.png -o {name}-clean.png") == 0
            assert "channels by a model of one" not in capsys.readouterr().out
        one, three = (iio.imread(tmp_path / f"{name}-clean.png") for name in ("one", "three"))
        np.testing.assert_array_equal(three, np.stack([one] * 3, axis=-1))


def test_options_may_stand_between_the_prior_and_the_noisy_file(signals, tmp_path, capsys):
    iio.imwrite(tmp_path / "noisy.png", as_levels(with_noise(photograph(100))))
    model = signals / "model-grey.npz"
    for command in ("{} --sigma 25 noisy.png -o c.npy", "{} -o d.npy noisy.png --sigma 25"):
        assert run(tmp_path, "denoise " + command.format(model)) == 0
    assert (np.load(tmp_path / "c.npy") == np.load(tmp_path / "d.npy")).all()
    for rest in ("noisy.png -o e.npy more.png", "-o e.npy noisy.png more.png", "-o e.npy --more"):
        with pytest.raises(SystemExit):
            run(tmp_path, f"denoise {model} {rest}")
    assert not (tmp_path / "e.npy").exists()


def test_arrays_in_colour(signals, tmp_path):
    clean = colour(100)
    np.save(tmp_path / "noisy.npy", with_noise(clean))
    np.save(tmp_path / "levels.npy", as_levels(with_noise(clean)))
    model = fastcl.load(signals / "model-colour.npz")
    for name, out in (("noisy.npy", "clean.npy"), ("levels.npy", "levels.npy")):
        command = f"denoise {signals / 'model-colour.npz'} {name} -o {out} --sigma 25.5"
        assert run(tmp_path, command) == 0
    expected = fastcl.denoise_image(model, with_noise(clean), 0.1)
    np.testing.assert_array_equal(np.load(tmp_path / "clean.npy"), expected)
    levels = np.load(tmp_path / "levels.npy")
    assert levels.dtype == np.uint8
    np.testing.assert_allclose(levels / 255, np.clip(expected, 0, 1), atol=0.05)


@pytest.mark.parametrize("sample", ["uint8", "int16", "int24", "int32", "float32"])
def test_a_sound_keeps_its_rate_and_the_type_of_its_samples(signals, tmp_path, sample, capsys):
    clean = note(7)
    write_sound(tmp_path / "noisy.wav", with_noise(clean), sample)
    model = signals / "model-sounds.npz"
    assert run(tmp_path, f"denoise {model} noisy.wav -o clean.wav --sigma {SIGMA}") == 0
    before, after = (
        sound_formats.read_header(tmp_path / name) for name in ("noisy.wav", "clean.wav")
    )
    assert before == after
    noisy, result = (sound_formats.read_sound(tmp_path / f"{k}.wav") for k in ("noisy", "clean"))
    assert snr(clean, result) > snr(clean, noisy) + 3
    assert "warning" not in capsys.readouterr().err


def test_the_noise_of_a_sound_is_estimated(signals, tmp_path, capsys):
    write_sound(tmp_path / "noisy.wav", with_noise(note(7)))
    assert run(tmp_path, f"denoise {signals / 'model-sounds.npz'} noisy.wav -o clean.npy") == 0
    sigma = float(capsys.readouterr().out.split("sigma ")[1])
    assert sigma == pytest.approx(SIGMA, rel=0.1)
    assert snr(note(7), np.load(tmp_path / "clean.npy")) > snr(note(7), with_noise(note(7))) + 3


def test_stereo_is_denoised_by_a_model_of_mono_channel_by_channel(signals, tmp_path, capsys):
    clean = np.stack([note(7), note(8)], axis=1)
    write_sound(tmp_path / "noisy.wav", with_noise(clean))
    model = signals / "model-sounds.npz"
    assert run(tmp_path, f"denoise {model} noisy.wav -o clean.wav --sigma {SIGMA}") == 0
    assert "2 channels by a model of one" in capsys.readouterr().out
    rate, result = wavfile.read(tmp_path / "clean.wav")
    assert (rate, result.shape, result.dtype) == (RATE, clean.shape, np.int16)
    for k in range(2):
        write_sound(tmp_path / "one.wav", with_noise(clean)[:, k])
        assert run(tmp_path, f"denoise {model} one.wav -o one.wav --sigma {SIGMA}") == 0
        np.testing.assert_array_equal(wavfile.read(tmp_path / "one.wav")[1], result[:, k])


def test_stereo_has_a_prior_of_its_own(signals, tmp_path, capsys):
    clean = np.stack([note(7), note(7)], axis=1)
    write_sound(tmp_path / "noisy.wav", with_noise(clean))
    assert run(tmp_path, f"denoise {signals / 'model-stereo.npz'} noisy.wav -o clean.wav") == 0
    assert "channels by" not in capsys.readouterr().out
    rate, result = wavfile.read(tmp_path / "clean.wav")
    assert (rate, result.shape, result.dtype) == (RATE, clean.shape, np.int16)
    assert snr(clean, result / 32768) > snr(clean, with_noise(clean)) + 5


def test_a_sound_in_an_array_takes_the_rate_of_the_model(signals, tmp_path):
    np.save(tmp_path / "noisy.npy", with_noise(note(7)))
    model = signals / "model-sounds.npz"
    for out in ("clean.wav", "clean.npy"):
        assert run(tmp_path, f"denoise {model} noisy.npy -o {out} --sigma {SIGMA}") == 0
    expected = fastcl.denoise_audio(fastcl.load(model), with_noise(note(7)), SIGMA)
    np.testing.assert_array_equal(np.load(tmp_path / "clean.npy"), expected)
    rate, result = wavfile.read(tmp_path / "clean.wav")
    assert rate == RATE
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_stack_keeps_its_kind(signals, tmp_path, dtype):
    clean = volume(100)
    full = np.iinfo(dtype).max if dtype != np.float32 else 1
    noisy = full * with_noise(clean)
    noisy = (np.clip(np.round(noisy), 0, full) if dtype != np.float32 else noisy).astype(dtype)
    settings = {"imagej": True, "metadata": {"axes": "TYX", "finterval": 0.5}}
    write_stack(tmp_path / "noisy.tif", noisy, **settings)
    model = signals / "model-stacks.npz"
    assert run(tmp_path, f"denoise {model} noisy.tif -o clean.tif --sigma {SIGMA}") == 0
    with tifffile.TiffFile(tmp_path / "clean.tif") as tiff:
        assert tiff.imagej_metadata["finterval"] == 0.5
        assert tiff.series[0].axes == "TYX"
        result = tiff.asarray()
    assert result.dtype == dtype
    assert psnr(clean, result / full) > psnr(clean, noisy / full) + 4


def test_volumes_in_arrays(signals, tmp_path):
    clean = volume(100)
    assert run(signals, "sketch arrays -o arrays.npz -m 20 --patch 2,3,3") == 0
    assert fastcl.load(signals / "arrays.npz").sketch.count == 4 * 11 * 22 * 24
    model = signals / "model-stacks.npz"
    np.save(tmp_path / "noisy.npy", with_noise(clean).astype(np.float32))
    for out in ("clean.npy", "clean.tif"):
        assert run(tmp_path, f"denoise {model} noisy.npy -o {out} --sigma {SIGMA}") == 0
    result = np.load(tmp_path / "clean.npy")
    assert (result.dtype, result.shape) == (np.float32, clean.shape)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "clean.tif"), result)
    assert psnr(clean, result) > psnr(clean, with_noise(clean)) + 4
    np.save(tmp_path / "noisy.npy", as_levels(with_noise(clean)))
    assert run(tmp_path, f"denoise {model} noisy.npy -o clean.npy") == 0
    assert np.load(tmp_path / "clean.npy").dtype == np.uint8


def test_the_scales_of_sigma_are_not_confused_in_silence(signals, tmp_path, capsys):
    write_sound(tmp_path / "noisy.wav", with_noise(note(7)))
    model = signals / "model-sounds.npz"
    assert run(tmp_path, f"denoise {model} noisy.wav -o clean.wav --sigma 25.5") == 0
    err = capsys.readouterr().err
    assert "--sigma 25.5 is more than the range of the signal" in err
    assert "did you mean 0.1?" in err
    assert err.count("\n") == 1


REFUSED = [
    ("sketch mixed -o s.npz", "a.png' is a photograph, but 'mixed/b.wav' is a sound"),
    ("sketch rates -o s.npz", "is a sound of 16000 Hz, but 'rates/0.wav' is a sound of 8000 Hz"),
    ("sketch sounds -o s.npz --colour", "not for sounds"),
    ("sketch grey -o s.npz --colour", "no photograph in 'grey' has colour"),
    ("sketch sounds -o s.npz --patch 40", "--patch is not for sounds"),
    ("sketch arrays -o s.npz --patch 4,4", "patch must have one side, or 3 for an array"),
    ("sketch silence -o s.npz", "silence/a.wav' is constant: there is nothing to learn from"),
    ("denoise model-stereo.npz sounds/0.wav -o c.wav", "but 'sounds/0.wav' has one channel"),
    ("sketch stacks -o s.npz --patch 13", "of 12 x 24 x 26 voxels is smaller than a patch"),
    ("sketch sounds -o s.npz --scale 1", "--scale is for an array"),
    ("sketch arrays/0.npy -o s.npz --colour", "--colour is for a folder of signals"),
    ("sketch broken -o s.npz", "broken/a.wav' is compressed (mu-law)"),
    ("denoise model-sounds.npz grey/0.png -o c.png", "is a model of sounds (T,), but 'grey/0.png'"),
    ("denoise model-grey.npz sounds/0.wav -o c.wav", "(H, W), but 'sounds/0.wav' is a sound"),
    ("denoise model-grey.npz stacks/0.tif -o c.tif", "but 'stacks/0.tif' is a volume"),
    ("denoise model-stacks.npz grey/0.png -o c.png", "but 'grey/0.png' is a photograph"),
    ("denoise model-grey.npz arrays/0.npy -o c.npy", "but 'arrays/0.npy' is of shape (12, 24, 26)"),
    (
        "denoise model-colour.npz grey/0.png -o c.png",
        "but 'grey/0.png' has one channel",
    ),
    (
        "denoise model-sounds.npz rates/1.wav -o c.wav",
        "but 'rates/1.wav' is of 16000 Hz",
    ),
    ("denoise model-sounds.npz sounds/0.wav -o c.png", "the output must end in .npy or .wav"),
    (
        "denoise model-stacks.npz stacks/0.tif -o c.png",
        "must end in .npy or .tif or .tiff",
    ),
    ("denoise model-sounds.npz sounds/0.wav -o c.wav --sigma 0", "sigma must be above zero"),
    ("denoise model-sounds.npz broken/a.wav -o c.wav", "is compressed (mu-law)"),
    ("learn sounds/0.wav -o p.npz", "is no sketch: make one from the data"),
    ("denoise sounds/0.wav -o c.wav", "is a sound, and fastcl has ready models of photographs"),
    ("denoise stacks/0.tif -o c.tif", "is a volume, and fastcl has ready models of photographs"),
    ("denoise arrays/0.npy -o c.npy", "is of shape (12, 24, 26), and fastcl has ready models"),
    ("denoise model-grey.npz -o c.png", "model-grey.npz' is no signal: name the noisy file after"),
    ("denoise missing.png -o c.png", "missing.png"),
    ("denoise grey/0.png -o c.wav", "the output must end in .npy or .png"),
]


@pytest.fixture
def bad(signals):
    """The folder of all kinds with things in it that do not fit."""
    for name in ("mixed", "rates", "broken", "silence"):
        (signals / name).mkdir(exist_ok=True)
    iio.imwrite(signals / "mixed" / "a.png", np.zeros((20, 20), np.uint8))
    write_sound(signals / "mixed" / "b.wav", note(0))
    write_sound(signals / "rates" / "0.wav", note(0))
    write_sound(signals / "rates" / "1.wav", note(0), rate=16000)
    content = bytearray((signals / "sounds" / "0.wav").read_bytes())
    content[20] = 7
    (signals / "broken" / "a.wav").write_bytes(content)
    write_sound(signals / "silence" / "a.wav", np.zeros(500))
    return signals


@pytest.mark.parametrize(("command", "words"), REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(bad, capsys, command, words):
    before = {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()}
    assert run(bad, command) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()} == before


@pytest.mark.filterwarnings("default")
def test_bad_sounds_are_skipped_with_a_warning_each(signals, tmp_path, capsys):
    (tmp_path / "sounds").mkdir()
    for seed in range(4):
        write_sound(tmp_path / "sounds" / f"{seed}.wav", note(seed))
    write_sound(tmp_path / "sounds" / "fast.wav", note(0), rate=16000)
    write_sound(tmp_path / "sounds" / "short.wav", note(0)[:9])
    (tmp_path / "sounds" / "text.wav").write_text("no sound")
    write_sound(tmp_path / "sounds" / "silence.wav", np.zeros(500))
    assert run(tmp_path, "sketch sounds -o s.npz -m 20 --skip-bad") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("fastcl sketch: warning: skipped: ") for line in lines] == [True] * 4
    np.testing.assert_array_equal(
        fastcl.load(tmp_path / "s.npz").sketch.values,
        fastcl.load(signals / "sounds.npz").sketch.values,
    )


INFO = {
    "colour": ["kind: folder of images", "images: 4", "pixels: 4,080"],
    "sounds": ["kind: folder of sounds", "sounds: 4", "samples: 16,000", "rate: 8000 Hz"],
    "stereo": ["kind: folder of sounds", "channels: 2"],
    "stacks": ["kind: folder of volumes", "volumes: 4", "voxels: 29,952"],
    "colour/0.png": ["kind: image", "pixels: 30 x 34", "channels: 3", "type: uint8"],
    "sounds/0.wav": ["kind: sound", "samples: 4000", "rate: 8000 Hz", "type: int16"],
    "stacks/0.tif": ["kind: volume", "voxels: 12 x 24 x 26", "type: uint8"],
    "arrays/0.npy": ["kind: array", "shape: 12 x 24 x 26", "type: float32"],
    "model-sounds.npz": ["signals: sounds, 8000 Hz", "patches: 4 x 4 frames and bins"],
    "model-colour.npz": ["signals: photographs, 3 channels", "patches: 3 x 3 pixels"],
    "stereo.npz": ["signals: sounds, 2 channels, 8000 Hz"],
    "stacks.npz": ["signals: volumes", "patches: 2 x 3 x 3 voxels"],
}


@pytest.mark.parametrize("name", INFO)
def test_info_knows_the_kinds(signals, capsys, name):
    assert run(signals, f"info {name}") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for words in INFO[name]:
        assert any(line.startswith(words) for line in lines), lines
