"""The rule, its margins, its refusals, and the published measurements it was made for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.study.table import columns_of, read_table
from landscape_fast.study.taxonomy import PHASES, classify, phase_counts, phases_of
from landscape_fast.study.thresholds import MARGIN_UNITS

WIDTHS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128)
# Yang et al. (2021), CIFAR-10, one learning-rate decay; thresholds 5.9, -2 and 0.70. By hand.
MAP = """
  16  I II II  II  II  II  II  II  II  II  II  II  II
  24  I  I  I   I  II  II  II  II  II  II  II  II  II
  32  I  I  I   I   I  II  II  II  II  II IVA IVA IVA
  44  I  I  I   I   I   I  II IVA IVA IVA IVB IVB IVB
  64  I  I  I   I   I   I IVA IVA IVB IVB IVB IVB IVB
  92  I  I  I   I III IVA IVA IVB IVB IVB IVB IVB IVB
 128  I  I  I   I III III IVA IVA IVB IVB IVB IVB IVB
 180  I  I  I III III III IVA IVA IVA IVB IVB IVB IVB
 256  I  I  I III III III IVA IVA IVA IVA IVA IVB IVA
 364  I  I  I III III III IVA IVA IVA IVA IVA IVB IVB
 512  I  I  I III III III IVA IVA IVA IVA IVA IVA IVA
 724  I  I  I III III III IVA IVA IVA IVA IVA IVA IVA
1024  I  I  I   I III III IVA IVA IVA IVA IVA IVA IVA
"""
EXPECTED = {
    (width, int(line.split()[0])): name.replace("IVA", "IV-A").replace("IVB", "IV-B")
    for line in MAP.strip().splitlines()
    for width, name in zip(WIDTHS, line.split()[1:], strict=True)
}


@pytest.fixture(scope="module")
def published(shared_data):
    table = read_table(shared_data / "yang2021" / "yang2021_cifar10_resnet18.csv")
    inside = table["in_notebook_grid"] == 1
    return {name: values[inside] for name, values in table.items()}


def cells(**changes):
    """Five cells, one of each phase, far from every threshold."""
    table = {
        "width": [2, 64, 4, 16, 128],
        "batch_size": [16, 16, 512, 512, 128],
        "log_hessian_trace": [7.0, 6.5, 4.5, 4.2, 3.6],
        "mc_train_err": [-12.0, 3.0, -9.0, -0.5, 0.0],
        "cka_softmax_mean": [0.4, 0.5, 0.45, 0.6, 0.76],
    }
    return table | changes


@pytest.mark.data
def test_the_published_cells_get_the_published_map(published):
    found = classify(published)
    cells = zip(found["width"].tolist(), found["batch_size"].tolist(), strict=True)
    got = dict(zip(cells, found["phase"].tolist(), strict=True))
    assert len(EXPECTED) == 169
    assert got == EXPECTED
    assert phase_counts(found) == {
        "I": 49,
        "II": 27,
        "III": 20,
        "IV-A": 47,
        "IV-B": 26,
        "undecided": 0,
    }


@pytest.mark.data
@pytest.mark.parametrize(
    ("argument", "value", "changed"),
    [
        ("sharpness_threshold", 5.5, 5),
        ("sharpness_threshold", 5.7, 2),
        ("sharpness_threshold", 6.0, 5),
        ("sharpness_threshold", 6.1, 7),
        ("sharpness_threshold", 6.3, 18),
        ("connectivity_threshold", -0.5, 11),
        ("connectivity_threshold", -1, 7),
        ("connectivity_threshold", -3, 1),
        ("connectivity_threshold", -4, 2),
        ("similarity_threshold", 0.62, 33),
        ("similarity_threshold", 0.65, 20),
        ("similarity_threshold", 0.68, 10),
        ("similarity_threshold", 0.72, 5),
        ("similarity_threshold", 0.75, 16),
    ],
)
def test_moving_one_threshold_changes_the_known_number_of_cells(
    published, argument, value, changed
):
    moved = classify(published, **{argument: value})["phase"]
    assert (moved != classify(published)["phase"]).sum() == changed


@pytest.mark.data
def test_margin_units_are_the_published_spread_between_runs(published):
    trace_spread = np.median(published["hessian_trace_std"] / published["hessian_trace_mean"])
    assert trace_spread == pytest.approx(MARGIN_UNITS["sharpness"], rel=0.1)
    cka_spread = np.median(published["cka_softmax_std"])
    assert cka_spread == pytest.approx(MARGIN_UNITS["similarity"], rel=0.1)


def test_each_branch_of_the_rule_has_its_phase():
    assert classify(cells())["phase"] == ["I", "II", "III", "IV-A", "IV-B"]


def test_values_at_a_threshold_fall_on_the_documented_side():
    at = phases_of([5.9, 5.9], [-2.0, -2.0], [0.70, 0.69], thresholds=(5.9, -2.0, 0.70))
    assert at.tolist() == ["IV-B", "IV-A"]


@pytest.mark.parametrize("nothing", [None, math.nan, "", math.inf])
@pytest.mark.parametrize("metric", ["log_hessian_trace", "mc_train_err", "cka_softmax_mean"])
def test_only_a_metric_that_the_branch_needs_makes_a_cell_undecided(metric, nothing):
    found = classify(cells(**{metric: [nothing] * 5}))
    sharp_or_poor = metric == "cka_softmax_mean"
    expected = ["I", "II", "III"] if sharp_or_poor else ["undecided"] * 3
    assert found["phase"] == [*expected, "undecided", "undecided"]
    assert all(math.isnan(found["margin"][i]) for i in (3, 4))


def test_margins_are_signed_and_the_smallest_counts_only_what_decided():
    found = classify(cells())
    assert found["sharpness_margin"][0] == pytest.approx(1.1)
    assert found["connectivity_margin"][0] == pytest.approx(-10.0)
    assert found["similarity_margin"][3] == pytest.approx(-0.1)
    units = MARGIN_UNITS
    assert found["margin"][0] == pytest.approx(1.1 / units["sharpness"])
    assert found["margin"][3] == pytest.approx(1.5 / units["connectivity"])
    assert found["margin"][4] == pytest.approx(0.06 / units["similarity"])
    # Phase II does not ask for similarity, however near it is.
    near = classify(cells(cka_softmax_mean=[0.7] * 5))
    assert near["margin"][1] == pytest.approx(0.6 / units["sharpness"])


def test_the_thresholds_used_are_in_the_table():
    found = classify(cells(), sharpness_threshold=4.4, similarity_threshold=1)
    assert found["sharpness_threshold"] == [4.4] * 5
    assert found["connectivity_threshold"] == [-2.0] * 5
    assert found["similarity_threshold"] == [1.0] * 5
    assert found["phase"] == ["I", "II", "I", "IV-A", "IV-A"]


@pytest.mark.parametrize("marks", [[True, False], [1, 0], ["true", "False"], [1.0, math.nan]])
def test_cells_that_did_not_converge_are_undecided(marks):
    values = [marks[0]] * 4 + [marks[1]]
    expected = ["I", "II", "III", "IV-A", "undecided"]
    assert classify(cells(converged=values))["phase"] == expected
    assert classify(cells(sure=values), converged="sure")["phase"] == expected


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({}, {"sharpness": "log_trace"}, "sharpness: .*no column 'log_trace'.*log_hessian_trace"),
        ({}, {"load": "depth"}, "load: .*'depth'"),
        ({}, {"temperature": "batch"}, "temperature: .*'batch'.*batch_size"),
        ({}, {"converged": "sure"}, "converged: .*'sure'"),
        ({}, {"connectivity_spread": "mc_std"}, "connectivity_spread: .*'mc_std'"),
        ({}, {"sharpness_threshold": math.nan}, "sharpness_threshold must be finite"),
        ({}, {"similarity_threshold": "auto"}, 'similarity_threshold must be a number or "data"'),
        ({"converged": ["maybe"] * 5}, {}, "converged: row 0 holds 'maybe'"),
        ({"mc_train_err": ["low"] * 5}, {}, "connectivity: column 'mc_train_err' holds 'low'"),
        ({name: [] for name in cells()}, {}, "table has no rows"),
    ],
)
def test_a_wrong_question_is_refused_by_name(changes, options, said):
    with pytest.raises(ValueError, match=said):
        classify(cells(**changes), **options)


@pytest.mark.parametrize("threshold", [None, True, [1.0]])
def test_a_threshold_of_another_type_is_refused(threshold):
    with pytest.raises(TypeError, match="connectivity_threshold"):
        classify(cells(), connectivity_threshold=threshold)


def test_rows_come_back_as_rows_and_are_not_changed():
    rows = [dict(zip(cells(), row, strict=True)) for row in zip(*cells().values(), strict=True)]
    found = classify(rows)
    assert [row["phase"] for row in found] == ["I", "II", "III", "IV-A", "IV-B"]
    assert "phase" not in rows[0]


def test_classifying_twice_replaces_the_columns():
    once = classify(cells(), sharpness_threshold=0.0)
    assert classify(once) == classify(cells())


numbers = st.floats(-20, 20)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=20))
def test_arrays_agree_with_the_rule_written_out(triples):
    def plain(s, c, a):
        if s > 5.9:
            return "I" if c < -2 else "II"
        if c < -2:
            return "III"
        return "IV-B" if a >= 0.7 else "IV-A"

    found = phases_of(*np.array(triples).T, thresholds=(5.9, -2.0, 0.7))
    assert found.tolist() == [plain(*triple) for triple in triples]


def test_counts_are_in_the_order_of_the_phases():
    counts = phase_counts(classify(cells()))
    assert tuple(counts) == PHASES
    assert list(counts.values()) == [1, 1, 1, 1, 1, 0]
    assert columns_of(classify(cells()))["phase"].dtype.kind == "U"
