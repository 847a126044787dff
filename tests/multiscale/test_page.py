"""The page of the study quotes the numbers that its experiment wrote."""

from __future__ import annotations

import pytest
import study_pages


@pytest.fixture(scope="module")
def found():
    return study_pages.found("multiscale")


def test_the_figures_in_its_text_are_those_of_the_result_file(found):
    text = study_pages.text("multiscale")
    squared, crossed = (found["growth"][name] for name in ("squared", "cross-entropy"))
    top, decay, toys = squared["directions"]["top eigenvector"], found["decay"], found["toys"]
    fits = [row["exponents"][0][0] for row in crossed["directions"].values()]
    laws = found["magnitudes"]["laws"].values()
    for said in (
        f"below {found['windows'][0][1]:g}, {found['windows'][0][1] / squared['loss']:.0f} times",
        f"exponent of {top['local exponent at 10']:.1f} at a distance of 10",
        f"exponents of {min(fits):.1f} to {max(fits):.1f} over the window",
        f"{crossed['directions']['top eigenvector']['last local exponent']:.1f} at the far end",
        f"off by up to {max(abs(law['exponent'] - law['predicted']) for law in laws):.2f}",
        f"at step {decay['step']:,} of gradient descent",
        f"at {decay['ratio after']:.2f} of the new threshold",
        f"({decay['rising before']:.0%} of the 100 before did)",
        f"from {decay['level before']:.3f}, the mean of these 100 steps, "
        f"to {decay['after 20 steps']:.3f} within 20",
        f"it is {decay['at the end']:.3f}, where the run without decay is at "
        f"{found['edge']['gradient descent']['loss']:.3f}",
        f"from {toys['level in ripples']:.3f} to {toys['level when they are left']:.3f} at "
        f"the rate {toys['ripples left at']:.2f}",
    ):
        assert said in text, said
    assert decay["rising after"] == 0.0  # "no step raises the loss any more"
    assert toys["off closed form"] < 1e-12  # "to rounding"
    assert [row["plateaus"] for row in squared["directions"].values()] == [1] * 5
    assert all(row["highest local exponent"] > 2 for row in crossed["directions"].values())
    assert found["magnitudes"]["linear plateaus"] == 1
