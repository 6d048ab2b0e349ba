"""What is shown of long work: a bar on a terminal, plain lines now and then in a log."""

import io
import sys

import pytest

from fastcl import progress


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
