"""Operators of scipy and curvlinops serve wherever one of ours does."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from oracles import assert_relative, classification, cut, mlp, symmetric_matrix
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator, eigsh

from landscape_fast.krylov.adapter import as_operator
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.krylov.trace import hutchinson
from landscape_fast.linearise.operators import HessianOperator

VALUES = torch.tensor([5.0, -4.0, 2.0, 1.0, 0.5, 0.1])


class MultipliesColumns:
    """What curvlinops offers: ``@`` with columns, shape, dtype, device."""

    def __init__(self, matrix):
        self.matrix, self.shape, self.dtype = matrix, tuple(matrix.shape), matrix.dtype
        self.device = matrix.device

    def __matmul__(self, columns):
        assert columns.dim() == 2
        return self.matrix @ columns


FORMS = {
    "tensor": lambda matrix: matrix,
    "array": lambda matrix: matrix.numpy(),
    "scipy": lambda matrix: aslinearoperator(matrix.numpy()),
    "scipy by matvec alone": lambda matrix: LinearOperator(
        matrix.shape, matvec=lambda v: matrix.numpy() @ v, dtype=np.float64
    ),
    "sparse": lambda matrix: csr_array(matrix.numpy()),
    "columns": MultipliesColumns,
    "ours": DenseOperator,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_operator_has_the_products_and_answers_of_its_matrix(form):
    matrix = symmetric_matrix(VALUES)
    op, own = as_operator(FORMS[form](matrix)), DenseOperator(matrix)
    block = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_relative(op(block), own(block), 1e-14)
    found = extreme_eigenpairs(op, 2, which="magnitude", tol=1e-10)
    assert_relative(found.values, torch.tensor([5.0, -4.0]), 1e-12)
    assert_relative(hutchinson(op).draws, hutchinson(own).draws, 1e-12)
    assert_relative(
        lanczos_quadrature(op, starts=2).nodes, lanczos_quadrature(own, starts=2).nodes, 1e-9
    )
    assert (op.samples, op.device.type) == (0, "cpu")


def test_our_own_operators_are_passed_through():
    own = DenseOperator(torch.eye(2))
    assert as_operator(own) is own
    hessian = HessianOperator(mlp(), [classification(4)], engine="autograd")
    assert as_operator(hessian) is hessian


def test_dtypes_follow_the_operator():
    single = as_operator(aslinearoperator(np.eye(3, dtype=np.float32)))
    assert single.dtype == single(torch.ones(2, 3)).dtype == torch.float32
    assert as_operator(csr_array(np.eye(3, dtype=np.int64))).dtype == torch.float64


@pytest.mark.parametrize(
    ("operator", "error", "text"),
    [
        (aslinearoperator(np.ones((2, 3))), ValueError, r"must be square, got shape \(2, 3\)"),
        (aslinearoperator(np.eye(2) * 1j), ValueError, "float32 or float64, got torch.complex128"),
        (MultipliesColumns(torch.eye(2).half()), ValueError, "got torch.float16"),
        (torch.tensor([[0.0, 1.0], [2.0, 0.0]]), ValueError, "must be symmetric"),
        ("matrix", TypeError, "operator must have a shape, a dtype and products.*got str"),
    ],
)
def test_what_is_no_operator_is_named(operator, error, text):
    with pytest.raises(error, match=text):
        as_operator(operator)


def test_our_operators_serve_scipy():
    x, y = classification(11)
    op = HessianOperator(mlp().double(), cut((x.double(), y), [4, 4, 3]), engine="autograd")
    theirs, _ = eigsh(op.to_scipy(), k=2, which="LA")
    ours = extreme_eigenpairs(op.to_scipy(), 2, tol=1e-10)
    assert_relative(ours.values.flip(0), torch.from_numpy(theirs), 1e-9)


@pytest.mark.skipif(
    importlib.util.find_spec("curvlinops") is None, reason="curvlinops-for-pytorch is not installed"
)
def test_an_operator_of_curvlinops_gives_the_same_answers():
    from curvlinops import HessianLinearOperator

    x, y = classification(12)
    model, loader = mlp().double(), cut((x.double(), y), [4, 4, 4])
    theirs = HessianLinearOperator(
        model, torch.nn.CrossEntropyLoss(), list(model.parameters()), loader
    )
    op, own = as_operator(theirs), HessianOperator(model, loader, engine="autograd")
    block = torch.randn(3, op.shape[0], dtype=torch.float64)
    assert_relative(op(block), own(block), 1e-12)
    assert_relative(
        extreme_eigenpairs(op, 2, tol=1e-8).values,
        extreme_eigenpairs(own, 2, tol=1e-8).values,
        1e-9,
    )
