"""Oracles: every kernel in obvious loops or plain NumPy, and how far rounding may move the kernel.

Oracles compute in float64 throughout. The `*_error` functions bound the first order of rounding in
a kernel of machine epsilon `eps`. One rounding costs at most eps / 2, so a bound that counts eps
has room for the same roundings in a float64 oracle.
"""

import itertools

import numpy as np

SUM_LENGTH = 256  # terms that a kernel adds in its working precision before it continues in float64

# For |t| <= 1/4, sin(2 pi t) and cos(2 pi t) are polynomials whose terms have magnitudes of at most
# 2.6 in all: 2.6 eps if products and sums round separately, 1 for the square of t, 1/2 for the
# polynomials themselves, 1/2 for the last product.
SINCOS_EPS = 5


def feature_sum(x, omega, weights=None):
    x, omega = np.asarray(x, np.float64), np.asarray(omega, np.float64)
    total = np.zeros(len(omega), np.complex128)
    for i in range(len(x)):
        total += (1.0 if weights is None else float(weights[i])) * np.exp(-1j * (omega @ x[i]))
    return total


def feature_adjoint(x, omega, c):
    x, omega = np.asarray(x, np.float64), np.asarray(omega, np.float64)
    out = np.zeros(len(x))
    for i in range(len(x)):
        out[i] = (c * np.exp(1j * (omega @ x[i]))).real.sum()
    return out


def feature_error(x, omega, eps):
    """(n, m): bound on the error of exp(i <omega_l, x_i>) in a sum, per unit of its coefficient.

    The phase is a sum of d products with a frequency that was divided by 2 pi and rounded: d + 1
    roundings of at most the sum of the |products|. The adjoint adds the phase of the coefficient,
    at most pi: two roundings of that and one of the products. Sine and cosine cost SINCOS_EPS eps,
    the product with the coefficient 1 eps, every addition in the working precision at most eps / 2,
    and every addition in float64, in the kernel and here, its own eps.
    """
    x, omega = np.abs(np.asarray(x, np.float64)), np.abs(np.asarray(omega, np.float64))
    dim, longest = x.shape[1], max(len(x), len(omega))
    phase = (dim + 2) * (x @ omega.T) + np.pi
    return (
        eps * (phase + SINCOS_EPS + 1 + min(longest, SUM_LENGTH) / 2)
        + longest * np.finfo(np.float64).eps
    )


def harmonic_error(x, omega, harmonics, eps):
    """(n, m): as `feature_error`, if only the base has a sine and cosine.

    Frequency l = j K + k - 1 is k times base j. cos(k a) and sin(k a) are polynomials in c = cos a,
    the second times s = sin a. Their derivatives are at most k^2 in c and k in s, and
    (k^2 / 2 + k, or 1 for k = 1) <= k^2 for the two errors of the sine together. So what sine and
    cosine cost enters k^2 times, and the error of the base's phase, 1 / k of the phase, k times.

    The sum takes k - 1 steps of y_(j + 1) = 2 c y_j - y_(j - 1), each with roundings of at most
    3/2 eps (a product of up to 2, a difference of up to 1), which reach y_k at most k - j times as
    large: 3/4 k^2 eps in all, and k / 2 eps for the start.

    The adjoint takes u_j = p_j + 2 c u_(j + 1) - u_(j + 2). A rounding there is a change of p_j, so
    it reaches the result unenlarged, but |u_j| is up to sum_(k >= j) (k - j + 1) |p_k|:
    2 eps |u_j| summed over j is k (k + 1) eps per unit of p_k, and the last two steps add 3 k eps.
    """
    x, omega = np.abs(np.asarray(x, np.float64)), np.abs(np.asarray(omega, np.float64))
    dim, longest = x.shape[1], max(len(x), len(omega))
    k = np.tile(np.arange(1, harmonics + 1), len(omega) // harmonics)
    pair = (dim + 2) * (x @ omega.T) + (SINCOS_EPS + 1) * k**2 + 4 * k
    return eps * (pair + min(longest, SUM_LENGTH) / 2) + longest * np.finfo(np.float64).eps


def hadamard_error(x, scales, size, eps):
    """(n, m): as `feature_error`, for frequencies scales_l (H S_1 H S_2 H S_3)[l, :d].

    H is orthonormal of size `size`. Every level of a transform rounds each entry once, by at most
    eps / 2 of itself, and turns the vector by an orthogonal matrix: 3 log2(size) levels move the
    result, in norm, by 3/2 log2(size) eps |x|, and no entry by more. The scale is rounded to the
    working precision, and so is its product with the entry; the adjoint adds the phase of the
    coefficient.
    """
    norms, longest = np.linalg.norm(np.asarray(x, np.float64), axis=1), max(len(x), len(scales))
    phase = (1.5 * np.log2(size) + 2) * np.outer(norms, scales) + np.pi
    return (
        eps * (phase + SINCOS_EPS + 1 + min(longest, SUM_LENGTH) / 2)
        + longest * np.finfo(np.float64).eps
    )


def matrix_product(a, b):
    out = np.zeros((len(a), b.shape[1]))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(len(b)):
                out[i, j] += float(a[i, k]) * float(b[k, j])
    return out


def mlp_layers(theta, sizes):
    """[(matrix, bias)] of the flat parameters, in float64, without the log-scale at their end."""
    theta, layers, offset = np.asarray(theta, np.float64), [], 0
    for n_in, n_out in itertools.pairwise(sizes):
        matrix = theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
        offset += n_in * n_out
        layers.append((matrix, theta[offset : offset + n_out]))
        offset += n_out
    return layers


def mlp_activations(theta, sizes, x):
    """[x, output of the first layer, ..., f_theta(x)]."""
    layers, values = mlp_layers(theta, sizes), [np.asarray(x, np.float64)]
    for k, (matrix, bias) in enumerate(layers):
        values.append(values[-1] @ matrix + bias)
        if k < len(layers) - 1:
            values[-1] = np.maximum(values[-1], 0)
    return values


def mlp_energy(theta, sizes, x):
    return (mlp_activations(theta, sizes, x)[-1] ** 2).sum(axis=1)


def mlp_gradients(theta, sizes, x, grad_energy):
    """Gradients of sum_i grad_energy_i R(x_i) by the layers' parameters (P - 1,) and x (n, d)."""
    values = mlp_activations(theta, sizes, x)
    delta, parts = 2 * np.asarray(grad_energy, np.float64)[:, None] * values[-1], []
    for k, (matrix, _) in reversed(list(enumerate(mlp_layers(theta, sizes)))):
        parts = [(values[k].T @ delta).ravel(), delta.sum(axis=0), *parts]
        delta = delta @ matrix.T
        if k > 0:
            delta = delta * (values[k] > 0)
    return np.concatenate(parts), delta


def mlp_error(theta, sizes, x, grad_energy, eps):
    """Bounds on the errors of (energy, its gradients as `mlp_gradients`), and which rows are clear.

    Errors are carried through the layers: a product of s terms has (s + 1) eps of the product of
    the magnitudes, plus what its factors bring. A row is clear of kinks if no input of a ReLU is
    within its own error of zero: otherwise the kernel may rightly take the other branch.
    """
    layers, values = mlp_layers(theta, sizes), mlp_activations(theta, sizes, x)
    errors, clear = [np.zeros_like(values[0])], np.ones(len(x), bool)
    for k, (matrix, bias) in enumerate(layers):
        magnitudes = np.abs(values[k]) @ np.abs(matrix) + np.abs(bias)
        errors.append(errors[k] @ np.abs(matrix) + (len(matrix) + 1) * eps * magnitudes)
        if k < len(layers) - 1:
            clear &= (np.abs(values[k] @ matrix + bias) > errors[-1]).all(axis=1)
            errors[-1][values[k + 1] == 0] = 0
    squares = 2 * np.abs(values[-1]) * errors[-1] + (sizes[-1] + 1) * eps * values[-1] ** 2
    energy = squares.sum(axis=1)

    weights = 2 * np.abs(np.asarray(grad_energy, np.float64))[:, None]
    terms = min(len(x), SUM_LENGTH) + 2
    delta = weights * np.abs(values[-1])
    delta_error, parts = weights * errors[-1] + eps * delta, []
    for k, (matrix, _) in reversed(list(enumerate(layers))):
        inputs = np.abs(values[k])
        product = inputs.T @ (delta_error + terms * eps * delta) + errors[k].T @ delta
        parts = [product.ravel(), (delta_error + terms * eps * delta).sum(axis=0), *parts]
        live = (values[k] > 0) if k > 0 else 1
        delta_error = (
            delta_error @ np.abs(matrix).T
            + (matrix.shape[1] + 1) * eps * (delta @ np.abs(matrix).T)
        ) * live
        delta = (delta @ np.abs(matrix).T) * live
    return energy, np.concatenate(parts), delta_error, clear


def quantised_sum(x, omega, dither, bits, margin):
    """(sums, doubtful): levels of quantised cosines and sines, added over the points.

    sums (m,) is complex, its imaginary part minus the levels of the sines; doubtful (m,) counts the
    phases within `margin` of a threshold, relative to the sum of their terms' magnitudes.
    """
    x, omega = np.asarray(x, np.float64), np.asarray(omega, np.float64)
    total, doubtful = np.zeros(len(omega), complex), np.zeros(len(omega), int)
    half = 2 ** (bits - 1)
    for i in range(len(x)):
        phase = omega @ x[i] + dither
        size = np.abs(omega) @ np.abs(x[i]) + 1
        scaled = half * np.cos(phase), half * np.cos(phase - np.pi / 2)
        levels = [2 * np.clip(np.floor(value), -half, half - 1) + 1 for value in scaled]
        total += levels[0] - 1j * levels[1]
        distance = np.minimum(*(np.abs(value - np.rint(value)) for value in scaled))
        doubtful += distance < half * size * margin
    return total, doubtful
