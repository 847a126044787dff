"""What single decisions of the engine are worth: each against the same work without it.

Answers are held together before the clock starts; ``extra_info["ratios"]`` has the paired ratios,
with the decision over without it (pairing.py), and ``error`` where a decision costs digits.

``python benchmarks/report`` makes the table from committed results.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from bench_hvp import PROBLEMS
from pairing import ratios
from resnet20 import trained_resnet20
from torch import Tensor

from landscape_fast import GGNOperator, HessianOperator, top_eigs
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.linearise import residency
from landscape_fast.linearise.rules import RULES, convolution
from landscape_fast.results import Eigenpairs

aten = torch.ops.aten
ROUNDS = 7


def record(
    benchmark, ours: Callable[[], object], rival: Callable[[], object], error: float
) -> None:
    """Store the ratio of ``ours`` to ``rival``, and what the answers differ by."""
    benchmark.extra_info.update(
        ratios=ratios(ours, {"without": rival}, rounds=ROUNDS),
        error=error,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    benchmark.pedantic(ours, rounds=3)


def problem(name: str) -> tuple[torch.nn.Module, list[tuple[Tensor, Tensor]]]:
    make, data = PROBLEMS[name]
    torch.manual_seed(0)
    return make().eval(), [data()]


@pytest.mark.parametrize("vectors", [1, 8])
def test_primal_values_kept_between_products(benchmark, vectors, monkeypatch):
    monkeypatch.setitem(residency.PASSES_BEFORE, "cpu", 0)
    model, data = problem("resnet18 width 8")
    kept = HessianOperator(model, data, engine="captured")
    anew = HessianOperator(model, data, engine="captured", values_budget=0)
    v = torch.randn(vectors, kept.shape[0])
    assert torch.equal(kept(v), anew(v))
    record(benchmark, lambda: kept(v), lambda: anew(v), 0.0)


@pytest.fixture
def resnet20(tmp_path) -> tuple[torch.nn.Module, list[tuple[Tensor, Tensor]]]:
    return trained_resnet20(250, 125, tmp_path)


def test_kept_values_in_one_piece_of_memory(benchmark, monkeypatch, resnet20):
    monkeypatch.setitem(residency.PASSES_BEFORE, "cpu", 0)
    model, data = resnet20
    packed = HessianOperator(model, data, engine="captured")
    v = torch.randn(packed.shape[0])
    packed(v)
    monkeypatch.setattr(residency, "together", lambda primals, *_: primals)
    scattered = HessianOperator(model, data, engine="captured")
    assert torch.equal(packed(v), scattered(v))
    record(benchmark, lambda: packed(v), lambda: scattered(v), 0.0)


def test_the_pass_that_keeps_values(benchmark, monkeypatch, resnet20):
    monkeypatch.setitem(residency.PASSES_BEFORE, "cpu", 0)
    model, data = resnet20
    op = HessianOperator(model, data, engine="captured")
    anew = HessianOperator(model, data, engine="captured", values_budget=0)
    v = torch.randn(op.shape[0])
    bias = model.get_parameter("linear.bias")

    def filling() -> Tensor:
        with torch.no_grad():
            bias.add_(1e-6)  # what was kept is of other numbers now
        return op(v)

    assert torch.equal(filling(), anew(v))
    record(benchmark, filling, lambda: anew(v), 0.0)


@pytest.mark.parametrize("network", ["resnet20", "resnet18 width 8", "mlp"])
def test_the_gradient_as_the_start_of_a_search(benchmark, request, network):
    """The whole search for the top eigenvalue with its set-up, and the examination in both."""
    model, data = request.getfixturevalue(network) if network == "resnet20" else problem(network)

    def ours() -> Eigenpairs:
        return top_eigs(model, data, tol=1e-2)

    def from_random() -> Eigenpairs:
        return extreme_eigenpairs(HessianOperator(model, data), 1, tol=1e-2)

    one, other = ours(), from_random()
    assert one.complete
    assert other.complete
    error = abs(float(one.values[0] / other.values[0]) - 1.0)
    benchmark.extra_info["products"] = {"ours": one.products, "without": other.products}
    record(benchmark, ours, from_random, error)


@pytest.mark.parametrize("network", ["resnet18 width 8", "mlp", "encoder"])
def test_bfloat16_factors(benchmark, network):
    model, data = problem(network)
    plain = HessianOperator(model, data, engine="captured")
    rounded = HessianOperator(model, data, engine="captured", precision="bfloat16")
    v = torch.randn(8, plain.shape[0])
    error = float((rounded(v) - plain(v)).norm() / plain(v).norm())
    assert error < 0.02
    record(benchmark, lambda: rounded(v), lambda: plain(v), error)


# What moves in the backward pass of a 3 x 3 convolution, and which gradient is asked for.
NARROW = {
    "gradient in the input, by the incoming gradient": (0, [True, False, False]),
    "gradient in the input, by the kernel": (2, [True, False, False]),
    "gradient in the kernel, by the input": (1, [False, True, False]),
}


@pytest.mark.parametrize("channels", [8])
@pytest.mark.parametrize("what", NARROW)
def test_narrow_convolutions(benchmark, monkeypatch, channels, what):
    place, mask = NARROW[what]
    k, rows = 8, 32
    x, delta = torch.randn(2, rows, channels, 32, 32)
    weight = torch.randn(channels, channels, 3, 3)
    args = (delta, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)
    dots: list[Tensor | None] = [None] * len(args)
    # The probe axis before the channels, as blocks come.
    images = torch.randn(rows, k, channels, 32, 32).transpose(0, 1)
    dots[place] = torch.randn(k, *weight.shape) if place == 2 else images
    rule = RULES[aten.convolution_backward.default]

    def ours() -> Tensor:
        return rule(args, dots, None)[mask.index(True)]

    def folded() -> Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(convolution, "NARROW", 0)
            return ours()

    one, other = ours(), folded()
    error = float((one - other).norm() / other.norm())
    assert error < 1e-5
    record(benchmark, ours, folded, error)


@pytest.mark.parametrize("rows", [128, 16, 1])
def test_fresh_signs_for_every_so_many_rows(benchmark, rows):
    """Relative standard deviation of one draw of tr H, and of tr (H - G) in parts of tr H.

    One row at a time stands for signs per sample.
    """
    torch.manual_seed(0)
    x = torch.randn(512, 64)
    y = (x @ torch.randn(64, 10)).argmax(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.GELU(), torch.nn.Linear(32, 32), torch.nn.GELU()
    ).append(torch.nn.Linear(32, 10))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    data = list(zip(x.split(rows), y.split(rows), strict=True))
    whole, part = (kind(model, data, engine="captured") for kind in (HessianOperator, GGNOperator))
    draws = whole.random_quadratics(64, seed=0)
    rest = draws - part.random_quadratics(64, seed=0)
    benchmark.extra_info.update(
        spread={"H": float(draws.std() / draws.mean()), "R": float(rest.std() / draws.mean())},
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    benchmark.pedantic(lambda: whole.random_quadratics(8, seed=1), rounds=3)
