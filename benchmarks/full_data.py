"""What the sketch costs: learning from it against learning the same network from all the data.

    python benchmarks/full_data.py [PHOTOGRAPHS_DIR]

The network starts from the same parameters and is learned, each time by Adam for the same seconds,
from the sketch; by maximum likelihood on the data (fastcl's own network, optimiser and points); and
on the spiral also by denoising score matching on the data (torch, which differentiates twice).

On the spiral the sketch teaches by CL-SGD, and the moments of the likelihood come by importance
weights on points of the domain. If photographs are given, there are tables for patches of 2, 3, 4
and 6 pixels a side, in the coordinates in which a Gaussian scale mixture is standard normal, with
every fourth photograph held out. There the sketch teaches by the method "chains", whose seconds
contain those of maximum entropy. The likelihood has chains, too: Hamiltonian ones that follow the
network, with one move per step. A twentieth of them restarts from the data at every step, so that
they miss no part of it; with two values of Adam's epsilon. The maximum-entropy density from the
same sketch is listed as well.
"""

import copy
import itertools
import time

import numpy as np
from command import require
from experiments import (
    BOX,
    METHODS,
    judge,
    learn_for,
    new_prior,
    parse_options,
    spiral_problem,
    steps_in,
)
from patches import frequencies, held_out_points
from scipy.special import softmax

import fastcl
from fastcl.data.datasets import make_spiral
from fastcl.data.patches import extract_patches
from fastcl.data.readers import image_files, read_image
from fastcl.plots import new_figure, save_figure

WIDTHS = (128, 128, 128)  # of the network of patches
SIDES = (2, 3, 4, 6)  # of the patches
N_MODEL = 8192  # points of the domain per step
N_DATA = 4096  # points of the data per step
NOISE = 0.05  # standard deviation of the noise of score matching
SECONDS = {"spiral": 20, "patches": 60}
ENTROPY_STEPS = 300
CHAINS_STEP = 5e-3  # step size of Adam for "chains"
LIKELIHOOD_STEP = 2e-3  # and for the likelihood with chains
RESTARTED = 0.05  # share of these chains that restart from the data at a step
# Of Adam, for the likelihood with chains. The larger one keeps the noise of the gradient from
# driving a network for which there is little to learn; where there is much, the smaller is faster.
EPSILONS = (1e-8, 1e-2)
PULL = 1e-3  # towards energies of zero, next to the gradient of the likelihood
QUICK = {"seconds": 1, "photographs": 12, "entropy_steps": 20}
HEADING = f"  {'':33}{'seconds':>8}{'steps':>7}"


class LikelihoodGradient:
    """The gradient of minus the mean log-likelihood of `draw(n, rng)`, for a prior in a domain."""

    def __init__(self, prior, domain, draw):
        self.prior = prior
        self.domain = domain
        self.draw = draw

    def __call__(self, rng):
        model = self.domain.sample(N_MODEL, rng, np.float32)
        data = self.draw(N_DATA, rng)
        energy, state = self.prior.forward(np.concatenate([model, data]))
        weights = np.full(N_MODEL + N_DATA, 1 / N_DATA, np.float32)
        weights[:N_MODEL] = -softmax(-energy[:N_MODEL].astype(np.float64))
        return self.prior.backward(weights, state)


class ChainLikelihoodGradient:
    """The same, with chains that follow the prior in place of importance weights."""

    def __init__(self, prior, domain, draw):
        self.prior = prior
        self.draw = draw
        self.chains = fastcl.Chains(domain, N_DATA, rng=0)

    def __call__(self, rng):
        restarted = rng.random(N_DATA) < RESTARTED
        points = self.chains.points.copy()
        points[restarted] = self.draw(int(restarted.sum()), rng)
        self.chains.points = points
        self.chains.hmc_step(self.prior)
        data = self.draw(N_DATA, rng)
        energy, state = self.prior.forward(np.concatenate([self.chains.points, data]))
        # The likelihood does not hold the mean energy, which would drift away in long runs.
        weights = np.float32(PULL / N_DATA) * energy
        weights += np.repeat(np.float32([-1 / N_DATA, 1 / N_DATA]), N_DATA)
        return self.prior.backward(weights, state)


class ScoreGradient:
    """The gradient of denoising score matching at one level of noise, by torch.

    Vincent, "A connection between score matching and denoising autoencoders", Neural Computation
    2011.
    """

    def __init__(self, prior, draw, noise):
        self.torch = require("torch")
        self.prior = prior
        self.draw = draw
        self.noise = noise

    def __call__(self, rng):
        torch = self.torch
        data = torch.from_numpy(self.draw(N_DATA, rng))
        normals = torch.from_numpy(rng.standard_normal(data.shape, dtype=np.float32))
        x = (data + self.noise * normals).requires_grad_()
        theta = torch.from_numpy(self.prior.theta.copy()).requires_grad_()
        energy = torch_energy(torch, theta, self.prior.sizes, x).sum()
        score = -torch.autograd.grad(energy, x, create_graph=True)[0]
        loss = ((self.noise * score + normals) ** 2).sum(dim=1).mean()
        return torch.autograd.grad(loss, theta)[0].numpy()


def torch_energy(torch, theta, sizes, x):
    """||f_theta(x)||^2 (n,) in torch, theta laid out as in `MLPPrior`."""
    offset = 0
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(int(size) for size in sizes)):
        x = torch.relu(x) if layer else x
        matrix = theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
        offset += n_in * n_out
        x = x @ matrix + theta[offset : offset + n_out]
        offset += n_out
    return (x * x).sum(dim=1)


def check_gradients(prior, domain, draw):
    """Assert that the gradient of the likelihood is that of torch, at the same points."""
    torch = require("torch")
    gradient = LikelihoodGradient(prior, domain, draw)(np.random.default_rng(0)).astype(np.float64)
    rng = np.random.default_rng(0)
    theta = torch.from_numpy(prior.theta.copy()).requires_grad_()
    model = torch.from_numpy(domain.sample(N_MODEL, rng, np.float32))
    data = torch.from_numpy(draw(N_DATA, rng))
    model_energy = torch_energy(torch, theta, prior.sizes, model).double()
    data_energy = torch_energy(torch, theta, prior.sizes, data).double()
    loss = torch.logsumexp(-model_energy, 0) + data_energy.mean()
    exact = torch.autograd.grad(loss, theta)[0].double().numpy()
    error = np.linalg.norm(gradient - exact) / np.linalg.norm(exact)
    assert error < 1e-4, error


def descend_for(seconds, gradient, step_size, **settings):
    """Adam on `gradient(rng)` for some seconds, timed by a short trial; (steps, seconds)."""
    theta = gradient.prior.theta
    start = theta.copy()

    def trial(go_on):
        optimizer = fastcl.Adam(step_size, **settings)
        rng = np.random.default_rng(0)
        while go_on():
            optimizer.update(theta, gradient(rng))

    n_iter = steps_in(seconds, trial)
    theta[:] = start
    optimizer = fastcl.Adam(step_size, schedule=fastcl.Cosine(n_iter), **settings)
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(n_iter):
        optimizer.update(theta, gradient(rng))
    return n_iter, time.perf_counter() - began


def learn_on_spiral(sketch, draw, seconds):
    """The network learned by every method: name -> (prior, steps, seconds)."""
    check_gradients(new_prior(), BOX, draw)
    learned = {}
    prior = new_prior()
    # Points are drawn once per step, and serve as both sets.
    history = learn_for(seconds, prior, sketch, BOX, n_points=N_MODEL // 2, **METHODS["normalised"])
    learned["CL-SGD, from the sketch"] = prior, len(history["seconds"]), history["seconds"][-1]
    prior = new_prior()
    gradient = LikelihoodGradient(prior, BOX, draw)
    learned["maximum likelihood"] = prior, *descend_for(seconds, gradient, 2e-3)
    prior = new_prior()
    gradient = ScoreGradient(prior, draw, NOISE)
    learned["score matching"] = prior, *descend_for(seconds, gradient, 2e-3)
    return learned


def learn_on_patches(first, sketch, draw, seconds):
    """The network `first` learned from the sketch and from the data, as `learn_on_spiral`."""
    normal, learned = first.reference, {}
    prior = copy.deepcopy(first)
    history = learn_for(seconds, prior, sketch, None, CHAINS_STEP, n_points=N_DATA, method="chains")
    learned["network, from the sketch"] = prior, len(history["seconds"]), history["seconds"][-1]
    for epsilon in EPSILONS:
        prior = copy.deepcopy(first)
        gradient = ChainLikelihoodGradient(prior, normal, draw)
        took = descend_for(seconds, gradient, LIKELIHOOD_STEP, epsilon=epsilon)
        learned[f"network, on the data, {epsilon:g}"] = prior, *took
    return learned


def compare_on_spiral(panel, seconds, quick):
    """The first table; the seconds of CL-SGD are without the one pass over the data."""
    problem = spiral_problem(quick)
    n = 20_000
    x = make_spiral(n, rng=np.random.default_rng(0)).astype(np.float32)  # the sketched points

    def draw(count, rng):
        return x[rng.integers(n, size=count)]

    m = len(problem.sketch.omega)
    print(f"\nspiral: {n} points or their sketch of {m} moments, {seconds} s of Adam")
    print(f"{HEADING}{'G':>8}{'nats':>8}{'MAP dB':>9}{'mean dB':>9}")
    for name, (prior, steps, took) in learn_on_spiral(problem.sketch, draw, seconds).items():
        # Only CL-SGD has learned a scale; the others get theirs here.
        prior.log_scale = prior.log_scale - fastcl.log_normaliser(prior, BOX)
        row = judge(prior, problem)
        print(
            f"  {name:33}{took:>8.1f}{steps:>7}"
            f"{row['G']:>8.2f}{row['nats']:>8.3f}{row['map']:>9.2f}{row['mean']:>9.2f}",
            flush=True,
        )
        panel.barh(name, row["nats"])
    panel.invert_yaxis()
    panel.set(title=f"spiral, {seconds} s", xlabel="nats per held-out point")


def compare_on_patches(panel, images, side, seconds, quick):
    """The table of one size of patches: nats per held-out patch, relative to the scale mixture."""
    train, held_out = [image for i, image in enumerate(images) if i % 4], images[::4]
    start = time.perf_counter()
    patch_sketch = fastcl.sketch_images(train, side, frequencies(side, quick), rng=0)
    sketching = time.perf_counter() - start
    transform = patch_sketch.transform
    reference = patch_sketch.reference
    sketch = patch_sketch.sketch
    patches = (extract_patches(image[None], (side, side)) for image in train)
    white = np.concatenate([transform.whiten(part) for part in patches])
    u = reference.gaussianise(white)
    test = held_out_points(transform, held_out, side, np.random.default_rng(0))
    test = reference.gaussianise(test)
    normal = fastcl.Gaussian(np.zeros(sketch.dim), np.eye(sketch.dim))
    first = fastcl.MLPPrior(sketch.dim, WIDTHS, rng=0, reference=normal)
    first.initialise_on(normal, rng=0)

    def draw(count, rng):
        return u[rng.integers(len(u), size=count)]

    mib, kib = u.nbytes / 2**20, sketch.values.nbytes / 1024
    print(f"\npatches {side} x {side}, d = {sketch.dim}, {seconds} s of Adam")
    print(f"{len(u)} patches ({mib:.0f} MiB) or their sketch of {len(sketch.omega)} moments")
    print(f"({kib:.0f} KiB, made in {sketching:.0f} s)")
    print(f"{HEADING}{'nats':>8}")
    steps = QUICK["entropy_steps"] if quick else ENTROPY_STEPS
    start = time.perf_counter()
    density = fastcl.max_entropy(sketch, normal, n_iter=steps, rng=0)
    took = time.perf_counter() - start
    learned = {"maximum entropy, from the sketch": (density, steps, took)}
    learned |= learn_on_patches(first, sketch, draw, seconds)
    for name, (prior, steps, took) in learned.items():
        mass = np.mean([fastcl.log_normaliser(prior, rng=run) for run in range(2)])
        nats = prior.log_scale - prior.energy(test).mean(dtype=np.float64) - mass
        print(f"  {name:33}{took:>8.1f}{steps:>7}{nats:>8.3f}", flush=True)
        panel.barh(name, nats)
    panel.invert_yaxis()
    panel.set(title=f"patches, d = {sketch.dim}, {seconds} s", xlabel="nats over the reference")


def main():
    options = parse_options(__doc__, photographs=True)
    require("torch")
    seconds = {name: QUICK["seconds"] if options.quick else SECONDS[name] for name in SECONDS}
    sides = SIDES[: 1 if options.quick else None] if options.photographs else ()
    figure, axes = new_figure(1, 1 + len(sides), 5, 3)
    compare_on_spiral(axes[0, 0], seconds["spiral"], options.quick)
    if sides:
        files = image_files(options.photographs)
        files = files[: QUICK["photographs"] if options.quick else None]
        images = [read_image(path, grey=True).astype(np.float32) for path in files]
        for panel, side in zip(axes[0, 1:], sides, strict=True):
            compare_on_patches(panel, images, side, seconds["patches"], options.quick)
    save_figure(figure, options.out / "full_data.png")


if __name__ == "__main__":
    main()
