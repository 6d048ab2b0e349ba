"""Grid against CL-SGD as the dimension grows, on three Gaussians: python benchmarks/dimension.py

Every method learns in [-1, 1]^d by Adam for the same number of seconds, from the same start. The
grid has as many points per axis, up to 20, as keep it below a given total. Printed: seconds
(median) and peak memory of one step, the signal-to-noise ratio of the posterior means, and the
held-out log-likelihood of the normalised density, its mass by importance sampling. The last two
stand next to those of the true density. "chains" learns relative to the Gaussian with the moments
of the data, with as many chains as the others have points; its first step contains maximum entropy.
"""

import copy
import tracemalloc

import numpy as np
from experiments import METHODS, SIGMA, add_noise, learn_for, new_prior, parse_options
from scipy.special import logsumexp

import fastcl
from fastcl.cli.demo import WIDTHS, signal_to_noise
from fastcl.plots import new_figure, save_figure

COMPARED = ("grid", "unbiased", "normalised", "chains")
TRUTH = "true density"
DIMS = (2, 3, 4, 5, 6)
STD = 0.15  # of every Gaussian
M = 500  # frequencies
N = 4000  # points per step
MAX_GRID = 50_000  # points of the grid
MAX_AXIS = 20  # points per axis of the grid


def three_gaussians(dim):
    """Round Gaussians of unequal weights, at three corners of [-0.4, 0.4]^dim."""
    corners = np.array([np.ones(dim), -np.ones(dim), np.resize([1, -1], dim)])
    return fastcl.GaussianMixture([0.5, 0.3, 0.2], 0.4 * corners, [STD**2 * np.eye(dim)] * 3)


def log_normaliser(density, box, mixture, n):
    """Logarithm of the mass of a density over the box.

    The proposal is n points of the mixture and n uniform ones.
    """
    x = np.concatenate([mixture.sample(n, rng=3), box.sample(n, rng=4)])
    uniform = box.log_density(x)
    inside = np.isfinite(uniform)
    proposal = np.logaddexp(mixture.log_density(x[inside]), uniform[inside]) - np.log(2)
    return float(logsumexp(density.log_density(x[inside]) - proposal) - np.log(2 * n))


def peak_mib(prior, sketch, box, settings):
    """The most memory in MiB that NumPy holds during one step from a fresh start."""
    tracemalloc.start()
    try:
        fastcl.learn(prior, sketch, box, n_iter=1, rng=0, **settings)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def settings_of(method, axis, dim):
    """Settings of `learn` for a method, with `axis` points per axis of the grid."""
    if method == "grid":
        return METHODS[method] | {"n_points": axis**dim}
    if method == "chains":
        return {"method": "chains", "n_points": N}
    return METHODS[method] | {"n_points": N}


def main():
    options = parse_options(__doc__, COMPARED)
    seconds, dims, held, sampled = (
        (0.5, DIMS[:2], 200, 50_000) if options.quick else (12, DIMS, 2000, 200_000)
    )
    print(f"{seconds} s of Adam each, {N} points per step except on the grid; m = {M}")
    print(f"noise of standard deviation {SIGMA}")
    print(
        f"{'d':>2}  {'method':13}{'points':>8}{'ms per step':>13}{'MiB':>8}{'steps':>7}"
        f"{'noisy dB':>10}{'mean dB':>9}{'nats':>9}"
    )
    curves = {name: [] for name in (*options.methods, TRUTH)}
    for dim in dims:
        mixture = three_gaussians(dim)
        box = fastcl.Box(-np.ones(dim), np.ones(dim))
        x = mixture.sample(20_000, rng=0).astype(np.float32)
        sketch = fastcl.sketch(x, fastcl.draw_frequencies(M, dim, STD, rng=0))
        clean = mixture.sample(held, rng=1)
        noisy = add_noise(clean)
        true_mass = log_normaliser(mixture, box, mixture, sampled)
        assert abs(true_mass - np.log(np.isfinite(box.log_density(x)).mean())) < 0.02, true_mass

        def report(name, estimate, nats, cells, dim=dim, clean=clean, noisy=noisy):
            before = signal_to_noise(clean, noisy)
            after = signal_to_noise(clean, estimate)
            print(
                f"{dim:>2}  {name:13}{cells:36}{before:>10.2f}{after:>9.2f}{nats:>9.3f}", flush=True
            )
            curves[name].append((after, nats))

        best = mixture.posterior_mean(noisy, np.full(dim, SIGMA))
        report(TRUTH, best, float(mixture.log_density(clean).mean()) - true_mass, "")
        axis = min(MAX_AXIS, int(MAX_GRID ** (1 / dim)))
        for method in options.methods:
            settings = settings_of(method, axis, dim)
            prior, domain, step_size = new_prior(dim), box, 2e-3
            if method == "chains":
                gaussian = fastcl.Gaussian(x.mean(axis=0), np.cov(x.T))
                prior = fastcl.MLPPrior(dim, WIDTHS, rng=0, reference=gaussian)
                domain, step_size = None, 5e-3  # the reference
            prior.initialise_on(gaussian if domain is None else box, rng=0)
            fresh = copy.deepcopy(prior)
            history = learn_for(seconds, prior, sketch, domain, step_size, **settings)
            mass = log_normaliser(prior, box, mixture, sampled)
            nats = float(prior.log_density(clean).mean()) - mass
            points = axis**dim if method == "grid" else N
            step = 1e3 * np.median(np.diff(history["seconds"]))
            steps = len(history["seconds"])
            memory = peak_mib(fresh, sketch, domain, settings)
            estimate = fastcl.denoise(prior, noisy, SIGMA, estimator="mean")
            report(method, estimate, nats, f"{points:>8}{step:>13.2f}{memory:>8.1f}{steps:>7}")
    figure, axes = new_figure(1, 2, 4.5, 3.5)
    for name, rows in curves.items():
        for panel, values in zip(axes[0], zip(*rows, strict=True), strict=True):
            panel.plot(dims, values, "k--" if name == TRUTH else ".-", label=name)
    axes[0, 0].set(xlabel="dimension", ylabel="posterior mean, dB", xticks=dims)
    axes[0, 1].set(xlabel="dimension", ylabel="nats per held-out point", xticks=dims)
    axes[0, 0].legend()
    save_figure(figure, options.out / "dimension.png")


if __name__ == "__main__":
    main()
