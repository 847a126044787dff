"""Permutations are applied where they fit, and refused elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape_fast.results import Permutations


def halves():
    """Exchange the two halves of four units, in front of one layer and behind another."""
    return Permutations(
        order=torch.tensor([1, 0]),
        sizes=(2,),
        places=(
            ("0.weight", 0, (2, 2), (0, -1)),
            ("0.bias", 0, (2, 2), (0, -1)),
            ("1.weight", 1, (2, 2), (0, -1)),
        ),
        still=(),
        method="weights",
        distance_before=1.0,
        distance_after=0.0,
        rounds=1,
        converged=True,
    )


def test_units_move_in_every_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    moved = halves().applied_to(model)
    assert torch.equal(moved[0].weight, model[0].weight[[2, 3, 0, 1]])
    assert torch.equal(moved[1].weight, model[1].weight[:, [2, 3, 0, 1]])
    assert torch.equal(moved[1].bias, model[1].bias)
    x = torch.randn(5, 3)
    torch.testing.assert_close(moved(x), model(x))


def test_another_network_is_refused():
    with pytest.raises(ValueError, match=r"no tensor '0\.weight'"):
        halves().applied_to(nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)))
