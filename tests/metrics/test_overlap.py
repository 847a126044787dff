"""Overlaps with known subspaces."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import classification, dense_hessian, mlp
from torch import nn

from landscape_fast import top_eigs
from landscape_fast.metrics.overlap import gradient_overlap, subspace_overlap


def test_share_and_cosines_equal_those_of_the_dense_hessian():
    model = mlp().double()
    x, y = classification(30)
    data = [(x.double(), y)]
    loss = nn.functional.cross_entropy(model(x.double()), y)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    hessian = dense_hessian(model, lambda m: nn.functional.cross_entropy(m(x.double()), y))
    top = torch.linalg.eigh(hessian).eigenvectors[:, -3:].flip(1)
    found = gradient_overlap(model, data, 3, tol=1e-9)
    cosines = (top.T @ gradient / gradient.norm()).abs()
    torch.testing.assert_close(found.cosines, cosines, atol=1e-6, rtol=1e-6)
    assert found.share == pytest.approx(float(cosines.square().sum()), rel=1e-6)
    product = hessian @ gradient
    exact = gradient @ product / (gradient.norm() * product.norm())
    assert found.hessian_cosine == pytest.approx(float(exact), rel=1e-8)
    given = gradient_overlap(model, data, top_eigs(model, data, k=3, tol=1e-9))
    assert given.share == pytest.approx(found.share, rel=1e-6)


def test_equal_parts_along_a_linear_spectrum_give_the_yardstick():
    """Gur-Ari et al.: equal parts along eigenvalues 1 to n have the cosine sqrt(3/4)."""
    n = 400
    x = torch.diag(torch.arange(1, n + 1).double().sqrt())
    model = nn.Linear(n, 1, bias=False).double()
    model.weight.data = (1 / torch.arange(1, n + 1).double())[None]
    data = [(x, torch.zeros(n, 1).double())]
    found = gradient_overlap(model, data, 1, criterion=nn.MSELoss(reduction="sum"), tol=1e-2)
    assert found.hessian_cosine == pytest.approx(math.sqrt(3 / 4), abs=2e-3)


def test_at_a_minimum_there_is_no_share():
    x = torch.randn(10, 3).double()
    model = nn.Linear(3, 1, bias=False).double()
    found = gradient_overlap(model, [(x, model(x).detach())], 1, criterion=nn.MSELoss())
    assert math.isnan(found.share)
    assert math.isnan(found.hessian_cosine)


def test_subspaces_do_not_depend_on_their_bases():
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(4, 30, generator=generator)
    mixed = torch.randn(4, 4, generator=generator) @ basis
    found = subspace_overlap(basis, mixed)
    assert found.value == pytest.approx(1.0)
    turned = torch.zeros(2, 5)
    turned[0, 0], turned[1, 1], turned[1, 2] = 1.0, math.cos(0.3), math.sin(0.3)
    angles = subspace_overlap(torch.eye(5)[:2], turned)
    assert angles.cosines.tolist() == pytest.approx([1.0, math.cos(0.3)])


def test_random_subspaces_overlap_as_expected():
    generator = torch.Generator().manual_seed(0)
    values = [
        subspace_overlap(*torch.randn(2, 5, 50, generator=generator)).value for _ in range(200)
    ]
    assert subspace_overlap(torch.eye(50)[:5], torch.eye(50)[5:10]).expected == 0.1
    assert sum(values) / 200 == pytest.approx(0.1, abs=0.01)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="one shape"):
        subspace_overlap(torch.eye(3)[:2], torch.eye(3)[:1])
    with pytest.raises(ValueError, match="other holds vectors that depend"):
        subspace_overlap(torch.eye(3)[:2], torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"one must hold vectors"):
        subspace_overlap(torch.zeros(3), torch.ones(2, 3))
    data = [classification(9)]
    others = top_eigs(nn.Linear(5, 3), data)
    with pytest.raises(ValueError, match="57 parameters"):
        gradient_overlap(mlp(), data, others)
