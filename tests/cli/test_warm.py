"""`fastcl warm` compiles every kernel, in both precisions, and says where it put them."""

import pytest
from commands import run
from passes import run_script

from fastcl.cli import warm
from fastcl.kernels import cache

EVERY_KERNEL = """
from fastcl.backend import _NUMBA
from fastcl.cli import warm
for dtype in ("float32", "float64"):
    for task in warm.TASKS.values():
        task(dtype)
kernels = {name: getattr(call, "kernel", call) for name, call in _NUMBA.items()}
types = {name: str(k.signatures) for name, k in kernels.items() if hasattr(k, "signatures")}
assert len(types) > 15
print([(name, t) for name, of in types.items() for t in ("float32", "float64") if t not in of])
"""


@pytest.mark.slow
def test_the_tasks_compile_every_kernel_in_both_precisions():
    assert run_script(["-W", "error", "-c", EVERY_KERNEL]).stdout == "[]\n"


@pytest.mark.slow
def test_the_command_reports_each_task_and_names_the_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(warm, "TASKS", {"sums of features": warm.warm_features})
    assert run(tmp_path, "warm") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines[:2]] == ["1 of 2: ", "2 of 2: "]
    titles = sorted(line[8:] for line in lines[:2])
    assert titles == ["sums of features in float32", "sums of features in float64"]
    assert lines[2:] == [f"compiled kernels are in {cache.cache_folder()}"]
