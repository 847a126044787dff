"""The page of large-scale structure shows what the experiment wrote."""

from __future__ import annotations

from itertools import pairwise

import pytest
import study_pages


@pytest.fixture(scope="module")
def found():
    return study_pages.found("large-scale")


@pytest.fixture(scope="module")
def text():
    return study_pages.text("large-scale")


def by_value(tunnels, knob, key):
    return {row["value"]: row[key] for row in tunnels[knob]["settings"]}


def test_cuts_reach_a_wedge_from_the_dimension_it_says(found):
    assert [row["reached"] for row in found["toy"]["cuts"] if row["dimension"] < 40] == [0.0] * 5
    assert [row["reached"] for row in found["toy"]["cuts"] if row["dimension"] >= 40] == [1.0] * 3


def test_its_figures_of_connectors_are_those_of_the_result_file(found, text):
    found = found["connectors"]
    own = found["four"]["own losses"]
    assert f"{min(own):.4f} to {max(own):.4f} themselves" in text
    assert all(row["reached"] == 1.0 for row in found["four"]["centres"])
    three = found["three"]
    mean = sum(three["own losses"]) / 3
    joined, flat = three["inside"], three["inside, flat"]
    # Five, fourteen, a hundred and 250 times the networks' own, in words.
    times = [value / mean for part in (joined, flat) for value in (part["mean"], part["max"])]
    assert times == pytest.approx([5, 14, 100, 250], rel=0.1)
    simplex = found["simplex"]
    said = f"{simplex['mean loss inside']:.3f} inside and {simplex['highest loss inside']:.2f}"
    assert said in text


def test_its_figures_of_tunnels_are_those_of_the_result_file(found, text):
    tunnels = found["tunnels"]
    lr, batch = (by_value(tunnels, f"{knob}, equal time", "degrees") for knob in ("lr", "batch"))
    left = []
    for knob, equal in (("lr", lr), ("batch", batch)):
        whole = by_value(tunnels, knob, "degrees")
        low, high = min(equal), max(equal)
        left.append((equal[high] - equal[low]) / (whole[high] - whole[low]))
    losses = [
        loss
        for knob in ("lr", "batch")
        for loss in by_value(tunnels, f"{knob}, equal time", "loss").values()
    ]
    l2 = [by_value(tunnels, "l2", key) for key in ("norm", "loss")]
    for said in (
        f"log(10) / 2 = {tunnels['threshold']:.2f}",
        f"spread by {tunnels['radial']['spread over directions, degrees']:.1f}",
        f"{lr[0.01]:.1f} to {lr[0.1]:.1f} degrees",
        f"{batch[16]:.1f} to {batch[256]:.1f}, at losses of",
        f"losses of {min(losses):.3f} to {max(losses):.3f}",
        f"{left[0]:.0%} and {left[1]:.0%} of the effect",
        f"the norm ({l2[0][0.0]:.1f} to {l2[0][0.003]:.1f})",
        f"a higher loss ({l2[1][0.0]:.3f} to {l2[1][0.003]:.3f})",
        f"from {tunnels['radial']['range'][0]:g} times the weights",
    ):
        assert said in text, said
    assert tunnels["radial"]["range"][1] == 2.0
    for falls in (tunnels["radial"]["losses"], found["from start to optimum"]):
        assert all(after < before for before, after in pairwise(falls))


def test_snapshots_move_as_little_as_it_says(found):
    ensembles = found["ensembles"]
    moved = ensembles["snapshots"]["travelled"] / ensembles["independent"]["travelled"]
    assert moved < 0.05
    assert {each["members"] for each in ensembles.values()} == {6}
