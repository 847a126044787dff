from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import LADDER
from oracles import (
    assert_as_accurate,
    assert_relative,
    assert_same_state,
    classification,
    conv_net,
    cut,
    dense_hessian,
    difference_hessian,
    mlp,
    snapshot,
)
from torch import nn

from landscape_fast.linearise.operators import HessianOperator

WEIGHT = torch.tensor([0.2, 3.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("name", LADDER)
def test_products_equal_the_dense_hessian_on_a_ragged_loader(name):
    make, shape = LADDER[name]
    data = classification(11, shape)
    exact = dense_hessian(make(), lambda call: F.cross_entropy(call(data[0].double()), data[1]))
    double = [(x.double(), y) for x, y in cut(data, [4, 4, 3])]
    op = HessianOperator(make().double(), double)
    ours = op(torch.eye(op.shape[0], dtype=torch.float64))
    assert_relative(ours, exact, 1e-12)
    assert_relative(ours, ours.T, 1e-12)
    assert (op.samples, op.products) == (11, op.shape[0])


@pytest.mark.parametrize("name", LADDER)
def test_products_equal_differences_of_gradients(name):
    make, shape = LADDER[name]
    x, y = classification(6, shape)
    exact = difference_hessian(make(), lambda model: F.cross_entropy(model(x.double()), y))
    op = HessianOperator(make().double(), [(x.double(), y)])
    assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, 1e-6)


CRITERIA = {
    "class weights": nn.CrossEntropyLoss(weight=WEIGHT),
    "ignore_index": nn.CrossEntropyLoss(ignore_index=1),
    "both, smoothed": nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1, label_smoothing=0.1),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_the_criterion_sets_the_normaliser_of_the_whole_data(name):
    x, y = classification(11)
    criterion = CRITERIA[name]
    exact = dense_hessian(mlp(), lambda call: criterion(call(x.double()), y))
    op = HessianOperator(mlp().double(), cut((x.double(), y), [4, 4, 3]), criterion=criterion)
    assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, 1e-12)
    assert op.loss == pytest.approx(criterion(mlp().double()(x.double()), y).item(), rel=1e-13)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4))
def test_the_cut_into_batches_changes_no_product(sizes, k):
    x, y = classification(sum(sizes))
    v = torch.randn(k, 57, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
    whole = HessianOperator(mlp().double(), [(x.double(), y)])(v)
    assert_relative(HessianOperator(mlp().double(), cut((x.double(), y), sizes))(v), whole, 1e-12)


@pytest.mark.parametrize("name", ["tanh", "conv-bn", "attention"])
def test_a_float32_product_is_as_accurate_as_plain_double_backward(name):
    make, shape = LADDER[name]
    x, y = classification(16, shape)
    exact = dense_hessian(make(), lambda call: F.cross_entropy(call(x.double()), y))
    model = make()
    op = HessianOperator(model, cut((x, y), [16]))
    v = torch.randn(4, op.shape[0])
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        gradient = torch.autograd.grad(
            F.cross_entropy(model.eval()(x), y), list(model.parameters()), create_graph=True
        )
    flat = torch.cat([part.reshape(-1) for part in gradient])
    plain = torch.stack(
        [
            torch.cat(
                [
                    part.reshape(-1)
                    for part in torch.autograd.grad(flat @ row, model.parameters(), retain_graph=1)
                ]
            )
            for row in v
        ]
    )
    assert_as_accurate(op(v), plain, v.double() @ exact)


def test_parameters_the_loss_ignores_or_meets_linearly_have_zero_rows():
    model = mlp().double()
    model.register_parameter("unused", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    model.register_parameter("shift", nn.Parameter(torch.ones(1, dtype=torch.float64)))
    x, y = classification(6)

    def loss_fn(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1]) + model.shift.sum()

    op = HessianOperator(model, [(x.double(), y)], loss_fn=loss_fn)
    matrix = op(torch.eye(op.shape[0], dtype=torch.float64))
    named = op.space.to_dict(matrix)
    assert not named["unused"].any()
    assert not named["shift"].any()
    assert named["0.weight"].any()


def test_a_loss_linear_in_all_parameters_has_the_zero_hessian():
    model = nn.Linear(5, 1)
    op = HessianOperator(model, [classification(4)], loss_fn=lambda m, b: m(b[0]).mean())
    assert not op(torch.ones(2, 6)).any()


def test_a_block_of_the_matrix_is_selected_by_module():
    x, y = classification(7)
    full = HessianOperator(mlp().double(), [(x.double(), y)])
    model = mlp().double()
    part = HessianOperator(model, [(x.double(), y)], params=model[2])
    last = slice(full.space.offsets[2], None)
    matrix = full(torch.eye(57, dtype=torch.float64))[last, last]
    assert_relative(part(torch.eye(21, dtype=torch.float64)), matrix, 1e-13)


def test_dicts_columns_and_scipy_see_the_same_operator():
    x, y = classification(7)
    op = HessianOperator(mlp().double(), [(x.double(), y)])
    v = torch.randn(3, 57, dtype=torch.float64)
    exact = op(v)
    assert torch.equal(op.space.to_vector(op(op.space.to_dict(v))), exact)
    assert torch.equal(op @ v.T, exact.T)
    assert_relative(op(v[0]), exact[0], 1e-13)
    scipy = op.to_scipy()
    np.testing.assert_array_equal(scipy @ v.T.numpy(), exact.T.numpy())
    np.testing.assert_allclose(scipy @ v[0].numpy(), exact[0].numpy(), rtol=0, atol=1e-13)
    assert_relative(op.quadratic(v), (v * exact).sum(1), 1e-13)


def test_random_quadratics_do_not_depend_on_how_many_are_drawn_at_once():
    op = HessianOperator(mlp(), cut(classification(9), [4, 4, 1]))
    whole = op.random_quadratics(6, seed=3)
    pieces = [op.random_quadratics(n, seed=3, first=f) for f, n in ((0, 1), (1, 3), (4, 2))]
    assert_relative(torch.cat(pieces), whole, 1e-6)
    assert not torch.equal(whole, op.random_quadratics(6, seed=4))


def test_random_quadratics_are_unbiased_and_average_over_batches():
    data = classification(40)
    exact = dense_hessian(mlp(), lambda call: F.cross_entropy(call(data[0].double()), data[1]))
    for sizes in ([40], [4] * 10):
        op = HessianOperator(mlp(), cut(data, sizes))
        draws = op.random_quadratics(2000, seed=0)
        assert abs(float(draws.mean() - exact.trace())) < 4 * float(draws.std()) / 2000**0.5
        # Probes of different batches are independent: their variances add.
        variance = 0.0
        for x, y in cut(data, sizes):
            part = dense_hessian(
                mlp(),
                lambda call, x=x, y=y: F.cross_entropy(call(x.double()), y, reduction="sum") / 40,
            )
            variance += 2 * float(part.square().sum() - part.diagonal().square().sum())
        assert float(draws.var()) == pytest.approx(variance, rel=0.12)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_callers_is_changed(training):
    model = conv_net().train(training)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = snapshot(model)
    op = HessianOperator(model, cut(classification(8, (1, 6, 6)), [5, 3]))
    op(torch.ones(2, op.shape[0]))
    op.random_quadratics(2, seed=0)
    assert_same_state(model, before)


@pytest.mark.parametrize("engine", ["captured", "autograd"])
def test_nothing_is_changed_by_an_exception_in_the_middle(engine, monkeypatch):
    model = conv_net()
    model[8].bias.grad = torch.ones(3)
    loader = cut(classification(8, (1, 6, 6)), [3, 3, 2])
    op = HessianOperator(model, loader, engine=engine)
    before = snapshot(model)
    multiply = type(op._engine).multiply
    calls = []

    def interrupted(*arguments):
        calls.append(None)
        torch.rand(3)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return multiply(*arguments)

    monkeypatch.setattr(type(op._engine), "multiply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        op(torch.ones(1, op.shape[0]))
    assert_same_state(model, before)


def test_products_are_equal_to_the_bit_on_repeat():
    op = HessianOperator(conv_net(), cut(classification(8, (1, 6, 6)), [5, 3]))
    v = torch.randn(3, op.shape[0])
    assert torch.equal(op(v), op(v))


def nan_inputs():
    x, y = classification(4)
    x[2] = torch.nan
    return [classification(4), (x, y)]


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: HessianOperator(mlp(), []), "loader is empty"),
        (lambda: HessianOperator(mlp(), nan_inputs()), "loss is nan on batch 1"),
        (
            lambda: HessianOperator(
                nn.Sequential(mlp(), nn.FeatureAlphaDropout()),
                [classification(4)],
                loss_fn=lambda m, b: F.cross_entropy(F.dropout(m(b[0]), 0.5), b[1]),
            ),
            "stochastic in evaluation mode",
        ),
        (
            lambda: HessianOperator(mlp(), [(torch.ones(2, 5), torch.tensor([-100, -100]))]),
            "no valid target",
        ),
        (
            lambda: HessianOperator(mlp(), [classification(4)], loss_fn=lambda m, b: b[0].mean()),
            "does not depend on any selected parameter",
        ),
        (
            lambda: HessianOperator(mlp(), [classification(4)])(torch.ones(2, 5)),
            r"block must be \(K, 57\), got \(2, 5\)",
        ),
    ],
)
def test_what_cannot_be_measured_is_named(act, text):
    with pytest.raises(ValueError, match=text):
        act()


def test_an_overflowing_product_is_an_error_not_a_number():
    model = nn.Linear(1, 1)
    op = HessianOperator(
        model, [(torch.full((1, 1), 1e18), torch.zeros(1, 1))], criterion=F.mse_loss
    )
    with pytest.raises(FloatingPointError, match="not finite"):
        op(torch.full((1, 2), 1e18))


def test_a_loss_of_another_model_is_refused():
    other, (x, y) = mlp(), classification(8)
    with pytest.raises(ValueError, match="does not depend on any selected parameter"):
        HessianOperator(
            mlp(), [(x.float(), y)], loss_fn=lambda _, b: F.cross_entropy(other.float()(b[0]), b[1])
        )
