"""The network f_theta and its energy ||f_theta(x)||^2, forward and backward, by blocks of rows.

A block of ROWS points goes through every layer while its activations are in cache. `theta` (P,)
holds, layer by layer, the matrix (inputs, outputs) in row-major order and the bias (outputs,);
`sizes` holds the widths, input and output included. `transposed` holds every matrix transposed, in
the same place as in `theta`; the backward pass and narrow layers read it, the forward pass only
those of narrow layers.

Blocks are grouped into parts, the tasks of the threads: gradients are summed in the working
precision within a part, and in float64 over the parts. The parts depend on the number of rows
alone, so the number of threads cannot change the result.
"""

import numpy as np

from .lanes import TILE_ROWS, jit
from .threads import parallel, share
from .tile import add_product, dot_rows, empty_aligned, set_product

ROWS = 128  # rows per block: what a tile of the gradient reads stays in the first-level cache
STRIPE = 16  # rows transposed at once: they fill a cache line of the transposed matrix
TASKS = 8  # tasks that share the rows of every matrix when it is transposed
BLOCK = 4096  # parameters that one thread adds at a time
MAX_PART_ROWS = 256  # rows whose gradients are added in the working precision
NARROW = 16  # with fewer columns, vectors along them have empty lanes: dot products are faster


@jit
def output_widths(sizes):
    # (sum of the widths of all outputs, largest width of all), without NumPy, for quick compilation
    total, widest = 0, sizes[0]
    for i in range(1, sizes.size):
        total += sizes[i]
        widest = max(widest, sizes[i])
    return total, widest


@parallel(jit, cost=lambda theta, *_: 4 * theta.size)
def transpose_weights(tasks, theta, sizes, widest, transposed):
    # transposed = every matrix of theta with up to `widest` columns transposed, at its place in
    # theta; biases are left out
    # theta, transposed (P,), sizes (layers + 1,)
    for task in share(tasks, TASKS):
        offset = 0
        for layer in range(sizes.size - 1):
            n_in, n_out = sizes[layer], sizes[layer + 1]
            source = theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
            target = transposed[offset : offset + n_in * n_out].reshape(n_out, n_in)
            for first in range(task * STRIPE, n_in if n_out <= widest else 0, TASKS * STRIPE):
                for j in range(n_out):
                    for i in range(first, min(first + STRIPE, n_in)):
                        target[j, i] = source[i, j]
            offset += n_in * n_out + n_out


@jit
def forward_rows(theta, transposed, sizes, x, activations, energy):
    # outputs = max(inputs matrix + bias, 0), layer by layer, and without max in the last layer;
    # energy_i = ||outputs_i||^2 of the last layer
    # x (r, d), activations (r * sum(sizes[1:]),): the outputs (r, width), one after the other,
    # energy (r,)
    rows, layers = x.shape[0], sizes.size - 1
    # These have the type of x, because plain numbers would turn float32 arithmetic into float64.
    no_bound, zero = x.dtype.type(-np.inf), x.dtype.type(0)
    inputs, offset, start = x, 0, 0
    for layer in range(layers):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        weights = theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
        bias = theta[offset + n_in * n_out : offset + n_in * n_out + n_out]
        bound = zero if layer < layers - 1 else no_bound
        outputs = activations[start : start + rows * n_out].reshape(rows, n_out)
        if n_out < NARROW:
            dot_rows(
                inputs, transposed[offset : offset + n_in * n_out].reshape(n_out, n_in), outputs
            )
            for i in range(rows):
                for j in range(n_out):
                    value = outputs[i, j] + bias[j]
                    outputs[i, j] = bound if value < bound else value
        else:
            set_product(inputs, weights, outputs, (bias, bound))
        offset += n_in * n_out + n_out
        start += rows * n_out
        inputs = outputs
    for i in range(rows):
        total = inputs[i, 0] * inputs[i, 0]
        for j in range(1, inputs.shape[1]):
            total += inputs[i, j] * inputs[i, j]
        energy[i] = total


@jit
def backward_rows(
    theta, transposed, sizes, x, activations, grad_energy, delta, scratch, theta_grad, x_grad
):
    # For L with dL/dR(x_i) = grad_energy_i: theta_grad += dL/dtheta, x_grad = dL/dx, unless empty.
    # Deltas are dL/d(outputs): a matrix has the gradient inputs^T deltas, a bias their sum, and the
    # deltas of the layer before are deltas matrix^T where inputs > 0, else 0.
    # x (r, d), activations as in forward_rows, grad_energy (r,), theta_grad (P,), x_grad (r, d),
    # scratch: delta (2, r * max(sizes)), scratch (max(sizes) * NARROW,)
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
        weight = grad_energy[i] + grad_energy[i]
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
                for i in range(rows):
                    for j in range(n_in):
                        previous[i, j] = previous[i, j] if inputs[i, j] > zero else zero
            else:
                set_product(
                    current,
                    transposed[offset : offset + size].reshape(n_out, n_in),
                    previous,
                    inputs,
                )
            current = previous
        elif x_grad.size:
            if n_in < NARROW:
                dot_rows(current, theta[:size].reshape(n_in, n_out), x_grad)
            else:
                x_grad[:] = 0
                add_product(current, transposed[:size].reshape(n_out, n_in), x_grad)


def rows_of_part(n):
    """Rows per part of n, except the last: four or more equal parts of full tiles."""
    parts = 4 * -(-n // (4 * MAX_PART_ROWS))
    return TILE_ROWS * -(-n // (TILE_ROWS * parts))


def activation_size(sizes, n):
    """How many numbers `energy_forward` keeps for n points."""
    return n * int(sizes[1:].sum())


@parallel(jit, cost=lambda theta, transposed, sizes, x, *_: len(x) * theta.size)
def energy_forward(tasks, theta, transposed, sizes, x, part_rows, activations, energy):
    # energy_i = ||f_theta(x_i)||^2
    # theta, transposed (P,), sizes (layers + 1,), x (n, d), energy (n,),
    # activations (n * sum(sizes[1:]),), kept for the backward pass, or empty
    n, (width, _) = x.shape[0], output_widths(sizes)
    for part in share(tasks, (n + part_rows - 1) // part_rows):
        stop = min((part + 1) * part_rows, n)
        scratch = empty_aligned(0 if activations.size else ROWS * width, x)
        for start in range(part * part_rows, stop, ROWS):
            end = min(start + ROWS, stop)
            kept = (
                activations[start * width : end * width]
                if activations.size
                else scratch[: (end - start) * width]
            )
            forward_rows(theta, transposed, sizes, x[start:end], kept, energy[start:end])


@parallel(jit, cost=lambda theta, transposed, sizes, x, *_: 2 * len(x) * theta.size)
def energy_backward(
    tasks, theta, transposed, sizes, x, activations, grad_energy, part_rows, partial
):
    # partial = sum_i grad_energy_i dR(x_i)/dtheta over the rows i of each part, part_rows of them
    # theta, transposed (P,), sizes (layers + 1,), x (n, d), activations as in energy_forward,
    # grad_energy (n,), partial (parts, P)
    n, (width, widest) = x.shape[0], output_widths(sizes)
    for part in share(tasks, partial.shape[0]):
        grad = partial[part]
        grad[:] = 0
        delta = empty_aligned(2 * ROWS * widest, x).reshape(2, ROWS * widest)
        scratch = empty_aligned(widest * NARROW, x)
        no_x_grad = np.empty((0, 0), x.dtype)
        stop = min((part + 1) * part_rows, n)
        for start in range(part * part_rows, stop, ROWS):
            end = min(start + ROWS, stop)
            kept = activations[start * width : end * width]
            backward_rows(
                theta, transposed, sizes, x[start:end], kept, grad_energy[start:end], delta,
                scratch, grad, no_x_grad,
            )  # fmt: skip


@parallel(jit, cost=lambda theta, transposed, sizes, x, *_: 2 * len(x) * theta.size)
def energy_grad(tasks, theta, transposed, sizes, x, part_rows, energy, x_grad):
    # energy_i = R(x_i), x_grad_i = dR(x_i)/dx_i; a block goes forward and back while it is in cache
    # theta, transposed (P,), sizes (layers + 1,), x (n, d), energy (n,), x_grad (n, d)
    n, (width, widest) = x.shape[0], output_widths(sizes)
    for part in share(tasks, (n + part_rows - 1) // part_rows):
        kept = empty_aligned(ROWS * width, x)
        delta = empty_aligned(2 * ROWS * widest, x).reshape(2, ROWS * widest)
        ones, empty = np.ones(ROWS, x.dtype), np.empty(0, x.dtype)
        stop = min((part + 1) * part_rows, n)
        for start in range(part * part_rows, stop, ROWS):
            end = min(start + ROWS, stop)
            rows = kept[: (end - start) * width]
            forward_rows(theta, transposed, sizes, x[start:end], rows, energy[start:end])
            backward_rows(
                theta, transposed, sizes, x[start:end], rows, ones, delta, empty, empty,
                x_grad[start:end],
            )  # fmt: skip


@parallel(jit, cost=lambda partial, *_: 2 * partial.size)
def add_parts(tasks, partial, total, out):
    # total += sum over the parts of partial, in order; out = total
    # partial (parts, P), total (P,) float64, out (P,)
    for block in share(tasks, (total.size + BLOCK - 1) // BLOCK):
        first, last = block * BLOCK, min((block + 1) * BLOCK, total.size)
        sums = total[first:last]
        for part in range(partial.shape[0]):
            terms = partial[part, first:last]
            for p in range(sums.size):
                sums[p] += terms[p]
        result = out[first:last]
        for p in range(sums.size):
            result[p] = sums[p]
