"""The network f_theta and its energy ||f_theta(x)||^2, forward and backward, by blocks of rows.

A block of ROWS points goes through every layer while its activations are in cache.  `theta` holds, layer by layer,
the matrix (inputs, outputs) in row-major order and the bias (outputs,); `sizes` the widths, input and output
included.  `transposed` holds every matrix transposed, at the place it has in `theta`: the backward pass and narrow
layers read it.  Gradients are summed in the working precision over a block and in float64 over the blocks of a
part; parts follow from the number of rows alone, so the number of threads cannot change the result.
"""

import numpy as np
from numba import prange

from .tile import add_product, dot_rows, empty_aligned, jit, jit_parallel

ROWS = 256  # rows of a block: activations of a 64-128-256 network take 460 kB in float32, within a second-level cache
NARROW = 16  # fewer columns than this leave vector lanes empty: take dot products along the other side instead


@jit
def transpose_weights(theta, sizes, transposed):
    offset = 0
    for layer in range(sizes.size - 1):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        source = theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
        target = transposed[offset : offset + n_in * n_out].reshape(n_out, n_in)
        for i in range(n_in):
            for j in range(n_out):
                target[j, i] = source[i, j]
        offset += n_in * n_out + n_out


@jit
def forward_rows(theta, transposed, sizes, x, activations, energy):
    # x (r, d), activations (r * sum(sizes[1:]),): every layer's (r, width) one after the other, energy (r,)
    rows, layers = x.shape[0], sizes.size - 1
    zero = x.dtype.type(0)  # a plain 0 would turn float32 arithmetic into float64
    inputs, offset, start = x, 0, 0
    for layer in range(layers):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        weights = theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
        weights_t = transposed[offset : offset + n_in * n_out].reshape(n_out, n_in)
        bias = theta[offset + n_in * n_out : offset + n_in * n_out + n_out]
        outputs = activations[start : start + rows * n_out].reshape(rows, n_out)
        if n_out < NARROW:
            dot_rows(inputs, weights_t, outputs)
            for i in range(rows):
                for j in range(n_out):
                    outputs[i, j] += bias[j]
        else:
            for i in range(rows):
                for j in range(n_out):
                    outputs[i, j] = bias[j]
            add_product(inputs, weights, outputs)
        if layer < layers - 1:
            for i in range(rows):
                for j in range(n_out):
                    outputs[i, j] = outputs[i, j] if outputs[i, j] > zero else zero
        offset += n_in * n_out + n_out
        start += rows * n_out
        inputs = outputs
    for i in range(rows):
        total = inputs[i, 0] * inputs[i, 0]
        for j in range(1, inputs.shape[1]):
            total += inputs[i, j] * inputs[i, j]
        energy[i] = total


@jit
def backward_rows(theta, transposed, sizes, x, activations, row_weights, delta, scratch, theta_grad, x_grad):
    # row_weights (r,): dL/dR; delta (2, r * max(sizes)): scratch; scratch (max(sizes) * NARROW,)
    # theta_grad (P,) += dL/dtheta unless empty; x_grad (r, d) = dL/dx unless empty
    rows, layers = x.shape[0], sizes.size - 1
    zero = x.dtype.type(0)
    offset, start = 0, 0
    for layer in range(layers):
        offset += sizes[layer] * sizes[layer + 1] + sizes[layer + 1]
        start += rows * sizes[layer + 1]
    n_out = sizes[layers]
    output = activations[start - rows * n_out : start].reshape(rows, n_out)
    current = delta[0, : rows * n_out].reshape(rows, n_out)
    for i in range(rows):
        weight = row_weights[i] + row_weights[i]
        for j in range(n_out):
            current[i, j] = weight * output[i, j]
    for layer in range(layers - 1, -1, -1):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        size = n_in * n_out
        offset -= size + n_out
        start -= rows * n_out
        inputs = x if layer == 0 else activations[start - rows * n_in : start].reshape(rows, n_in)
        if theta_grad.size:
            weights_grad = theta_grad[offset : offset + size].reshape(n_in, n_out)
            bias_grad = theta_grad[offset + size : offset + size + n_out]
            if n_out < NARROW:
                narrow_grad = scratch[:size].reshape(n_out, n_in)
                narrow_grad[:] = 0
                add_product(current.T, inputs, narrow_grad)
                for i in range(n_in):
                    for j in range(n_out):
                        weights_grad[i, j] += narrow_grad[j, i]
            else:
                add_product(inputs.T, current, weights_grad)
            for i in range(rows):
                for j in range(n_out):
                    bias_grad[j] += current[i, j]
        if layer > 0:
            previous = delta[(layers - layer) % 2, : rows * n_in].reshape(rows, n_in)
            if n_in < NARROW:
                dot_rows(current, theta[offset : offset + size].reshape(n_in, n_out), previous)
            else:
                previous[:] = 0
                add_product(current, transposed[offset : offset + size].reshape(n_out, n_in), previous)
            for i in range(rows):
                for j in range(n_in):
                    previous[i, j] = previous[i, j] if inputs[i, j] > zero else zero
            current = previous
        elif x_grad.size:
            if n_in < NARROW:
                dot_rows(current, theta[:size].reshape(n_in, n_out), x_grad)
            else:
                x_grad[:] = 0
                add_product(current, transposed[:size].reshape(n_out, n_in), x_grad)


@jit_parallel
def energy_forward(theta, transposed, sizes, x, activations, energy):
    # x (n, d), energy (n,), activations (n * sum(sizes[1:]),) kept for the backward, or empty
    n, width = x.shape[0], sizes[1:].sum()
    for block in prange((n + ROWS - 1) // ROWS):
        start, end = block * ROWS, min((block + 1) * ROWS, n)
        if activations.size:
            kept = activations[start * width : end * width]
        else:
            kept = empty_aligned((end - start) * width, x)
        forward_rows(theta, transposed, sizes, x[start:end], kept, energy[start:end])


@jit_parallel
def energy_backward(theta, transposed, sizes, x, activations, row_weights, part_rows, partial):
    # row_weights (n,): dL/dR; partial (parts, P) float64: sums of row_weights dR/dtheta over part_rows rows each
    n, width, widest = x.shape[0], sizes[1:].sum(), sizes.max()
    for part in prange(partial.shape[0]):
        total = partial[part]
        total[:] = 0
        grad = empty_aligned(theta.size, theta)
        delta = empty_aligned(2 * ROWS * widest, x).reshape(2, ROWS * widest)
        scratch = empty_aligned(widest * NARROW, x)
        no_x_grad = np.empty((0, 0), x.dtype)
        stop = min((part + 1) * part_rows, n)
        for start in range(part * part_rows, stop, ROWS):
            end = min(start + ROWS, stop)
            kept = activations[start * width : end * width]
            grad[:] = 0
            backward_rows(
                theta, transposed, sizes, x[start:end], kept, row_weights[start:end], delta, scratch, grad, no_x_grad
            )  # fmt: skip
            for p in range(grad.size):
                total[p] += grad[p]


@jit_parallel
def energy_grad(theta, transposed, sizes, x, energy, x_grad):
    # x (n, d), energy (n,) = R(x), x_grad (n, d) = dR/dx: forward and backward of a block while it is in cache
    n, width, widest = x.shape[0], sizes[1:].sum(), sizes.max()
    for block in prange((n + ROWS - 1) // ROWS):
        start, end = block * ROWS, min((block + 1) * ROWS, n)
        kept = empty_aligned((end - start) * width, x)
        delta = empty_aligned(2 * ROWS * widest, x).reshape(2, ROWS * widest)
        ones = np.ones(end - start, x.dtype)
        empty = np.empty(0, x.dtype)
        forward_rows(theta, transposed, sizes, x[start:end], kept, energy[start:end])
        backward_rows(theta, transposed, sizes, x[start:end], kept, ones, delta, empty, empty, x_grad[start:end])


@jit_parallel
def add_parts(partial, out):  # partial (parts, P) float64 -> out (P,): in the order of the parts
    for p in prange(partial.shape[1]):
        total = 0.0
        for part in range(partial.shape[0]):
            total += partial[part, p]
        out[p] = total
