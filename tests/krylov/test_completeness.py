from __future__ import annotations

import math

import pytest
import torch
from oracles import assert_relative, symmetric_matrix

from landscape_fast.krylov import eigen
from landscape_fast.krylov.completeness import Question, _excluded, _radius, examine
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.krylov.ends import WHICH, Ends
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.krylov.space import SearchSpace

BULK = torch.linspace(-0.5, 1, 120).double()


def expected(values, k, which):
    values = values.double().sort(descending=True).values
    if which == "largest":
        return values[:k]
    if which == "smallest":
        return values.flip(0)[:k]
    if which == "magnitude":
        return values[values.abs().argsort(descending=True, stable=True)][:k]
    return torch.cat([values[: k - k // 2], values[len(values) - k // 2 :]])


def hold(result, matrix, values, k, which, tol):
    """The k extreme values with every copy, orthonormal vectors, residuals that are true."""
    top = values.abs().max().double()
    ours, exact = result.values, expected(values, k, which)
    if which == "magnitude":
        ours, exact = ours.abs(), exact.abs()
    assert result.converged
    assert result.complete
    assert ((ours - exact).abs() <= 2 * tol * top).all(), f"{ours} is not {exact}"
    v = result.vectors.double()
    assert ((v @ v.T - torch.eye(k)).abs() <= 1e-5).all()
    true = (v @ matrix - result.values[:, None] * v).norm(dim=1)
    assert ((true - result.residuals).abs() <= 1e-5 * top).all()


MULTIPLE = {
    "twice": torch.cat([torch.tensor([2.0, 2.0, 1.7]), BULK]),
    "five times": torch.cat([torch.full((5,), 3.0), torch.full((5,), -2.0), BULK]),
    "twenty times": torch.cat([torch.full((20,), 2.0), BULK]),
    "nearly": torch.cat([2 - 1e-4 * torch.arange(4), BULK]),
}


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("name", MULTIPLE)
def test_every_copy_comes_back_from_one_start_vector(name, which):
    values = MULTIPLE[name].double()
    matrix = symmetric_matrix(values)
    for k in (2, 6):
        result = extreme_eigenpairs(DenseOperator(matrix.float()), k, which=which)
        hold(result, matrix, values, k, which, 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_copies_than_any_block_are_all_found(dtype):
    values = MULTIPLE["twenty times"].double()
    matrix = symmetric_matrix(values)
    result = extreme_eigenpairs(DenseOperator(matrix.to(dtype)), 20, tol=1e-5)
    hold(result, matrix, values, 20, "largest", 1e-5)
    assert not result.cluster_cut


def test_blocks_of_a_block_diagonal_matrix_share_their_spectrum():
    # A linear model with ten outputs: every eigenvalue ten times.
    block = symmetric_matrix(torch.linspace(0, 2, 12) ** 2)
    matrix = torch.block_diag(*[block] * 10)
    result = extreme_eigenpairs(DenseOperator(matrix), 10)
    assert result.complete
    assert (result.values - 4).abs().max() < 1e-3
    assert not result.cluster_cut
    assert extreme_eigenpairs(DenseOperator(matrix), 4).cluster_cut


def test_without_the_examination_copies_are_missed_and_nothing_is_claimed():
    op = DenseOperator(symmetric_matrix(MULTIPLE["twice"]))
    result = extreme_eigenpairs(op, 2, risk=1)
    assert result.converged
    assert not result.complete
    assert float(result.values[1]) < 1.8


@pytest.mark.parametrize(
    ("k", "which", "cut"),
    [(1, "largest", True), (2, "largest", False), (3, "largest", False), (1, "smallest", False)],
)
def test_a_cluster_that_k_cuts_is_flagged(k, which, cut):
    values = torch.cat([torch.tensor([2.0, 2.0, 1.7, -1.0]).double(), BULK])
    result = extreme_eigenpairs(DenseOperator(symmetric_matrix(values)), k, which=which)
    assert result.cluster_cut is cut


def test_a_near_cluster_is_cut_within_the_tolerance_and_apart_beyond_it():
    values = torch.cat([torch.tensor([2.0, 2.0 - 1e-4]).double(), BULK])
    op = DenseOperator(symmetric_matrix(values))
    assert extreme_eigenpairs(op, 1, tol=1e-3).cluster_cut
    assert not extreme_eigenpairs(op, 1, tol=1e-6).cluster_cut


@pytest.mark.parametrize(
    ("k", "which", "cut"),
    [
        (1, "largest", True),
        (2, "largest", False),
        (1, "smallest", False),
        (2, "both", True),
        (2, "magnitude", True),
        (3, "magnitude", False),
    ],
)
def test_a_ritz_value_next_to_the_last_wanted_one_is_seen(k, which, cut):
    theta = torch.tensor([-3.0, 0.0, 1.0, 1.999, 2.0, 2.5, 2.501]).double()
    assert Ends.of(theta, k, which).cut(theta, 0.01) is cut


def test_all_eigenvalues_cut_nothing():
    result = extreme_eigenpairs(DenseOperator(torch.eye(6)), 6)
    assert result.complete
    assert not result.cluster_cut
    assert extreme_eigenpairs(DenseOperator(torch.eye(6)), 5).cluster_cut


def test_the_examination_costs_few_products_where_values_decay():
    op = DenseOperator(symmetric_matrix(0.8 ** torch.arange(300)).float())
    for k in (1, 10):
        with_it, without = (extreme_eigenpairs(op, k, risk=risk) for risk in (0.01, 1))
        assert with_it.complete
        assert with_it.products <= without.products + 6


def test_a_random_block_misses_a_direction_as_rarely_as_stated():
    generator = torch.Generator().manual_seed(0)
    for width, risk in ((1, 0.1), (2, 0.05), (3, 0.02)):
        s = _radius(width, 50, risk)
        draws = torch.randn(20_000, 50, generator=generator, dtype=torch.float64)
        short = draws[:, :width].norm(dim=1) / draws.norm(dim=1) <= s
        assert 0.7 * risk <= float(short.double().mean()) <= 1.2 * risk


def test_what_lanczos_excludes_is_what_its_polynomials_exclude():
    # One row: the mass at x is at most 1 / sum_j p_j(x)^2, p_j the orthonormal polynomials.
    space = SearchSpace(DenseOperator(symmetric_matrix(BULK)), 60, seed=0)
    space.append_random(1)
    for _ in range(6):
        space.multiply(1)
    t, k = space.projection, space.coupling
    theta, frame = torch.linalg.eigh(t)
    beta = [float(t[j, j + 1]) for j in range(5)] + [float(k[5, 0])]
    for x in (1.05, 1.3, 2.0):
        p = [0.0, 1.0]
        for j in range(6):
            before = beta[j - 1] * p[-2] if j else 0.0
            p.append(((x - float(t[j, j])) * p[-1] - before) / beta[j])
        mass = math.sqrt(1 / sum(value**2 for value in p))
        assert _excluded(theta, frame, frame.T @ k, 1.001 * mass, 1, x)
        assert not _excluded(theta, frame, frame.T @ k, 0.999 * mass, 1, x)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_eigenvalue_between_the_search_space_and_its_frontier_is_found(sign):
    # Neither the space, e_1 + e_2, nor the matrix on its complement reaches 2.5; but 3 is there.
    values = torch.cat([torch.tensor([3.0, 1.0]).double(), torch.linspace(0, 0.3, 30).double()])
    op = DenseOperator(sign * torch.diag(values))
    space = SearchSpace(op, 32, seed=0)
    space.append(torch.eye(32, dtype=torch.float64)[:2].sum(0, keepdim=True))
    space.multiply(1)
    theta, y = torch.linalg.eigh(space.projection)
    question = {"theta": theta, "y": y, "sign": sign, "slack": 0.01, "risk": 0.01}
    low = examine(space, Question(**question, level=2.5, width=1, limit=100))
    assert low.missing
    assert not low.complete
    theta, y = torch.linalg.eigh(space.projection)
    assert 2.6 < float((sign * theta).max()) < 3.001
    v = space.vectors(y)
    true = (op(v) - theta[:, None] * v).norm(dim=1)
    assert_relative(space.residuals(theta, y), true, 1e-12)
    question |= {"theta": theta, "y": y}
    high = examine(space, Question(**question, level=3.1, width=1, limit=100))
    assert high.complete
    assert not high.missing
    assert not high.next_close


def test_a_search_that_started_on_the_wrong_eigenvector_is_set_right():
    # Its residual is zero and its Krylov space ends; only the random block can tell.
    values = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.1]).double()
    found = extreme_eigenpairs(
        DenseOperator(torch.diag(values)), 1, start=torch.eye(5)[:1].double()
    )
    assert float(found.values) == pytest.approx(2.0)
    assert found.complete


def test_the_answer_is_wrong_no_more_often_than_the_risk_says(monkeypatch):
    # Searches that saw only what is orthogonal to one direction, examined with a large risk.
    values = torch.cat([torch.tensor([1.5, 1.3]).double(), torch.linspace(0, 1, 38).double()])
    op = DenseOperator(torch.diag(values))
    wrong = 0
    for seed in range(30):
        start = torch.randn(1, 40, dtype=torch.float64, generator=torch.manual_seed(seed))
        start[:, 0] = 0
        monkeypatch.setattr(eigen.SearchSpace, "append_random", _blind(seed))
        found = extreme_eigenpairs(op, 1, start=start, seed=seed, risk=0.5)
        monkeypatch.undo()
        wrong += found.complete and float(found.values) < 1.4
    assert 0 < wrong <= 0.5 * 30 + 6  # two standard deviations above 15


def _blind(seed):
    plain, calls = SearchSpace.append_random, []

    def append_random(space, count):
        calls.append(count)
        if len(calls) == 1:  # the row that would start the search beside ``start``
            return 0
        return plain(space, count)

    return append_random
