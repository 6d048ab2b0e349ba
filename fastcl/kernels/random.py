"""Uniform points by the counter-based generator Philox4x32-10.

A coordinate depends on the key, the counter and its place alone (Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011). No operation here may be fused or
reordered, so that every device makes the same bits from the same counter.
"""

import numpy as np

from .lanes import jit_exact
from .threads import parallel, share

BLOCK = 256  # points that one thread takes at a time
LOW, HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)  # mask of the low word, shift to the high one
FIRST, SECOND = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers
# Added to the key in every round but the first.
WEYL_FIRST, WEYL_SECOND = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@jit_exact
def philox(c0, c1, c2, c3, k0, k1):
    # Four random words of a counter (c0, c1, c2, c3) and a key (k0, k1): 32 bits each, in uint64.
    for _ in range(10):
        a, b = FIRST * c0, SECOND * c2
        c0, c1, c2, c3 = (b >> HIGH) ^ c1 ^ k0, b & LOW, (a >> HIGH) ^ c3 ^ k1, a & LOW
        k0, k1 = (k0 + WEYL_FIRST) & LOW, (k1 + WEYL_SECOND) & LOW
    return c0, c1, c2, c3


@jit_exact
def philox_block(first, b, step, number, key, words):
    # words_i = philox(first + i, b, step, number, key)
    # key (2,), words (4, BLOCK)
    for i in range(BLOCK):
        w = philox(np.uint64(first + i), np.uint64(b), step, number, key[0], key[1])
        words[0, i], words[1, i], words[2, i], words[3, i] = w


@parallel(jit_exact, cost=lambda key, step, number, low, side, x: 20 * x.size)
def uniform_points(tasks, key, step, number, low, side, x):
    # x_ik = low_k + side_k u_ik, u uniform in [0, 1)
    # Counter (i, b, step, number) gives coordinates 4 b to 4 b + 3 of point i, with 24 bits each.
    # In float64 it gives coordinates 2 b and 2 b + 1, with 53 bits each.
    # key (2,), step and number: 32-bit words in uint64, low, side (d,), x (n, d)
    n, dim = x.shape
    single = x.itemsize == 4
    in_block = 4 if single else 2
    scale = x.dtype.type(2.0**-24 if single else 2.0**-53)
    for block in share(tasks, (n + BLOCK - 1) // BLOCK):
        start, stop = block * BLOCK, min((block + 1) * BLOCK, n)
        words = np.empty((4, BLOCK), np.uint64)
        for k in range(dim):
            if k % in_block == 0:
                philox_block(start, k // in_block, step, number, key, words)
            w = words[k % 4] if single else words[2 * (k % 2)]
            if single:
                for i in range(stop - start):
                    x[start + i, k] = low[k] + side[k] * (
                        np.float32(np.int32(w[i] >> np.uint64(8))) * scale
                    )
            else:
                rest = words[2 * (k % 2) + 1]
                for i in range(stop - start):
                    u = ((w[i] >> np.uint64(5)) << np.uint64(26)) | (rest[i] >> np.uint64(6))
                    x[start + i, k] = low[k] + side[k] * (np.float64(np.int64(u)) * scale)
