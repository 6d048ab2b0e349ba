"""Overlapping patches added up to an image."""


def add_patches(patches, first, out):
    # patches (r, c, p, p), the first row of pixels of patch (i, j) being first + i, out (H, c + p - 1): added to
    rows, columns, patch, _ = patches.shape
    for i in range(patch):
        for j in range(patch):
            out[first + i : first + i + rows, j : j + columns] += patches[:, :, i, j]
