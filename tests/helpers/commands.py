"""Commands of the command line, run in a folder that has files for each of them."""

import imageio.v3 as iio
import numpy as np
import pytest
from pictures import do_little, photograph, with_noise

from fastcl.cli.main import main
from fastcl.data.datasets import make_spiral

CLEAN = photograph(100, (24, 30))


def as_levels(image):
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def read_levels(path):
    return iio.imread(path) / 255


def run(folder, command):
    """Exit status of a command that is run in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return main(command.split())


def fill(folder):
    """Write data of every kind into a folder, and sketch it and learn from it there."""
    (folder / "images").mkdir()
    for seed in range(4):
        iio.imwrite(folder / "images" / f"{seed}.png", as_levels(photograph(seed)))
    iio.imwrite(
        folder / "images" / "4.PNG",
        np.stack([as_levels(photograph(4))] * 3, axis=-1),
        extension=".png",
    )
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
            "learn images.npz -o network.npz --iterations 5 --points 50 --method unbiased",
            "sketch rows2.npy -o s2.npz -m 100",
            "learn s2.npz -o p2.npz --iterations 30 --points 500 --checkpoint c2.npz",
            "sketch rows5.npy -o s5.npz -m 50",
            "learn s5.npz -o p5.npz --iterations 15 --points 200 --method naive",
        ):
            assert run(folder, command) == 0
