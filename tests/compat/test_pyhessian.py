"""Scripts for PyHessian run on with another import line, and get better numbers."""

from __future__ import annotations

import importlib.util
import inspect
import warnings

import numpy as np
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

from landscape_fast.compat.pyhessian import density_generate, get_esd_plot, hessian

CROSS_ENTROPY = nn.CrossEntropyLoss()


def dense(model, x, y):
    return dense_hessian(model, lambda call: F.cross_entropy(call(x.double()), y))


@pytest.mark.parametrize("whole", [True, False])
def test_a_script_of_pyhessians_example_gets_what_the_dense_matrix_says(
    whole, tmp_path, monkeypatch
):
    x, y = classification(12, (1, 6, 6))
    model = nn.DataParallel(conv_net())
    exact = torch.linalg.eigvalsh(dense(model.module, x, y))
    top = exact[exact.abs().argsort(descending=True)]
    # As in example_pyhessian_analysis.py, a list of batches or a single one.
    source = {"data": (x, y)} if whole else {"dataloader": cut((x, y), [5, 5, 2])}
    hessian_comp = hessian(model, CROSS_ENTROPY, cuda=False, **source)
    top_eigenvalues, _ = hessian_comp.eigenvalues()
    trace = hessian_comp.trace()
    estimate = hessian_comp.evidence
    density_eigen, density_weight = hessian_comp.density()
    assert top_eigenvalues == pytest.approx([float(top[0])], rel=1e-3)
    bound = 4 * estimate.stderr + 1e-4 * float(exact.abs().sum())
    assert np.mean(trace) == pytest.approx(float(exact.sum()), abs=bound)
    assert np.shape(density_eigen) == np.shape(density_weight) == (1, min(100, len(exact)))
    assert np.sum(density_weight) == pytest.approx(1)
    assert np.min(density_weight) >= 0
    assert exact[0] - 1e-4 <= np.min(density_eigen) <= np.max(density_eigen) <= exact[-1] + 1e-4
    monkeypatch.chdir(tmp_path)
    get_esd_plot(density_eigen, density_weight)
    assert (tmp_path / "example.pdf").stat().st_size > 1000


def test_types_names_and_defaults_are_pyhessians():
    defaults = {
        name: {k: p.default for k, p in list(inspect.signature(f).parameters.items())[1:]}
        for name, f in inspect.getmembers(hessian, inspect.isfunction)
    }
    assert defaults["eigenvalues"] == {"maxIter": 100, "tol": 1e-3, "top_n": 1}
    assert defaults["trace"] == {"maxIter": 100, "tol": 1e-3}
    assert defaults["density"] == {"iter": 100, "n_v": 1}
    assert list(defaults["__init__"])[:5] == ["model", "criterion", "data", "dataloader", "cuda"]
    comp = hessian(mlp(), CROSS_ENTROPY, data=classification(8))  # cuda=True without a GPU, too
    values, vectors = comp.eigenvalues(top_n=2)
    assert [type(v) for v in values] == [float, float]
    assert [v.shape for v in vectors[1]] == [p.shape for p in comp.params]
    assert sum(float(v.square().sum()) for v in vectors[1]) == pytest.approx(1)
    with pytest.warns(RuntimeWarning, match="trace did not reach tol"):
        assert isinstance(comp.trace()[0], float)
    nodes, weights = comp.density(iter=5, n_v=2)
    assert [len(nodes), len(nodes[0]), type(weights[1][4])] == [2, 5, float]
    assert (comp.device, comp.full_dataset) == ("cpu", False)


def test_gradients_products_and_parameters_are_what_scripts_take_on_from():
    x, y = classification(8)
    model = mlp()
    matrix = dense(model, x, y)
    comp = hessian(model, CROSS_ENTROPY, data=(x, y), cuda=False)
    v = [torch.ones_like(p) for p in comp.params]
    by_hand = torch.autograd.grad(comp.gradsH, comp.params, v)
    value, product = comp.dataloader_hv_product(v)
    ones = torch.ones(len(matrix)).double()
    for found in (by_hand, product):
        assert_relative(torch.cat([p.reshape(-1) for p in found]), matrix @ ones, 1e-5)
    assert value == pytest.approx(float(ones @ matrix @ ones), rel=1e-5)
    loader = hessian(model, CROSS_ENTROPY, dataloader=cut((x, y), [5, 3]), cuda=False)
    for one, other in zip(loader.gradsH, comp.gradsH, strict=True):
        assert_relative(one, other.detach(), 1e-5)


def test_a_gradient_with_weight_normalisation_is_differentiated_rightly():
    x, y = classification(8)
    model = mlp()
    model[0] = nn.utils.parametrizations.weight_norm(model[0])
    comp = hessian(model, CROSS_ENTROPY, data=(x, y), cuda=False)
    v = [torch.ones_like(p) for p in comp.params]
    by_hand = torch.autograd.grad(comp.gradsH, comp.params, v)
    for one, other in zip(by_hand, comp.dataloader_hv_product(v)[1], strict=True):
        assert_relative(one, other.detach(), 1e-5)


def test_the_model_stays_as_it_was():
    model = conv_net().train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = snapshot(model)
    comp = hessian(model, CROSS_ENTROPY, data=classification(8, (1, 6, 6)), cuda=False)
    comp.eigenvalues(), comp.trace(), comp.density(iter=3), comp.gradsH
    assert_same_state(model, before)


def test_ragged_batches_and_weights_have_the_normaliser_of_the_criterion():
    x, y = classification(11)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0, 1.0]))
    whole, cut_up = (
        hessian(mlp(), criterion, dataloader=loader, cuda=False).eigenvalues()[0]
        for loader in ([(x, y)], cut((x, y), [8, 3]))
    )
    assert cut_up == pytest.approx(whole, rel=1e-4)


def test_a_shuffling_loader_is_one_data_set_for_every_answer():
    class Shuffling:
        def __iter__(self):
            yield classification(8)[0] * torch.rand(()), classification(8)[1]

    comp = hessian(mlp(), CROSS_ENTROPY, dataloader=Shuffling(), cuda=False)
    assert comp.eigenvalues()[0] == comp.eigenvalues()[0]
    assert comp.trace(maxIter=1000) == comp.trace(maxIter=1000)


def test_what_is_not_reached_is_said():
    comp = hessian(mlp(), CROSS_ENTROPY, data=classification(8), cuda=False)
    with pytest.warns(RuntimeWarning, match="eigenvalues did not reach tol; raise maxIter or tol"):
        comp.eigenvalues(maxIter=2, top_n=5, tol=1e-6)
    assert not comp.evidence.converged


@pytest.mark.parametrize("source", [{}, {"data": classification(4), "dataloader": []}])
def test_exactly_one_source_of_data_is_needed(source):
    with pytest.raises(ValueError, match="exactly one of data and dataloader"):
        hessian(mlp(), CROSS_ENTROPY, **source)


def test_too_many_eigenvalues_are_named():
    comp = hessian(mlp(), CROSS_ENTROPY, data=classification(4))
    with pytest.raises(ValueError, match="top_n must be a whole number .* at most 57"):
        comp.eigenvalues(top_n=58)


def test_the_density_is_the_sum_of_gaussians_that_pyhessian_draws():
    nodes, weights = [[0.0, 1.0, 4.0], [0.5, 2.0, 3.0]], [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
    density, grid = density_generate(nodes, weights, num_bins=400, sigma_squared=1e-2)
    assert (grid[0], grid[-1]) == pytest.approx((0.25 - 0.01, 3.5 + 0.01))
    variance = 1e-2 * (grid[-1] - grid[0])
    wanted = [
        sum(
            w * np.exp(-((x - t) ** 2) / (2 * variance))
            for ts, ws in zip(nodes, weights, strict=True)
            for t, w in zip(ts, ws, strict=True)
        )
        for x in grid
    ]
    wanted = np.array(wanted) / (np.sum(wanted) * (grid[1] - grid[0]))
    assert density == pytest.approx(wanted, rel=1e-12)


@pytest.mark.skipif(
    importlib.util.find_spec("pyhessian") is None, reason="PyHessian is not installed"
)
@pytest.mark.parametrize("whole", [True, False])
def test_answers_are_those_of_pyhessian_where_it_has_converged(whole):
    import pyhessian

    x, y = classification(12, (1, 6, 6))
    source = {"data": (x, y)} if whole else {"dataloader": cut((x, y), [6, 6])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of backward(create_graph=True)
        original = pyhessian.hessian(conv_net(), CROSS_ENTROPY, cuda=False, **source)
        their_values, their_vectors = original.eigenvalues(maxIter=2000, tol=1e-7, top_n=2)
        their_trace = original.trace(maxIter=400, tol=0)
    ours = hessian(conv_net(), CROSS_ENTROPY, cuda=False, **source)
    values, vectors = ours.eigenvalues(tol=1e-5, top_n=2)
    assert values == pytest.approx(their_values, rel=1e-3)
    for one, other in zip(vectors, their_vectors, strict=True):
        assert [p.shape for p in one] == [p.shape for p in other]
        overlap = sum(float((p * q).sum()) for p, q in zip(one, other, strict=True))
        assert abs(overlap) == pytest.approx(1, abs=0.01)
    mean = np.mean(ours.trace())
    error = np.hypot(np.std(their_trace) / len(their_trace) ** 0.5, ours.evidence.stderr)
    assert abs(mean - np.mean(their_trace)) < 4 * error
    assert type(their_values) is type(values)
    assert type(their_trace) is type(ours.trace())


def test_reading_a_loader_moves_no_random_state():
    x, y = classification(20)
    loader = torch.utils.data.DataLoader(list(zip(x, y, strict=True)), 8, shuffle=True)
    model = mlp()
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    hessian(model, CROSS_ENTROPY, dataloader=loader, cuda=False)
    assert torch.equal(torch.rand(1), expected)


def test_parameters_go_with_the_vectors_also_where_some_are_unused_or_frozen_late():
    x, y = classification(12)
    model = mlp()
    model.unused = nn.Linear(2, 2)
    model.forward = lambda inputs: model[2](model[1](model[0](inputs)))
    comp = hessian(model, CROSS_ENTROPY, data=(x, y), cuda=False)
    model[0].weight.requires_grad_(False)
    (vector,) = comp.eigenvalues()[1]
    shapes = [part.shape for part in comp.params]
    assert [part.shape for part in vector] == shapes == [part.shape for part in comp.gradsH]


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="model has no parameter"):
        hessian(nn.ReLU(), CROSS_ENTROPY, data=classification(12), cuda=False)
