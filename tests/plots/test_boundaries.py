"""Boundaries run where the deciding quantity crosses its threshold, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from landscape_fast.plots import phase_map
from landscape_fast.plots.boundaries import contours
from landscape_fast.plots.grid import arrange

WIDTHS, BATCHES = (2, 4, 8, 16), (8, 32, 128)


def grid_and_phases(phases, **margins):
    """Phases by batch size (rows) and width (columns); margins likewise."""
    table = {
        "width": [w for _ in BATCHES for w in WIDTHS],
        "batch_size": [b for b in BATCHES for _ in WIDTHS],
        "phase": np.ravel(phases).tolist(),
    } | {f"{name}_margin": np.ravel(values) for name, values in margins.items()}
    grid = arrange(table, load="width", temperature="batch_size", hot=None)
    return grid, grid.names("phase")


def test_a_line_is_where_the_interpolated_margin_is_zero():
    # In log2 of the width the margin falls from 1 to -3 between 4 and 8: zero after a quarter.
    margin = np.tile([2.0, 1.0, -3.0, -4.0], (3, 1))
    grid, phases = grid_and_phases([["I", "I", "III", "III"]] * 3, sharpness=margin)
    (line,) = contours(grid, phases, "sharpness")
    assert line[:, 0] == pytest.approx(2.0**2.25)
    edges = grid.temperature.edges
    assert (line[:, 1].min(), line[:, 1].max()) == pytest.approx((edges[0], edges[-1]))


def test_without_margins_a_line_is_halfway():
    grid, phases = grid_and_phases([["I", "II", "II", "II"]] * 3)
    (line,) = contours(grid, phases, "connectivity")
    assert line[:, 0] == pytest.approx(2.0**1.5)
    assert contours(grid, phases, "sharpness") == []


def test_a_cell_keeps_the_side_that_its_phase_says():
    margin = np.tile([2.0, 0.0, -3.0, -4.0], (3, 1))  # exactly on the threshold counts as flat
    grid, phases = grid_and_phases([["I", "III", "III", "III"]] * 3, sharpness=margin)
    (line,) = contours(grid, phases, "sharpness")
    assert (line[:, 0] <= 4.0 + 1e-9).all()


def test_no_line_goes_through_an_undecided_cell_or_one_that_it_does_not_concern():
    margin = np.tile([1.0, 1.0, -1.0, -1.0], (3, 1))
    named = [["I", "I", "III", "III"], ["I", "undecided", "undecided", "III"]] * 2
    grid, phases = grid_and_phases(named[:3], sharpness=margin)
    lines = contours(grid, phases, "sharpness")
    inner = np.sqrt(8 * 32), np.sqrt(32 * 128)
    assert len(lines) == 2
    assert not any(((y > inner[0]) & (y < inner[1])).any() for _, y in (line.T for line in lines))
    sharp, _ = grid_and_phases([["I", "II", "II", "II"]] * 3, similarity=margin)
    assert contours(sharp, sharp.names("phase"), "similarity") == []


def test_the_map_draws_and_names_only_the_boundaries_that_it_has():
    table = {"width": [2, 4], "batch_size": [8, 8], "phase": ["III", "IV-A"]}
    words = [text.get_text() for text in phase_map(table).axes[1].get_legend().get_texts()]
    assert "between poorly and well connected" in words
    assert "between sharp and flat" not in words
