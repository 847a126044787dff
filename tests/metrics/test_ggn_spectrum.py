"""All eigenvalues of the Gauss-Newton matrix, against the dense matrix in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import LADDER
from oracles import (
    assert_relative,
    assert_same_state,
    classification,
    conv_net,
    cut,
    dense_gauss_newton,
    mlp,
    snapshot,
)
from torch import nn

from landscape_fast import GGNOperator, ggn_spectrum, trace
from landscape_fast.linearise.second_derivative import twice_differentiable


def problem(make=mlp, shape=(5,), rows=9):
    x, y = classification(rows, shape)
    with twice_differentiable(make()):
        exact = dense_gauss_newton(make(), lambda m: m(x.double()), lambda z: F.cross_entropy(z, y))
    return make().double(), cut((x.double(), y), [5, rows - 5]), exact


def spectrum(exact):
    return torch.linalg.eigvalsh(exact).flip(0)


@pytest.mark.parametrize("name", ["tanh", "conv-bn", "layer norm", "attention", "tied", "tokens"])
def test_all_eigenvalues_are_those_of_the_dense_matrix(name):
    make, shape = LADDER[name]
    model, loader, exact = problem(make, shape)
    found = ggn_spectrum(model, loader, rtol_omitted=0)
    values = spectrum(exact)
    assert found.dimension == len(values)
    assert found.rows == found.all_rows == 18  # nine rows, of rank C - 1
    assert_relative(found.values, values[: len(found.values)], 1e-12)
    assert float(values[len(found.values) :].abs().sum()) < 1e-12 * float(values[0])
    assert found.trace == pytest.approx(float(exact.trace()), rel=1e-12)
    assert found.omitted_trace == 0.0


@pytest.mark.parametrize("rows", [6, 60])
def test_functionals_are_exact_whichever_matrix_is_the_smaller_one(rows):
    model, loader, exact = problem(rows=rows)
    found = ggn_spectrum(model, loader, rtol_omitted=0)
    assert (found.all_rows > found.dimension) == (rows == 60)
    eye = torch.eye(len(exact), dtype=torch.float64)
    low, high = found.logdet(1e-3)
    assert low == high == pytest.approx(float((exact + 1e-3 * eye).logdet()), rel=1e-10)
    values = spectrum(exact)
    low, high = found.effective_rank(1e-3)
    assert low == high == pytest.approx(float((values / (values + 1e-3)).sum()), rel=1e-10)


@pytest.mark.parametrize("rows", [6, 60])
@pytest.mark.parametrize("memory", [2**30, 2000])
def test_eigenvectors_are_made_of_the_rows_in_any_memory(rows, memory):
    model, loader, exact = problem(rows=rows)
    found = ggn_spectrum(model, loader, rtol_omitted=0, vectors=4, rows_memory=memory)
    v = found.vectors
    assert_relative(v @ v.T, torch.eye(4).double(), 1e-10)
    assert_relative(v @ exact, found.values[:4, None] * v, 1e-10)
    assert_relative(found.values[:10], spectrum(exact)[:10], 1e-12)


def test_squared_errors_of_several_outputs():
    x, y = classification(8)
    targets = F.one_hot(y, 3).double()
    exact = dense_gauss_newton(mlp(), lambda m: m(x.double()), lambda z: F.mse_loss(z, targets))
    loader = cut((x.double(), targets), [5, 3])
    found = ggn_spectrum(mlp().double(), loader, criterion=nn.MSELoss())
    assert found.rows == 24
    assert_relative(found.values, spectrum(exact)[: len(found.values)], 1e-12)
    # All directions are alike there: a limit keeps as many as it says.
    few = ggn_spectrum(mlp().double(), loader, criterion=nn.MSELoss(), max_rows=7)
    assert few.rows == 7
    assert few.omitted_trace == pytest.approx(float(exact.trace() - few.values.sum()), rel=1e-10)


def test_every_valid_token_has_its_rows():
    class PerToken(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table, self.out = nn.Embedding(7, 4), nn.Linear(4, 3)

        def forward(self, tokens):
            return self.out(torch.tanh(self.table(tokens))).transpose(1, 2)  # (B, C, T)

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(7, (5, 6), generator=generator)
    y = torch.randint(3, (5, 6), generator=generator)
    y[0, 2:], y[3, 0] = -100, -100
    exact = dense_gauss_newton(PerToken(), lambda m: m(tokens), lambda z: F.cross_entropy(z, y))
    found = ggn_spectrum(PerToken().double(), cut((tokens, y), [3, 2]), rtol_omitted=0)
    assert found.all_rows == 2 * (30 - 5)
    assert_relative(found.values, spectrum(exact)[: len(found.values)], 1e-12)


@pytest.mark.parametrize("rows", [6, 60])
def test_a_loss_that_is_not_convex_in_the_outputs_has_negative_eigenvalues(rows):
    x, _ = classification(rows)

    def loss(z):
        return torch.sin(z).sum(1).mean()

    exact = dense_gauss_newton(mlp(), lambda m: m(x.double()), loss)
    loader = [(x.double(), x)]
    found = ggn_spectrum(
        mlp().double(), loader, loss_fn=lambda m, b: loss(m(b[0])), rtol_omitted=0, vectors=2
    )
    values = spectrum(exact)
    assert float(values[-1]) < -0.01 < 0 < float(values[0])
    nonzero = values[values.abs() > 1e-10]
    ours = found.values[found.values.abs() > 1e-10]
    assert_relative(ours, nonzero, 1e-9)
    assert_relative(found.vectors @ exact, found.values[:2, None] * found.vectors, 1e-9)
    with pytest.raises(ValueError, match="damping must exceed 0 and minus the smallest"):
        found.logdet(1e-3)
    with pytest.raises(ValueError, match="not convex in the outputs"):
        ggn_spectrum(
            mlp().double(), loader, loss_fn=lambda m, b: loss(m(b[0])), max_rows=5, rtol_omitted=0
        )


def test_what_is_left_out_is_stated_and_bounds_every_eigenvalue():
    model, loader, exact = problem(rows=20)
    with torch.no_grad():
        model[2].weight *= 6
    x = torch.cat([b[0] for b in loader])
    y = torch.cat([b[1] for b in loader])
    exact = dense_gauss_newton(model, lambda m: m(x), lambda z: F.cross_entropy(z, y))
    found = ggn_spectrum(model, loader, max_rows=25)
    values = spectrum(exact)
    assert (found.rows, found.all_rows) == (25, 40)
    missing = float(exact.trace() - found.values.sum())
    assert 0 < found.omitted_trace == pytest.approx(missing, rel=1e-8)
    short = values[:25] - found.values
    assert float(short.min()) > -1e-12
    assert float(short.max()) <= found.omitted_trace
    low, high = found.effective_rank(0.1)
    assert low < float((values / (values + 0.1)).sum()) < high
    low, high = found.logdet(0.1)
    assert low < float((values + 0.1).log().sum()) < high


def test_a_float32_model_has_small_eigenvalues_to_the_precision_of_its_rows():
    model, loader, exact = problem(conv_net, (1, 6, 6))
    single = [(x.float(), y) for x, y in loader]
    found = ggn_spectrum(model.float(), single, rtol_omitted=0)
    values = spectrum(exact)
    assert_relative(found.values.sqrt(), values[: len(found.values)].clamp_min(0).sqrt(), 2e-6)
    assert found.rank == int((values > found.rounding).sum())


def test_nothing_of_the_models_is_changed():
    model, loader, _ = problem(conv_net, (1, 6, 6))
    model.train()
    before = snapshot(model)
    ggn_spectrum(model, loader, max_rows=5)
    assert_same_state(model, before)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rtol_omitted": 1.0}, "rtol_omitted must be at least 0 and below 1, got 1.0"),
        ({"max_rows": 0}, "max_rows must be a whole number of at least 1, got 0"),
        ({"vectors": -1}, "vectors must be a whole number of at least 0, got -1"),
        ({"vectors": 40}, "vectors=40 are wanted, but G has rank 18"),
        ({"memory_budget": 0}, "larger than memory_budget"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, text):
    model, loader, _ = problem()
    with pytest.raises(ValueError, match=text):
        ggn_spectrum(model, loader, **arguments)


class Masked(nn.Module):
    """A Transformer that leaves out padding, for tokens."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.Embedding(7, 4), nn.Linear(4, 3)
        self.body = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)

    def forward(self, x):
        return self.out(self.body(self.table(x), src_key_padding_mask=x == 0).mean(1))


def test_padding_single_rows_and_several_lengths_are_taken():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 7, (6, 5), generator=generator)
    tokens[::2, 3:] = 0
    y = torch.arange(6) % 3
    loader = [(tokens[:1], y[:1]), (tokens[1:], y[1:]), (tokens[1:4, :3], y[1:4])]
    model = Masked().double()
    found = ggn_spectrum(model, loader)
    op = GGNOperator(model, loader)
    exact = torch.linalg.eigvalsh(op(torch.eye(op.shape[0], dtype=torch.float64)))
    top = exact.flip(0)[: len(found.values)].clamp_min(0)
    assert_relative(found.values[:10], top[:10], 1e-9)


def test_batch_statistics_that_couple_rows_are_named():
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    model = nn.Sequential(nn.Linear(5, 4), norm, nn.Tanh(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"couples rows: '1' .*track_running_stats=False.*GGNOp"):
        ggn_spectrum(model, [classification(8)])
    assert "couples rows: '1'" in trace(model, [classification(8)]).note
