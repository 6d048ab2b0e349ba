"""The Python blocks of README run as they stand, and its commands are those of the package."""

import re
import sys
from pathlib import Path

import pytest
from pictures import do_little

from fastcl.cli.main import build_parser
from fastcl.learning import objective

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"(<!-- needs a GPU -->\n)?```python\n(.*?)```", re.DOTALL)
MAX_LINES = 160


@pytest.fixture(scope="module")
def text():
    return README.read_text()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the blocks write files


def run_blocks(text, apart_from=()):
    """The names that the Python blocks leave behind.

    Left out are those that need a GPU and those that contain one of the words `apart_from`.
    """
    blocks = [block for on_device, block in BLOCK.findall(text) if not on_device]
    blocks = [block for block in blocks if not any(word in block for word in apart_from)]
    assert len(blocks) >= 3
    namespace = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    return namespace


def test_the_block_for_a_gpu_runs(text, monkeypatch, device):
    do_little(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", device.module)
    # Leave out what the block for a GPU does not need.
    namespace = run_blocks(text, apart_from=["denoise_image", "max_entropy"])
    (block,) = (block for on_device, block in BLOCK.findall(text) if on_device)
    if device.name == "cuda-host":  # the CPU takes the place of a device
        block = block.replace("n_iter=3000", "n_iter=2, n_points=50")
        monkeypatch.setattr(objective, "MASS_PARTS", 1)
        monkeypatch.setattr(objective, "MASS_ROWS", 64)
        namespace |= {"x": namespace["x"][:500], "noisy_points": namespace["noisy_points"][:1]}
    exec(compile(block, str(README), "exec"), namespace)
    assert isinstance(namespace["clean_points"], device.module.ndarray)
    assert isinstance(namespace["prior"].theta, device.module.ndarray)


@pytest.mark.slow
def test_the_python_blocks_run_in_order(text, monkeypatch):
    do_little(monkeypatch)  # the photographs would take half a minute
    namespace = run_blocks(text)
    before, after = (
        ((namespace[name] - namespace["x"][:100]) ** 2).mean()
        for name in ("noisy_points", "clean_points")
    )
    # Noise of 0.3 on a cloud of standard deviation 0.2 leaves 0.31 of its energy at best.
    assert after < before / 2
    assert namespace["clean"].shape == (100, 100)


def test_it_is_short(text):
    lines = text.splitlines()
    assert len(lines) <= MAX_LINES
    assert not [line for line in lines if len(line) > 100]


def test_the_commands_parse(text):
    commands = re.findall(r"^fastcl (.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        build_parser().parse_args(command.split())


def test_links_lead_somewhere(text):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (README.parent / target).exists(), target
