"""What tests of passes over data share: sources that count what is read, interruptions, scripts."""

import os
import subprocess
import sys

import imageio.v3 as iio
import numpy as np
from pictures import photograph

import fastcl


class Stop(Exception):
    """Raised in the middle of a pass."""


class Sliced:
    """Has only a shape, a dtype and slices; counts the rows that were read."""

    def __init__(self, x):
        self.x = x
        self.shape = x.shape
        self.dtype = x.dtype
        self.read = 0

    def __getitem__(self, index):
        assert isinstance(index, slice)
        self.read += len(self.x[index])
        return self.x[index]


class Interrupted(Sliced):
    """Sliced x that raises `error` once `after` rows have been read."""

    def __init__(self, x, after, error):
        super().__init__(x)
        self.after = after
        self.error = error

    def __getitem__(self, index):
        is_probe = index.stop - index.start == 1  # a row that identifies the data
        if index.start >= self.after and not is_probe:
            raise self.error
        return super().__getitem__(index)


def stop_at(monkeypatch, *places, counted=False):
    """Interrupt these calls of `Sketch.add_sums`, before the sums are counted or after."""
    add_sums = fastcl.Sketch.add_sums
    calls = []

    def stopped(self, total, count):
        calls.append(count)
        stop = len(calls) in places
        if stop and not counted:
            raise KeyboardInterrupt
        add_sums(self, total, count)
        if stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(fastcl.Sketch, "add_sums", stopped)


def write_images(folder):
    """Three small grey PNG files in `folder`."""
    folder.mkdir()
    for index, shape in enumerate([(20, 30), (25, 15), (30, 30)]):
        levels = np.round(255 * np.clip(photograph(index, shape), 0, 1)).astype(np.uint8)
        iio.imwrite(folder / f"{index}.png", levels)
    return folder


def read_images(folder):
    """The images of `write_images` as arrays in [0, 1]."""
    return [iio.imread(path) / 255 for path in sorted(folder.iterdir())]


def run_script(arguments, **environment):
    """Run Python with these arguments and variables; AssertionError with its output if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
