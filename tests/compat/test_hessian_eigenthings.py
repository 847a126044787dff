"""The function of hessian-eigenthings 0.x, held to its documented signature and dense oracles."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import classification, cut, dense_hessian, mlp

from landscape_fast.compat.hessian_eigenthings import compute_hessian_eigenthings


def problem():
    x, y = classification(11)
    exact = dense_hessian(mlp(), lambda call: F.cross_entropy(call(x.double()), y))
    return mlp(), cut((x, y), [4, 4, 3]), exact


def test_the_signature_is_that_of_the_last_0_x():
    parameters = inspect.signature(compute_hessian_eigenthings).parameters
    assert {name: p.default for name, p in list(parameters.items())[3:-1]} == {
        "num_eigenthings": 10,
        "full_dataset": True,
        "mode": "power_iter",
        "use_gpu": True,
        "fp16": False,
        "max_possible_gpu_samples": 2**16,
    }
    assert list(parameters)[:3] == ["model", "dataloader", "loss"]


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, lambda v: v[np.argsort(-np.abs(v))]),
        ({"mode": "lanczos"}, lambda v: v[np.argsort(-np.abs(v))]),
        ({"mode": "lanczos", "which": "LA"}, lambda v: v[::-1]),
        ({"mode": "lanczos", "which": "SA", "max_steps": 60, "tol": 1e-4}, lambda v: v),
        ({"init_vec": np.ones(57), "momentum": 0.9, "power_iter_steps": 40}, lambda v: v[::-1]),
    ],
)
def test_values_and_vectors_are_those_of_the_dense_matrix(options, order):
    model, loader, exact = problem()
    values, vectors = compute_hessian_eigenthings(
        model, loader, torch.nn.CrossEntropyLoss(), 3, **options
    )
    wanted = order(torch.linalg.eigvalsh(exact).numpy())[:3]
    assert values == pytest.approx(wanted, abs=2e-3 * np.abs(wanted).max())
    assert vectors.shape == (3, 57)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), rel=1e-5)
    assert isinstance(values, np.ndarray)
    left = vectors @ exact.numpy() - values[:, None] * vectors
    assert np.abs(left).max() < 2e-3 * np.abs(wanted).max()


def test_tensors_are_returned_on_request():
    model, loader, _ = problem()
    values, vectors = compute_hessian_eigenthings(model, loader, F.cross_entropy, 1, to_numpy=False)
    assert isinstance(values, torch.Tensor)
    assert vectors.shape == (1, 57)


def test_too_few_steps_are_said():
    model, loader, _ = problem()
    with pytest.warns(RuntimeWarning, match="largest residual .* allow more steps"):
        compute_hessian_eigenthings(
            model, loader, F.cross_entropy, 10, power_iter_steps=1, power_iter_err_threshold=1e-6
        )


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"mode": "svd"}, ValueError, "mode must be 'power_iter' or 'lanczos', got 'svd'"),
        ({"full_dataset": False}, ValueError, "full_dataset=False multiplies with another matrix"),
        ({"tol": 1e-3}, TypeError, "mode='power_iter' takes no tol"),
        ({"mode": "lanczos", "which": "SM"}, ValueError, "which must be 'LM', 'LA' or 'SA'"),
        ({"num_eigenthings": 58}, ValueError, "num_eigenthings must be .* at most 57"),
    ],
)
def test_what_is_not_offered_is_named(options, error, text):
    model, loader, _ = problem()
    with pytest.raises(error, match=text):
        compute_hessian_eigenthings(model, loader, F.cross_entropy, **options)


@pytest.mark.parametrize("name", ["power_iter_steps", "power_iter_err_threshold"])
def test_zeros_are_named(name):
    data = [classification(12)]
    with pytest.raises(ValueError, match=name):
        compute_hessian_eigenthings(mlp(), data, torch.nn.CrossEntropyLoss(), 1, **{name: 0})
