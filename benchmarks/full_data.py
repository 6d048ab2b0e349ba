"""What the sketch costs: CL-SGD against the same network learned from all of the data, for the same seconds.

    python benchmarks/full_data.py [PHOTOGRAPHS_DIR]

The network starts from the same parameters and is learned by CL-SGD from the sketch, by maximum likelihood on the data (the
moments of the density by importance weights on points of the domain; fastcl's own network, optimiser and points) and by
denoising score matching on the data (torch, which differentiates twice), each by Adam for the same seconds; by maximum
likelihood also for four times as long. On the spiral, and, where photographs are
given, on patches in the coordinates in which a Gaussian scale mixture is standard normal, every fourth photograph held
out; there the density of largest entropy with the same sketch stands beside.
"""

import copy
import itertools
import time

import numpy as np
import torch
from experiments import BOX, judge, learn_for, new_prior, parse_options, spiral_problem, steps_in
from patches import FREQUENCIES, MOST, held_out_points
from scipy.special import softmax

import fastcl
from fastcl.data.datasets import make_spiral
from fastcl.data.patches import extract_patches
from fastcl.data.readers import image_files, read_image
from fastcl.plots import new_figure, save_figure

WIDTHS = (64, 128)  # of the network of patches
SIDES = (3, 4)  # of the patches
N_MODEL, N_DATA = 8192, 4096  # points of the domain and of the data a step
LONGER = 4
NOISES = {"spiral": 0.05, "patches": 0.3}  # deviation of the noise of score matching


class LikelihoodGradient:
    """The gradient of minus the mean log-likelihood of `draw(n, rng)`, for a prior in a domain."""

    def __init__(self, prior, domain, draw):
        self.prior, self.domain, self.draw = prior, domain, draw

    def __call__(self, rng):
        model, data = self.domain.sample(N_MODEL, rng, np.float32), self.draw(N_DATA, rng)
        energy, state = self.prior.forward(np.concatenate([model, data]))
        weights = np.full(N_MODEL + N_DATA, 1 / N_DATA, np.float32)
        weights[:N_MODEL] = -softmax(-energy[:N_MODEL].astype(np.float64))
        return self.prior.backward(weights, state)


class ScoreGradient:
    """The gradient of denoising score matching at one level of noise, by torch (Vincent, Neural Computation 2011)."""

    def __init__(self, prior, domain, draw, noise):
        self.prior, self.draw, self.noise = prior, draw, noise
        self.normal = isinstance(
            domain, fastcl.ReferenceMeasure
        )  # the score of N(0, I) belongs to the density

    def __call__(self, rng):
        data = torch.from_numpy(self.draw(N_DATA, rng))
        normals = torch.from_numpy(rng.standard_normal(data.shape, dtype=np.float32))
        x = (data + self.noise * normals).requires_grad_()
        theta = torch.from_numpy(self.prior.theta.copy()).requires_grad_()
        score = -torch.autograd.grad(
            torch_energy(theta, self.prior.sizes, x).sum(), x, create_graph=True
        )[0]
        if self.normal:
            score = score - x
        loss = ((self.noise * score + normals) ** 2).sum(dim=1).mean()
        return torch.autograd.grad(loss, theta)[0].numpy()


def torch_energy(theta, sizes, x):
    """||f_theta(x)||^2 (n,) in torch, theta laid out as in `MLPPrior`."""
    offset = 0
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        x = torch.relu(x) if layer else x
        matrix = theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
        x = x @ matrix + theta[offset + n_in * n_out : offset + n_in * n_out + n_out]
        offset += n_in * n_out + n_out
    return (x * x).sum(dim=1)


def check_gradients(prior, domain, draw):
    """Assert that the likelihood's gradient is torch's, at the same points."""
    gradient = LikelihoodGradient(prior, domain, draw)(np.random.default_rng(0)).astype(np.float64)
    rng, theta = np.random.default_rng(0), torch.from_numpy(prior.theta.copy()).requires_grad_()
    model, data = (
        torch.from_numpy(x) for x in (domain.sample(N_MODEL, rng, np.float32), draw(N_DATA, rng))
    )
    energies = (torch_energy(theta, prior.sizes, x).double() for x in (model, data))
    loss = torch.logsumexp(-next(energies), 0) + next(energies).mean()
    exact = torch.autograd.grad(loss, theta)[0].double().numpy()
    error = np.linalg.norm(gradient - exact) / np.linalg.norm(exact)
    assert error < 1e-4, error


def descend_for(seconds, gradient, step):
    """Steps of Adam on `gradient(rng)` for some seconds, by a short trial; (number of steps, seconds)."""
    theta = gradient.prior.theta
    start = theta.copy()

    def trial(go_on):
        optimizer, rng = fastcl.Adam(step), np.random.default_rng(0)
        while go_on():
            optimizer.update(theta, gradient(rng))

    n_iter = steps_in(seconds, trial)
    theta[:] = start
    optimizer, rng, began = (
        fastcl.Adam(step, schedule=fastcl.Cosine(n_iter)),
        np.random.default_rng(0),
        time.perf_counter(),
    )
    for _ in range(n_iter):
        optimizer.update(theta, gradient(rng))
    return n_iter, time.perf_counter() - began


def learn_all(first, sketch, domain, draw, noise, step, seconds, quick):
    """The network `first` learned by every method: method -> (prior, steps, seconds)."""
    check_gradients(first, domain, draw)
    learned = {}
    prior = copy.deepcopy(first)
    n_points = N_MODEL // 2  # drawn twice a step
    box = (
        domain if isinstance(domain, fastcl.Box) else None
    )  # the reference of a prior goes without saying
    history = learn_for(
        seconds, prior, sketch, box, method="normalised", n_points=n_points, step=step
    )
    learned["CL-SGD, from the sketch"] = prior, len(history["seconds"]), history["seconds"][-1]
    for name, share in (
        ("maximum likelihood", 1),
        (f"maximum likelihood, {LONGER} x", LONGER),
        ("score matching", 1),
    ):
        prior = copy.deepcopy(first)
        likelihood = LikelihoodGradient(prior, domain, draw)
        gradient = likelihood if "likelihood" in name else ScoreGradient(prior, domain, draw, noise)
        learned[name] = prior, *descend_for(seconds if quick else share * seconds, gradient, step)
    return learned


def compare_on_spiral(panel, seconds, quick):
    """The first table; the seconds of CL-SGD are those after the one pass over the data."""
    problem, n = spiral_problem(quick), 20_000
    x = make_spiral(n, rng=np.random.default_rng(0)).astype(np.float32)  # the points of the sketch

    def draw(count, rng):
        return x[rng.integers(n, size=count)]

    print(
        f"\nspiral: {n} points or their sketch of {len(problem.sketch.omega)} moments, {seconds} s of Adam"
    )
    print(f"  {'':33}{'seconds':>8}{'steps':>7}{'G':>8}{'nats':>8}{'MAP dB':>9}{'mean dB':>9}")
    learned = learn_all(
        new_prior(), problem.sketch, BOX, draw, NOISES["spiral"], 2e-3, seconds, quick
    )
    for name, (prior, steps, took) in learned.items():
        prior.log_scale = (
            -fastcl.log_normaliser(prior, BOX) + prior.log_scale
        )  # only CL-SGD has a scale of its own
        row = judge(prior, problem)
        print(
            f"  {name:33}{took:>8.1f}{steps:>7}{row['G']:>8.2f}{row['nats']:>8.3f}{row['map']:>9.2f}{row['mean']:>9.2f}",
            flush=True,
        )
        panel.barh(name, row["nats"])
    panel.invert_yaxis()
    panel.set(title=f"spiral, {seconds} s", xlabel="held-out nats a point")


def compare_on_patches(panel, images, side, seconds, quick):
    """The table of one size of patches: nats a patch over the Gaussian scale mixture, on held-out photographs."""
    train, held_out = [image for i, image in enumerate(images) if i % 4], images[::4]
    start = time.perf_counter()
    patch_sketch = fastcl.sketch_images(
        train, side, 200 if quick else FREQUENCIES.get(side, MOST), rng=0
    )
    sketching = time.perf_counter() - start
    transform, reference, sketch = (
        patch_sketch.transform,
        patch_sketch.reference,
        patch_sketch.sketch,
    )
    white = np.concatenate([transform.forward(extract_patches(image, side))[0] for image in train])
    u = reference.gaussianise(white)
    test = reference.gaussianise(
        held_out_points(transform, held_out, side, np.random.default_rng(0))
    )
    normal = fastcl.Gaussian(np.zeros(sketch.dim), np.eye(sketch.dim))
    first = fastcl.MLPPrior(sketch.dim, WIDTHS, rng=0, reference=normal)
    first.initialise_on(normal, rng=0)

    def draw(count, rng):
        return u[rng.integers(len(u), size=count)] + 0

    print(
        f"\npatches {side} x {side}, d = {sketch.dim}: {len(u)} patches ({u.nbytes / 2**20:.0f} MiB) or their sketch of"
    )
    print(
        f"{len(sketch.omega)} moments ({sketch.values.nbytes / 1024:.0f} KiB, made in {sketching:.0f} s), {seconds} s of Adam"
    )
    print(f"  {'':33}{'seconds':>8}{'steps':>7}{'nats':>8}")
    start = time.perf_counter()
    density = fastcl.max_entropy(sketch, normal, rng=0, **({"n_iter": 20} if quick else {}))
    learned = {
        "largest entropy, from the sketch": (
            density,
            20 if quick else 300,
            time.perf_counter() - start,
        )
    }
    learned |= learn_all(first, sketch, normal, draw, NOISES["patches"], 1e-3, seconds, quick)
    for name, (prior, steps, took) in learned.items():
        mass = np.mean([fastcl.log_normaliser(prior, rng=run) for run in range(2)])
        nats = prior.log_scale - prior.energy(test).mean(dtype=np.float64) - mass
        print(f"  {name:33}{took:>8.1f}{steps:>7}{nats:>8.3f}", flush=True)
        panel.barh(name, nats)
    panel.invert_yaxis()
    panel.set(title=f"patches, d = {sketch.dim}, {seconds} s", xlabel="nats over the reference")


def main():
    """Print the tables and draw the picture."""
    options = parse_options(__doc__, photographs=True)
    seconds = 1 if options.quick else 20
    sides = SIDES if options.photographs else ()
    figure, axes = new_figure(1, 1 + len(sides), 5, 3)
    compare_on_spiral(axes[0, 0], seconds, options.quick)
    if sides:
        files = image_files(options.photographs)[: 40 if options.quick else None]
        images = [read_image(path, grey=True).astype(np.float32) for path in files]
        for panel, side in zip(axes[0, 1:], sides, strict=True):
            compare_on_patches(panel, images, side, seconds, options.quick)
    save_figure(figure, options.out / "full_data.png")


if __name__ == "__main__":
    main()
