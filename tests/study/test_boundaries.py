"""Boundaries run where the planted transitions are."""

from __future__ import annotations

import numpy as np
import pytest

from landscape_fast.study.boundaries import boundaries
from landscape_fast.study.table import read_table
from landscape_fast.study.taxonomy import classify

WIDTHS = 2.0 ** np.arange(1, 8)
BATCHES = 2.0 ** np.arange(4, 11)


def planted(turn=lambda width: 5.0 * width**0.5, wide=12.0, **changes):
    """Log-linear sharpness that crosses 5.9 at batch ``turn(width)``; poor below ``wide``."""
    width, batch = (axis.ravel() for axis in np.meshgrid(WIDTHS, BATCHES))
    table = {
        "width": width,
        "batch_size": batch,
        "log_hessian_trace": 5.9 - np.log(batch / turn(width)),
        "mc_train_err": -np.expm1(np.log(3.0) + np.log(wide / width)).clip(-0.5),
        "cka_softmax_mean": 0.7 + 0.1 * np.log(width / 40.0),
    }
    return classify({**table, **changes})


def lines(table, quantity):
    return [line for line in boundaries(table) if line.quantity == quantity]


def test_a_boundary_that_is_straight_in_logarithms_is_found_exactly():
    (line,) = lines(planted(), "sharpness")
    assert line.threshold == 5.9
    assert len(line.points) > 4
    assert line.points[:, 1] == pytest.approx(5.0 * line.points[:, 0] ** 0.5, rel=1e-9)


def test_connectivity_is_interpolated_in_the_logarithm_of_the_barrier():
    (line,) = lines(planted(), "connectivity")
    assert line.points[:, 0] == pytest.approx(12.0, rel=1e-6)
    assert line.points[:, 1].min() == pytest.approx(16.0)
    assert line.points[:, 1].max() == pytest.approx(1024.0)


def test_similarity_is_asked_inside_phase_four_only():
    table = planted()
    (line,) = lines(table, "similarity")
    assert line.points[:, 0] == pytest.approx(40.0, rel=1e-6)
    fourth = np.isin(table["phase"], ("IV-A", "IV-B"))
    assert line.points[:, 1].min() >= table["batch_size"][fourth].min()


def test_a_cell_without_a_value_or_undecided_interrupts_the_line():
    values = planted()["log_hessian_trace"].copy()
    hole = (planted()["width"] == 16) & (planted()["batch_size"] == 16)
    values[hole] = np.nan
    pieces = lines(planted(log_hessian_trace=values), "sharpness")
    assert sum(len(line.points) for line in pieces) < len(lines(planted(), "sharpness")[0].points)
    inside = np.concatenate([line.points for line in pieces])
    assert not ((inside[:, 0] > 15) & (inside[:, 0] < 17) & (inside[:, 1] < 32)).any()
    converged = ~hole
    again = lines(planted(converged=converged), "sharpness")
    for one, other in zip(pieces, again, strict=True):
        assert one.points == pytest.approx(other.points)


def test_a_knob_that_may_be_zero_is_interpolated_as_it_is():
    noise, batch = (axis.ravel() for axis in np.meshgrid([0.0, 0.1, 0.4], [16.0, 64.0]))
    table = {
        "noise": noise,
        "batch_size": batch,
        "log_hessian_trace": 5.9 + 10 * (noise - 0.25),
        "mc_train_err": np.zeros(6),
        "cka_softmax_mean": np.full(6, 0.5),
    }
    (line,) = boundaries(classify(table, load="noise"), load="noise")
    assert line.points[:, 0] == pytest.approx(0.25)


def test_where_nothing_crosses_there_is_no_line():
    assert lines(planted(turn=lambda width: 0 * width + 1.0), "sharpness") == []
    single = {name: values[planted()["width"] == 16] for name, values in planted().items()}
    assert boundaries(single) == []


def test_repeated_cells_and_unclassified_tables_are_refused():
    table = planted()
    twice = {name: np.concatenate([values, values]) for name, values in table.items()}
    with pytest.raises(ValueError, match="two rows have the same width and batch_size"):
        boundaries(twice)
    del table["phase"]
    with pytest.raises(ValueError, match="no column 'phase'"):
        boundaries(table)


@pytest.mark.data
def test_the_published_map_has_its_lines_where_the_paper_has_them(shared_data):
    table = read_table(shared_data / "yang2021" / "yang2021_cifar10_resnet18.csv")
    inside = table["in_notebook_grid"] == 1
    found = boundaries(classify({name: values[inside] for name, values in table.items()}))
    sharp = max((b.points for b in found if b.quantity == "sharpness"), key=len)
    # From the large batches of narrow networks to the small ones of wide networks.
    assert sharp[sharp[:, 1].argmax(), 0] < 7
    assert sharp[sharp[:, 1].argmin(), 0] > 30
    poor = max((b.points for b in found if b.quantity == "connectivity"), key=len)
    cold = poor[poor[:, 1] > 200, 0]
    assert ((cold > 11) & (cold < 17)).all()  # a vertical line near width 16
    assert {boundary.quantity for boundary in found} == {"sharpness", "connectivity", "similarity"}
