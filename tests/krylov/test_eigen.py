from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_relative, symmetric_matrix

from landscape_fast.krylov import basis, eigen
from landscape_fast.krylov.eigen import WHICH, extreme_eigenpairs
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.krylov.space import SearchSpace


def wanted(values, k, which):
    values = values.double().sort(descending=True).values
    if which == "largest":
        return values[:k]
    if which == "smallest":
        return values.flip(0)[:k]
    if which == "magnitude":
        return values[values.abs().argsort(descending=True, stable=True)][:k]
    return torch.cat([values[: k - k // 2], values[len(values) - k // 2 :]])


def check(result, matrix, values, k, which, tol):
    """Values, vectors and residuals against the matrix itself."""
    top = values.abs().max().double()
    assert result.converged
    if which == "magnitude":  # of a pair +a, -a either may come first
        assert_close(result.values.abs(), wanted(values, k, which).abs(), 2 * tol * top)
    else:
        assert_close(result.values, wanted(values, k, which), 2 * tol * top)
    v = result.vectors.double()
    assert_close(v @ v.T, torch.eye(k, dtype=torch.float64), 100 * torch.finfo(torch.float32).eps)
    true = (v @ matrix - result.values[:, None] * v).norm(dim=1)
    assert_close(result.residuals, true, 1e-5 * top + 1e-300)
    assert (result.residuals <= result.tolerance).all()


def assert_close(ours, exact, bound):
    assert ours.shape == exact.shape
    assert ((ours - exact).abs() <= bound).all(), f"{ours} is not {exact}"


SPECTRA = {
    "decaying": 1.0 / torch.arange(1, 201),
    "outliers on a bulk": torch.cat([torch.tensor([50.0, 30.0, -20.0]), torch.linspace(-1, 1, 97)]),
    "saddle": torch.cat([torch.tensor([1.0, -1.01]), torch.linspace(-0.1, 0.1, 60)]),
    "negative": -torch.arange(1.0, 41.0),
}


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairs_are_those_of_the_matrix(name, which, dtype):
    values = SPECTRA[name]
    matrix = symmetric_matrix(values)
    op = DenseOperator(matrix.to(dtype))
    tol = 1e-5 if dtype == torch.float32 else 1e-10
    for k in (1, 4, 5):
        check(extreme_eigenpairs(op, k, which=which, tol=tol), matrix, values, k, which, tol)


@settings(max_examples=40)
@given(
    n=st.integers(1, 30),
    k=st.integers(1, 30),
    block=st.integers(1, 4),
    seed=st.integers(0, 1000),
    which=st.sampled_from(WHICH),
)
def test_any_size_depth_and_block_agrees_with_the_dense_solver(n, k, block, seed, which):
    k = min(k, n)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, generator=generator, dtype=torch.float64)
    matrix = symmetric_matrix(values, seed=seed)
    result = extreme_eigenpairs(
        DenseOperator(matrix), k, which=which, tol=1e-9, seed=seed, block=block
    )
    check(result, matrix, values, k, which, 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_more_pairs_than_rank_are_filled_with_zeros(rank, dtype):
    values = torch.zeros(40)
    values[:rank] = torch.tensor([3.0, 2.0])[:rank]
    matrix = symmetric_matrix(values)
    result = extreme_eigenpairs(DenseOperator(matrix.to(dtype)), 4, tol=1e-5)
    check(result, matrix.to(dtype).double(), values, 4, "largest", 1e-5)


def test_a_block_sees_all_copies_of_a_multiple_eigenvalue():
    values = torch.cat([torch.full((4,), 2.0), torch.linspace(0, 1, 60)])
    matrix = symmetric_matrix(values)
    result = extreme_eigenpairs(DenseOperator(matrix), 6, tol=1e-8, block=4)
    check(result, matrix, values, 6, "largest", 1e-8)


def test_the_identity_has_k_orthonormal_eigenvectors():
    result = extreme_eigenpairs(DenseOperator(torch.eye(20)), 5)
    check(result, torch.eye(20).double(), torch.ones(20), 5, "largest", 1e-6)


def test_few_products_reach_the_top_of_a_decaying_spectrum():
    op = DenseOperator(symmetric_matrix(0.8 ** torch.arange(300)))
    result = extreme_eigenpairs(op, 10, tol=1e-3)
    assert result.converged
    assert result.products <= 40


def test_restarts_bound_the_memory_and_still_converge():
    values = torch.linspace(0, 1, 300) ** 2
    matrix = symmetric_matrix(values)
    result = extreme_eigenpairs(DenseOperator(matrix), 3, tol=1e-8, basis_size=12)
    assert result.products > 50
    check(result, matrix, values, 3, "largest", 1e-8)


@pytest.mark.parametrize("memory", [1, 40 * 300 * 8])
def test_the_basis_stays_within_its_memory(memory, monkeypatch):
    spaces = []

    class Watched(SearchSpace):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            spaces.append(self)

    monkeypatch.setattr(eigen, "SearchSpace", Watched)
    values = torch.linspace(0, 1, 300) ** 2
    matrix = symmetric_matrix(values)
    result = extreme_eigenpairs(DenseOperator(matrix), 3, tol=1e-3, basis_memory=memory)
    check(result, matrix, values, 3, "largest", 1e-3)
    least = 3 + 2 + 8  # k + 2 block + 8
    assert spaces[0].basis.peak <= spaces[0].capacity == max(memory // (300 * 8), least)
    assert result.products > 2 * least


def test_two_copies_are_found_within_the_least_memory():
    values = torch.cat([torch.tensor([2.0, 2.0]), torch.linspace(0, 1, 100)])
    matrix = symmetric_matrix(values)
    result = extreme_eigenpairs(DenseOperator(matrix), 2, basis_memory=1)
    check(result, matrix, values, 2, "largest", 1e-3)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_operators_smaller_than_a_block_are_solved_whole(which, n):
    values = torch.tensor([1.0, -3.0, 2.0])[:n]
    matrix = symmetric_matrix(values)
    for k in range(1, n + 1):
        result = extreme_eigenpairs(DenseOperator(matrix), k, which=which, block=8, tol=1e-10)
        check(result, matrix, values, k, which, 1e-10)
        assert result.complete


@pytest.mark.parametrize("which", WHICH)
def test_the_zero_matrix_has_zero_eigenvalues(which):
    result = extreme_eigenpairs(DenseOperator(torch.zeros(6, 6)), 3, which=which)
    check(result, torch.zeros(6, 6).double(), torch.zeros(6), 3, which, 1e-3)
    assert result.complete
    assert result.cluster_cut
    assert not result.limited_by_rounding


def test_residuals_below_rounding_are_not_asked_for():
    values = torch.linspace(0, 1, 50)
    op = DenseOperator(symmetric_matrix(values).float())
    fine = extreme_eigenpairs(op, 2, tol=1e-12)
    assert fine.converged
    assert fine.limited_by_rounding
    assert fine.tolerance == pytest.approx(10 * torch.finfo(torch.float32).eps, rel=1e-3)
    coarse = extreme_eigenpairs(op, 2, eps=1e-3)
    assert coarse.tolerance == coarse.rounding == pytest.approx(1e-2, rel=1e-2)
    assert not extreme_eigenpairs(op, 2).limited_by_rounding


def test_given_start_vectors_save_products_and_the_answer_is_the_same():
    values = 0.9 ** torch.arange(200)
    matrix = symmetric_matrix(values)
    op = DenseOperator(matrix)
    plain = extreme_eigenpairs(op, 3)
    again = extreme_eigenpairs(op, 3, start=plain.vectors)
    check(again, matrix, values, 3, "largest", 1e-3)
    assert again.products < plain.products


@pytest.mark.parametrize("begin", [torch.eye(200)[5:6], torch.zeros(1, 200)])
def test_a_start_of_its_own_is_mixed_so_that_no_eigenvector_is_missed(begin):
    values = 0.9 ** torch.arange(200)
    op = DenseOperator(torch.diag(values).double())
    found = extreme_eigenpairs(op, 3, start=begin.double(), block=0, risk=1)
    check(found, torch.diag(values).double(), values, 3, "largest", 1e-3)


@pytest.mark.parametrize("start", [torch.zeros(0, 4), torch.full((1, 4), float("nan"))])
def test_a_start_without_rows_or_numbers_is_named(start):
    op = DenseOperator(torch.eye(4))
    with pytest.raises(ValueError, match="start must hold at least one row, all of finite"):
        extreme_eigenpairs(op, 1, start=start, block=0)


def test_an_examination_does_not_draw_the_vector_that_was_mixed_in(monkeypatch):
    """Its risk is over vectors that the search does not know."""
    drawn = []
    inner = basis.random_unit_rows
    monkeypatch.setattr(
        basis,
        "random_unit_rows",
        lambda *a, first, **o: drawn.append(first) or inner(*a, first=first, **o),
    )
    op = DenseOperator(torch.diag(0.9 ** torch.arange(200)).double())
    assert extreme_eigenpairs(op, 1, start=torch.ones(1, 200).double(), block=0).complete
    assert len(drawn) == len(set(drawn)) > 1


def test_running_out_of_products_is_reported_with_the_best_pairs():
    values = torch.linspace(0, 1, 300)
    op = DenseOperator(symmetric_matrix(values))
    result = extreme_eigenpairs(op, 2, tol=1e-10, max_products=12)
    assert not result.converged
    assert result.products <= 12
    assert (result.residuals > result.tolerance).any()
    with pytest.raises(ArithmeticError, match="raise max_products or tol") as caught:
        result.require()
    assert caught.value.result is result


def test_the_seed_decides_the_bits():
    op = DenseOperator(symmetric_matrix(torch.linspace(0, 1, 50)).float())
    first, again = (extreme_eigenpairs(op, 2, seed=5) for _ in range(2))
    assert torch.equal(first.vectors, again.vectors)
    assert not torch.equal(first.vectors, extreme_eigenpairs(op, 2, seed=6).vectors)


def test_ten_outliers_and_small_gaps_reach_full_precision():
    values = torch.cat([1.0 - 1e-3 * torch.arange(10), torch.linspace(-0.1, 0.5, 90)])
    result = extreme_eigenpairs(DenseOperator(symmetric_matrix(values)), 10, tol=1e-12)
    assert_relative(result.values, values[:10].double(), 1e-12)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"k": 5}, "k must be at most the number of parameters 4, got 5"),
        ({"which": "LM"}, "which must be 'largest', .* or 'both', got 'LM'"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"block": -1}, "block must be a whole number of at least 0"),
        ({"block": 0}, "block must be at least 1 where no start is given, got 0"),
        ({"max_products": 2}, "max_products must be at least 3 for k = 1"),
        ({"basis_size": 2}, "basis_size must be a whole number of at least 3"),
        ({"basis_memory": 0}, "basis_memory must be a whole number of at least 1"),
        ({"risk": 0.0}, "risk must be positive and at most 1"),
        ({"risk": 1.1}, "risk must be positive and at most 1"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        extreme_eigenpairs(DenseOperator(torch.eye(4)), **arguments)
