"""How cost grows: with the width, the batch, the number of vectors, the number of eigenvalues.

Each case is a point of a curve; ``extra_info`` has ``curve``, ``x`` and paired ratios (ours over
theirs) like the other benchmarks. ``python benchmarks/report`` draws them.
"""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from bench_hvp import Rivals
from pairing import ratios
from torch import nn

from landscape_fast import HessianOperator, top_eigs
from landscape_fast.training.models import resnet18

ROUNDS = 5
ACCURACY = 1e-3


def describe(benchmark, curve: str, x: int, found: dict, per: int) -> None:
    """Store one point; ``per`` vectors share the time of ours."""
    benchmark.extra_info.update(
        curve=curve,
        x=x,
        vectors=per,
        ratios={name: {q: v / per for q, v in of.items()} for name, of in found.items()},
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def product(benchmark, curve: str, x: int, *, width: int, batch: int, vectors: int) -> None:
    torch.manual_seed(0)
    model = resnet18(width).eval()
    data = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    op = HessianOperator(model, [data], engine="captured")
    rivals, v = Rivals(model, data), torch.randn(vectors, op.shape[0])
    part = list(op.space.split(v[0]))
    plain = rivals.kept(part)
    assert (op(v)[0] - plain).norm() <= 1e-4 * plain.norm()
    others = {
        "gradient": rivals.plain,
        "kept": lambda: rivals.kept(part),
        "rebuilt": lambda: rivals.rebuilt(part),
    }
    describe(benchmark, curve, x, ratios(lambda: op(v), others, rounds=ROUNDS), vectors)
    benchmark.pedantic(lambda: op(v), rounds=ROUNDS)


@pytest.mark.parametrize("width", [4, 8, 16, 32])
def test_width(benchmark, width):
    product(benchmark, "width of a ResNet-18", width, width=width, batch=32, vectors=8)


@pytest.mark.parametrize("batch", [8, 32, 128])
def test_batch(benchmark, batch):
    product(benchmark, "rows of a batch", batch, width=8, batch=batch, vectors=8)


@pytest.mark.parametrize("vectors", [1, 2, 4, 8, 16, 32])
def test_vectors(benchmark, vectors):
    product(benchmark, "vectors of a block", vectors, width=8, batch=32, vectors=vectors)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_eigenvalues(benchmark, k):
    hessian = pytest.importorskip("pyhessian").hessian
    torch.manual_seed(0)
    x = torch.randn(2048, 128)
    y = (x @ torch.randn(128, 10)).argmax(1)
    model = nn.Sequential(nn.Linear(128, 64), nn.Tanh(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    model.eval()
    exact = top_eigs(copy.deepcopy(model).double(), [(x.double(), y)], k, tol=1e-8).require().values

    def ours() -> torch.Tensor:
        return top_eigs(model, [(x, y)], k, tol=ACCURACY).values

    def theirs(tol: float) -> torch.Tensor:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, at backward(create_graph=True)
            them = hessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
            found, _ = them.eigenvalues(maxIter=2000, tol=tol, top_n=k)
        return torch.tensor(found, dtype=torch.float64)

    def accurate(values: torch.Tensor) -> bool:
        return bool(((values - exact[:k]).abs() <= ACCURACY * exact[:k].abs()).all())

    assert accurate(ours())
    # Their tol is the change between two steps: tightened until the values are as accurate.
    tol = next(tol for tol in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8) if accurate(theirs(tol)))
    found = ratios(ours, {"PyHessian": lambda: theirs(tol)}, rounds=ROUNDS)
    describe(benchmark, "eigenvalues of a small network", k, found, 1)
    benchmark.pedantic(ours, rounds=ROUNDS)
