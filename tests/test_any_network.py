"""A table, images, tokens and spikes: the same measures on four kinds of networks, against oracles.

Of the spiking network the backward pass is a surrogate. Its formal Hessian is that of the smooth
network that agrees with it to second order where it is: each spike expanded around its potential.
"""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from oracles import (
    assert_relative,
    cut,
    dense_gauss_newton,
    dense_hessian,
    difference_hessian,
)
from torch import Tensor, nn

import landscape_fast as lf
from landscape_fast import _native
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.training.models import mlp, small_cnn, vit

SCRIPT = Path(__file__).resolve().parents[1] / "experiments" / "any_network" / "networks.py"
ROWS = 12


@cache
def script():
    return runpy.run_path(str(SCRIPT))


class Expanded:
    """Spikes as their expansions, to second order, around the potentials that were met first.

    Of the slope 1 / (1 + 5 |u|)^2, and the value of a step.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.centres, self.calls = steps, [], 0

    def __call__(self, potential: Tensor) -> Tensor:
        if len(self.centres) < self.steps:
            self.centres.append(potential.detach())
        centre = self.centres[self.calls % self.steps]
        self.calls += 1
        wide, way = 1 + 5 * centre.abs(), potential - centre
        bend = -10 * centre.sign() / wide**3
        return (centre > 0).to(centre.dtype) + way / wide**2 + bend / 2 * way**2


def spiking(spike=None, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    options = {} if spike is None else {"spike": spike}
    model = script()["Spiking"](inputs=4, hidden=5, outputs=3, **options).double()
    model.inwards.weight.data *= 4  # so that neurons fire
    return model


def images(shape: tuple[int, ...], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, *shape, generator=draws).double()
    return x, torch.randint(3, (ROWS,), generator=draws)


def table() -> tuple[Tensor, Tensor]:
    x, _ = images((5,))
    return x, x[:, :1] * x[:, 1:2]


def build(kind: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if kind == "table":
        return mlp(width=5, classes=1, input_shape=(5,)).double()
    if kind == "convolutional":
        return small_cnn(width=2, classes=3).double()
    if kind == "transformer":
        options = {"input_shape": (1, 4, 4), "patch": 2, "depth": 1, "heads": 2}
        return vit(width=4, classes=3, **options).double()
    return spiking(seed=seed)


DATA = {
    "table": table(),
    "convolutional": images((1, 8, 8)),
    "transformer": images((1, 4, 4)),
    "spiking": images((6, 4)),
}


def criterion(kind: str) -> nn.Module:
    return nn.MSELoss() if kind == "table" else nn.CrossEntropyLoss()


def data(kind: str) -> list[tuple[Tensor, ...]]:
    return cut(DATA[kind], [7, 5])


def whole_loss(kind: str):
    x, y = DATA[kind]
    return lambda model: criterion(kind)(model(x), y)


def expanded() -> nn.Module:
    """The smooth network that the spiking one is, to second order, where it is."""
    model = spiking(Expanded(steps=6))
    model(DATA["spiking"][0])
    return model


@cache
def dense(kind: str) -> Tensor:
    return dense_hessian(expanded() if kind == "spiking" else build(kind), whole_loss(kind))


@pytest.mark.parametrize(
    "kind",
    [
        "table",
        pytest.param("convolutional", marks=pytest.mark.slow),
        pytest.param("transformer", marks=pytest.mark.slow),
    ],
)
def test_eigenvalues_trace_and_spectrum_are_those_of_the_dense_hessian(kind):
    model, loss = build(kind), {"criterion": criterion(kind)}
    hessian = dense(kind)
    exact = torch.linalg.eigvalsh(hessian).flip(0)
    found = lf.top_eigs(model, data(kind), k=2, tol=1e-6, **loss)
    assert found.converged
    assert torch.allclose(found.values, exact[:2], atol=2e-6 * float(exact.abs().max()))
    total = lf.trace(model, data(kind), rtol=0.01, **loss)
    assert abs(total.value - float(exact.sum())) <= max(
        4 * total.stderr + total.rounding, 1e-4 * float(exact.sum().abs())
    )
    density = lf.spectral_density(model, data(kind), starts=2, steps=len(exact), **loss)
    starts = _native.signs_(torch.empty(2, len(exact)).double(), 0, first_row=0)
    wanted = (starts @ hessian).square().sum(1)  # z^T H^2 z, which the quadrature has exactly
    assert torch.allclose(density.functional(torch.square).draws, wanted, rtol=1e-6)
    assert float(density.nodes.max()) == pytest.approx(float(exact[0]), rel=1e-6)


@pytest.mark.parametrize("kind", list(DATA))
def test_surfaces_similarity_and_barriers_are_those_of_plain_passes(kind):
    one, other, loss = build(kind), build(kind, seed=1), {"criterion": criterion(kind)}
    plain = lf.quality(one, data(kind), **loss).loss
    direction = torch.randn(1, sum(p.numel() for p in one.parameters())).double()
    surface = lf.loss_surface(
        one, data(kind), directions=direction, steps=3, batchnorm="eval", **loss
    )
    assert surface.loss == pytest.approx(plain, rel=1e-12)
    for place, shift in enumerate((-1.0, 0.0, 1.0)):
        moved = build(kind)
        start = nn.utils.parameters_to_vector(moved.parameters()).detach()
        nn.utils.vector_to_parameters(start + shift * direction[0], moved.parameters())
        wanted = lf.quality(moved, data(kind), **loss).loss
        assert float(surface.values[place]) == pytest.approx(wanted, rel=1e-10)
    outputs = "logits" if kind == "table" else "softmax"
    assert lf.cka(one, one, data(kind), outputs=outputs).value == pytest.approx(1.0)
    assert lf.cka(one, other, data(kind), outputs=outputs).value < 0.999
    line = lf.linear_barrier(one, other, data(kind), points=3, recalibrate=False, **loss)
    assert float(line.losses[0]) == pytest.approx(plain, rel=1e-12)
    assert line.loss_value >= 0


@pytest.mark.parametrize(
    "measure",
    [
        lf.top_eigs,
        lf.trace,
        lf.diagonal,
        lf.frobenius_norm,
        lf.spectral_density,
        lf.gradient_overlap,
        lf.HessianOperator,
    ],
    ids=lambda measure: measure.__name__,
)
def test_a_surrogate_gradient_has_no_hessian_and_the_function_is_named(measure):
    with pytest.raises(ValueError, match="backward pass of Spike .* is a surrogate"):
        measure(spiking(), data("spiking"))


def test_the_formal_hessian_is_that_of_the_network_with_expanded_spikes():
    op = lf.HessianOperator(spiking(), data("spiking"), engine="autograd")
    found = op(torch.eye(op.shape[0]).double())
    assert_relative(found, dense("spiking"), 1e-12)
    assert_relative(found, found.T, 1e-12)  # a Hessian of something
    assert_relative(found, difference_hessian(expanded(), whole_loss("spiking")), 1e-6)
    slopes = op.loss_and_gradient()[1]
    own = torch.autograd.grad(whole_loss("spiking")(m := spiking()), list(m.parameters()))
    assert_relative(slopes, torch.cat([part.reshape(-1) for part in own]), 1e-12)


def test_a_surrogate_that_stops_gradients_is_served_with_a_warning_and_has_the_same_hessian():
    def straight_through(potential):
        smooth = potential / (1 + 5 * potential.abs())  # its slope is the surrogate
        return smooth + ((potential > 0).to(smooth) - smooth).detach()

    with pytest.warns(UserWarning, match="the loss stops gradients"):
        op = lf.HessianOperator(spiking(straight_through), data("spiking"))
    vectors = torch.randn(3, op.shape[0], generator=torch.Generator().manual_seed(0)).double()
    assert_relative(op(vectors), vectors @ dense("spiking"), 1e-10)


@pytest.mark.slow
def test_krylov_methods_take_the_formal_hessian():
    op = lf.HessianOperator(spiking(), data("spiking"), engine="autograd")
    exact = torch.linalg.eigvalsh(dense("spiking")).flip(0)
    pairs = extreme_eigenpairs(op, 2, tol=1e-8)
    assert torch.allclose(pairs.values, exact[:2], atol=1e-7 * float(exact[0]))
    total = lf.xtrace(op, rtol=0.0, max_products=op.shape[0])
    assert abs(total.value - float(exact.sum())) < 5 * total.stderr < 0.01
    density = lanczos_quadrature(op, starts=2, steps=op.shape[0])
    assert float(density.nodes.min()) == pytest.approx(float(exact[-1]), rel=1e-6)


def test_gauss_newton_and_fisher_matrices_are_those_of_the_surrogate_gradient():
    x, y = DATA["spiking"]
    exact = dense_gauss_newton(expanded(), lambda model: model(x), lambda z: F.cross_entropy(z, y))
    model, rows = spiking(), []
    for row in range(ROWS):
        loss = F.cross_entropy(model(x[row : row + 1]), y[row : row + 1])
        parts = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    slopes = torch.stack(rows)
    vectors = torch.randn(3, len(exact), generator=torch.Generator().manual_seed(0)).double()
    found = lf.GGNOperator(model, data("spiking"))(vectors)
    assert_relative(found, vectors @ exact, 1e-10)
    found = lf.EmpiricalFisherOperator(model, data("spiking"))(vectors)
    assert_relative(found, vectors @ slopes.T @ slopes / ROWS, 1e-10)
