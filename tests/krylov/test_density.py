from __future__ import annotations

import pytest
import torch
from oracles import symmetric_matrix

from landscape_fast.krylov import density as density_module
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.operator import DenseOperator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_a_probability_and_nodes_lie_in_the_spectrum(dtype):
    values = torch.cat([torch.tensor([50.0, -4.0]), torch.linspace(-1, 1, 98)])
    density = lanczos_quadrature(
        DenseOperator(symmetric_matrix(values).to(dtype)), starts=5, steps=20
    )
    assert density.nodes.shape == density.weights.shape == (5, 20)
    assert (density.weights >= 0).all()
    assert torch.allclose(density.weights.sum(1), torch.ones(5, dtype=torch.float64))
    assert density.nodes.min() >= -4.001
    assert density.nodes.max() <= 50.001


def test_moments_estimate_those_of_the_spectrum():
    values = torch.linspace(-1, 3, 200)
    density = lanczos_quadrature(DenseOperator(symmetric_matrix(values)), starts=200, steps=10)
    for power in (1, 2, 3):
        rows = (density.weights * density.nodes**power).sum(1)
        stderr = float(rows.std()) / 200**0.5
        assert abs(float(rows.mean() - (values.double() ** power).mean())) < 4 * stderr


def test_a_low_rank_matrix_breaks_down_cleanly():
    values = torch.zeros(500)
    values[:3] = torch.tensor([1.05, 0.5, -0.2])
    density = lanczos_quadrature(
        DenseOperator(symmetric_matrix(values).float()), starts=3, steps=50
    )
    assert density.nodes.min() >= -0.2001
    assert density.nodes.max() <= 1.0501
    heavy = density.weights > 1e-9
    assert (heavy.sum(1) == 4).all()
    assert density.products < 30


def test_steps_beyond_the_dimension_are_cut():
    density = lanczos_quadrature(DenseOperator(torch.diag(torch.arange(4.0))), starts=1, steps=80)
    assert torch.allclose(density.nodes[0], torch.arange(4.0).double(), atol=1e-5)


def test_counts_below_one_are_named():
    with pytest.raises(ValueError, match="starts must be a whole number of at least 1, got 0"):
        lanczos_quadrature(DenseOperator(torch.eye(3)), starts=0, steps=3)


@pytest.mark.parametrize("block", [1, 2, 3, None])
def test_the_cut_of_starts_into_blocks_changes_no_bit(block):
    matrix = symmetric_matrix(torch.linspace(-1, 9, 40)).float()

    class OneByOne:
        shape, dtype, device, samples = (40, 40), torch.float32, torch.device("cpu"), 0
        largest = 0

        def __call__(self, vectors):
            self.largest = max(self.largest, len(vectors))
            return torch.stack([matrix @ vector for vector in vectors])

    op = OneByOne()
    whole = lanczos_quadrature(op, starts=5, steps=12, block=5)
    op.largest = 0
    parts = lanczos_quadrature(op, starts=5, steps=12, block=block)
    assert torch.equal(parts.nodes, whole.nodes)
    assert torch.equal(parts.weights, whole.weights)
    assert op.largest == (block or 5)


def test_bases_keep_within_their_bytes(monkeypatch):
    monkeypatch.setattr(density_module, "BASES_BYTES", 2 * 30 * 100 * 8)
    sizes = []
    plain = density_module.tridiagonalise

    def spied(op, starts, steps):
        sizes.append(len(starts))
        return plain(op, starts, steps)

    monkeypatch.setattr(density_module, "tridiagonalise", spied)
    op = DenseOperator(symmetric_matrix(torch.linspace(-1, 1, 100)))
    lanczos_quadrature(op, starts=5, steps=30)
    assert sizes == [2, 2, 1]


def test_a_block_below_one_is_named():
    with pytest.raises(ValueError, match="block must be a whole number of at least 1, got 0"):
        lanczos_quadrature(DenseOperator(torch.eye(3)), block=0)


def test_zero_is_told_from_small_up_to_rounding():
    values = torch.zeros(200)
    values[0], values[1:41] = 1e3, -2.0
    density = lanczos_quadrature(
        DenseOperator(symmetric_matrix(values).float()), starts=8, steps=20
    )
    assert 0 < density.rounding < 0.1
    for found, exact in (
        (density.mass_at_zero(), 159 / 200),
        (density.mass_at_zero(3.0), 199 / 200),
        (density.functional("fraction_negative"), 40 / 200),
    ):
        assert abs(found.value - exact) < 4 * found.stderr < 0.1
