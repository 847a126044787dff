"""An assertion that accepts a spoiled answer is worse than none: each one is seen to reject."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import (
    assert_as_accurate,
    assert_relative,
    assert_same_state,
    classification,
    conv_net,
    cut,
    dense_gauss_newton,
    dense_hessian,
    difference_hessian,
    snapshot,
    symmetric_matrix,
)
from torch import nn


def test_as_accurate_rejects_an_error_beyond_plain_torchs_own():
    exact = torch.tensor([1.0, 2.0], dtype=torch.float64)
    plain = (exact + 1e-6).float()
    assert_as_accurate((exact + 1.5e-6).float(), plain, exact)
    for spoiled in ((exact + 4e-6).float(), exact[:1].float(), torch.full((2,), torch.nan)):
        with pytest.raises(AssertionError):
            assert_as_accurate(spoiled, plain, exact)


def test_relative_rejects_an_error_above_its_bound():
    exact = torch.tensor([10.0, 0.0])
    assert_relative(exact + 0.9e-3 * 10, exact, 1e-3)
    with pytest.raises(AssertionError):
        assert_relative(exact + 1.1e-3 * 10, exact, 1e-3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: m.train(not m.training),
        lambda m: m[1].train(),
        lambda m: m[1].running_mean.add_(1e-7),
        lambda m: m[0].weight.requires_grad_(False),
        lambda m: setattr(m[0].weight, "grad", torch.ones_like(m[0].weight)),
        lambda m: torch.rand(1),
        lambda m: m[1].register_buffer("running_mean", m[1].running_mean.clone()),
    ],
)
def test_same_state_notices_every_kind_of_change(spoil):
    model = conv_net().eval()
    before = snapshot(model)
    assert_same_state(model, before)
    spoil(model)
    with pytest.raises(AssertionError):
        assert_same_state(model, before)


def test_same_state_notices_that_a_recurrent_layer_lost_its_weights():
    model = torch.nn.GRU(3, 2)
    before = snapshot(model)
    assert_same_state(model, before)
    model._flat_weights = [weight.clone() for weight in model._flat_weights]
    with pytest.raises(AssertionError):
        assert_same_state(model, before)


def test_dense_hessian_equals_the_closed_form_of_softmax_regression():
    inputs, targets = classification(7)
    model = nn.Linear(5, 3, bias=False)
    exact = dense_hessian(model, lambda call: F.cross_entropy(call(inputs.double()), targets))
    p = torch.softmax(inputs.double() @ model.weight.double().T, dim=1)
    a = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    closed = torch.einsum("ncd,ni,nj->cidj", a, inputs.double(), inputs.double()) / 7
    assert_relative(exact, closed.reshape(15, 15).detach(), 1e-12)
    linearised = dense_gauss_newton(
        model, lambda model: model(inputs.double()), lambda z: F.cross_entropy(z, targets)
    )
    assert_relative(linearised, exact, 1e-12)
    differences = difference_hessian(
        model, lambda model: F.cross_entropy(model(inputs.double()), targets)
    )
    assert_relative(differences, exact, 1e-8)


def test_symmetric_matrix_has_the_spectrum_asked_for():
    values = torch.tensor([-3.0, 1.0, 1.0, 4.0])
    assert_relative(torch.linalg.eigvalsh(symmetric_matrix(values)), values.double(), 1e-14)


def test_cut_refuses_sizes_that_lose_rows():
    with pytest.raises(AssertionError):
        cut(classification(7), [3, 3])
