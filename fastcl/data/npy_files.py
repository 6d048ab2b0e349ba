"""Files of .npy arrays: mapped or, where that is refused, read slice by slice."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import files


class NpyFile:
    """The array (n, ...) of a .npy file, read slice by slice where it cannot be mapped.

    Raises ValueError for a file that is damaged, or shorter than its header says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            read_header = files.HEADERS.get(np.lib.format.read_magic(file))
            if read_header is None:
                raise ValueError("an array of an unknown format")
            self.shape, self.by_columns, self.dtype = read_header(file)
            self.start = file.tell()
            size = math.prod(self.shape) * self.dtype.itemsize
            if self.dtype.hasobject or size > os.fstat(file.fileno()).st_size - self.start:
                raise ValueError("its header does not fit its content")

    def __getitem__(self, rows: slice) -> NDArray:
        first, last, _ = rows.indices(self.shape[0])
        n, *rest = self.shape
        dim = math.prod(rest)
        order: Literal["C", "F"] = "F" if self.by_columns else "C"
        out = np.empty((last - first, dim), self.dtype, order=order)
        starts = [k * n + first for k in range(dim)] if self.by_columns else [first * dim]
        with open(self.path, "rb") as file:
            for start, part in zip(starts, out.T if self.by_columns else [out], strict=True):
                file.seek(self.start + start * self.dtype.itemsize)
                if file.readinto(part.view(np.uint8).data) < part.nbytes:
                    raise OSError(f"{str(self.path)!r} became shorter while it was read")
        return out.reshape((last - first, *rest), order=order)


def open_npy(path: Path) -> NDArray | NpyFile:
    """The array of a .npy file: mapped or, where that is refused, read slice by slice.

    ValueError, in one line, for a file that is damaged or holds objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    array: Any
    try:
        with open(path, "rb") as file:
            start = file.read(12)
        # NumPy would allocate as much memory as the header claims before it looks any further.
        has_long_header = start[6:7] in (b"\2", b"\3")
        if has_long_header and int.from_bytes(start[8:], "little") > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        with files.silence():
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except OSError:  # no address space, as under ulimit -v, or a file system without maps
                array = NpyFile(path)
    except PermissionError:
        raise
    except files.DAMAGE as error:
        raise ValueError(f"{str(path)!r} is not a readable .npy file ({error})") from None
    return array
