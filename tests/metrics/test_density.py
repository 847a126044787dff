"""The density of a network's Hessian: its options reach the operator."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_same_state, classification, conv_net, cut, dense_hessian, snapshot
from torch import distributed

from landscape_fast import spectral_density


@pytest.fixture
def problem():
    x, y = classification(12, (1, 6, 6))
    return conv_net().double().train(), cut((x.double(), y), [7, 5])


def test_functionals_are_those_of_the_dense_hessian_and_the_model_is_untouched(problem):
    model, loader = problem
    x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
    exact = dense_hessian(model, lambda m: F.cross_entropy(m(x), y))
    values = torch.linalg.eigvalsh(exact)
    before = snapshot(model)
    density = spectral_density(model, loader, starts=40, steps=30, block=7)
    assert_same_state(model, before)
    damping = 2 * float(values.abs().max())
    for name, wanted in (("trace", values.sum()), ("logdet", (values + damping).log().sum())):
        found = density.functional(name, damping=damping if name == "logdet" else None)
        assert abs(found.value - float(wanted)) < 4 * found.stderr
    assert density.nodes.max() <= values.max() + 1e-9
    assert density.nodes.min() >= values.min() - 1e-9


def test_blocks_of_starts_agree_to_rounding(problem):
    model, loader = problem
    found = [spectral_density(model, loader, starts=4, steps=6, block=b) for b in (1, 3, None)]
    for other in found[1:]:
        assert torch.allclose(other.nodes, found[0].nodes, rtol=1e-9, atol=1e-9)
        assert torch.allclose(other.weights, found[0].weights, rtol=1e-9, atol=1e-9)


@pytest.mark.skipif(not distributed.is_available(), reason="torch has no distributed")
def test_a_group_of_processes_is_asked(problem):
    model, loader = problem
    alone = spectral_density(model, loader, starts=2, steps=5)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        grouped = spectral_density(
            model, loader, starts=2, steps=5, process_group=distributed.group.WORLD
        )
    finally:
        distributed.destroy_process_group()
    assert torch.allclose(grouped.nodes, alone.nodes, rtol=1e-12)
    with pytest.raises(TypeError, match="process_group must be"):
        spectral_density(model, loader, process_group="gloo")
