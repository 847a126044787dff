"""Volumes equal the Cayley-Menger determinant, and slopes their derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from landscape_fast.large_scale.volumes import SummedVolume, log_volume


def points(count: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def cayley_menger(vertices: Tensor) -> Tensor:
    """Volume from the squared distances of k + 1 vertices."""
    k = len(vertices) - 1
    bordered = torch.ones(k + 2, k + 2, dtype=torch.float64)
    bordered[0, 0] = 0.0
    sides = (vertices[:, None] - vertices[None]).square().sum(-1)
    bordered = torch.cat([bordered[:1], torch.cat([bordered[1:, :1], sides], 1)])
    return (torch.linalg.det(bordered).abs() / (math.factorial(k) ** 2 * 2**k)).sqrt()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_volume_is_that_of_cayley_and_menger(count):
    vertices = points(count, 8)
    assert math.exp(log_volume(vertices)) == pytest.approx(float(cayley_menger(vertices)))


def test_a_flat_simplex_has_no_volume():
    assert log_volume(torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])) == -math.inf
    with pytest.raises(ValueError, match=r"0 <= k <= n, got \(3, 1\)"):
        log_volume(torch.zeros(3, 1))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_slope_of_summed_volumes_is_their_derivative(count):
    bases = [points(count, 9, seed) for seed in range(3)]
    vertex = points(1, 9, 7)[0].requires_grad_()
    total = sum(cayley_menger(torch.cat([base, vertex[None]])) for base in bases)
    (exact,) = torch.autograd.grad((total + 0.01).log(), vertex)
    found = SummedVolume(bases).log_slope(vertex.detach(), offset=0.01)
    assert torch.allclose(found, exact, rtol=1e-9)
