"""The page of local geometry shows what the experiment wrote."""

from __future__ import annotations

import pytest
import study_pages


@pytest.fixture(scope="module")
def found():
    return study_pages.found("local-geometry")


@pytest.fixture(scope="module")
def text():
    return study_pages.text("local-geometry")


def test_the_figures_in_its_text_are_those_of_the_result_file(found, text):
    zone, beside, dimension = found["zone"], found["beside"], found["dimension"]
    for said in (
        f"({found['parameters']:,} weights)",
        f"at step {found['transient'][0]}",
        f"{found['transient'][1]:.0f} times",
        f"{found['transient'][2]:.1%}",
        f"they are {found['density_outliers'][0]:.1f} ± {found['density_outliers'][1]:.1f}.",
        f"{beside['beyond_edge'][0]} eigenvalues of the network",
        f"{beside['beyond_edge'][1]} of the draw",
        f"{beside['outliers']} foretold",
        f"{zone['peak'][0]:.2g} times the initial weights",
        f"{zone['in_plane']:.2f}",
        f"{zone['in_plane_foretold']:.2f}",
        f"{zone['in_plane_positive']:.0%}",
        f"({zone['with_biases'][0]:.2f} ± {zone['with_biases_stderr'][0]:.2f} at a tenth)",
        f"{zone['accuracies']['80'][0]:.0f}% at a tenth",
        f"{zone['accuracies']['80'][6]:.0f}% at the initial weights",
        f"{zone['accuracies']['80'][-1]:.0f}% at ten times",
        f"{dimension['bracket'][1]} dimensions",
        f"{dimension['baseline']:.1f}%",
    ):
        assert said in text, said


def test_what_it_says_of_the_run_is_in_the_result_file(found, text):
    run = {row["step"]: row for row in found["run"]}
    low = {step: row["top"] / row["foretold"] for step, row in run.items()}
    curved = [low.pop(step) for step in (20, 40)]
    within = max(max(factor, 1 / factor) for factor in low.values())
    assert f"a factor of {within:.1f} but for steps 20 and 40" in text
    assert f"up to {max(curved):.1f} times too low" in text
    assert run[320]["top"] > 0.9 * run[found["transient"][0]]["top"]  # nearly as high again
    critical = run[80]["critical_std"]
    assert f"{critical:.2f} for ten classes" in text
    assert run[40]["logit_std"] < critical < run[80]["logit_std"]


def test_outliers_are_as_many_fewer_than_classes_as_it_says(found):
    fewer = {row["classes"]: row["classes"] - row["count"] for row in found["classes"]}
    assert fewer == {2: 1, 3: 2, 4: 2, 5: 2, 6: 2, 7: 1, 8: 1, 9: 1, 10: 1}


def test_how_sure_the_dimension_is_follows_from_the_result_file(found, text):
    dimension = found["dimension"]
    margins = dict(zip(dimension["tried"], dimension["margins"], strict=True))
    below, value = dimension["bracket"]
    assert f"{value} dimensions reach {dimension['threshold']:.0%} of the" in text
    assert f"{below} miss it by {-margins[below]:.1f} standard errors" in text
    assert f"{value} exceed it by {margins[value]:.1f}" in text
