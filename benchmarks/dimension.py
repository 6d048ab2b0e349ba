"""Grid against CL-SGD as the dimension grows, on a known mixture of three Gaussians: python benchmarks/dimension.py

Every method learns in [-1, 1]^d by Adam for the same number of seconds, from the same start; the grid has as many points an
axis, up to 20, as keep it below a given number of points. Seconds (median) and peak memory of one step, the signal-to-noise
ratio of the posterior means, and the held-out log-likelihood of the normalised density, its mass by importance sampling; both
beside what the true law gives.
"""

import tracemalloc

import numpy as np
from experiments import SIGMA, add_noise, learn_for, new_prior, parse_options
from scipy.special import logsumexp

import fastcl
from fastcl.cli.demo import signal_to_noise
from fastcl.plots import new_figure, save_figure

METHODS = ("grid", "unbiased", "normalised")
DIMS = (2, 3, 4, 5, 6)
DEVIATION = 0.15  # of every Gaussian
M, N = 500, 4000  # frequencies, points a step
MAX_GRID, MAX_AXIS = 50_000, 20


def three_gaussians(dim):
    """Round Gaussians of unequal weights, at three corners of [-0.4, 0.4]^dim."""
    corners = np.array([np.ones(dim), -np.ones(dim), np.resize([1, -1], dim)])
    return fastcl.GaussianMixture([0.5, 0.3, 0.2], 0.4 * corners, [DEVIATION**2 * np.eye(dim)] * 3)


def log_normaliser(density, box, law, n):
    """Logarithm of the mass of a density over the box, from n points of the law and n uniform ones as one proposal."""
    x = np.concatenate([law.sample(n, rng=3), box.sample(n, rng=4)])
    uniform = box.log_density(x)
    inside = np.isfinite(uniform)
    proposal = np.logaddexp(law.log_density(x[inside]), uniform[inside]) - np.log(2)
    return float(logsumexp(density.log_density(x[inside]) - proposal) - np.log(2 * n))


def peak_mib(prior, sketch, box, settings):
    """Largest memory that NumPy holds for one step, in MiB, from a fresh start."""
    tracemalloc.start()
    try:
        fastcl.learn(prior, sketch, box, n_iter=1, rng=0, **settings)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def main():
    options = parse_options(__doc__, METHODS)
    seconds, dims, held, sampled = (
        (0.5, DIMS[:2], 200, 50_000) if options.quick else (12, DIMS, 2000, 200_000)
    )
    print(
        f"{seconds} s of Adam each, {N} points a step but for the grid; m = {M}; noise of deviation {SIGMA}"
    )
    print(
        f"{'d':>2}  {'method':10}{'points':>8}{'ms a step':>11}{'MiB':>8}{'steps':>7}{'noisy dB':>10}{'mean dB':>9}{'nats':>9}"
    )
    curves = {name: [] for name in (*options.methods, "true law")}
    for dim in dims:
        law, box = three_gaussians(dim), fastcl.Box(-np.ones(dim), np.ones(dim))
        x = law.sample(20_000, rng=0).astype(np.float32)
        sketch = fastcl.sketch(x, fastcl.draw_frequencies(M, dim, DEVIATION, rng=0))
        clean = law.sample(held, rng=1)
        noisy = add_noise(clean)
        true_mass = log_normaliser(law, box, law, sampled)
        assert abs(true_mass - np.log(np.isfinite(box.log_density(x)).mean())) < 0.02, true_mass

        def report(name, estimate, nats, cells, dim=dim, clean=clean, noisy=noisy):
            mean = signal_to_noise(clean, estimate)
            print(
                f"{dim:>2}  {name:10}{cells:34}{signal_to_noise(clean, noisy):>10.2f}{mean:>9.2f}{nats:>9.3f}",
                flush=True,
            )
            curves[name].append((mean, nats))

        report(
            "true law",
            law.posterior_mean(noisy, np.full(dim, SIGMA)),
            float(law.log_density(clean).mean()) - true_mass,
            "",
        )
        axis = min(MAX_AXIS, int(MAX_GRID ** (1 / dim)))
        for method in options.methods:
            settings = {"method": method, "n_points": N, "points_per_axis": axis}
            prior = new_prior(dim)
            prior.initialise_on(box, rng=0)
            history = learn_for(seconds, prior, sketch, box, **settings)
            nats = float(prior.log_density(clean).mean()) - log_normaliser(prior, box, law, sampled)
            points = axis**dim if method == "grid" else N
            step, steps = 1e3 * np.median(np.diff(history["seconds"])), len(history["seconds"])
            memory = peak_mib(new_prior(dim), sketch, box, settings)
            estimate = fastcl.denoise(prior, noisy, SIGMA, estimator="mean")
            report(method, estimate, nats, f"{points:>8}{step:>11.2f}{memory:>8.1f}{steps:>7}")
    figure, axes = new_figure(1, 2, 4.5, 3.5)
    for name, rows in curves.items():
        for panel, values in zip(axes[0], zip(*rows, strict=True), strict=True):
            panel.plot(dims, values, "k--" if name == "true law" else ".-", label=name)
    axes[0, 0].set(xlabel="dimension", ylabel="posterior mean, dB", xticks=dims)
    axes[0, 1].set(xlabel="dimension", ylabel="held-out nats a point", xticks=dims)
    axes[0, 0].legend()
    save_figure(figure, options.out / "dimension.png")


if __name__ == "__main__":
    main()
