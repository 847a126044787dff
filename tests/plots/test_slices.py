"""Slices show the table's numbers, and name the deepest dip with its error."""

from __future__ import annotations

import numpy as np
import pytest

from landscape_fast.plots import single_figures, slices
from landscape_fast.plots.slices import deepest_dip

WIDTHS, BATCHES = (2, 4, 8, 16), (8, 32)
ACCURACY = np.array([[70.0, 80.0, 75.0, 90.0], [60.0, 65.0, 66.0, 67.0]])


def table(spread):
    return {
        "width": list(WIDTHS) * 2,
        "batch_size": [b for b in BATCHES for _ in WIDTHS],
        "n_seeds": [4] * 8,
        "test_acc_mean": ACCURACY.ravel(),
        "test_acc_std": [spread] * 8,
        "log_hessian_trace": np.linspace(6.0, 3.0, 8),
        "hessian_trace_mean": np.exp(np.linspace(6.0, 3.0, 8)),
        "hessian_trace_std": np.exp(np.linspace(6.0, 3.0, 8)) / 10.0,
    }


def test_lines_and_bars_are_the_numbers_of_the_table():
    accuracy, trace, accuracy_down, _ = slices(table(1.0)).axes
    for line, expected in zip(accuracy.containers, ACCURACY, strict=True):
        assert line.lines[0].get_ydata() == pytest.approx(expected)
    (bars,) = trace.containers[0].lines[2]
    assert np.diff([s[:, 1] for s in bars.get_segments()]) == pytest.approx(0.2)
    assert len(accuracy_down.containers) == len(WIDTHS)
    assert accuracy_down.containers[0].lines[0].get_ydata() == pytest.approx(ACCURACY[:, 0])


@pytest.mark.parametrize(
    ("spread", "said"),
    [
        (1.0, "deepest dip 5 ± 0.71 points at width 8, batch size 8"),
        (10.0, "no dip beyond its error (deepest 5 ± 7.1 points)"),
    ],
)
def test_a_dip_is_named_only_beyond_its_error(spread, said):
    figure = slices(table(spread))
    assert figure.axes[0].get_title().endswith(said)
    assert figure.axes[2].get_title().endswith("no dip along batch size")


def test_a_dip_is_measured_from_the_lower_of_its_two_sides():
    dip = deepest_dip(np.array([[5.0, 9.0, 4.0, np.nan, 6.0, 1.0], [3.0, 2.0, 4.0, 4.0, 4.0, 4.0]]))
    assert (dip.line, dip.point, dip.depth) == (0, 2, 2.0)
    assert np.isnan(dip.stderr)
    assert deepest_dip(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])) is None


def test_no_legend_covers_the_data():
    figure = slices(table(1.0))
    figure.canvas.draw()
    boxes = [part.legends[0].get_window_extent() for part in figure.subfigs]
    for axes in figure.axes:
        assert not any(axes.bbox.overlaps(box) for box in boxes)


def test_what_holds_no_number_is_left_out_or_refused():
    empty = table(1.0) | {"log_hessian_trace": [np.nan] * 8}
    assert len(slices(empty).axes) == 2
    with pytest.raises(ValueError, match="no number in column 'test_acc_mean'"):
        slices(empty | {"test_acc_mean": [np.nan] * 8})
    assert "slices" not in single_figures(empty | {"test_acc_mean": [np.nan] * 8})
