"""TIFF files of several pages: read as volumes, and written again as stacks of the same kind."""

import contextlib
import io
import logging

import numpy as np
import pytest
import tifffile
from PIL import Image

from fastcl.data import image_formats, tiff_formats
from fastcl.data.signal_files import Photograph, Volume, open_signal, write_signal

D, H, W = 5, 6, 9
RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (D, H, W), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (D, H, W), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (D, H, W, 3), dtype=np.uint8)
CHANNELS = RNG.integers(0, 65536, (D, 2, H, W), dtype=np.uint16)
FLOATS = (1000 * RNG.random((D, H, W))).astype(np.float32)
OME = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 2.0}
IMAGEJ = {"axes": "ZYX", "spacing": 0.3, "unit": "um", "min": 3.0, "max": 99.0, "Info": "a=1"}
LUTS = [np.full((3, 256), k, np.uint8) for k in range(2)]


def tiff(samples, **settings):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **settings)
    return file.getvalue()


def pillow(pages, **settings):
    first, *rest = (Image.fromarray(page) for page in pages)
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=rest, **settings)
    return file.getvalue()


def by_pages(pages):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(page, contiguous=False, metadata=None, photometric="minisblack")
    return file.getvalue()


IN_RGB = {"photometric": "rgb"}
READ = {
    "plain": (tiff(GREY8, photometric="minisblack", metadata=None), GREY8),
    "16 bits": (tiff(GREY16, photometric="minisblack"), GREY16),
    "floats": (tiff(FLOATS, photometric="minisblack"), FLOATS),
    "float64": (tiff(FLOATS.astype(float), photometric="minisblack"), FLOATS.astype(float)),
    "big-endian": (tiff(GREY16, photometric="minisblack", byteorder=">"), GREY16),
    "big": (tiff(GREY16, photometric="minisblack", bigtiff=True), GREY16),
    "deflated": (tiff(GREY16, photometric="minisblack", compression="zlib"), GREY16),
    "white is zero": (tiff(65535 - GREY16, photometric="miniswhite"), GREY16),
    "one by one": (by_pages(GREY16), GREY16),
    "tiled": (tiff(GREY8, photometric="minisblack", tile=(16, 16)), GREY8),
    "RGB": (tiff(RGB8, **IN_RGB), RGB8),
    "planar RGB": (tiff(np.moveaxis(RGB8, 3, 1), planarconfig="separate", **IN_RGB), RGB8),
    "LZW": (pillow(GREY8, compression="tiff_lzw"), GREY8),
    "16-bit LZW": (pillow(GREY16, compression="tiff_lzw"), GREY16),
    "LZW floats": (pillow(FLOATS, compression="tiff_lzw"), FLOATS),
    "RGB LZW": (pillow(RGB8, compression="tiff_lzw"), RGB8),
    "ImageJ in z": (tiff(GREY16, imagej=True, metadata=IMAGEJ, resolution=(3, 4)), GREY16),
    "ImageJ in t": (tiff(FLOATS, imagej=True, metadata={"axes": "TYX", "finterval": 0.1}), FLOATS),
    "ImageJ as tifffile has it": (tiff(GREY8, imagej=True), GREY8),
    "ImageJ RGB": (tiff(RGB8, imagej=True, **IN_RGB), RGB8),
    "ImageJ channels": (
        tiff(CHANNELS, imagej=True, metadata={"axes": "ZCYX", "mode": "composite", "LUTs": LUTS}),
        np.moveaxis(CHANNELS, 1, 3),
    ),
    "OME": (tiff(GREY16, ome=True, metadata=OME, photometric="minisblack"), GREY16),
    "OME channels first": (
        tiff(np.moveaxis(CHANNELS, 1, 0), ome=True, metadata={"axes": "CZYX"}),
        np.moveaxis(CHANNELS, 1, 3),
    ),
}


def opened(path, content):
    path.write_bytes(content)
    return open_signal(path)


@pytest.mark.parametrize("kind", READ)
def test_a_stack_is_read_as_a_volume_and_written_as_it_was(tmp_path, kind):
    content, samples = READ[kind]
    volume = opened(tmp_path / "x.tif", content)
    assert isinstance(volume, Volume)
    assert volume.shape == (D, H, W)
    assert volume.channels == (None if samples.ndim == 3 else samples.shape[3])
    assert volume.sample == samples.dtype.name
    read = volume.read()
    full = np.iinfo(samples.dtype).max if samples.dtype.kind == "u" else 1
    assert read.dtype == (np.float64 if samples.dtype == np.float64 else np.float32)
    np.testing.assert_allclose(read, samples / full, rtol=1e-6)
    with open(tmp_path / "again.tif", "wb") as file:
        write_signal(file, read, ".tif", volume)
    again = Volume(tmp_path / "again.tif")
    np.testing.assert_array_equal(image_formats.read_stack(again.path), samples)
    assert again.sample == volume.sample
    with tifffile.TiffFile(tmp_path / "x.tif") as one, tifffile.TiffFile(again.path) as other:
        for flag in ("is_imagej", "is_ome"):
            assert getattr(one, flag) == getattr(other, flag)
        if one.is_imagej or one.is_ome:
            assert one.series[0].axes == other.series[0].axes
        said, kept = one.imagej_metadata or {}, other.imagej_metadata or {}
        assert said.keys() == kept.keys()
        for name in said.keys() - {"LUTs"}:
            assert said[name] == kept[name]
        for lut, expected in zip(said.get("LUTs", []), kept.get("LUTs", []), strict=True):
            np.testing.assert_array_equal(lut, expected)
        assert one.pages[0].resolution == other.pages[0].resolution
        if one.is_ome:
            first, second = (
                tifffile.xml2dict(each.ome_metadata)["OME"]["Image"]["Pixels"]
                for each in (one, other)
            )
            for name in first.keys() - {"Channel", "TiffData"}:
                assert first[name] == second[name]


REFUSED = {
    "two series": (by_pages([GREY8[0], GREY8[0, :3]]), "has pages of different sizes"),
    "too many axes": (
        tiff(np.zeros((2, 3, H, W), np.uint8), imagej=True, metadata={"axes": "TZYX"}),
        "has the axes TZYX: save one volume",
    ),
    "time, depth and channels": (
        tiff(np.zeros((2, 3, 2, H, W), np.uint8), imagej=True, metadata={"axes": "TZCYX"}),
        "has the axes TZCYX: save one volume",
    ),
    "int16": (tiff(GREY16.view(np.int16), photometric="minisblack"), "holds int16: save it"),
    "alpha": (
        tiff(np.concatenate([RGB8, RGB8[..., :1]], -1), extrasamples=[2], **IN_RGB),
        "has an alpha channel",
    ),
    "cut": (tiff(GREY16, photometric="minisblack")[:-100], "is not a readable image"),
    "cut ImageJ": (tiff(GREY16, imagej=True)[:-100], "is not a readable image"),
    "cut deflated": (tiff(GREY16, photometric="minisblack", compression="zlib")[:-99], "readable"),
    "NaN": (tiff(np.full((D, H, W), np.nan), photometric="minisblack"), "holds NaN or infinity"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_everything_else_is_refused_in_one_line(tmp_path, kind):
    content, words = REFUSED[kind]
    with pytest.raises(ValueError, match=f"x.tif' .*{words}") as caught:
        opened(tmp_path / "x.tif", content).read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["ImageJ in z", "OME", "deflated", "planar RGB"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_damage_makes_anything_but_a_value_error(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(logging.getLogger("tifffile"), "disabled", True)
    rng = np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(READ[kind][0])
        for place in rng.integers(0, 600, 2):
            content[place] = rng.integers(256)
        with contextlib.suppress(ValueError):
            opened(tmp_path / "x.tif", bytes(content)).read()


def test_one_page_is_a_photograph_and_several_are_none(tmp_path):
    assert isinstance(opened(tmp_path / "x.tif", tiff(GREY8[0])), Photograph)
    with pytest.raises(ValueError, match="has one page, where a volume of several is needed"):
        Volume(tmp_path / "x.tif")
    (tmp_path / "x.tif").write_bytes(tiff(GREY8, imagej=True))
    with pytest.raises(ValueError, match="has 5 pages: save each in a file of its own"):
        Photograph(tmp_path / "x.tif")


@pytest.mark.parametrize("shape", [(D, H, W), (D, H, W, 3), (D, H, W, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_volume_without_a_stack_like_it_is_written_as_plain_pages(tmp_path, shape, dtype):
    volume = RNG.integers(0, 256, shape).astype(dtype)
    path = tmp_path / "x.tif"
    with open(path, "wb") as file:
        tiff_formats.write_stack(file, volume)
    assert Volume(path).shape == (D, H, W)
    np.testing.assert_array_equal(image_formats.read_stack(path), volume)
