"""Runs of marked tests in a child process, under settings that a process has from its start."""

import os
import re
import sys
import tempfile
from pathlib import Path

import background

TESTS = Path(__file__).parents[1]
ENVIRONMENT = dict(os.environ)  # before any test changes it


def rerun(marker, *rooms, **settings):
    """Run `pytest -m marker` over folders of tests, with environment variables `settings`."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-m", marker]
    command += [str(TESTS / room) for room in rooms]
    return background.run(command, env=ENVIRONMENT | settings, cwd=TESTS.parent, timeout=900)


def rerun_compiled(marker, *rooms, **settings):
    """How many tests of `rerun` passed, with kernels compiled anew."""
    with tempfile.TemporaryDirectory() as cache:
        return n_passed(rerun(marker, *rooms, NUMBA_CACHE_DIR=cache, **settings))


def n_passed(done):
    """How many tests of a finished `rerun` passed; AssertionError if one failed."""
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return int(re.search(r"(\d+) passed", done.stdout)[1])
