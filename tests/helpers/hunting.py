"""How many random cases a test tries: a few fixed ones, or FASTCL_EXAMPLES=20000 of new ones."""

import os

import numpy as np
from hypothesis import HealthCheck, settings

ASKED = int(os.environ.get("FASTCL_EXAMPLES", "0"))


def look(examples):
    """Decorate a property: try this many cases, the same in every run, or as many as asked for."""
    return settings(
        max_examples=ASKED or examples,
        derandomize=not ASKED,
        deadline=None,
        database=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


def seeds(examples):
    """The numbers of a fuzzer's cases, and the seed that they share."""
    return range(ASKED or examples), np.random.SeedSequence().entropy if ASKED else 0
