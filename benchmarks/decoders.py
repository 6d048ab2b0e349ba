"""Clusters and mixtures from a sketch against scikit-learn: python benchmarks/decoders.py

The rivals are KMeans and GaussianMixture, compared in quality, seconds and peak memory on two data
sets: the digits of scikit-learn, projected to their first 10 principal axes, and points of 10
Gaussians with diagonal covariances in 10 dimensions, float32. Every fit has a process of its own;
memory is the growth of its peak resident size above the data. The sum of squared errors is over all
points, relative to KMeans from 10 starts; the adjusted Rand index is against the digits or the
Gaussians that the points came from; nats are per held-out point.
"""

import json
import subprocess
import sys

from command import new_parser, require
from timing import machine

QUICK_N = 50_000  # points of the Gaussians
FIT = """
import json, sys, time
import numpy as np

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024

def digits():
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA
    x, labels = load_digits(return_X_y=True)
    x = PCA(10, svd_solver="full").fit_transform(x).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    held, seen = order[::5], np.delete(order, np.s_[::5])
    return x[seen], labels[seen], x[held]

def gaussians(n):
    rng = np.random.default_rng(0)
    means = rng.uniform(-3, 3, (10, 10))
    stds = rng.uniform(0.5, 1.5, (10, 10))
    weights = rng.dirichlet(np.full(10, 5.0))
    rng = np.random.default_rng(1)
    labels = rng.choice(10, n + 100_000, p=weights).astype(np.int8)
    x = rng.standard_normal((len(labels), 10), dtype=np.float32)
    for start in range(0, len(x), 1 << 18):
        rows = slice(start, start + (1 << 18))
        x[rows] = means[labels[rows]] + stds[labels[rows]] * x[rows]
    return x[:n], labels[:n], x[n:]

data, n, name, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
x, labels, held_out = digits() if data == "digits" else gaussians(n)
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from fastcl.estimators import SketchedGaussianMixture, SketchedKMeans

def mixture(**settings):
    return GaussianMixture(10, covariance_type="diag", random_state=seed, **settings)

def make():
    return {
        "KMeans": lambda: KMeans(10, random_state=seed),
        "KMeans, 10 starts": lambda: KMeans(10, n_init=10, random_state=seed),
        "SketchedKMeans": lambda: SketchedKMeans(10, compute_labels=False, random_state=seed),
        "GaussianMixture": mixture,
        "GaussianMixture, 10 starts": lambda: mixture(n_init=10),
        "GaussianMixture, 10 iterations": lambda: mixture(max_iter=10),
        "GaussianMixture, a tenth": mixture,
        "SketchedGaussianMixture": lambda: SketchedGaussianMixture(10, random_state=seed),
    }[name]()

import warnings
warnings.simplefilter("ignore")  # iterations are cut short on purpose
make().fit(x[:1000])  # compiles, imports
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, start = status("VmRSS"), time.perf_counter()
model = make().fit(x[: len(x) // 10] if name.endswith("tenth") else x)
figures = {"seconds": time.perf_counter() - start, "MiB": status("VmHWM") - before}
centres = model.cluster_centers_ if "KMeans" in name else model.means_
few = slice(0, 100_000)
if "KMeans" in name:
    error = 0.0
    for first in range(0, len(x), 1 << 16):
        rows = x[first : first + (1 << 16)].astype(np.float64)
        nearest = (2 * rows @ centres.T - np.square(centres).sum(axis=1)).max(axis=1)
        error += (np.square(rows).sum(axis=1) - nearest).sum()
    figures["error"] = error
else:
    figures["nats"] = float(model.score(held_out.astype(np.float64)))
found = model.predict(np.ascontiguousarray(x[few]))
figures["rand"] = float(adjusted_rand_score(labels[few], found))
print(json.dumps(figures))
"""
SETS = {
    "digits": (
        "KMeans, 10 starts", "KMeans", "SketchedKMeans",
        "GaussianMixture, 10 starts", "GaussianMixture", "SketchedGaussianMixture",
    ),
    "gaussians": (
        "KMeans, 10 starts", "KMeans", "SketchedKMeans",
        "GaussianMixture, 10 iterations", "GaussianMixture, a tenth", "SketchedGaussianMixture",
    ),
}  # fmt: skip


def fit(data, n, name, seed):
    """The figures of one fit in a process of its own."""
    command = [sys.executable, "-c", FIT, data, str(n), name, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = new_parser(__doc__)
    parser.add_argument(
        "--n", type=int, default=10_000_000, help="points of the Gaussians (%(default)s)"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="seeds on the digits, averaged (%(default)s)"
    )
    options = parser.parse_args()
    require("sklearn")
    if options.quick:
        options.n, options.seeds = QUICK_N, 1
    print(machine())
    for data, names in SETS.items():
        title = data if data == "digits" else f"{data}, n = {options.n:,}"
        print(f"{title:34}{'error':>8}{'rand':>8}{'nats':>10}{'s':>9}{'MiB':>9}")
        reference = None  # the error of the first fit
        for name in names[1:3] + names[-2:] if options.quick else names:
            seeds = range(options.seeds if data == "digits" else 1)
            runs = [fit(data, options.n, name, seed) for seed in seeds]
            mean = {key: sum(run[key] for run in runs) / len(runs) for key in runs[0]}
            reference = mean["error"] if reference is None else reference
            error = f"{mean['error'] / reference:.3f}" if "error" in mean else ""
            nats = f"{mean['nats']:.3f}" if "nats" in mean else ""
            print(
                f"{name:34}{error:>8}{mean['rand']:>8.3f}{nats:>10}"
                f"{mean['seconds']:>9.2f}{mean['MiB']:>9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
