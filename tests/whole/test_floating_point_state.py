"""Results do not depend on what NumPy has been told to do about floating-point errors."""

import numpy as np
import pytest
from laplace import Laplace

import fastcl
from fastcl.estimators import SketchedGaussianMixture
from fastcl.priors.metric import WhitenedMetric

OMEGA = fastcl.draw_frequencies(30, 2, 0.01, rng=0)  # characteristic functions vanish at most
NORMAL = fastcl.Gaussian([0, 0], np.eye(2))
MIXTURE = fastcl.GaussianMixture([0.5, 0.5], [[2, 2], [-2, -2]], [0.01 * np.eye(2)] * 2)
SCALES = fastcl.GaussianScaleMixture(np.eye(2), [0.01, 1.0], [0.5, 0.5])
CROSS = fastcl.MixtureOfScaleMixtures([np.eye(2), np.eye(2)], [0.01, 1.0], np.ones((2, 2)))
MEASURES = {
    "normal": NORMAL,
    "mixture": MIXTURE,
    "scale mixture": SCALES,
    "cross": CROSS,
    "own": Laplace(2),
}
X = np.concatenate([MIXTURE.sample(50, 0), 20 * NORMAL.sample(50, 1), np.zeros((1, 2))])
SKETCH = fastcl.sketch(X, OMEGA)
MAX_ENTROPY = fastcl.MaxEntropyPrior(OMEGA, np.full(30, 1e-300), NORMAL)


class Steep(fastcl.Prior):
    """An energy whose exponential vanishes nearly everywhere."""

    dim = 2

    def energy_and_grad(self, x):
        return 1e3 * (x**2).sum(axis=1) + np.exp(-1e3 * x[:, 0] ** 2), 2e3 * x


CALLS = {
    "radial map": lambda: [
        SCALES.gaussianise(X),
        SCALES.degaussianise(X),
        SCALES.pull_back(X, X),
    ],
    "fit": lambda: fastcl.MixtureOfScaleMixtures.fit(X, 2, 3, 3, rng=0).weights,
    "fit one": lambda: fastcl.GaussianScaleMixture.fit(X[:50], 3, 3).weights,
    "max_entropy": lambda: fastcl.max_entropy(SKETCH, SCALES, n_points=50, n_iter=3, rng=0).c,
    "max_entropy over a Gaussian": lambda: (
        fastcl.max_entropy(SKETCH, NORMAL, 0.01, 0.1, 50, 3, 0).c
    ),
    "estimate_scale": lambda: fastcl.estimate_scale(X, rng=0),
    "sketch": lambda: fastcl.sketch(X, OMEGA).values,
    "feature_sum": lambda: fastcl.feature_sum(X.astype("f4"), OMEGA, np.full(101, 1e-300)),
    "log_normaliser": lambda: fastcl.log_normaliser(Steep(), fastcl.Box([-9, -9], [9, 9]), 99),
    "samples": lambda: Steep().sample(9, 0, domain=fastcl.Box([-9, -9], [9, 9])),
    "own energy": lambda: [Steep().log_density(X), fastcl.denoise(Steep(), X, 1.0)],
    "maximum entropy": lambda: [MAX_ENTROPY.log_density(X), MAX_ENTROPY.sample(9, 0)],
    "denoise": lambda: fastcl.denoise(MAX_ENTROPY, X, 0.1, estimator="mean", n_samples=512),
}
FAR = fastcl.Box([-1e3, -1e3], [1e3, 1e3])  # its energies are so large that densities vanish
BLOBS = MIXTURE.sample(2000, 3)
COARSE = fastcl.sketch(BLOBS, fastcl.draw_frequencies(40, 2, 0.1, rng=2))


def network(domain=None, **settings):
    prior = fastcl.MLPPrior(2, (8,), rng=0)
    if domain is not None:
        fastcl.learn(prior, SKETCH, domain, n_points=99, n_iter=2, rng=0, **settings)
    return prior


CALLS |= {
    "learn": lambda: network(FAR).theta,
    "learn naively": lambda: network(FAR, method="naive").theta,
    "unbiased gradient": lambda: fastcl.unbiased_gradient(network(), SKETCH, FAR, 99, 0)[1],
    "naive gradient": lambda: fastcl.naive_gradient(network(), SKETCH, FAR, 99, 0)[1],
    "grid gradient": lambda: fastcl.grid_gradient(network(), SKETCH, FAR, 9)[1],
    "decode_kmeans": lambda: fastcl.decode_kmeans(COARSE, 2, [-9, -9], [9, 9], rng=0)[0],
    "decode_mixture": lambda: fastcl.decode_mixture(COARSE, 2, [-9, -9], [9, 9], rng=0).means,
    "estimator": lambda: (
        SketchedGaussianMixture(2, random_state=0).fit(BLOBS).score_samples(30 * BLOBS)
    ),
    "feature_adjoint": lambda: fastcl.feature_adjoint(X.astype("f4"), OMEGA, np.full(30, 1e-300)),
}
for name, measure in MEASURES.items():
    CALLS |= {
        f"{name}: densities": lambda q=measure: [q.log_density(X), q.log_density_grad(X)],
        f"{name}: sketches": lambda q=measure: [q.sketch(OMEGA), *q.pair_sketches(OMEGA)],
        f"{name}: metric": lambda q=measure: WhitenedMetric(OMEGA, q).apply(np.full(30, 1e-300j)),
        f"{name}: proposals": lambda q=measure: q.propose(X, 0.5, np.random.default_rng(0))[1],
        f"{name}: descent": lambda q=measure: fastcl.denoise(q, X, 0.1, 2.0, n_iter=5),
        f"{name}: mean": lambda q=measure: q.posterior_mean(X, np.full(2, 0.1)),
        f"{name}: weighted mean": lambda q=measure: fastcl.denoise(
            q, X[:50], 0.1, 1.5, "mean", n_samples=512
        ),
    }


@pytest.mark.parametrize("name", CALLS)
def test_underflow_is_no_error(name):
    expected = CALLS[name]()
    with np.errstate(all="raise"):
        found = CALLS[name]()
    pairs = zip(found, expected, strict=True) if isinstance(found, list) else [(found, expected)]
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
