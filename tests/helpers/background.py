"""Jobs for the second core: what needs a process of its own runs next to the tests.

A test that is marked `background(job=...)` gets its result from `result(job)`. The job is a
function without arguments; it starts as soon as the tests are collected, and jobs run one after
the other. Tests that wait for a job come last.
"""

import subprocess
from concurrent.futures import ThreadPoolExecutor

_pool = ThreadPoolExecutor(1)
_futures = {}  # job -> the future of its result
_children = []


def start(job):
    """Queue the job, once per session."""
    if job not in _futures:
        _futures[job] = _pool.submit(job)


def result(job):
    """What the job returned or raised."""
    start(job)
    return _futures[job].result()


def run(command, *, timeout, **settings):
    """`subprocess.run` with captured text, of a child that ends with the session."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **settings) as child:
        _children.append(child)
        try:
            output, errors = child.communicate(timeout=timeout)
        finally:
            child.kill()
            _children.remove(child)
    return subprocess.CompletedProcess(command, child.returncode, output, errors)


def stop():
    """Drop the jobs that have not begun and end the children of the one that has."""
    _pool.shutdown(wait=False, cancel_futures=True)
    for child in _children:
        child.kill()
