"""Denoisers that are trained on the photographs, by the algorithms of others.

It runs nothing by itself: `photographs.py` compares them with the package. Photographs are (H, W),
in [0, 1]; sigma is on that scale.

EPLL     Zoran and Weiss, ICCV 2011: `fit_mixture` fits a mixture of zero-mean Gaussians to clean
         patches by expectation-maximisation; `denoise_epll` takes the Wiener filter of the most
         likely component, in half-quadratic splitting
network  `train_network` trains a residual convolutional network, which is given the noise level, on
         pairs with noise of every level; `denoise_network` runs it. Both need torch
"""

import itertools
import time

import numpy as np
from command import require
from scipy.special import softmax

from fastcl.data.patches import add_patches, extract_patches, patch_counts, patch_tiles

# EPLL
PATCH = 8  # side
SIDES = (PATCH, PATCH)
BETAS = (1, 2, 4, 8, 16, 32)  # precision of the patches over that of the noise; the paper has no 2
FLOOR = 1 / 255**2 / 12  # variance of the rounding to 8 bits, the least that a covariance has
# Smaller responsibilities count as none: most are, and they would cost most of the time.
MIN_RESPONSIBILITY = 1e-3

# the network
LAYERS = 5
CHANNELS = 32
NOISE_LEVELS = (5 / 255, 55 / 255)
BATCH = 32
CROP = 40
LEARNING_RATE = 2e-3


def fit_mixture(photographs, components=100, sample=200_000, n_iter=40):
    """Zero-mean Gaussians of the patches minus their means: weights (k,), covariances (k, d, d)."""
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    each = -(-sample // len(photographs))
    patches = np.concatenate(
        [rng.choice(extract_patches(photograph[None], SIDES), each) for photograph in photographs]
    )
    patches = (patches - patches.mean(axis=1, keepdims=True)).astype(np.float32)
    seeds = rng.choice(patches, components, replace=False)
    # Every patch starts with the seed that is nearest up to sign.
    nearest = (2 * abs(patches @ seeds.T) - (seeds**2).sum(axis=1)).argmax(axis=1)
    responsibilities = (nearest == np.arange(components)[:, None]).astype(np.float32)
    for _ in range(n_iter):
        mixture = maximise(patches, responsibilities)
        responsibilities = softmax(log_terms(patches, *mixture), axis=0)
    seconds = time.perf_counter() - start
    print(
        f"EPLL: {components} components from {len(patches)} patches, "
        f"{n_iter} iterations in {seconds:.0f} s",
        flush=True,
    )
    return mixture


def maximise(patches, responsibilities):
    """The mixture that is most likely given the responsibilities (k, n)."""
    components, dim = len(responsibilities), patches.shape[1]
    weights = (responsibilities.sum(axis=1) + 1) / (len(patches) + components)
    covariances = np.empty((components, dim, dim))
    for covariance, row in zip(covariances, responsibilities, strict=True):
        kept = row > MIN_RESPONSIBILITY
        rows, factors = patches[kept], row[kept, None]
        covariance[...] = (factors * rows).T @ rows / max(factors.sum(), 1) + FLOOR * np.eye(dim)
    return weights, covariances


def log_terms(patches, weights, covariances):
    """log(weight_k N(patch; 0, covariance_k)) up to a constant, (k, n)."""
    roots = np.linalg.cholesky(covariances)
    log_weights = np.log(weights) - np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    terms = np.empty((len(weights), len(patches)), np.float32)
    for term, log_weight, root in zip(terms, log_weights, roots, strict=True):
        white = patches @ np.linalg.inv(root).T.astype(np.float32)
        term[:] = log_weight - np.einsum("nd,nd->n", white, white) / 2
    return terms


def denoise_epll(mixture, noisy, sigma):
    """Half-quadratic splitting: each patch by its likeliest component's filter, then the image."""
    weights, covariances = mixture
    image, counts = noisy, patch_counts(noisy.shape, SIDES)
    for beta in BETAS:
        noise = covariances + sigma**2 / beta * np.eye(PATCH**2)
        filters = np.linalg.solve(noise, covariances).astype(np.float32)
        total = np.zeros_like(noisy)
        for tile in patch_tiles(noisy.shape, SIDES):
            patches = extract_patches(image[None], SIDES, tile).astype(np.float32)
            means = patches.mean(axis=1, keepdims=True)
            patches -= means
            component = log_terms(patches, weights, noise).argmax(axis=0)
            for k in np.unique(component):
                mine = component == k
                patches[mine] = patches[mine] @ filters[k]
            add_patches(patches + means, total[None], SIDES, tile)
        image = (PATCH**2 * noisy + beta * total) / (PATCH**2 + beta * counts)
    return image


def new_network(torch):
    """A network from noisy images and noise levels per pixel, (n, 1, H, W), to clean images."""

    class ResidualNetwork(torch.nn.Module):
        def __init__(self):
            super().__init__()
            widths = [2, *[CHANNELS] * (LAYERS - 1), 1]
            layers = []
            for width, following in itertools.pairwise(widths):
                layers += [torch.nn.Conv2d(width, following, 3, padding=1), torch.nn.ReLU()]
            self.layers = torch.nn.Sequential(*layers[:-1])

        def forward(self, noisy, level):
            return noisy - level * self.layers(torch.cat([noisy, level], dim=1))

    return ResidualNetwork()


def train_network(photographs, seconds):
    """A residual network trained for some seconds on crops with noise of random levels."""
    torch = require("torch")
    rng = np.random.default_rng(0)
    photographs = [photograph.astype(np.float32) for photograph in photographs]
    torch.manual_seed(0)
    network = new_network(torch).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    start, steps, past = time.perf_counter(), 0, 0.0
    while past < 1:
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + np.cos(np.pi * past)) / 2
        crops = torch.from_numpy(random_crops(photographs, rng))
        level = torch.empty(BATCH, 1, 1, 1).uniform_(*NOISE_LEVELS).expand(crops.shape)
        estimate = network(crops + level * torch.randn(crops.shape), level)
        loss = torch.nn.functional.mse_loss(estimate, crops)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        past = (time.perf_counter() - start) / seconds
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(
        f"network: {parameters} parameters, {steps} steps of {BATCH} crops in {seconds:g} s; "
        f"torch {torch.__version__} on {torch.get_num_threads()} threads",
        flush=True,
    )
    return network


def random_crops(photographs, rng):
    """BATCH squares from anywhere, turned and flipped, (BATCH, 1, CROP, CROP)."""
    crops = np.empty((BATCH, 1, CROP, CROP), np.float32)
    for crop in crops[:, 0]:
        photograph = photographs[rng.integers(len(photographs))]
        row, column = (rng.integers(size - CROP + 1) for size in photograph.shape)
        square = photograph[row : row + CROP, column : column + CROP]
        crop[...] = np.rot90(square, rng.integers(4))[:: rng.choice([-1, 1])]
    return crops


def denoise_network(network, noisy, sigma):
    torch = require("torch")
    image = torch.from_numpy(noisy.astype(np.float32))[None, None]
    with torch.no_grad():
        return network(image, torch.full_like(image, sigma))[0, 0].numpy().astype(np.float64)
