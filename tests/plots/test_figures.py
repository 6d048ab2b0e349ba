"""What pictures share: labels inside the figure, files, pyplot untouched, a missing matplotlib."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import fastcl
from fastcl.plots import plot_density, plot_energy, plot_frequencies, plot_history, save_figure

K = 40  # cells per axis


def test_no_label_leaves_the_picture():
    q = fastcl.Gaussian([0.0, 0.25], np.eye(2) + 0.2)
    sk = fastcl.sketch(q.sample(100, 0), fastcl.draw_frequencies(64, 2, 1.0, rng=0))
    value = np.exp(-np.arange(300) / 50) + 0.1 * np.random.default_rng(0).standard_normal(300)
    history = {"iteration": np.arange(300), "value": value, "gradient_norm": 1 + value**2}
    wide = fastcl.Box([-6.0, -2.0], [6.0, 2.0])
    pictures = [
        plot_density(q, box=wide, points_per_axis=K, unit="mm"),
        plot_energy(q, points_per_axis=K),
    ]
    for axes in [*pictures, plot_history(history)[0], plot_frequencies(sk)[0]]:
        canvas = axes.figure.canvas
        canvas.draw()
        width, height = axes.figure.bbox.size
        for panel in axes.figure.axes:
            box = panel.get_tightbbox(canvas.get_renderer())
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1  # pixels


def test_pictures_are_written(tmp_path):
    q = fastcl.Gaussian([0.0, 0.25], np.eye(2) + 0.2)
    save_figure(plot_energy(q, points_per_axis=K).figure, tmp_path / "energy.png")
    assert (tmp_path / "energy.png").read_bytes()[:4] == b"\x89PNG"
    assert [file.name for file in tmp_path.iterdir()] == ["energy.png"]


CHILD = """
import sys
import numpy as np, fastcl
from fastcl.plots import plot_density, plot_frequencies
plot_density(fastcl.Gaussian([0.0, 0.0], np.eye(2)), points_per_axis=20)
plot_frequencies(np.ones((3, 2)))
print("matplotlib.pyplot" in sys.modules)
for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
    del sys.modules[name]
sys.modules["matplotlib"] = None
line = fastcl.Gaussian([0.0], [[1.0]])
for plot, thing in ((plot_density, line), (plot_frequencies, np.ones((3, 2)))):
    try:
        plot(thing)
    except ImportError as error:
        print(error)
"""


def test_pyplot_is_left_alone_and_a_missing_matplotlib_is_named():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == (
        "False\n" + 2 * 'pictures need matplotlib: pip install "fastcl[demo]"\n',
        "",
    )
