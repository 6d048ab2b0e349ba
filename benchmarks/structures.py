"""Structured against independent frequencies: python benchmarks/structures.py

Speed: the kernels of a structure against the direct ones on the same frequencies as an array, in
turn, in ns per (point, frequency) pair, checked against float64 first. Quality: the spiral of
methods.py by the unbiased method; held-out nats, and G both at its own frequencies and at 2000
others, which reveal a density that fits only its own. For Hadamard blocks: the error of the
Gaussian kernel estimated by the mean of cos <omega, x - y>, next to that of independent
frequencies.
"""

import numpy as np
from command import new_parser
from experiments import BOX, METHODS, WIDTHS
from timing import in_turn, machine

import fastcl
from fastcl.cli.demo import normalised_log_likelihood
from fastcl.data.datasets import make_spiral

SPEED = [
    ("harmonic", 2, 100_000, 2_000, {"harmonics": 4}),
    ("harmonic", 2, 100_000, 2_000, {"harmonics": 8}),
    *(("hadamard", dim, 10_000, 2_048, {}) for dim in (32, 64, 128, 192, 512)),
]  # structure, d, n, m, its settings
SPEED_QUICK = [
    ("harmonic", 2, 2_000, 400, {"harmonics": 4}),
    ("hadamard", 64, 500, 256, {}),
]
SPIRAL = [(None, {}), *(("harmonic", {"harmonics": k}) for k in (2, 4))]
PARTS = ("speed", "spiral", "kernel")


def title_of(name, settings):
    """How a structure is called in the tables."""
    if name is None:
        return "independent"
    return f"{name} K={settings['harmonics']}" if settings else name


def maps(x, omega, rng):
    """(name, function of frequencies, exact result, scale of the errors) of the two maps."""
    dense = np.array(omega)
    n, m = len(x), len(dense)
    w = rng.random(n).astype(x.dtype)
    c = (rng.standard_normal(m) + 1j * rng.standard_normal(m)).astype(np.complex64)
    x64, w64 = x.astype(np.float64), w.astype(np.float64)

    def compute_sum(frequencies):
        return fastcl.feature_sum(x, frequencies, w, method="direct")

    def compute_adjoint(frequencies):
        return fastcl.feature_adjoint(x, frequencies, c, method="direct")

    yield "sum", compute_sum, fastcl.feature_sum(x64, dense, w64), w.sum()
    yield "adjoint", compute_adjoint, fastcl.feature_adjoint(x64, dense, c), np.abs(c).sum()


def speed(sizes):
    print(
        f"{'structure':14}{'d':>5}{'map':>9}{'ns':>8}{'direct':>8}{'ratio':>7}"
        f"{'error':>10}{'of direct':>10}"
    )
    rng = np.random.default_rng(0)
    for name, dim, n, m, settings in sizes:
        omega = fastcl.draw_frequencies(
            m, dim, np.sqrt(dim), "adapted_radius", rng=0, structure=name, **settings
        )
        dense = np.array(omega)
        x = rng.standard_normal((n, dim)).astype(np.float32)
        for label, function, exact, scale in maps(x, omega, rng):
            errors = [np.abs(function(o) - exact).max() / scale for o in (omega, dense)]
            assert max(errors) < 2e-6, errors
            rivals = {
                "structure": lambda function=function, omega=omega: function(omega),
                "direct": lambda function=function, dense=dense: function(dense),
            }
            times = in_turn(rivals, 11)
            own, direct = (times[key] * 1e9 / (n * m) for key in rivals)
            print(
                f"{title_of(name, settings):14}{dim:>5}{label:>9}"
                f"{own:>8.3f}{direct:>8.3f}{direct / own:>7.2f}"
                f"{errors[0]:>10.1e}{errors[1]:>10.1e}",
                flush=True,
            )


def spiral(seeds, iterations):
    train = make_spiral(20_000, rng=0).astype(np.float32)
    held_out = make_spiral(20_000, rng=1)
    others = fastcl.sketch(train, fastcl.draw_frequencies(2000, 2, 0.03, rng=10_000))
    print(
        f"spiral, m = 500 (divisible by K = 2, 4), {iterations} steps of 1000 points, "
        f"{seeds} seeds: mean and standard error"
    )
    print(f"{'structure':14}{'G':>14}{'G elsewhere':>14}{'nats':>16}")
    for name, settings in SPIRAL:
        rows = []
        for seed in range(seeds):
            omega = fastcl.draw_frequencies(500, 2, 0.03, rng=seed, structure=name, **settings)
            sketch = fastcl.sketch(train, omega)
            prior = fastcl.MLPPrior(2, WIDTHS, rng=seed)
            fastcl.learn(
                prior,
                sketch,
                BOX,
                n_points=1000,
                n_iter=iterations,
                optimizer=fastcl.Adam(2e-3, schedule=fastcl.Cosine(iterations)),
                rng=seed,
                **METHODS["unbiased"],
            )
            own, other = (fastcl.grid_gradient(prior, s, BOX, 200)[0] for s in (sketch, others))
            nats = normalised_log_likelihood(prior, BOX, held_out, 200)
            rows.append((own, other / 4, nats))  # others: 4 times as many frequencies
        mean = np.mean(rows, axis=0)
        error = np.std(rows, axis=0, ddof=1) / np.sqrt(seeds)
        figures = "".join(f"{a:>9.2f} ±{b:>4.2f}" for a, b in zip(mean, error, strict=True))
        print(f"{title_of(name, settings):14}{figures}", flush=True)


def kernel_estimate(seeds, dim, m=1024):
    """Root mean squared error of the mean of cos <omega_l, x - y>, over pairs and draws of m."""
    rng = np.random.default_rng(0)
    differences = rng.standard_normal((200, dim))
    radii = rng.uniform(0.2, 3, 200)  # kernel from 0.98 down to 0.01
    differences *= (radii / np.linalg.norm(differences, axis=1))[:, None]
    exact = np.exp(-(differences**2).sum(axis=1) / 2)
    figures = []
    for name in (None, "hadamard"):
        squares = []
        for seed in range(20 * seeds):
            omega = fastcl.draw_frequencies(m, dim, 1.0, "gaussian", rng=seed, structure=name)
            estimate = fastcl.feature_adjoint(differences, omega, np.full(m, 1 / m))
            squares.append(np.mean((estimate - exact) ** 2))
        error = np.sqrt(np.mean(squares))
        spread = np.std(squares) / np.sqrt(len(squares)) / np.mean(squares) / 2
        figures.append(f"{title_of(name, {})} {error:.5f} ±{100 * spread:.1f}%")
    print(f"Gaussian kernel, m = {m}, d = {dim:3}: {', '.join(figures)}")


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="runs on the spiral (%(default)s)")
    parser.add_argument("--iterations", type=int, default=1000, help="steps (%(default)s)")
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.iterations = 2, 20
    print(machine())
    if options.only in (None, "speed"):
        speed(SPEED_QUICK if options.quick else SPEED)
    if options.only in (None, "spiral"):
        spiral(options.seeds, options.iterations)
    if options.only in (None, "kernel"):
        for dim in (35,) if options.quick else (35, 64, 192):
            kernel_estimate(options.seeds, dim)


if __name__ == "__main__":
    main()
