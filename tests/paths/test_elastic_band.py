"""The elastic band on a loss whose valley is a circle, and between real networks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, mlp, snapshot
from torch import nn

from landscape_fast.metrics.connectivity import connectivity
from landscape_fast.metrics.polychain import PolyChain
from landscape_fast.paths.elastic_band import autoneb

NOTHING = [(torch.zeros(1, 1), torch.zeros(1))]
ANGLE = 2 * math.pi / 3  # between the ends


def ring(model, _):
    return (model.weight.square().sum() - 1) ** 2


def at(angle: float) -> nn.Module:
    """A point of the circle of radius 1, where the loss of the ring is 0."""
    model = nn.Linear(2, 1, bias=False).double()
    model.weight.data = torch.tensor([[math.cos(angle), math.sin(angle)]]).double()
    return model


def band(**options):
    chosen = {
        "loss_fn": ring,
        "weight_decay": 0.0,
        "lr": 0.05,
        "momentum": 0.0,
        "epochs": 100,
        **options,
    }
    return autoneb(at(0.0), at(ANGLE), NOTHING, **chosen)


def test_pivots_come_to_lie_on_the_circle_at_equal_angles():
    found = band(cycles=1, pivots=3, points=9)
    wanted = torch.tensor([[math.cos(ANGLE * j / 4), math.sin(ANGLE * j / 4)] for j in (1, 2, 3)])
    assert torch.allclose(found.bend, wanted.double(), atol=1e-6)
    # The middle of a segment is cos(15 degrees) from the centre, where the loss is sin^4.
    assert found.losses[::2].max() < 1e-10
    assert float(found.losses[1]) == pytest.approx(math.sin(ANGLE / 8) ** 4, rel=1e-5)
    assert found.steps == 100


def test_in_the_end_no_pivot_feels_a_force_across_the_chain_but_along_it_all_of_it():
    slope = torch.tensor([0.3, 0.0], dtype=torch.float64)

    def slanting(model, batch):
        return ring(model, batch) + (model.weight[0] * slope).sum()

    found = band(cycles=1, pivots=3, loss_fn=slanting, epochs=400)
    ends = [at(angle).weight.data[0] for angle in (0.0, ANGLE)]
    chain = PolyChain(torch.stack([ends[0], *found.bend, ends[1]]))
    for j, pivot in enumerate(found.bend, 1):
        force = 4 * (pivot.square().sum() - 1) * pivot + slope
        along = float(chain.tangent(j) @ force)
        assert float((force - along * chain.tangent(j)).norm()) < 1e-3
        assert abs(along) > 0.1
    sides = chain.points.diff(dim=0).norm(dim=1)
    assert torch.allclose(sides, sides.mean().expand(4), rtol=1e-3)


def test_the_straight_line_is_measured_without_cycles():
    found = band(cycles=0, points=3)
    assert float(found.losses[1]) == pytest.approx((1 - 0.25) ** 2)
    assert found.loss_value == pytest.approx(-0.5625)
    assert found.steps == 0


def test_a_second_cycle_halves_the_segments_where_the_loss_rises():
    found = band(cycles=2, pivots=3)
    assert len(found.bend) == 7
    assert float(found.losses.max()) == pytest.approx(math.sin(ANGLE / 16) ** 4, rel=0.05)


def test_pivots_are_added_where_the_barrier_is_and_nowhere_else():
    def hill(model, _):  # along the first weight, narrow, around 0.7
        return torch.exp(-100 * (model.weight[0, 0] - 0.7) ** 2)

    ends = at(0.0), at(0.0)
    for model, first in zip(ends, (0.0, 1.0), strict=True):
        model.weight.data[:] = torch.tensor([first, 0.0])
    found = autoneb(*ends, NOTHING, loss_fn=hill, pivots=3, cycles=2, epochs=1, lr=1e-9,
                    weight_decay=0.0)  # fmt: skip
    assert found.bend[:, 0].tolist() == pytest.approx([0.25, 0.5, 0.6875, 0.75])


def test_equal_models_need_no_band():
    model = mlp()
    found = autoneb(model, copy.deepcopy(model), [classification(20)], points=3)
    assert (found.value, found.loss_value, found.steps) == (0.0, 0.0, 0)


@pytest.mark.parametrize("fails", [False, True])
def test_models_come_back_as_they_went_in(fails):
    one, other = conv_net(seed=0), conv_net(seed=1)
    before = snapshot(one), snapshot(other)
    good = classification(20, (1, 6, 6))
    options = {"cycles": 2, "epochs": 1, "points": 3, "pivots": 2}
    if fails:
        with pytest.raises(RuntimeError):
            autoneb(one, other, [good, (torch.ones(3, 5), torch.zeros(3).long())], **options)
    else:
        found = autoneb(one, other, [good], **options)
        assert found.losses.isfinite().all()
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])


def test_a_band_that_diverges_is_nan_inside_and_says_so():
    found = autoneb(mlp(seed=0), mlp(seed=1), [classification(30)], lr=1e30, cycles=3, points=3)
    assert math.isnan(found.value)
    assert found.losses.isfinite().tolist() == [True, False, True]


def test_the_profile_is_that_of_the_chain_through_the_pivots():
    one, other = mlp(seed=0), mlp(seed=1)
    data = [classification(30)]
    found = autoneb(one, other, data, cycles=1, epochs=2, pivots=2, points=7, lr=0.1)
    flat = [nn.utils.parameters_to_vector(m.parameters()).detach() for m in (one, other)]
    chain = PolyChain(torch.stack([flat[0], *found.bend, flat[1]]))
    lengths = chain.points.diff(dim=0).norm(dim=1)
    assert torch.allclose(lengths, lengths.mean().expand(3), rtol=1e-3)  # t is the share of it
    middle = copy.deepcopy(one)
    nn.utils.vector_to_parameters(chain(0.5), middle.parameters())
    loss = nn.functional.cross_entropy(middle(data[0][0]), data[0][1])
    assert float(found.losses[3]) == pytest.approx(float(loss.detach()), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pivots": 0}, "pivots must be .* got 0"),
        ({"cycles": -1}, "cycles must be .* got -1"),
        ({"checks": 0}, "checks must be"),
        ({"points": 1}, "points must be"),
        ({"insert_above": -0.1}, "insert_above must be"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"momentum": 1.0}, "momentum must be"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"epochs": 0.5}, "epochs must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_wrong_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        autoneb(mlp(), mlp(seed=1), [classification(20)], **options)


@pytest.mark.slow
def test_chains_and_bands_pass_the_barrier_between_permuted_copies_as_bezier_curves_do():
    x, y = classification(400, classes=3)
    model = mlp(activation=nn.ReLU)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    other = copy.deepcopy(model)
    order = torch.tensor([3, 4, 5, 0, 1, 2])
    other[0].weight.data, other[0].bias.data = (
        model[0].weight[order].data,
        model[0].bias[order].data,
    )
    other[2].weight.data = model[2].weight[:, order].data
    data, options = [(x, y)], {"lr": 0.1, "weight_decay": 0.0, "points": 21}
    line = connectivity(model, other, data, epochs=0, points=21)
    paths = {
        kind: connectivity(model, other, data, epochs=60, bends=3, curve=kind, **options)
        for kind in ("bezier", "polychain")
    }
    paths["band"] = autoneb(model, other, data, cycles=3, epochs=20, **options)
    for kind, path in paths.items():
        assert float(path.losses.max()) < 0.4 * float(line.losses.max()), kind
