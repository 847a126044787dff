"""The rise of the loss along lines is that of a plain loop, and leaves the model as it was."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_same_state, classification, conv_net, cut, dense_hessian, mlp, snapshot
from torch import nn

from landscape_fast import loss_growth, top_eigs
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.surfaces.directions import random_directions


def plain_rise(model, data, vector, radius):
    """Rise of the cross-entropy by the model itself in float64."""
    values = []
    for size in (radius, 0.0):
        there = copy.deepcopy(model).double().eval()
        space = ParameterSpace(there)
        with torch.no_grad():
            for own, part in zip(space.tensors, space.split(size * vector), strict=True):
                own += part
            x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
            values.append(float(F.cross_entropy(there(x.double()), y)))
    return values[0] - values[1]


@pytest.mark.parametrize("make", [mlp, conv_net])
def test_rises_slopes_and_curvatures_are_those_of_the_model_in_float64(make):
    model = make()
    shape = (5,) if make is mlp else (1, 6, 6)
    data = cut(classification(13, shape), [8, 5])
    ways = random_directions(model, 2, normalise="unit")
    found = loss_growth(model, data, directions=ways, span=(1e-3, 1.0), per_decade=1)
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    hessian = dense_hessian(model, lambda there: F.cross_entropy(there(x.double()), y))
    for index, vector in enumerate(ways.vectors.double()):
        unit = vector / vector.norm()
        for at, radius in enumerate(found.radii.tolist()):
            for side, sign in enumerate((1, -1)):
                exact = plain_rise(model, data, sign * unit, radius)
                assert float(found.sides[index, side, at]) == pytest.approx(exact, abs=1e-12)
        assert float(found.curvatures[index]) == pytest.approx(
            float(unit @ hessian @ unit), rel=1e-9
        )
        slope = (plain_rise(model, data, unit, 1e-6) - plain_rise(model, data, -unit, 1e-6)) / 2e-6
        assert float(found.slopes[index]) == pytest.approx(slope, abs=1e-8)


class Power(nn.Module):
    """Outputs the norm of its two weights to the power p."""

    def __init__(self, p):
        super().__init__()
        self.p, self.w = p, nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x[:, 0] * (self.w.square().sum() + 1e-30).pow(self.p / 2)


@pytest.mark.parametrize("p", [1.5, 3.0])
def test_a_loss_of_exponent_p_has_it_in_every_direction(p):
    data = [(torch.ones(3, 1), torch.zeros(3))]
    found = loss_growth(Power(p), data, directions=2, criterion=lambda outputs, _: outputs.mean())
    for index in range(2):
        fit = found.exponent(index)
        low, high = fit.interval(0.999)
        assert low - 1e-9 <= p <= high + 1e-9
        assert fit.stderr < 1e-4


def test_along_an_eigenvector_of_least_squares_the_ratio_is_one():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 1, bias=False)
    x = torch.randn(20, 3, generator=generator)
    data = [(x, torch.randn(20, 1, generator=generator))]
    pairs = top_eigs(model, data, k=3, criterion=nn.MSELoss())
    found = loss_growth(model, data, directions=pairs, criterion=nn.MSELoss())
    assert found.curvatures.tolist() == pytest.approx(pairs.values.tolist(), rel=1e-3)
    away = found.radii > 1e-2
    assert (found.ratios[:, away] - 1).abs().max() < 1e-6
    assert found.quadratic_radius().value == math.inf
    assert abs(float(found.slopes[0])) > 1e-3


def test_the_floor_is_what_rounding_does():
    """Half of the rises at radii far too small are below two floors, and none above ten."""
    model, data = mlp(), cut(classification(13), [13])
    found = loss_growth(model, data, directions=8, span=(1e-17, 1e-16), per_decade=2)
    sizes = found.sides.abs()
    assert 0 < found.floor < 1e-14
    assert sizes.max() < 10 * found.floor


def test_a_line_goes_towards_another_model():
    model, data = mlp(), cut(classification(13), [13])
    other = mlp(seed=1)
    moved = [
        (b - a).detach().double().reshape(-1)
        for a, b in zip(model.parameters(), other.parameters(), strict=True)
    ]
    far = float(torch.cat(moved).norm())
    found = loss_growth(model, data, directions=[other], span=(far / 10, far), per_decade=1)
    x, y = data[0]
    with torch.no_grad():
        exact = [float(F.cross_entropy(m.double()(x.double()), y)) for m in (other, model)]
    assert float(found.sides[0, 0, -1]) == pytest.approx(exact[0] - exact[1], abs=1e-6)


def test_a_direction_may_be_a_tensor_a_row_of_one_or_one_of_several():
    model, data = mlp(), cut(classification(13), [13])
    one = torch.arange(57.0)
    found = [
        loss_growth(model, data, directions=ways, per_decade=1)
        for ways in (one, one[None], [one, torch.ones(57)])
    ]
    for other in found[1:]:
        torch.testing.assert_close(other.sides[0], found[0].sides[0], rtol=1e-9, atol=1e-13)
    assert len(found[2].sides) == 2


def test_a_layer_may_hold_a_tensor_with_a_graph():
    model, data = mlp(), cut(classification(13), [13])
    model[0].seen = model[0].weight.square().sum()
    with pytest.raises(RuntimeError):
        copy.deepcopy(model)
    assert loss_growth(model, data, directions=1, per_decade=1).sides.isfinite().all()


def test_class_weights_and_batches_change_nothing():
    model = mlp()
    data = classification(13)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]))
    one, other = (
        loss_growth(model, cut(data, sizes), directions=1, criterion=loss, per_decade=1)
        for sizes in ([13], [6, 7])
    )
    torch.testing.assert_close(one.sides, other.sides, rtol=1e-9, atol=1e-13)
    assert one.samples == other.samples == 13


def test_the_model_comes_back_untouched_also_after_an_exception():
    model, data = conv_net().train(), cut(classification(8, (1, 6, 6)), [8])
    before = snapshot(model)
    loss_growth(model, data, directions=1, per_decade=1)
    assert_same_state(model, before)
    with pytest.raises(ValueError, match="parameters are selected"):
        loss_growth(model, data, directions=torch.ones(1, 3))
    assert_same_state(model, before)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"span": (1.0, 0.1)}, ValueError, "span"),
        ({"per_decade": 0}, ValueError, "per_decade"),
        ({"points_at_once": 0}, ValueError, "points_at_once"),
        ({"directions": torch.zeros(1, 57)}, ValueError, "direction 0 has norm 0"),
        ({"directions": torch.full((1, 57), math.nan)}, ValueError, "direction 0 has norm nan"),
        ({"directions": "random"}, TypeError, "directions must be"),
        ({"directions": [1.0]}, TypeError, "directions must be .* got float"),
        ({"directions": []}, ValueError, "directions is empty"),
        ({"directions": torch.tensor(1.0)}, ValueError, "57 parameters are selected"),
        ({"directions": torch.ones(2, 3, 57)}, ValueError, "57 parameters are selected"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_a_wrong_argument_is_named(options, error, said):
    with pytest.raises(error, match=said):
        loss_growth(mlp(), cut(classification(4), [4]), **options)
