from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from networks import Tied
from oracles import assert_relative, classification, cut, dense_hessian, mlp

from landscape_fast.linearise.fisher import EmpiricalFisherOperator
from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.operators import HessianOperator

KINDS = [HessianOperator, GGNOperator, EmpiricalFisherOperator]


def matrix(op):
    return op(torch.eye(op.shape[0], dtype=torch.float64))


def data(rows=7):
    x, y = classification(rows)
    return cut((x.double(), y), [3, rows - 3])


def test_the_penalty_is_part_of_the_loss_and_of_its_hessian():
    x, y = classification(7)
    rates = {"0": 0.3, "0.bias": 0.0, "2.weight": 0.7}

    def whole(model):
        penalty = 0.15 * model[0].weight.square().sum() + 0.35 * model[2].weight.square().sum()
        return F.cross_entropy(model(x.double()), y) + penalty

    op = HessianOperator(mlp().double(), data(), weight_decay=rates)
    assert_relative(matrix(op), dense_hessian(mlp(), whole), 1e-12)
    assert op.loss == pytest.approx(whole(mlp().double()).item(), rel=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_one_rate_adds_a_multiple_of_the_identity(kind):
    plain, decayed = kind(mlp().double(), data()), kind(mlp().double(), data(), weight_decay=0.4)
    assert_relative(
        matrix(decayed), matrix(plain) + 0.4 * torch.eye(57, dtype=torch.float64), 1e-13
    )
    v = torch.randn(3, 57, dtype=torch.float64)
    assert_relative(decayed.quadratic(v), (decayed(v) * v).sum(1), 1e-12)
    draws = decayed.random_quadratics(3, seed=1) - plain.random_quadratics(3, seed=1)
    assert_relative(draws, torch.full((3,), 0.4 * 57, dtype=torch.float64), 1e-12)


def test_it_counts_once_however_the_data_are_cut_or_summed():
    x, y = classification(7)
    whole = HessianOperator(mlp().double(), [(x.double(), y)], weight_decay=0.4)
    assert_relative(
        matrix(HessianOperator(mlp().double(), data(), weight_decay=0.4)), matrix(whole), 1e-12
    )
    summed = torch.nn.CrossEntropyLoss(reduction="sum")
    plain, decayed = (
        matrix(HessianOperator(mlp().double(), data(), criterion=summed, weight_decay=rate))
        for rate in (0.0, 0.4)
    )
    assert_relative(decayed - plain, 0.4 * torch.eye(57, dtype=torch.float64), 1e-11)


def test_the_loss_holds_the_penalty_of_parameters_that_are_not_selected():
    model = mlp().double()
    part = HessianOperator(model, data(), params=model[2], weight_decay=0.4)
    full = HessianOperator(model, data(), weight_decay=0.4)
    assert part.loss == pytest.approx(full.loss, rel=1e-14)
    assert_relative(matrix(part), matrix(full)[-21:, -21:], 1e-12)


def test_frozen_parameters_are_not_decayed():
    model = mlp().double()
    model[0].requires_grad_(False)
    rates = (0.0, 0.4)
    plain, decayed = (HessianOperator(model, data(), weight_decay=rate).loss for rate in rates)
    squares = sum(float(p.detach().square().sum()) for p in model[2].parameters())
    assert decayed - plain == pytest.approx(0.2 * squares, rel=1e-12)


def test_either_name_of_a_tied_weight_will_do():
    x, y = classification(5, (3,))
    ops = [
        HessianOperator(Tied().double(), [(x.double(), y)], weight_decay={name: 0.4})
        for name in ("first.weight", "second.weight")
    ]
    assert torch.equal(matrix(ops[0]), matrix(ops[1]))


@pytest.mark.parametrize(
    ("rates", "error", "text"),
    [
        (-0.1, ValueError, "weight_decay must be at least 0 and finite, got -0.1"),
        (math.nan, ValueError, "weight_decay must be at least 0 and finite"),
        ({"0": math.inf}, ValueError, r"weight_decay\['0'\] must be .* finite"),
        (True, TypeError, "weight_decay must be .* got True"),
        ("0.1", TypeError, "weight_decay must be .* got '0.1'"),
        (
            {"0.weights": 0.1},
            ValueError,
            "weight_decay names '0.weights', .* did you mean '0.weight'",
        ),
        ({0: 0.1}, TypeError, "weight_decay takes names and modules, got int"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_that_makes_no_sense_is_named(kind, rates, error, text):
    with pytest.raises(error, match=text):
        kind(mlp(), [classification(4)], weight_decay=rates)
