"""Pictures of growth and of runs at the edge say what the numbers say."""

from __future__ import annotations

import math

import pytest
import torch

from landscape_fast.results import Growth, StabilityRun


def growth(*, spoiled=False, curvature=2.0):
    radii = torch.logspace(-4, 1, 41, dtype=torch.float64)
    sides = (radii**2 / (1 + radii)).expand(2, 2, -1).clone()
    if spoiled:
        sides[0, :, 20:] = math.nan
        sides[1] = -1.0
    return Growth(
        radii=radii,
        sides=sides,
        slopes=torch.zeros(2, dtype=torch.float64),
        curvatures=torch.full((2,), curvature, dtype=torch.float64),
        loss=0.1,
        floor=1e-16,
        samples=3,
        note=None,
    )


def run(*, crossing=True, diverged=False):
    steps = torch.arange(0, 60, 10)
    return StabilityRun(
        losses=torch.linspace(1, 0.1, 51, dtype=torch.float64),
        rates=torch.full((50,), 0.1, dtype=torch.float64),
        steps=steps,
        sharpness=torch.where(steps > 20, 20.6 if crossing else 10.0, 5.0).double(),
        residuals=torch.zeros(6, dtype=torch.float64),
        thresholds=torch.full((6,), 20.0, dtype=torch.float64),
        end=torch.zeros(2),
        move=torch.zeros(2),
        diverged=diverged,
        momentum=0.0,
        nesterov=False,
        samples=3,
    )


@pytest.mark.parametrize(("spoiled", "curvature"), [(False, 2.0), (True, -1.0)])
def test_growth_is_drawn_with_one_line_per_direction(spoiled, curvature, tmp_path):
    figure = growth(spoiled=spoiled, curvature=curvature).plot(("top", "random"))
    figure.savefig(tmp_path / "growth.png")
    assert len(figure.axes) == 3
    named = {line.get_label() for line in figure.axes[0].lines}
    assert {"top", "random"} <= named
    assert ("quadratic" in named) == (curvature > 0)


def test_as_many_names_as_directions():
    with pytest.raises(ValueError, match="names has 1 entries for 2 directions"):
        growth().plot(("top",))


def test_a_run_says_whether_it_reached_the_threshold(tmp_path):
    figure = run().plot()
    figure.savefig(tmp_path / "run.png")
    assert "at step 30" in figure.axes[0].get_title(loc="left")
    assert "1.03" in figure.axes[0].get_title(loc="left")
    assert "0.50 of it" in run(crossing=False).plot().axes[0].get_title(loc="left")
    assert "Diverged at step 50" in run(diverged=True).plot().axes[0].get_title(loc="left")
