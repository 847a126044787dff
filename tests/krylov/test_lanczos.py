from __future__ import annotations

import pytest
import torch
from oracles import assert_relative, symmetric_matrix

from landscape_fast.krylov.lanczos import tridiagonalise
from landscape_fast.krylov.operator import DenseOperator

VALUES = torch.cat([torch.tensor([-3.0, 5.0, 5.0]), torch.linspace(-1, 1, 27)])


def starts(k, n=30, dtype=torch.float64):
    return torch.randn(k, n, dtype=dtype, generator=torch.Generator().manual_seed(0))


def dense(result, row, depth):
    off = result.offdiagonal[row, : depth - 1]
    return torch.diag(result.diagonal[row, :depth]) + torch.diag(off, 1) + torch.diag(off, -1)


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_moments_of_the_start_are_those_of_the_matrix(steps):
    # e_1^T T^p e_1 = q^T A^p q for p <= 2 steps - 1: the identity that defines T
    matrix = symmetric_matrix(VALUES)
    z = starts(2)
    result = tridiagonalise(DenseOperator(matrix), z, steps)
    q = z / z.norm(dim=1, keepdim=True)
    for row in range(2):
        t = dense(result, row, steps)
        for power in range(min(2 * steps, 9)):
            exact = q[row] @ torch.linalg.matrix_power(matrix, power) @ q[row]
            ours = torch.linalg.matrix_power(t, power)[0, 0]
            assert float(ours) == pytest.approx(float(exact), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_depth_ends_at_the_number_of_distinct_eigenvalues(dtype):
    values = torch.cat([torch.full((5,), -3.0), torch.full((15,), 1.0), torch.full((10,), 5.0)])
    op = DenseOperator(symmetric_matrix(values).to(dtype))
    result = tridiagonalise(op, starts(1, dtype=dtype), 30)
    assert result.depth.tolist() == [3]
    assert_relative(torch.linalg.eigvalsh(dense(result, 0, 3)), values.unique().double(), 1e-6)


def test_a_block_of_starts_equals_separate_runs_to_the_bit_where_products_do():
    op = DenseOperator(torch.diag(VALUES.double()))
    z = starts(3)
    together = tridiagonalise(op, z, 8)
    for row in range(3):
        alone = tridiagonalise(op, z[row : row + 1], 8)
        assert_relative(together.diagonal[row], alone.diagonal[0], 1e-12)
        assert_relative(together.offdiagonal[row], alone.offdiagonal[0], 1e-12)


def test_an_eigenvector_as_start_ends_after_one_step_without_harming_the_others():
    op = DenseOperator(torch.diag(VALUES.double()))
    z = starts(2)
    z[0] = 0
    z[0, 3] = 2.0
    result = tridiagonalise(op, z, 10)
    assert result.depth.tolist() == [1, 10]
    assert float(result.diagonal[0, 0]) == float(VALUES[3])
    assert (result.offdiagonal[1] > 0).all()


def test_a_zero_start_and_a_depth_out_of_range_are_named():
    op = DenseOperator(torch.eye(3))
    with pytest.raises(ValueError, match="starts has a zero row"):
        tridiagonalise(op, torch.zeros(1, 3), 1)
    for steps in (0, 4):
        with pytest.raises(ValueError, match="steps must be between 1 and n=3"):
            tridiagonalise(op, torch.ones(1, 3), steps)


class Recorded:
    """A dense operator that keeps what it was given, and can hand back its own argument."""

    def __init__(self, matrix):
        self._dense = DenseOperator(matrix)
        self.shape, self.dtype = self._dense.shape, self._dense.dtype
        self.device, self.samples = self._dense.device, 0
        self.seen = []

    def __call__(self, block):
        self.seen.append(block.clone())
        return self._dense(block)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_basis_stays_orthonormal_over_a_wide_spectrum_until_the_end(dtype):
    # Outliers converge within few steps: without re-orthogonalisation they come back as copies.
    values = torch.cat([torch.tensor([1e4, -1e3, 50.0]), torch.linspace(-1, 1, 97) * 1e-2])
    op = Recorded(symmetric_matrix(values).to(dtype))
    result = tridiagonalise(op, starts(1, 100, dtype), 100)
    depth = int(result.depth)
    basis = torch.cat(op.seen)[:depth].double()
    error = (basis @ basis.T - torch.eye(depth, dtype=torch.float64)).abs().max()
    assert float(error) < 50 * torch.finfo(dtype).eps
    assert result.scale == pytest.approx(1e4, rel=0.5)


def test_an_operator_may_hand_back_its_argument():
    class Identity(Recorded):
        def __call__(self, block):
            return block

    result = tridiagonalise(Identity(torch.eye(30).double()), starts(2), 5)
    assert result.depth.tolist() == [1, 1]
    assert torch.allclose(result.diagonal[:, 0], torch.ones(2).double())
