"""Directions have the scale they claim, and models lie where their coordinates say."""

from __future__ import annotations

import copy

import pytest
import torch
from oracles import assert_same_state, conv_net, mlp, snapshot
from torch import nn

from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.surfaces.directions import (
    plane_through,
    random_directions,
    trajectory_directions,
)


def moved(model, vector):
    """A copy of ``model`` with ``vector`` (n,) added to its parameters."""
    other = copy.deepcopy(model)
    space = ParameterSpace(other)
    for own, part in zip(space.tensors, space.split(vector), strict=True):
        own.data += part
    return other


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_every_filter_has_the_norm_of_the_filter_it_moves():
    model = conv_net()
    space = ParameterSpace(model)
    for vector in random_directions(model, 2).vectors:
        for own, part in zip(space.tensors, space.split(vector), strict=True):
            wanted = own.detach().flatten(1).norm(dim=1) if own.dim() > 1 else torch.zeros(len(own))
            torch.testing.assert_close(part.reshape(len(own), -1).norm(dim=1), wanted)


def test_a_transposed_convolution_is_normalised_by_output():
    model = nn.ConvTranspose2d(3, 5, 2)
    part = random_directions(model, 1).vectors[0, : model.weight.numel()].view(3, 5, 2, 2)
    norms = model.weight.detach().norm(dim=(0, 2)).norm(dim=1)
    torch.testing.assert_close(part.norm(dim=(0, 2)).norm(dim=1), norms)


def test_layer_and_unit_normalisation():
    model = mlp()
    layer = random_directions(model, 1, normalise="layer").vectors[0]
    torch.testing.assert_close(layer[:30].norm(), model[0].weight.detach().norm())
    assert layer[30:36].abs().max() == 0
    unit = random_directions(model, 1, normalise="unit").vectors[0]
    torch.testing.assert_close(unit.norm(), torch.tensor(1.0))
    assert unit.abs().min() > 0


def test_a_zero_filter_does_not_move():
    model = mlp()
    model[0].weight.data[2] = 0.0
    assert random_directions(model, 1).vectors[0].view(-1)[10:15].abs().max() == 0


def test_directions_do_not_depend_on_how_many_are_asked_for():
    model = mlp()
    before = snapshot(model)
    assert torch.equal(random_directions(model, 3).vectors[:2], random_directions(model).vectors)
    assert not torch.equal(
        random_directions(model, seed=1).vectors, random_directions(model).vectors
    )
    assert_same_state(model, before)


def test_a_plane_holds_its_three_models():
    torch.manual_seed(0)
    model = mlp()
    b, c = (moved(model, torch.randn(57)) for _ in range(2))
    plane = plane_through(model, b, c)
    for other, point in zip((model, b, c), plane.points, strict=True):
        there = flat(model) + point.float() @ plane.vectors
        torch.testing.assert_close(there, flat(other))
    assert abs(float(plane.vectors[0] @ plane.vectors[1])) < 1e-4


def test_a_run_in_a_plane_is_explained_by_two_directions():
    model = mlp()
    frame = torch.linalg.qr(torch.randn(57, 2, generator=torch.Generator().manual_seed(0)))[0].T
    steps = torch.tensor([[4.0, 1.0], [2.0, -1.0], [1.0, 0.5], [0.0, 0.0]])
    run = [moved(model, step @ frame) for step in steps]
    found = trajectory_directions(model, run)
    assert float(found.shares.sum()) == pytest.approx(1.0)
    assert float(found.residuals.max()) < 1e-5
    for other, point in zip(run, found.points, strict=True):
        torch.testing.assert_close(
            flat(model) + point.float() @ found.vectors, flat(other), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("steps", [3, 10, 51])
def test_spans_hold_all_points_with_the_model_on_the_grid(steps):
    model = mlp()
    generator = torch.Generator().manual_seed(0)
    others = [moved(model, torch.randn(57, generator=generator)) for _ in range(2)]
    plane = plane_through(model, *others)
    for (low, high), column in zip(plane.spans(steps), plane.points.T, strict=True):
        assert low < float(column.min()) <= float(column.max()) < high
        place = -low / (high - low) * (steps - 1)
        assert place == pytest.approx(round(place), abs=1e-9)
    with pytest.raises(ValueError, match="no points"):
        random_directions(model).spans(5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: random_directions(m, 0), "count"),
        (lambda m: random_directions(m, normalise="filters"), "normalise"),
        (lambda m: random_directions(m, params="0.bias"), "normalise='unit'"),
        (lambda m: plane_through(m, m, m), "same parameters"),
        (lambda m: plane_through(m, moved(m, torch.ones(57)), moved(m, -torch.ones(57))), "line"),
        (lambda m: trajectory_directions(m, [m, m]), "more than 2 checkpoints"),
        (lambda m: trajectory_directions(m, [m, m, m]), "fewer than 2"),
    ],
)
def test_errors_name_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call(mlp())
