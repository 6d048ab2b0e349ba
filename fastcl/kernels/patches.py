"""Overlapping patches added up to an image."""


def add_patches(patches, first, out):
    # out[first + i + u, j + v] += patches[i, j, u, v]
    # patches (r, c, p, p), out (H, c + p - 1)
    rows, columns, patch, _ = patches.shape
    for i in range(patch):
        for j in range(patch):
            out[first + i : first + i + rows, j : j + columns] += patches[:, :, i, j]
