"""Optimiser steps, each in one pass over the parameters."""

import numpy as np

from .lanes import jit
from .threads import parallel, share

BLOCK = 4096  # parameters that one thread takes at a time


@parallel(jit, cost=lambda theta, *_: 20 * theta.size)
def adam_step(tasks, theta, gradient, first, second, rates):
    # first += (1 - beta1) (g - first), second += (1 - beta2) (g^2 - second),
    # theta -= step_size first / (1 - beta1^k) / (sqrt(second / (1 - beta2^k)) + epsilon)
    # theta, gradient, first, second (P,), rates (5,) in their type: 1 - beta1, 1 - beta2,
    # 1 / sqrt(1 - beta2^k), epsilon, step_size / (1 - beta1^k)
    new_first, new_second = rates[0], rates[1]
    correction, epsilon, step_size = rates[2], rates[3], rates[4]
    for block in share(tasks, (theta.size + BLOCK - 1) // BLOCK):
        part = slice(block * BLOCK, min((block + 1) * BLOCK, theta.size))
        values, slopes, means, squares = theta[part], gradient[part], first[part], second[part]
        for p in range(values.size):
            g = slopes[p]
            mean = means[p] + new_first * (g - means[p])
            square = squares[p] + new_second * (g * g - squares[p])
            means[p], squares[p] = mean, square
            values[p] -= step_size * mean / (np.sqrt(square) * correction + epsilon)
