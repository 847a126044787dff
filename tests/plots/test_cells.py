"""Pictures inside cells: each in its own cell, all on one scale, the key with the true numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.plots import curve_profiles, spectra

TABLE = {"width": [2, 4, 2, 4], "batch_size": [8, 8, 32, 32], "phase": ["I", "II", "III", "IV-B"]}
PAIRS = {
    "width": [2, 2, 4],
    "batch_size": [8, 8, 32],
    "tr_err_t000": [10.0, 5.0, 0.0],
    "tr_err_t050": [40.0, 20.0, 0.0],
    "tr_err_t100": [10.0, 5.0, 0.0],
}


def boxes(axes):
    """Rounded centre of every line: the cell it lies in, counted from the lower left."""
    return [tuple(round(float(np.mean(part))) for part in line.get_data()) for line in axes.lines]


def test_each_profile_lies_in_its_cell_hot_at_the_top():
    axes, key = curve_profiles(TABLE, PAIRS).axes
    assert boxes(axes) == [(0, 1), (0, 1), (1, 0)]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["32", "8"]
    peaks = [line.get_ydata().max() for line in axes.lines[:2]]
    assert peaks[0] - 0.57 == pytest.approx(2.0 * (peaks[1] - 0.57))  # 40 and 20 percent
    assert [line.get_ydata().tolist() for line in key.lines] == [[10.0, 40.0, 10.0], [5, 20, 5]]


def test_the_title_counts_pairs_with_a_rise():
    title = curve_profiles(TABLE, PAIRS).axes[0].get_title()
    assert title.endswith("2 of 3 pairs rise more than 2 points, the highest by 30")


def test_the_straight_line_is_drawn_beside_the_curve_where_measured():
    straight = {f"linear_err_t{t:03d}": [t / 2.0, np.nan, 60.0] for t in (0, 25, 50)}
    axes, key = curve_profiles(TABLE, PAIRS | straight).axes
    assert boxes(axes) == [(0, 1), (0, 1), (1, 0), (0, 1), (1, 0)]
    named = [text.get_text() for text in key.get_legend().get_texts()]
    assert named == ["trained curve", "straight line", "I", "II", "III", "IV-B"]
    assert "straight line" not in [
        text.get_text() for text in curve_profiles(TABLE, PAIRS).axes[1].get_legend().get_texts()
    ]


@pytest.mark.parametrize(
    ("pairs", "options", "said"),
    [
        ({"width": [2], "batch_size": [8]}, {}, "no pair has a profile"),
        (PAIRS, {"of": "accuracy"}, "of must be 'err' or 'nll'"),
        ({k: v for k, v in PAIRS.items() if k != "width"}, {}, "pairs have no column 'width'"),
    ],
)
def test_a_wrong_table_of_pairs_is_refused(pairs, options, said):
    with pytest.raises(ValueError, match=said):
        curve_profiles(TABLE, pairs, **options)


def density(largest):
    values = torch.tensor([-0.5, 0.0, 0.1, 1.0, largest], dtype=torch.float64)
    return lanczos_quadrature(DenseOperator(torch.diag(values)), starts=1, steps=5)


def test_spectra_share_one_scale_whose_ticks_are_eigenvalues():
    figure = spectra(TABLE, {(2, 8): density(100.0), (4, 32): density(10.0)})
    axes, key = figure.axes
    assert boxes(axes) == [(0, 1), (1, 0)]
    assert axes.lines[0].get_xdata().max() == pytest.approx(0.43)
    assert axes.lines[1].get_xdata().max() < 1.25
    assert axes.get_title().endswith("largest eigenvalue 10 to 100, none below -0.5")
    ticks = dict(zip((t.get_text() for t in key.get_xticklabels()), key.get_xticks(), strict=True))
    assert ticks["0"] < ticks["10"] < ticks["100"] <= 1.0
    with pytest.raises(ValueError, match=r"no cell \(3, 8\)"):
        spectra(TABLE, {(3, 8): density(1.0)})
    with pytest.raises(ValueError, match="densities is empty"):
        spectra(TABLE, {})
