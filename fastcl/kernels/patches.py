"""Overlapping patches added up to a signal."""

import numpy as np


def add_patches(patches, starts, strides, out):
    # out[c, starts + strides * i + u] += patches[i, c, u], with an index i, u for each axis
    # patches (*r, C, *p), out (C, *axes)
    counts = patches.shape[: len(starts)]
    for offset in np.ndindex(patches.shape[len(starts) + 1 :]):
        place = tuple(
            slice(start + u, start + u + stride * (count - 1) + 1, stride)
            for start, u, stride, count in zip(starts, offset, strides, counts, strict=True)
        )
        for c in range(len(out)):
            out[(c, *place)] += patches[(..., c, *offset)]
