"""What is shown of long work: a bar on a terminal, plain lines now and then in a log."""

import io
import sys

import pytest
from pictures import MIN_SEARCH, photograph

import fastcl
from fastcl import progress
from fastcl.cli import bench


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def work(clock, total=50, seconds=10.0, steps=10):
    with progress.progress_bar(True, total, "learn", "step", initial=3) as bar:
        for _ in range(steps):
            clock[0] += seconds
            bar.update(4)


def test_a_log_gets_a_plain_line_every_half_minute(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    work(clock)
    assert sys.stderr.getvalue().splitlines() == [
        "learn: step 15 of 50 after 0:30 min",
        "learn: step 27 of 50 after 1:00 min",
        "learn: step 39 of 50 after 1:30 min",
    ]


def test_short_work_leaves_no_line_in_a_log(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    work(clock, seconds=2.9)
    assert sys.stderr.getvalue() == ""


def test_a_total_may_be_unknown(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    work(clock, total=None, seconds=60.0, steps=1)
    assert sys.stderr.getvalue() == "learn: step 7 after 1:00 min\n"


def test_a_reader_who_has_gone_does_not_end_the_work(monkeypatch, clock):
    for stream in (Gone(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        work(clock)


def test_a_terminal_gets_a_bar(monkeypatch, clock):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.progress_bar(True, 50, "learn", "step") as bar:
        assert type(bar).__name__ == "tqdm_asyncio" or hasattr(bar, "format_dict")
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    work(clock)
    assert sys.stderr.getvalue() == ""


def counted(capsys):
    """Stage -> (first, last) line of what was shown, with a line at every update."""
    stages = {}
    for line in capsys.readouterr().err.splitlines():
        title, said = line.split(": ")
        stages.setdefault(title, []).append(said.partition(" after")[0])
    return {title: (lines[0], lines[-1]) for title, lines in stages.items()}


def test_every_stage_of_photographs_is_counted_to_its_end(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY", 0)
    settings = {"patch": 3, "m": 20, "subsample": 1000, "effort": MIN_SEARCH, "progress": True}
    few = {"n_iter": 5, "n_points": 100, "n_components": 2, "n_samples": 10_000}
    model = fastcl.learn_image_prior([photograph(0)], rng=0, **settings, **few)
    fastcl.denoise_image(model, photograph(1), 0.1, progress=True)
    stages = counted(capsys)
    in_rounds = 8 * (MIN_SEARCH.ascent_steps + MIN_SEARCH.fit_steps)
    in_all = in_rounds + MIN_SEARCH.refine_steps
    assert stages == {
        "frequencies": (f"step 1 of {in_all}", f"step {in_all} of {in_all}"),
        "sketch": ("patch 1748 of 1748", "patch 1748 of 1748"),
        "maximum entropy": ("step 1 of 5", "step 5 of 5"),
        "samples": ("step 1 of 68", "step 68 of 68"),
        "mixture": ("step 1 of 20", "step 20 of 20"),
        "denoise": ("tile 1 of 8", "tile 8 of 8"),
        "groups": ("round 1 of 4", "round 4 of 4"),
    }


@pytest.mark.slow
def test_a_benchmark_counts_its_evaluations(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY", 0)
    bench.run(bench.example_sketch(1), 0.2, 100, widths=(8,), progress=True)
    stages = counted(capsys)
    assert set(stages) == {"unbiased", "naive", "grid"}
    for first, last in stages.values():
        assert first == "evaluation of G 1 of 21"
        assert 2 <= int(last.split()[3]) <= 21
