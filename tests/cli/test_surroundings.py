"""Commands in pipes, logs and little memory, and after another command that failed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run
from pictures import do_little

import fastcl


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    do_little(monkeypatch)


def test_a_pass_that_failed_resumes_when_its_data_are_mended(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastcl.data.sources.GROUP_ROWS", 1000)
    good = np.random.default_rng(0).standard_normal((5000, 2))
    bad = good.copy()
    bad[3333] = np.nan
    np.save(tmp_path / "rows.npy", bad)
    command = "sketch rows.npy -o s.npz -m 10 --scale 1"
    monkeypatch.setattr("fastcl.cli.commands.SAMPLE_ROWS", 10)
    assert run(tmp_path, command) == 2
    kept = "; the first 3000 points are kept in 's.partial.npz'\n"
    assert capsys.readouterr().err.endswith(kept)
    np.save(tmp_path / "rows.npy", good)
    assert run(tmp_path, command) == 0
    assert capsys.readouterr().err == ""
    sk = fastcl.load(tmp_path / "s.npz")
    np.testing.assert_array_equal(sk.values, fastcl.sketch(good, sk.omega).values)
    assert (sk.domain.low < good.min(axis=0)).all()
    assert not (tmp_path / "s.partial.npz").exists()


@pytest.mark.parametrize("other", ["more.npy", "images"])
def test_what_is_left_of_other_data_is_done_away_with(made, tmp_path, capsys, monkeypatch, other):
    monkeypatch.setattr("fastcl.data.sources.GROUP_ROWS", 1000)
    monkeypatch.setattr("fastcl.cli.commands.SAMPLE_ROWS", 10)
    bad = np.random.default_rng(0).standard_normal((5000, 2))
    bad[3333] = np.nan
    np.save(tmp_path / "rows.npy", bad)
    np.save(tmp_path / "more.npy", np.ones((4000, 2)))
    shutil.copytree(made / "images", tmp_path / "images")
    assert run(tmp_path, "sketch rows.npy -o s.npz -m 10 --scale 1") == 2
    capsys.readouterr()
    settings = "--patch 4" if other == "images" else "--scale 1"
    assert run(tmp_path, f"sketch {other} -o s.npz -m 10 {settings}") == 0
    warning = "'s.partial.npz' belongs to other data, so the sketch starts anew\n"
    assert capsys.readouterr().err == f"fastcl sketch: warning: {warning}"
    assert not (tmp_path / "s.partial.npz").exists()


def test_what_is_left_of_other_settings_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastcl.data.sources.GROUP_ROWS", 1000)
    monkeypatch.setattr("fastcl.cli.commands.SAMPLE_ROWS", 10)
    bad = np.random.default_rng(0).standard_normal((5000, 2))
    bad[3333] = np.nan
    np.save(tmp_path / "rows.npy", bad)
    assert run(tmp_path, "sketch rows.npy -o s.npz -m 10 --scale 1") == 2
    capsys.readouterr()
    assert run(tmp_path, "sketch rows.npy -o s.npz -m 11 --scale 1") == 2
    assert "belongs to other frequencies: remove it" in capsys.readouterr().err
    assert (tmp_path / "s.partial.npz").exists()


def test_quiet_prints_nothing(made, tmp_path, capsys):
    for command in (
        f"sketch {made / 'rows2.npy'} -o s.npz -m 10 -q",
        "learn s.npz -o p.npz --iterations 2 --points 50 --quiet",
        f"denoise p.npz {made / 'rows2.npy'} -o clean.npy --sigma 0.1 --quiet",
    ):
        assert run(tmp_path, command) == 0
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("lines", [1, 0])
def test_a_pipe_that_nobody_reads_is_no_error(made, tmp_path, lines):
    command = [Path(sys.executable).with_name("fastcl"), "sketch", made / "rows2.npy"]
    command = [*map(str, command), "-o", str(tmp_path / "s.npz"), "-m", "10"]
    read, write = os.pipe()
    if lines == 0:
        os.close(read)
    process = subprocess.Popen(command, stdout=write, stderr=write)
    os.close(write)
    if lines:  # the scale comes first
        assert os.read(read, 10)
        os.close(read)
    assert process.wait(timeout=120) == 0
    assert fastcl.load(tmp_path / "s.npz").count == 1000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_the_output_is_an_error_of_one_line(made):
    command = [Path(sys.executable).with_name("fastcl"), "info", made / "s2.npz"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "fastcl info: error: [Errno 28] No space left on device\n"


PEAK = """
import resource, sys
from fastcl.cli.main import main

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024

if sys.argv[1] != "0":  # MiB of address space beyond what is in use
    limit = int(memory("VmSize") + int(sys.argv[1])) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(main(sys.argv[2:]), memory("VmHWM"))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("limit", [0, 800])
def test_a_large_array_is_sketched_in_little_memory(tmp_path, limit):
    def peak_mib(n):
        path = tmp_path / "rows.npy"
        with open(path, "wb") as file:  # zeros, which take no room on the disk
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, 16)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + 4 * 16 * n)
        command = ["sketch", path, "-o", tmp_path / "s.npz", "-m", "1", "--scale", "1"]
        arguments = [sys.executable, "-c", PEAK, str(limit), *command]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
        status, peak = done.stdout.split()[-2:]
        assert status == "0", done.stderr
        return float(peak)

    assert peak_mib(16_000_000 if limit else 7_000_000) < peak_mib(20_000) + 150
