"""Short runs of `learn`: how to start one, stop it, and compare two."""

import numpy as np
from problems import line

import fastcl

N_ITER = 30
METHODS = ["grid", "naive", "unbiased"]


def learn(problem=None, **settings):
    """A short run of `fastcl.learn`, by default on a new `line` problem."""
    problem = problem or line(np.float32)
    settings = {"n_points": 32, "n_iter": N_ITER, "rng": 5} | settings
    return fastcl.learn(
        problem.prior,
        settings.pop("sketch", problem.sketch),
        settings.pop("domain", problem.domain),
        **settings,
    )


def assert_same_run(result, expected):
    np.testing.assert_array_equal(result.prior.theta, expected.prior.theta)
    for name in ("iteration", "value", "gradient_norm"):
        np.testing.assert_array_equal(result.history[name], expected.history[name])


def stop_at(step, how):
    """A callback that ends the run after `step`: raises `how` if it is an exception type."""

    def callback(iteration, prior, value):
        if iteration == step and isinstance(how, type):
            raise how
        return iteration == step

    return callback
