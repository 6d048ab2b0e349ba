"""README's Python runs as it stands, and its commands are those that the package and the tests use."""

import re
from pathlib import Path

import pytest
from test_images import do_little

from fastcl.cli import build_parser

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def text():
    return README.read_text()


def test_the_python_blocks_run_in_order(text, monkeypatch):
    do_little(monkeypatch)  # the photographs would take half a minute
    namespace = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    before, after = (((namespace[name] - namespace["x"][:100]) ** 2).mean() for name in ("noisy_points", "clean_points"))
    assert after < before / 2  # noise of 0.3 on a cloud of deviation 0.2 leaves 0.31 of it at best
    assert namespace["clean"].shape == (100, 100)


def test_the_commands_parse(text):
    commands = re.findall(r"^fastcl (.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        build_parser().parse_args(command.split())


def test_links_lead_somewhere(text):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (README.parent / target).exists(), target
