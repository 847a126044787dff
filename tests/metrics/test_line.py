"""Barriers on straight lines whose losses are known at every point."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import nn

from landscape_fast.metrics.connectivity import connectivity
from landscape_fast.metrics.line import linear_barrier
from landscape_fast.metrics.quality import quality

IMAGES = classification(40, (1, 6, 6))
SQUARES = nn.MSELoss()


def product_net(first: float, second: float) -> nn.Module:
    """x -> second * first * x."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    for layer, weight in zip(net, (first, second), strict=True):
        nn.init.constant_(layer.weight, weight)
    return net


def scores(*rows: tuple[float, ...]) -> nn.Module:
    layer = nn.Linear(1, len(rows), bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows, dtype=torch.float64))
    return layer


def test_a_change_of_signs_puts_the_zero_network_in_the_middle():
    # (1, 1) and (-1, -1) compute the same; between them the product of weights is (1 - 2t)^2.
    data = [(torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))]
    found = linear_barrier(
        product_net(1, 1), product_net(-1, -1), data, criterion=SQUARES, points=31
    )
    wanted = (1 - (1 - 2 * found.t) ** 2) ** 2
    assert torch.allclose(found.losses, wanted, atol=1e-12)
    assert found.loss_value == pytest.approx(1.0)
    assert found.above_chord == pytest.approx(1.0)
    assert math.isnan(found.value)  # targets are no classes
    assert math.isnan(found.t_star)


def test_the_height_is_over_the_mean_of_the_ends_and_the_chord_over_the_line_between():
    # Least squares along the weight: loss (3t)^2, convex, ends 0 and 9.
    data = [(torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))]
    found = linear_barrier(scores((0.0,)), scores((3.0,)), data, criterion=SQUARES, points=4)
    assert found.losses.tolist() == pytest.approx([0.0, 1.0, 4.0, 9.0])
    assert found.loss_value == pytest.approx(4.5)
    assert found.above_chord == 0.0


def test_errors_between_opposite_classifiers_are_counted():
    # Scores (w x, 0) at x = 1 and x = -1, labels 0 and 1: right for w > 0, wrong for w < 0, and
    # at w = 0 a tie, which is class 0.
    data = [(torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.tensor([0, 1]))]
    found = linear_barrier(scores((2.0,), (0.0,)), scores((-2.0,), (0.0,)), data, points=5)
    assert found.errors.tolist() == [0.0, 0.0, 50.0, 100.0, 100.0]
    assert (found.value, found.t_star) == (50.0, 0.75)


def test_with_new_statistics_it_is_the_untrained_curve():
    one, other = conv_net(seed=0), conv_net(seed=1)
    line = linear_barrier(one, other, cut(IMAGES, [15, 25]), points=5, batch_size=16)
    curve = connectivity(one, other, cut(IMAGES, [15, 25]), epochs=0, points=5, batch_size=16)
    assert torch.allclose(line.losses, curve.losses, rtol=1e-6)
    assert torch.equal(line.errors, curve.errors)
    assert line.recalibrated
    assert line.samples == 40


def test_with_interpolated_statistics_the_ends_are_the_models():
    one, other = conv_net(seed=0), conv_net(seed=1)
    for model, scale in ((one, 1.0), (other, 3.0)):
        model[1].running_var.fill_(scale)
    line = linear_barrier(one, other, [IMAGES], points=3, recalibrate=False)
    for end, model in ((0, one), (2, other)):
        own = quality(model, [IMAGES])
        assert float(line.losses[end]) == pytest.approx(own.loss, rel=1e-6)
        assert float(line.errors[end]) == pytest.approx(100 - own.accuracy)
    middle = copy.deepcopy(one)
    mixed = {name: torch.lerp(one.state_dict()[name], value, 0.5) if value.is_floating_point()
             else value for name, value in other.state_dict().items()}  # fmt: skip
    middle.load_state_dict(mixed)
    assert float(line.losses[1]) == pytest.approx(quality(middle, [IMAGES]).loss, rel=1e-6)


def test_equal_models_have_no_barrier():
    found = linear_barrier(mlp(), mlp(), [classification(20)], points=3)
    assert (found.value, found.loss_value) == (0.0, 0.0)


def test_a_model_that_is_not_finite_gives_nan():
    broken = mlp(seed=1)
    nn.init.constant_(broken[0].weight, math.nan)
    found = linear_barrier(mlp(), broken, [classification(20)], points=3)
    assert math.isnan(found.value)
    assert math.isnan(found.loss_value)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_models_come_back_as_they_went_in(fails, new):
    one, other = conv_net(seed=0), conv_net(seed=1)
    before = snapshot(one), snapshot(other)
    batches = [IMAGES, (torch.ones(3, 5), torch.zeros(3).long())] if fails else [IMAGES]
    if fails:
        with pytest.raises(RuntimeError):
            linear_barrier(one, other, batches, recalibrate=new)
    else:
        linear_barrier(one, other, batches, points=3, recalibrate=new)
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"points": 2}, "points must be a whole number of at least 3, got 2"),
        ({"batch_size": 0}, "batch_size must be .* got 0"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_wrong_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        linear_barrier(mlp(), mlp(seed=1), [classification(20)], **options)


def test_models_of_different_shape_or_no_data_are_refused():
    with pytest.raises(ValueError, match="model_b"):
        linear_barrier(mlp(), conv_net(), [IMAGES])
    with pytest.raises(ValueError, match="loader"):
        linear_barrier(mlp(), mlp(seed=1), [])


@pytest.mark.gpu
def test_a_gpu_gives_the_same_barrier(cuda):
    one, other = conv_net(seed=0), conv_net(seed=1)
    here = linear_barrier(one, other, [IMAGES], points=5)
    there = linear_barrier(one.to(cuda), other.to(cuda), [IMAGES], points=5)
    assert torch.allclose(here.losses, there.losses, rtol=1e-4)


def test_an_end_is_itself_where_the_other_has_diverged():
    one, other = mlp(), mlp(seed=1)
    other[0].weight.data[0, 0] = float("nan")
    data = [classification(12)]
    whole = quality(one, data).loss
    assert float(linear_barrier(one, other, data, points=3).losses[0]) == pytest.approx(whole)
    assert float(linear_barrier(other, one, data, points=3).losses[-1]) == pytest.approx(whole)
