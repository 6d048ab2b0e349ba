"""How long tests of random cases look: a few fixed cases by default, FASTCL_EXAMPLES=20000 of new ones for a hunt."""

import os

import numpy as np
from hypothesis import HealthCheck, settings

ASKED = int(os.environ.get("FASTCL_EXAMPLES", "0"))


def look(examples):
    """What decorates a property: `examples` cases, the same in every run, unless the environment asks for a hunt."""
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
    """Numbers of the cases of a fuzzer, and the seed they all start from."""
    return range(ASKED or examples), np.random.SeedSequence().entropy if ASKED else 0
