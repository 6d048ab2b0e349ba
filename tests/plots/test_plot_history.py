"""Learning runs: curves, running medians and scales, against values computed here."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import fastcl
from fastcl.plots import new_figure, plot_history


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def make_history(n=300, offset=0.0):
    rng = np.random.default_rng(0)
    value = np.exp(-np.arange(n) / 50) + offset + 0.1 * rng.standard_normal(n)
    return {
        "iteration": np.arange(n),
        "value": value,
        "gradient_norm": rng.uniform(1, 2, n),
        "seconds": np.linspace(0, 3, n) ** 2,
    }


@pytest.mark.parametrize(
    ("against", "words"), [("iteration", "iteration"), ("seconds", "seconds of learning")]
)
def test_a_history_is_drawn_with_its_running_median(against, words):
    history = make_history(offset=2.0)
    axes = plot_history(history, against=against, window=20)
    for panel, name, label in zip(
        axes, ("value", "gradient_norm"), ("estimate of $G$", "norm of the gradient"), strict=True
    ):
        raw, median = panel.lines
        np.testing.assert_array_equal(
            raw.get_xydata(), np.stack([history[against], history[name]], axis=1)
        )
        np.testing.assert_array_equal(median.get_xdata(), history[against])
        windows = np.lib.stride_tricks.sliding_window_view(history[name], 21)
        np.testing.assert_array_equal(median.get_ydata()[10:-10], np.median(windows, axis=1))
        for k in range(10):
            assert median.get_ydata()[k] == np.median(history[name][: 2 * k + 1])
            assert median.get_ydata()[-1 - k] == np.median(history[name][-11 - k :])
        assert (panel.get_yscale(), labels(panel)) == ("log", (words, label))
        assert [text.get_text() for text in panel.get_legend().get_texts()] == [
            "each step",
            "median of 21",
        ]


def test_negative_estimates_are_all_on_the_axis():
    history = make_history()
    negative = history["value"][history["value"] < 0]
    assert negative.size > 20
    value, norm = plot_history(history)
    assert (value.get_yscale(), norm.get_yscale()) == ("symlog", "log")
    value.figure.canvas.draw()
    low, high = value.get_ylim()
    assert low < history["value"].min() < history["value"].max() < high
    threshold = value.yaxis.get_transform().linthresh
    assert 1 / 4 < threshold / np.median(-negative) < 4  # the power of ten next to it
    assert np.log10(threshold) == pytest.approx(round(np.log10(threshold)))


def test_a_history_of_zeros_or_of_one_step_is_drawn():
    assert [
        panel.get_yscale()
        for panel in plot_history({"iteration": [0, 1], "value": [0, 0], "gradient_norm": [0, 0]})
    ] == [
        "linear",
        "linear",
    ]
    save = plot_history({"iteration": [0], "value": [-1.0], "gradient_norm": [1.0]})
    save[0].figure.canvas.draw()


@pytest.mark.parametrize(
    ("n", "window"), [(1, 1), (1, 9), (4, 9), (5, 9), (9, 9), (10, 9), (11, 9)]
)
def test_the_running_median_of_few_steps_takes_what_there_is(n, window):
    values = np.random.default_rng(n).uniform(1, 2, n)
    (panel,) = plot_history(
        {"iteration": range(n), "value": values, "gradient_norm": values},
        new_figure(1, 1)[1][0],
        window=window,
    )
    reach = [min(k, window // 2) for k in range(n)]  # backwards; as far forwards, or to the end
    expected = [
        np.median([values[i] for i in range(k - r, min(k + r, n - 1) + 1)])
        for k, r in enumerate(reach)
    ]
    np.testing.assert_array_equal(panel.lines[1].get_ydata(), expected)


def test_what_learn_returns_is_drawn():
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 1))
    sk = fastcl.sketch(x, fastcl.draw_frequencies(20, dim=1, scale=0.3, rng=0))
    result = fastcl.learn(
        fastcl.MLPPrior(dim=1, widths=(4,), rng=0),
        sk,
        fastcl.Box([-1], [1]),
        n_points=32,
        n_iter=5,
        rng=0,
    )
    _, ((panel,),) = new_figure(1, 1)
    (drawn,) = plot_history(result, panel, "seconds")
    assert drawn is panel
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), result.history["value"])


@pytest.mark.parametrize(
    ("error", "words", "change", "settings"),
    [
        (ValueError, "history lacks value", {"value": None}, {}),
        (ValueError, "history lacks seconds", {"seconds": None}, {"against": "seconds"}),
        (ValueError, r"history\['value'\] must have shape \(300,\)", {"value": np.ones(299)}, {}),
        (
            ValueError,
            r"history\['gradient_norm'\] holds NaN",
            {"gradient_norm": np.full(300, np.nan)},
            {},
        ),
        (
            ValueError,
            "history is empty",
            {name: [] for name in ("iteration", "value", "gradient_norm")},
            {},
        ),
        (ValueError, "against must be one of", {}, {"against": "epoch"}),
        (ValueError, "window must be at least 1", {}, {"window": 0}),
        (ValueError, "axes must be one or two here, got 3", {}, {"axes": new_figure(1, 3)[1][0]}),
    ],
)
def test_a_bad_history_is_refused(error, words, change, settings):
    history = {
        name: column for name, column in (make_history() | change).items() if column is not None
    }
    with pytest.raises(error, match=words):
        plot_history(history, **settings)


def test_a_history_is_a_dict():
    with pytest.raises(TypeError, match="history must be a LearnResult or a dict"):
        plot_history([1.0, 2.0])
