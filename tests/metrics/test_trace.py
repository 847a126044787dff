from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import (
    assert_same_state,
    classification,
    conv_net,
    cut,
    dense_hessian,
    mlp,
    snapshot,
)
from torch import nn
from trace_problems import fitted, problem

from landscape_fast import trace
from landscape_fast.krylov import allocation
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal
from landscape_fast.linearise.second_derivative import twice_differentiable
from landscape_fast.metrics.open_part import OpenPart


@pytest.mark.parametrize("per_layer", [False, True])
def test_a_piecewise_linear_network_needs_no_probes(per_layer):
    model, loader, exact, _ = problem(conv_net, (1, 6, 6))
    result = trace(model, loader, rtol=0, rtol_omitted=0, per_layer=per_layer)
    assert result.value == pytest.approx(float(exact.trace()), rel=1e-12)
    assert (result.stderr, result.converged, result.remainder) == (0.0, True, 0.0)
    assert result.exact == tuple(name for name, _ in model.named_parameters())
    low, high = result.interval()
    assert low < result.value < high < low * (1 + 1e-13)
    assert result.note is None
    assert result.products == 2  # C - 1 directions per row
    parts = exact.diagonal().split([p.numel() for p in model.parameters()])
    wanted = dict(zip(result.exact, [float(part.sum()) for part in parts], strict=True))
    assert result.per_layer == (pytest.approx(wanted, rel=1e-11) if per_layer else {})


@pytest.mark.parametrize("per_layer", [False, True])
def test_only_the_curvature_of_the_outputs_is_estimated(per_layer, monkeypatch):
    monkeypatch.setattr(allocation._Run, "summed", lambda *_: False)  # as of a large network
    model, loader, exact, gauss = problem()
    result = trace(model, loader, rtol=0.02, seed=3, max_products=20_000, per_layer=per_layer)
    low, high = result.interval(0.999)
    assert low <= float(exact.trace()) <= high
    assert 0 < result.stderr <= 0.02 * result.value
    assert result.exact == ("2.weight", "2.bias")
    assert result.gauss_newton == pytest.approx(float(gauss.trace()), rel=1e-6)
    assert result.remainder == pytest.approx(result.value - result.gauss_newton)
    if per_layer:
        assert sum(result.per_layer.values()) == pytest.approx(result.value)
        parts = exact.diagonal().split([p.numel() for p in model.parameters()])
        for part, value, error in zip(parts, result.layer_values, result.layer_stderr, strict=True):
            assert abs(float(part.sum() - value)) <= 4 * float(error) + 1e-6


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("rtol", [0.0, 0.001])
def test_a_smooth_network_of_few_parameters_is_summed_where_draws_would_cost_more(rtol, per_layer):
    model, loader, exact, gauss = problem()
    result = trace(model, loader, rtol=rtol, rtol_omitted=0, per_layer=per_layer)
    assert result.value == pytest.approx(float(exact.trace()), rel=1e-12)
    assert result.remainder == pytest.approx(float((exact - gauss).trace()), rel=1e-10)
    assert (result.stderr, result.remainder_stderr, result.converged) == (0.0, 0.0, True)
    parts = exact.diagonal().split([p.numel() for p in model.parameters()])
    wanted = [float(part.sum()) for part in parts] if per_layer else []
    assert list(result.per_layer.values()) == pytest.approx(wanted, rel=1e-10)
    scarce = trace(model, loader, rtol=rtol, rtol_omitted=0, max_products=60)
    assert not scarce.converged
    assert scarce.stderr > 0


def test_the_gauss_newton_trace_has_no_error_in_any_network():
    model, loader, _, gauss = problem()
    result = trace(model, loader, gauss_newton=True, rtol_omitted=0)
    assert result.value == pytest.approx(float(gauss.trace()), rel=1e-12)
    assert (result.stderr, result.remainder) == (0.0, None)


def test_a_loss_of_pairs_is_estimated_whole_and_says_so():
    model, loader, _, _ = problem()

    def pairs(m, batch):
        z = m(batch[0])
        return (z @ z.T).square().sum(), 1.0

    data = [loader[0]]
    exact = dense_hessian(model, lambda m: pairs(m, data[0])[0])
    result = trace(model, data, loss_fn=pairs, rtol=0.05, max_products=5000)
    low, high = result.interval(0.999)
    assert low <= float(exact.trace()) <= high
    assert "rows" in result.note
    assert (result.exact, result.gauss_newton, result.remainder) == ((), None, None)


def test_a_block_of_parameters_and_a_generator_as_loader():
    model, loader, exact, _ = problem(lambda: mlp(activation=nn.ReLU))
    result = trace(model, iter(loader), params="2", rtol_omitted=0)
    assert result.value == pytest.approx(float(exact.diagonal()[36:].sum()), rel=1e-12)
    assert result.exact == ("2.weight", "2.bias")


@pytest.mark.parametrize(
    ("argument", "value"), [("rtol", -1.0), ("max_products", 1), ("rtol_omitted", 1.0)]
)
def test_arguments_out_of_range_are_named(argument, value):
    model, loader, _, _ = problem()
    with pytest.raises(ValueError, match=argument):
        trace(model, loader, **{argument: value})


def test_the_model_comes_back_untouched():
    model, loader, _, _ = problem(conv_net, (1, 6, 6))
    model.train()
    model[8].bias.grad = torch.ones(3, dtype=torch.float64)
    before = snapshot(model)
    trace(model, loader)
    assert_same_state(model, before)


def test_half_precision_models_are_measured_in_single_precision():
    model, loader, exact, _ = problem(lambda: mlp(activation=nn.ReLU))
    half = [(x.bfloat16(), y) for x, y in loader]
    result = trace(model.bfloat16(), half, rtol=0.5, max_products=20)
    assert result.value == pytest.approx(float(exact.trace()), rel=0.1)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(
            weight=torch.tensor([0.2, 3.0, 1.0], dtype=torch.float64),
            ignore_index=1,
            label_smoothing=0.1,
        ),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.MSELoss(),
    ],
)
def test_the_loss_divides_by_its_own_count_on_ragged_batches(criterion):
    x, y = classification(14)
    x = x.double()
    y = F.one_hot(y, 3).double() if isinstance(criterion, nn.MSELoss) else y
    model = mlp(activation=nn.ReLU).double()
    exact = dense_hessian(model, lambda m: criterion(m(x), y))
    result = trace(model, cut((x, y), [9, 5]), criterion=criterion, rtol_omitted=0)
    assert result.value == pytest.approx(float(exact.trace()), rel=1e-12)


def test_a_loss_that_is_not_finite_is_an_error():
    model, loader, _, _ = problem()
    loader[1][0][3, 2] = torch.nan
    with pytest.raises(ValueError, match="loss is nan"):
        trace(model, loader)


@pytest.mark.slow
def test_a_percent_of_a_fitted_network_needs_a_part_of_its_directions():
    model, loader, exact, _ = fitted(rows=600)
    result = trace(model, loader, rtol=0.03)
    assert result.sampled
    assert result.converged
    assert 128 <= result.cotangents < 600
    assert 0 < result.stderr <= 0.03 * result.value
    assert result.gauss_newton_stderr == pytest.approx(result.stderr)
    low, high = result.interval(0.999)
    assert low <= float(exact.trace()) <= high
    again = trace(model, loader, rtol=0.03)
    assert again.value == result.value
    assert trace(model, loader, rtol=0.03, seed=1).value != result.value
    whole = trace(model, loader, rtol=0, rtol_omitted=0)
    assert whole.value == pytest.approx(float(exact.trace()), rel=1e-12)
    assert not whole.sampled


def test_few_rows_are_summed_because_that_is_less_work():
    model, loader, exact, _ = problem(conv_net, (1, 6, 6))
    result = trace(model, loader)
    assert not result.sampled
    assert result.value == pytest.approx(float(exact.trace()), rel=1e-12)


def test_what_is_omitted_is_estimated_with_its_error():
    model, loader, exact, _ = fitted()
    result = trace(model, loader, rtol=0, rtol_omitted=0.2, per_layer=True)
    assert 0.1 < result.omitted <= 0.2
    assert result.converged
    assert 0 < result.stderr < 0.05 * result.value
    assert result.freedom == 7
    low, high = result.interval(0.999)
    assert low <= float(exact.trace()) <= high
    assert sum(result.per_layer.values()) == pytest.approx(result.value)
    assert (result.layer_stderr > 0).all()


def test_data_read_anew_on_every_pass_state_what_nothing_stands_for():
    model, loader, exact, _ = fitted()
    result = trace(model, loader, rtol_omitted=0.2, memory_budget=0)
    assert not result.sampled
    assert 0 <= result.omitted <= 1e-7
    assert result.rounding >= result.omitted * result.value
    assert result.value == pytest.approx(float(exact.trace()), rel=1e-6)


@pytest.mark.slow
def test_both_parts_of_a_smooth_network_are_drawn_and_their_errors_add_up():
    model, loader, exact, gauss = fitted(rows=600, activation=nn.GELU)
    result = trace(model, loader, rtol=0.03, max_products=2000)
    assert result.sampled
    assert result.converged
    assert result.gauss_newton_stderr > 0
    assert result.remainder_stderr > 0
    sides = result.gauss_newton_stderr**2 + result.remainder_stderr**2
    assert result.stderr**2 == pytest.approx(sides)
    assert abs(result.gauss_newton - float(gauss.trace())) < 4 * result.gauss_newton_stderr
    rest = float(exact.trace() - gauss.trace())
    assert abs(result.remainder - rest) < 4 * result.remainder_stderr


def test_a_loss_whose_rows_see_the_targets_of_others_is_estimated_whole():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.randn(60, 5, dtype=torch.float64)
    y = 2 * x[:, 0]  # not (60, 1): every output is compared with every target

    def loss_fn(model, batch):
        return (model(batch[0]) - batch[1]).square().mean()

    exact = dense_hessian(model, lambda m: loss_fn(m, (x, y)))
    for rtol in (0, 0.02):  # summed, and drawn
        result = trace(model, [(x, y)], loss_fn=loss_fn, rtol=rtol)
        assert abs(result.value - float(exact.trace())) < 5 * result.stderr + 1e-9
    known = GaussNewtonDiagonal(
        model,
        [(x, y)],
        criterion=None,
        loss_fn=loss_fn,
        params=None,
        memory_budget=None,
        rtol_omitted=0.0,
    )
    loss = {"criterion": None, "loss_fn": loss_fn}
    (part,) = OpenPart(model, known, False, False, loss, None, "float32", 0).parts
    assert part.larger is None, "rows are drawn apart from those whose targets they see"


class Heads(nn.Module):
    """Attention with a dimension of heads: outside of a product torch takes its fused form."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.qkv(x.reshape(len(x), 1, 3, 4)).split(4, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v).mean((1, 2)))


def test_attention_is_captured_in_its_twice_differentiable_form_whoever_captures_first():
    x, y = classification(16, (12,))
    model = Heads()
    with twice_differentiable(model):
        exact = dense_hessian(model, lambda m: F.cross_entropy(m(x.double()), y))
    result = trace(model, [(x, y)], rtol=0.05, max_products=300)
    assert result.note is None
    low, high = result.interval(0.999)
    assert low <= float(exact.trace()) <= high
