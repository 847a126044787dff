"""The published stopping rules on Hessians that are known."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, snapshot
from torch import nn

from landscape_fast.metrics.yang2021 import power_iteration, settling_trace

ROWS = [(torch.zeros(1, 1),)]


class Bowl(nn.Module):
    """Loss w^T D w / 2: its Hessian is the diagonal D."""

    def __init__(self, *curvatures: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(len(curvatures), dtype=torch.float64))
        self.curvatures = torch.tensor(curvatures, dtype=torch.float64)


def loss(model: Bowl, batch: object) -> tuple[torch.Tensor, int]:
    return (model.curvatures * model.w.square()).sum() / 2, 1


def test_the_largest_modulus_is_found_whatever_its_sign():
    for curvatures in ((9.0, 1.0, 0.5), (-9.0, 1.0, 0.5)):
        found = power_iteration(Bowl(*curvatures), ROWS, loss_fn=loss, tol=1e-9)
        assert float(found.values[0]) == pytest.approx(curvatures[0], rel=1e-4)
        assert found.converged
        assert float(found.residuals[0]) < 1e-2


def test_a_slow_iteration_stops_early_and_its_residual_says_so():
    found = power_iteration(Bowl(*torch.linspace(1.0, 1.001, 9)), ROWS, loss_fn=loss)
    assert found.converged  # two estimates agreed
    assert float(found.values[0]) < 1.001 - 1e-4
    assert float(found.residuals[0]) > 1e-4


def test_without_agreement_the_last_step_counts():
    found = power_iteration(Bowl(9.0, 8.0, -8.5), ROWS, loss_fn=loss, tol=1e-12, max_products=5)
    assert (found.products, found.converged) == (5, False)
    more = power_iteration(Bowl(9.0, 8.0, -8.5), ROWS, loss_fn=loss, tol=1e-12, max_products=6)
    assert more.values != found.values


def test_the_trace_of_a_diagonal_settles_at_the_second_probe():
    found = settling_trace(Bowl(5.0, 1.0, -2.0), ROWS, loss_fn=loss)
    assert found.value == pytest.approx(4.0, rel=1e-5)
    assert (found.products, found.converged) == (2, True)
    assert found.stderr == pytest.approx(0.0, abs=1e-12)


def test_a_negative_mean_ends_the_run_as_in_the_released_code():
    rotation = torch.linalg.qr(
        torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0]
    matrix = rotation @ torch.diag(torch.tensor([-9.0, -5.0, -1.0, -0.5, -4.0, -7.0])).double()
    matrix = matrix @ rotation.T
    form = lambda model, batch: (model.w @ matrix @ model.w / 2, 1)  # noqa: E731
    found = settling_trace(Bowl(*[1.0] * 6), ROWS, loss_fn=form)
    assert (found.products, found.converged) == (2, True)
    assert found.stderr > 0.1


def test_a_single_probe_has_no_error_and_no_agreement():
    found = settling_trace(Bowl(5.0, 1.0), ROWS, loss_fn=loss, max_products=1)
    assert math.isnan(found.stderr)
    assert not found.converged


@pytest.mark.parametrize("measure", [power_iteration, settling_trace])
def test_arguments_are_checked_and_models_left_alone(measure):
    with pytest.raises(ValueError, match="tol must be positive and finite, got 0"):
        measure(Bowl(1.0), ROWS, loss_fn=loss, tol=0.0)
    with pytest.raises(ValueError, match="max_products must be .* got 0"):
        measure(Bowl(1.0), ROWS, loss_fn=loss, max_products=0)
    model = conv_net().train()
    before = snapshot(model)
    measure(model, [classification(10, (1, 6, 6))], max_products=2)
    assert_same_state(model, before)


@pytest.mark.gpu
@pytest.mark.parametrize("measure", [power_iteration, settling_trace])
def test_a_gpu_draws_the_same_and_gives_the_same(measure, cuda):
    model, data = conv_net(), [classification(40, (1, 6, 6))]
    limits = {"tol": 1e-9, "max_products": 5}  # so that both end at the same step
    here = measure(model, data, **limits)
    there = measure(model.to(cuda), data, **limits)
    values = [
        found.values if measure is power_iteration else found.value for found in (here, there)
    ]
    assert float(values[1]) == pytest.approx(float(values[0]), rel=1e-3)
