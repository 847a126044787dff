"""A table becomes a grid: cells touch, surround their own values, and are each there once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.plots.grid import arrange


def grid_of(load, temperature=(16,), **more):
    table = {
        "width": [x for _ in temperature for x in load],
        "batch_size": [y for y in temperature for _ in load],
    } | more
    return arrange(table, load="width", temperature="batch_size", hot=None)


knob = st.one_of(
    st.lists(st.integers(1, 4096), min_size=1, max_size=12, unique=True),
    st.lists(st.integers(0, 400).map(lambda n: n / 400), min_size=1, max_size=12, unique=True),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True),
)


@given(knob)
def test_cells_touch_in_order_and_contain_their_value(values):
    axis = grid_of(values).load
    assert axis.values == sorted(values)
    assert len(axis.edges) == len(values) + 1
    assert (axis.edges[:-1] < axis.centres).all()
    assert (axis.centres < axis.edges[1:]).all()
    assert axis.shares.sum() == pytest.approx(1.0)
    assert ((axis.edges[:-1] < axis.middles) & (axis.middles < axis.edges[1:])).all()


def test_powers_of_two_are_logarithmic_with_geometric_borders():
    axis = grid_of([2, 8, 4, 16]).load
    assert axis.scale == "log"
    assert axis.edges == pytest.approx(np.sqrt([2.0, 8.0, 32.0, 128.0, 512.0]))
    assert axis.ticks == ["2", "4", "8", "16"]


@pytest.mark.parametrize("values", [[0, 0.1, 0.2, 0.4, 0.8], [0.1, 0.2, 0.3, 0.4], [-1, 1]])
def test_a_zero_or_even_steps_make_a_linear_axis(values):
    axis = grid_of(values).load
    assert axis.scale == "linear"
    assert axis.edges[1:-1] == pytest.approx((np.array(values[1:]) + values[:-1]) / 2.0)


def test_names_are_steps_in_order():
    axis = grid_of(["relu", "gelu"]).load
    assert (axis.scale, axis.values) == ("steps", ["gelu", "relu"])


def test_one_value_still_has_a_cell():
    assert grid_of([7]).load.edges[0] < 7 < grid_of([7]).load.edges[1]
    assert grid_of([0]).load.edges.tolist() == [-0.5, 0.5]


def test_values_are_placed_by_their_knobs_whatever_the_order_of_rows():
    table = {
        "width": [4, 2, 4, 8],
        "batch_size": [32, 16, 16, 16],
        "x": [1.0, None, 3.0, math.inf],
        "phase": ["I", "II", "III", "I"],
    }
    grid = arrange(table, load="width", temperature="batch_size", hot=None)
    values = grid.numbers("x")  # rows 16, 32; columns 2, 4, 8
    assert values[0, 1] == 3.0
    assert values[1, 1] == 1.0
    assert np.isnan(values[:, [0, 2]]).all()
    assert grid.names("phase").tolist() == [["II", "III", "I"], ["", "I", ""]]


def test_a_small_batch_is_hot_and_any_other_knob_is_hot_when_large():
    table = {"width": [1], "batch_size": [1], "learning_rate": [0.1]}
    assert arrange(table, load="width", temperature="batch_size", hot=None).hot == "small"
    assert arrange(table, load="width", temperature="learning_rate", hot=None).hot == "large"
    assert arrange(table, load="width", temperature="batch_size", hot="large").hot == "large"


@pytest.mark.parametrize(
    ("table", "error", "said"),
    [
        ([{"width": 1, "batch_size": 2}], TypeError, "columns_of makes columns of rows"),
        ({"width": [1]}, ValueError, "temperature: the table has no column 'batch_size'"),
        ({"width": [1, 1], "batch_size": [2, 2]}, ValueError, r"more than one row .*\(1, 2\)"),
        ({"width": [1, math.nan], "batch_size": [2, 2]}, ValueError, "empty in row 1"),
        ({"width": [], "batch_size": []}, ValueError, "no rows"),
    ],
)
def test_a_table_that_is_no_grid_is_refused(table, error, said):
    with pytest.raises(error, match=said):
        arrange(table, load="width", temperature="batch_size", hot=None)


def test_an_unknown_end_is_refused():
    with pytest.raises(ValueError, match="hot must be"):
        arrange({"a": [1], "b": [1]}, load="a", temperature="b", hot="top")


def test_text_in_a_measured_column_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="column 'x' is not of numbers"):
        grid_of([1, 2], x=["a", "b"]).numbers("x")


def test_an_axis_says_what_it_is_told_about_its_own_knob():
    table = {"width": [1], "batch_size": [2]}
    told = {"width": "Width (units of a hidden layer)", "lr": "Step"}
    grid = arrange(table, load="width", temperature="batch_size", hot=None, labels=told)
    assert grid.load.label == "Width (units of a hidden layer)"
    assert grid.temperature.label == "Batch size (samples)"
    assert grid_of([1]).load.label == "Width"
