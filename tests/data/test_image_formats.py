"""Kinds of image files: read upright and at their own depth, or refused in the right words."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from fastcl.data import image_formats, readers

GREY8 = np.random.default_rng(0).integers(0, 256, (6, 9), dtype=np.uint8)
GREY16 = np.random.default_rng(1).integers(0, 65536, (6, 9), dtype=np.uint16)
RGB8 = np.random.default_rng(2).integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGB16 = np.random.default_rng(3).integers(0, 65536, (6, 9, 3), dtype=np.uint16)
FLOATS = np.random.default_rng(4).random((6, 9)).astype(np.float32)
# What EXIF's eight orientations do to the stored rows.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def pillow(samples, kind, mode=None, **settings):
    image = Image.fromarray(samples)
    image = image if mode is None else image.convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def tiff(samples, **settings):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **settings)
    return file.getvalue()


def png(samples, color):
    """A PNG file of 16 bits, of this type of colour."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in samples.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def exif(orientation):
    notes = Image.Exif()
    notes[0x0112] = orientation
    return notes


PALETTE = Image.fromarray(RGB8).quantize(16)
READ = {
    "8-bit PNG": (pillow(GREY8, "PNG"), GREY8),
    "16-bit PNG": (pillow(GREY16, "PNG"), GREY16),
    "RGB PNG": (pillow(RGB8, "PNG"), RGB8),
    "1-bit PNG": (pillow(GREY8 > 99, "PNG"), 255 * (GREY8 > 99).astype(np.uint8)),
    "palette PNG": (pillow(np.asarray(PALETTE.convert("RGB")), "PNG"), PALETTE.convert("RGB")),
    "BMP": (pillow(GREY8, "BMP"), GREY8),
    "RGB BMP": (pillow(RGB8, "BMP"), RGB8),
    "1-bit BMP": (pillow(GREY8 > 99, "BMP"), 255 * (GREY8 > 99).astype(np.uint8)),
    "PGM": (pillow(GREY8, "PPM"), GREY8),
    "16-bit PGM": (pillow(GREY16, "PPM"), GREY16),
    "TIFF": (tiff(GREY8), GREY8),
    "RGB TIFF": (tiff(RGB8, photometric="rgb"), RGB8),
    "planar TIFF": (
        tiff(np.moveaxis(RGB16, -1, 0), photometric="rgb", planarconfig="separate"),
        RGB16,
    ),
    "1-bit TIFF": (tiff(GREY8 > 99, photometric="minisblack"), 255 * (GREY8 > 99).astype(np.uint8)),
    "16-bit TIFF": (tiff(GREY16), GREY16),
    "big-endian TIFF": (tiff(GREY16, byteorder=">"), GREY16),
    "16-bit RGB TIFF": (tiff(RGB16, photometric="rgb"), RGB16),
    "float TIFF": (tiff(FLOATS), FLOATS),
    "float64 TIFF": (tiff(FLOATS.astype(np.float64)), FLOATS.astype(np.float64)),
    "float16 TIFF": (tiff(FLOATS.astype(np.float16)), FLOATS.astype(np.float16)),
    "float RGB TIFF": (
        tiff((RGB8 / 255).astype(np.float32), photometric="rgb"),
        (RGB8 / 255).astype(np.float32),
    ),
    "TIFF in which white is zero": (tiff(65535 - GREY16, photometric="miniswhite"), GREY16),
    "deflated TIFF": (tiff(GREY16, compression="zlib", predictor=True), GREY16),
    "LZW TIFF": (pillow(GREY8, "TIFF", compression="tiff_lzw"), GREY8),
    "16-bit LZW TIFF": (pillow(GREY16, "TIFF", compression="tiff_lzw"), GREY16),
    "RGB LZW TIFF": (pillow(RGB8, "TIFF", compression="tiff_lzw"), RGB8),
    "big TIFF": (tiff(GREY16, bigtiff=True), GREY16),
}


@pytest.mark.parametrize("kind", READ)
def test_samples_are_read_at_their_own_depth(tmp_path, kind):
    content, expected = READ[kind]
    path = tmp_path / "image"
    path.write_bytes(content)
    levels = image_formats.read_levels(path)
    expected = np.asarray(expected)
    assert levels.dtype == expected.dtype
    np.testing.assert_array_equal(levels, expected)
    assert image_formats.open_image(path).shape == expected.shape[:2]


def test_a_palette_becomes_its_colours(tmp_path):
    for suffix, kind in ((".png", "PNG"), (".tif", "TIFF")):
        path = tmp_path / f"image{suffix}"
        PALETTE.save(path, kind)
        levels = image_formats.read_levels(path)
        np.testing.assert_array_equal(levels, np.asarray(PALETTE.convert("RGB")))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "LZW TIFF", "16-bit TIFF"])
def test_photographs_stand_upright(tmp_path, kind, orientation):
    samples = GREY16 if kind == "16-bit TIFF" else RGB8
    if kind in ("PNG", "JPEG"):
        content = pillow(samples, kind, exif=exif(orientation))
        stored = np.asarray(Image.open(io.BytesIO(content)))
    else:
        compression = {"compression": "tiff_lzw"} if kind == "LZW TIFF" else {}
        content = pillow(samples, "TIFF", tiffinfo={274: orientation}, **compression)
        stored = samples
    path = tmp_path / "image"
    path.write_bytes(content)
    expected = UPRIGHT[orientation](stored)
    np.testing.assert_array_equal(image_formats.read_levels(path), expected)
    assert image_formats.open_image(path).shape == expected.shape[:2]


ALPHA = "has an alpha channel: flatten it first"
REFUSED = {
    "RGBA PNG": (pillow(np.dstack([RGB8, GREY8]), "PNG"), ALPHA),
    "LA PNG": (pillow(GREY8, "PNG", "LA"), ALPHA),
    "16-bit LA PNG": (png(RGB16[..., :2], 4), ALPHA),
    "transparent colour": (pillow(GREY8, "PNG", transparency=0), ALPHA),
    "RGBA TIFF": (tiff(np.dstack([RGB8, GREY8]), photometric="rgb", extrasamples=[2]), ALPHA),
    "16-bit RGB PNG": (png(RGB16, 2), "has colours of 16 bits, of which 8 would be read"),
    "16-bit PPM": (
        b"P6 9 6 65535\n" + RGB16.astype(">u2").tobytes(),
        "has colours of 16 bits, of which 8 would be read",
    ),
    "CMYK JPEG": (pillow(RGB8, "JPEG", "CMYK"), "is in CMYK: convert it to grey or RGB first"),
    "CMYK TIFF": (pillow(RGB8, "TIFF", "CMYK"), "is in CMYK: convert it to grey or RGB first"),
    "Lab TIFF": (pillow(RGB8, "TIFF", "LAB"), "is in CIELAB: convert it"),
    "pages": (tiff(np.stack([GREY8] * 10), photometric="minisblack"), "has 10 pages: save each"),
    "ImageJ": (tiff(np.stack([GREY8] * 10), imagej=True), "has 10 pages: save each"),
    "animation": (
        pillow(GREY8, "PNG", save_all=True, append_images=[Image.fromarray(GREY8[::-1])]),
        "has 2 frames: save each",
    ),
    "int16 TIFF": (tiff(GREY16.view(np.int16)), "holds int16: save it as 8 or 16-bit"),
    "int8 TIFF": (tiff(GREY8.view(np.int8)), "holds int8: save it as 8 or 16-bit"),
    "uint32 TIFF": (tiff(GREY16.astype(np.uint32)), "holds uint32: save it"),
    "complex TIFF": (tiff(FLOATS.astype(np.complex64)), "holds complex64: save it"),
    "five channels": (
        tiff(np.dstack([RGB8, RGB8[..., :2]]), photometric="rgb"),
        "has 5 channels, not 1 or 3",
    ),
    "bomb": (png(np.zeros((1, 1)), 0).replace(struct.pack(">II", 1, 1), b"\0\0\xff\xff" * 2), ""),
    "cut TIFF": (tiff(GREY16)[:-20], "is not a readable image"),
    "cut deflated TIFF": (tiff(GREY16, compression="zlib")[:-90], "is not a readable image"),
    "cut LZW TIFF": (pillow(GREY8, "TIFF", compression="tiff_lzw")[:-9], "is not a readable"),
    "cut big TIFF": (tiff(GREY16, bigtiff=True)[:-9], "it is truncated"),
    "cut PNG": (pillow(RGB8, "PNG")[:-60], "is not a readable image"),
    "cut JPEG": (pillow(RGB8, "JPEG")[:-60], "is not a readable image"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_everything_else_is_refused_in_one_line_that_says_what_it_is(tmp_path, kind):
    content, words = REFUSED[kind]
    path = tmp_path / "image"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"image' .*{words}") as caught:
        image_formats.read_levels(path)
    assert "\n" not in str(caught.value)


def test_more_pixels_than_pillow_allows_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # it refuses twice as many
    for name, content in (("png", pillow(GREY8, "PNG")), ("tif", tiff(GREY8))):
        path = tmp_path / f"image.{name}"
        path.write_bytes(content)
        for read in (image_formats.read_levels, image_formats.open_image):
            with pytest.raises(ValueError, match="more pixels than PIL"):
                read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # and warns of these
    np.testing.assert_array_equal(image_formats.read_levels(tmp_path / "image.png"), GREY8)


@pytest.mark.parametrize("suffix", image_formats.IMAGE_SUFFIXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_written_has_the_depth_of_what_was_read_if_the_format_holds_it(
    tmp_path, suffix, dtype, ndim
):
    image = np.random.default_rng(0).random((6, 9, 3)[:ndim])
    image[0, 0] = 1.25  # floats keep it
    kept = image_formats.kept_dtype(np.dtype(dtype), suffix, ndim)
    path = tmp_path / f"image{suffix}"
    with open(path, "wb") as file:
        image_formats.write_image(file, image, suffix, kept)
    back = image_formats.read_levels(path)
    assert back.dtype == kept
    if kept.kind == "f":
        np.testing.assert_array_equal(back, image.astype(dtype))
    elif suffix not in (".jpg", ".jpeg"):
        top = np.iinfo(kept).max
        np.testing.assert_array_equal(back, np.round(top * np.clip(image, 0, 1)))
    if suffix in (".tif", ".tiff"):
        assert kept == dtype
    elif suffix in (".png", ".pgm") and ndim == 2 and dtype == np.uint16:
        assert kept == np.uint16
    else:
        assert kept == np.uint8


# ---- folders -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder of two good images, with things in it that are none."""
    for name in ("1.png", "2.tif"):
        Image.fromarray(GREY8).save(tmp_path / name)
    (tmp_path / "._1.png").write_bytes(b"the notes of another system")
    (tmp_path / "x.png").mkdir()
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


BAD = {
    "alpha.png": pillow(np.dstack([RGB8, GREY8]), "PNG"),
    "tiny.png": pillow(GREY8[:2], "PNG"),
    "text.png": b"not an image",
    "cut.png": pillow(RGB8, "PNG")[:-60],
    "levels.tif": tiff(255 * FLOATS),
    "integers.tif": tiff(GREY16.astype(np.uint32)),
}


def test_hidden_files_and_folders_are_passed_over(folder):
    assert [path.name for path in readers.ImageFolder(folder, 3).paths] == ["1.png", "2.tif"]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_or_skipped(folder, name):
    (folder / name).write_bytes(BAD[name])
    with pytest.raises(ValueError, match=name):
        list(readers.ImageFolder(folder, 3))
    with pytest.warns(UserWarning, match=f"skipped: .*{name}"):
        images = readers.ImageFolder(folder, 3, skip_bad=True)
    assert [path.name for path in images.paths] == ["1.png", "2.tif"]
    assert len(list(images)) == 2


def test_a_folder_of_bad_files_alone_is_an_error(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(ValueError, match=r"no image in .* can be used"),
    ):
        readers.ImageFolder(tmp_path, skip_bad=True)
