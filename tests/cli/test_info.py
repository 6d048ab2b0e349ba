"""`fastcl info`: what it says about every kind of file."""

from pathlib import Path

import numpy as np
import pytest
from commands import run

import fastcl

FILES_0_1_0 = Path(__file__).parents[1] / "whole" / "files_0_1_0"
INFO = {
    "s2.npz": ["kind: sketch", "points (n): 1,000", "dimension (d): 2", "frequencies (m): 100, "],
    "images.npz": ["kind: patch sketch", "patches: 4 x 4 pixels", "privacy: none"],
    "model.npz": ["kind: signal model", "made by: fastcl learn, or learn_patches, by max_entropy"],
    "network.npz": ["kind: signal model", "made by: fastcl learn, or learn_patches, by a network"],
    "p2.npz": ["kind: prior", "dimension (d): 2", "density: MLPPrior(dim=2, widths=(64, 128, 256)"],
    "c2.npz": ["kind: checkpoint", "steps: 30", "frequencies (m): 100, drawn one by one"],
    "rows2.npy": ["kind: array", "points (n): 1,000", "dimension (d): 2", "type: float32"],
    "images": ["kind: folder of images", "images: 5", "pixels: 9,600"],
    "noisy.png": ["kind: image", "pixels: 24 x 30"],
    "released.npz": ["privacy: a release with epsilon 1, delta 0", "made by: release"],
    "bits.npz": ["quantised: 1 bits per feature", "frequencies (m): 4, HarmonicFrequencies("],
    "box.npz": ["kind: box", "holds: Box(low=[0.0], high=[1.0])"],
    "pass.npz": ["made by: fastcl sketch, or sketch in Python: the checkpoint of a pass that is"],
}


@pytest.mark.parametrize("name", INFO)
def test_info_says_what_a_file_holds(made, tmp_path, capsys, name):
    x = np.load(made / "rows2.npy")
    harmonic = fastcl.draw_frequencies(4, 2, 1.0, structure="harmonic", harmonics=2, rng=0)
    fastcl.release(fastcl.sketch(x, harmonic), 1.0, rng=0).save(tmp_path / "released.npz")
    fastcl.sketch(x, harmonic, bits=1, rng=0).save(tmp_path / "bits.npz")
    fastcl.sketch(x, harmonic, checkpoint=tmp_path / "pass.npz")
    fastcl.Box([0], [1]).save(tmp_path / "box.npz")
    path = tmp_path / name if (tmp_path / name).exists() else made / name
    assert run(tmp_path, f"info {path}") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"file: {path}"
    assert 3 <= len(lines) <= 13
    for words in INFO[name]:
        assert any(line.startswith(words) for line in lines), lines


@pytest.mark.parametrize("path", sorted(FILES_0_1_0.iterdir()), ids=lambda path: path.name)
def test_info_knows_the_files_of_the_first_version(capsys, path):
    assert run(path.parent, f"info {path.name}") == 0
    assert "format version: 2" in " ".join(capsys.readouterr().out.split())
