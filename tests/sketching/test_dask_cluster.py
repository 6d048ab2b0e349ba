"""The sketch of a dask array on a cluster whose worker dies."""

import pytest
from passes import run_script

pytest.importorskip("dask")
pytest.importorskip("distributed")

CLUSTER = """
import os, signal, sys, threading, time
from pathlib import Path

import dask, dask.array as da, numpy as np
from distributed import Client, LocalCluster

import fastcl

FOLDER, BLOCKS = Path(sys.argv[1]), 40


def make_block(block_id):
    (FOLDER / f"{block_id[0]}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.05)
    return np.random.default_rng(block_id[0]).standard_normal((500, 3)).astype(np.float32)


def kill_half_way(pid, killed):
    while len(list(FOLDER.iterdir())) < BLOCKS // 2:
        time.sleep(0.01)
    killed.append(len(list(FOLDER.iterdir())))
    os.kill(pid, signal.SIGKILL)


def markers(pid):
    return [path for path in FOLDER.iterdir() if path.name.split("-")[1] == str(pid)]


if __name__ == "__main__":
    omega = fastcl.draw_frequencies(200, dim=3, scale=0.7, rng=1)
    meta = np.empty((0, 0), np.float32)
    x = da.map_blocks(make_block, chunks=((500,) * BLOCKS, (3,)), dtype=np.float32, meta=meta)
    with dask.config.set(scheduler="synchronous"):
        alone = fastcl.sketch(x, omega)
    for path in FOLDER.iterdir():
        path.unlink()
    options = {"host": "127.0.0.1", "dashboard_address": None, "local_directory": sys.argv[2]}
    options |= {"n_workers": 2, "processes": True, "threads_per_worker": 1}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        victim, other = client.run(os.getpid).values()
        killed = []
        killer = threading.Thread(target=kill_half_way, args=(victim, killed))
        killer.start()
        sk = fastcl.sketch(x, omega)
        killer.join()
        assert victim not in client.run(os.getpid).values(), "the worker is alive"
        assert markers(victim), "the worker had done nothing"
        done = len(list(FOLDER.iterdir()))
        # Some blocks are computed again, by others.
        assert killed[0] < BLOCKS < done, f"{killed[0]} blocks at the kill, {done} in the end"
        assert sk.count == alone.count == 500 * BLOCKS
        assert np.array_equal(sk.values, alone.values), "another result"
        bad = da.from_array(np.full((9, 3), np.nan), chunks=(3, 3))
        try:
            fastcl.sketch(bad, omega)
        except ValueError as error:
            print(error)
"""


@pytest.mark.slow
def test_the_death_of_a_worker_does_not_change_the_result(tmp_path):
    """One worker of two is killed when half of the blocks have been started."""
    script, folder = tmp_path / "script.py", tmp_path / "blocks"
    script.write_text(CLUSTER)
    folder.mkdir()
    done = run_script([str(script), str(folder), str(tmp_path / "workers")])
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("x holds NaN or infinity in row 0 (block ")
