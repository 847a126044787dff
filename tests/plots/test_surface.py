"""The picture of a surface shows the model, the values and what is not finite."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from landscape_fast.results import Surface


def bowl(axes=2, *, points=0, spoiled=False):
    axis = torch.linspace(-1, 1, 11, dtype=torch.float64)
    axis[5] = 0.0
    grid = torch.stack(torch.meshgrid(*[axis] * axes, indexing="ij"), -1)
    values = 0.01 + grid.square().sum(-1) ** 2
    if spoiled:
        values[0] = math.inf
        values[1, ...] = math.nan
    return Surface(
        values=values,
        coordinates=(tuple(axis.tolist()),) * axes,
        lengths=(2.0,) * axes,
        points=torch.rand(points, axes, dtype=torch.float64),
        shares=(0.5,) * axes if points else (math.nan,) * axes,
        loss=0.01,
        batchnorm="eval",
        samples=10,
        note=None,
    )


@pytest.mark.parametrize("spoiled", [False, True])
@pytest.mark.parametrize("axes", [1, 2])
def test_curves_and_contours_are_drawn(axes, spoiled, tmp_path):
    figure = bowl(axes, spoiled=spoiled).plot()
    figure.savefig(tmp_path / "surface.png")
    assert figure.axes[0].get_xlabel() == "Direction 1 (one unit: norm 2)"


def test_contours_carry_their_values_at_logarithmic_levels():
    figure = bowl().plot()
    drawn = {text.get_text() for text in figure.axes[0].texts}
    levels = [float(text) for text in drawn]
    assert len(levels) >= 3
    ticks = [tick.get_text() for tick in figure.axes[1].get_yticklabels()]
    assert drawn <= set(ticks)
    ratios = [float(b) / float(a) for a, b in pairwise(ticks)]
    assert max(ratios) < 1.2 * min(ratios)


def test_a_run_is_a_line_with_what_it_explains():
    figure = bowl(points=4).plot()
    assert "50% of the run" in figure.axes[0].get_ylabel()
    assert any(len(line.get_xdata()) == 4 for line in figure.axes[0].lines)


def test_a_surface_of_no_finite_or_of_one_value_is_drawn():
    flat = bowl()
    flat.values.fill_(1.0)
    flat.plot()
    flat.values.fill_(math.nan)
    flat.plot()
    with pytest.raises(ValueError, match="finite"):
        _ = flat.lowest


def test_three_axes_have_no_picture():
    with pytest.raises(ValueError, match="3 axes"):
        bowl(3).plot()


def test_the_lowest_point_is_found_past_nan():
    found = bowl(spoiled=True)
    assert found.lowest == (0.01, (0.0, 0.0))
    assert found.at_origin == 0.01
