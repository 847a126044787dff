"""Two tables of one grid: the order of their shared cells, and only of these."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from landscape_fast.study.replication import replication

WIDTHS, BATCHES = (2, 4, 8, 16), (16, 64, 256, 1024)


def grid(metric, widths=WIDTHS, batches=BATCHES):
    load, temperature = (each.ravel() for each in np.meshgrid(widths, batches, indexing="ij"))
    return {"width": load, "batch_size": temperature, "cka": metric(load, temperature)}


def ratio(load, temperature):
    return load / temperature**0.7


def one(table, reference, **options):
    (found,) = replication(table, reference, metrics=["cka"], replicates=200, **options)
    return found


def test_a_rising_function_of_the_other_table_agrees_entirely():
    found = one(grid(ratio), grid(lambda w, b: np.log(ratio(w, b)) ** 3))
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.interval == (pytest.approx(1.0), 1.0)
    assert found.cells == 16


def test_a_falling_function_disagrees_entirely():
    assert one(grid(ratio), grid(lambda w, b: -ratio(w, b))).rank_correlation == pytest.approx(-1.0)


def test_cells_are_matched_by_their_knobs_in_any_order_and_the_rest_is_left_out():
    reference = grid(lambda w, b: np.sin(w * b), (2, 4, 6, 8, 16), (1024, 512, 256, 64, 16))
    order = np.random.default_rng(0).permutation(16)
    table = {name: values[order] for name, values in grid(ratio).items()}
    found = one(table, reference)
    w, b = table["width"], table["batch_size"]
    assert found.cells == 16
    assert found.rank_correlation == pytest.approx(spearmanr(ratio(w, b), np.sin(w * b)).statistic)
    assert found.interval[0] < found.rank_correlation < found.interval[1]


@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_missing_or_did_not_converge_do_not_count(side):
    sides = [grid(ratio), grid(ratio)]
    sides[side]["cka"][:2] = [np.nan, np.inf]
    sides[side]["converged"] = np.arange(16) != 5
    sides[side]["cka"][5] = 1e9
    found = one(*sides)
    assert found.cells == 13
    assert found.rank_correlation == pytest.approx(1.0)


def test_few_shared_cells_say_nothing():
    found = one(grid(ratio), grid(ratio, (2, 4)))
    assert found.cells == 8
    assert np.isnan([found.rank_correlation, *found.interval]).all()


def test_tables_need_no_phases_and_stay_as_they_are():
    table, reference = grid(ratio), grid(ratio)
    one(table, reference)
    assert list(table) == list(reference) == ["width", "batch_size", "cka"]
    np.testing.assert_array_equal(table["cka"], grid(ratio)["cka"])


def test_a_cell_that_is_there_twice_is_refused():
    table = {name: np.append(values, values[0]) for name, values in grid(ratio).items()}
    with pytest.raises(ValueError, match=r"reference has two rows with \{'width': 2.0, 'batch"):
        one(grid(ratio), table)


def test_a_missing_column_is_named_with_its_table():
    with pytest.raises(ValueError, match="reference: the table has no column 'cka'"):
        one(grid(ratio), {"width": [2], "batch_size": [16]})
