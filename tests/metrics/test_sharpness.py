from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import (
    assert_relative,
    assert_same_state,
    classification,
    conv_net,
    cut,
    dense_hessian,
    mlp,
    snapshot,
)
from torch import nn

from landscape_fast import HessianOperator, spectral_density, top_eigs, trace
from landscape_fast.krylov.eigen import extreme_eigenpairs

WEIGHT = torch.tensor([0.2, 3.0, 1.0])
PROBLEMS = {
    "mlp": (mlp, (5,), nn.CrossEntropyLoss()),
    "conv-bn": (conv_net, (1, 6, 6), nn.CrossEntropyLoss()),
    "class weights": (mlp, (5,), nn.CrossEntropyLoss(weight=WEIGHT)),
    "ignore_index": (mlp, (5,), nn.CrossEntropyLoss(ignore_index=2)),
    "sum": (conv_net, (1, 6, 6), nn.CrossEntropyLoss(reduction="sum")),
}


def problem(name):
    make, shape, criterion = PROBLEMS[name]
    x, y = classification(23, shape)
    weight = None if criterion.weight is None else criterion.weight.double()
    exact_criterion = nn.CrossEntropyLoss(
        weight, ignore_index=criterion.ignore_index, reduction=criterion.reduction
    )
    exact = dense_hessian(make(), lambda model: exact_criterion(model(x.double()), y))
    return make(), cut((x, y), [10, 10, 3]), criterion, exact


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("which", ["largest", "smallest", "both"])
def test_eigenvalues_lie_within_their_residuals_of_the_dense_ones(name, which):
    model, loader, criterion, exact = problem(name)
    result = top_eigs(model, loader, k=4, criterion=criterion, which=which, tol=1e-4)
    assert result.converged
    values = torch.linalg.eigvalsh(exact).flip(0)
    wanted = {
        "largest": values[:4],
        "smallest": values.flip(0)[:4],
        "both": torch.cat([values[:2], values[-2:]]),
    }[which]
    rounding = 1e-6 * values.abs().max()
    assert ((result.values - wanted).abs() <= result.residuals + rounding).all()
    true = (result.vectors.double() @ exact - result.values[:, None] * result.vectors).norm(dim=1)
    assert ((true - result.residuals).abs() <= rounding).all()
    assert (result.residuals <= 1e-4 * values.abs().max()).all()
    assert result.samples == 23


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_trace_lies_within_its_interval(name):
    model, loader, criterion, exact = problem(name)
    result = trace(model, loader, criterion=criterion, rtol=0.06, max_products=20_000)
    assert result.converged
    assert result.stderr <= 0.06 * abs(result.value)
    low, high = result.interval(0.999)
    assert low <= float(exact.trace()) <= high


def test_the_density_has_the_moments_of_the_dense_spectrum():
    model, loader, criterion, exact = problem("mlp")
    density = spectral_density(model, loader, criterion=criterion, starts=100, steps=57)
    for power in (1, 2):
        rows = 57 * (density.weights * density.nodes**power).sum(1)
        truth = float(torch.linalg.matrix_power(exact, power).trace())
        assert abs(float(rows.mean()) - truth) < 4 * float(rows.std()) / 10


def test_one_layers_block_is_measured_by_name():
    model, loader, _, exact = problem("mlp")
    result = top_eigs(model, loader, params="2", tol=1e-5)
    assert_relative(result.values, torch.linalg.eigvalsh(exact[36:, 36:])[-1:], 1e-5)


def test_the_seed_decides_everything():
    model, loader, _, _ = problem("mlp")
    assert torch.equal(
        top_eigs(model, loader, seed=1).vectors, top_eigs(model, loader, seed=1).vectors
    )
    assert (
        trace(model, loader, rtol=0.2, seed=1).value == trace(model, loader, rtol=0.2, seed=1).value
    )
    assert (
        trace(model, loader, rtol=0.2, seed=1).value != trace(model, loader, rtol=0.2, seed=2).value
    )


@pytest.mark.parametrize("measure", [top_eigs, trace, spectral_density])
def test_the_model_comes_back_as_it_went_in_also_after_an_exception(measure):
    model, loader, _, _ = problem("conv-bn")
    model[8].bias.grad = torch.ones(3)
    before = snapshot(model)
    measure(model, loader)
    assert_same_state(model, before)
    calls = []

    def interrupted(model, batch):
        calls.append(None)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return F.cross_entropy(model(batch[0]), batch[1])

    with pytest.raises(KeyboardInterrupt):
        measure(model, loader, loss_fn=interrupted)
    assert_same_state(model, before)


def test_more_eigenvalues_than_parameters_are_refused():
    model, loader, _, _ = problem("mlp")
    with pytest.raises(ValueError, match="k must be at most the number of parameters 57, got 58"):
        top_eigs(model, loader, k=58)


def test_every_copy_of_a_linear_models_eigenvalues_comes_back():
    torch.manual_seed(0)
    model, x = nn.Linear(6, 5, bias=False), torch.randn(30, 6)
    data = [(x, torch.randn(30, 5))]
    result = top_eigs(model, data, k=12, criterion=nn.MSELoss())
    once = torch.linalg.eigvalsh(2 * x.double().T @ x.double() / (30 * 5)).flip(0)
    assert_relative(result.values, once.repeat_interleave(5)[:12], 1e-4)
    assert result.complete
    assert result.cluster_cut


def test_the_preconditioned_hessian_is_that_of_the_scaled_matrix():
    model, loader, criterion, exact = problem("conv-bn")
    d = torch.rand(len(exact), generator=torch.Generator().manual_seed(1)) + 0.5
    result = top_eigs(model, loader, k=3, criterion=criterion, preconditioner=d, tol=1e-5)
    root = d.double().rsqrt()
    scaled = root[:, None] * exact * root
    assert_relative(result.values, torch.linalg.eigvalsh(scaled).flip(0)[:3], 1e-5)
    true = (result.vectors.double() @ scaled - result.values[:, None] * result.vectors).norm(dim=1)
    assert ((true - result.residuals).abs() <= 1e-5 * result.values[0]).all()
    named, start = {}, 0
    for name, parameter in model.named_parameters():
        named[name] = d[start : start + parameter.numel()].reshape(parameter.shape)
        start += parameter.numel()
    again = top_eigs(model, loader, k=3, criterion=criterion, preconditioner=named, tol=1e-5)
    assert torch.equal(again.vectors, result.vectors)


@pytest.mark.parametrize(
    ("preconditioner", "text"),
    [
        (torch.ones(56), r"preconditioner must have the shape \(57,\), got \(56,\)"),
        (torch.zeros(57), "preconditioner must be positive and finite, but entry 0 is 0.0"),
        (torch.full((57,), torch.nan), "preconditioner must be positive and finite"),
        ({"0.weight": torch.ones(6, 5)}, "names differ from the selected parameters'"),
    ],
)
def test_a_preconditioner_that_is_none_is_named(preconditioner, text):
    model, loader, _, _ = problem("mlp")
    with pytest.raises(ValueError, match=text):
        top_eigs(model, loader, preconditioner=preconditioner)


def test_the_answer_is_the_same_inside_inference_mode_and_no_grad():
    model, loader, _, _ = problem("mlp")
    plain = top_eigs(model, loader)
    for outer in (torch.inference_mode, torch.no_grad):
        with outer():
            assert_relative(top_eigs(model, loader).values, plain.values, 1e-6)
            made_inside = [(x.clone(), y.clone()) for x, y in loader]
            assert_relative(top_eigs(model, made_inside).values, plain.values, 1e-6)


def test_a_model_made_inside_inference_mode_is_named_with_the_repair():
    with torch.inference_mode():
        model = mlp()
        with pytest.raises(ValueError, match="inference_mode.*make or load the model outside"):
            top_eigs(model, [classification(8)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_says_that_its_arithmetic_bounds_the_residual(dtype):
    model, loader, _, exact = problem("mlp")
    result = top_eigs(model.to(dtype), [(x.to(dtype), y) for x, y in loader])
    top = torch.linalg.eigvalsh(exact)[-1:]
    assert result.converged
    assert result.limited_by_rounding
    assert result.tolerance == pytest.approx(10 * torch.finfo(dtype).eps * float(top), rel=0.05)
    assert abs(float(result.values[0] - top)) <= result.tolerance


def test_a_half_precision_model_is_measured_with_float32_vectors():
    model, loader, _, exact = problem("mlp")
    loader = [(x.bfloat16(), y) for x, y in loader]
    result = top_eigs(model.bfloat16(), loader, tol=0.05)
    assert result.vectors.dtype == torch.float32
    assert_relative(result.values, torch.linalg.eigvalsh(exact)[-1:], 0.05)


def test_a_search_from_the_gradient_takes_fewer_products_in_many_dimensions():
    x, y = classification(60, (20,), 5)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU())
    model.append(nn.Linear(300, 5))
    op = HessianOperator(model, [(x, y)])
    drawn = [extreme_eigenpairs(op, 1, seed=seed).products for seed in range(3)]
    along = [top_eigs(model, [(x, y)], 1, seed=seed).products for seed in range(3)]
    assert sum(along) < sum(drawn) - len(drawn), (along, drawn)


@pytest.mark.parametrize("risk", [0.01, 1.0])
def test_a_gradient_along_a_lower_eigenvector_does_not_hide_the_top(risk):
    values = torch.cat([torch.tensor([1.0, 0.9]), torch.linspace(0.05, 0.001, 298)])
    model = nn.Linear(300, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()[0, 1] = 1.0
    data = [(torch.diag((150 * values).sqrt()), torch.zeros(300, 1))]
    found = top_eigs(model, data, 1, criterion=nn.MSELoss(), risk=risk)
    assert found.values.item() == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize("residual", [0.0, 1.0])
@pytest.mark.parametrize("which", ["largest", "magnitude"])
def test_a_gradient_that_is_zero_or_orthogonal_to_the_top_hides_nothing(which, residual):
    model = nn.Linear(3, 1, bias=False)
    x = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0, residual]]))  # its gradient is along the third
    data, criterion = [(x, torch.zeros(3, 1))], nn.MSELoss()
    found = top_eigs(model, data, 1, criterion=criterion, which=which, risk=1)
    assert found.values.item() == pytest.approx(2 * 9 / 3, rel=1e-3)
