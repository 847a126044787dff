"""Spectral density of a trained ResNet-20 against PyHessian and hessian-eigenthings.

All take as many random starts and Lanczos steps; rivals run their starts one after another, so that
one of them is timed and counts as often as there are starts (``rival_starts_timed``). Agreement is
asserted first: the largest eigenvalue, and the trace within its sampling error.
``set_up`` and ``outside_of_products`` are the parts of our time that are spent on the operator and
on starts and bases.

    pytest benchmarks/bench_density.py --benchmark-only -k "64-"          # minutes
    pytest benchmarks/bench_density.py --benchmark-only -k "256-10-80"    # hours
"""

from __future__ import annotations

import math
import warnings
from time import perf_counter

import pytest
import torch
import torch.nn.functional as F
from pairing import ratios
from resnet20 import trained_resnet20

from landscape_fast import HessianOperator
from landscape_fast.krylov.density import lanczos_quadrature

BATCH = 128
SIZES = [(64, 2, 10), (64, 10, 80), (256, 10, 80)]  # images, starts, steps


def eig(matrix, eigenvectors=True):
    """The function of old torch that PyHessian calls, for its symmetric matrices."""
    assert eigenvectors
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], 1), vectors


def pyhessian(model, loader, starts, steps):
    """Nodes and weights (starts, steps)."""
    package = pytest.importorskip("pyhessian")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its backward pass with create_graph
        found = package.hessian(
            model, torch.nn.CrossEntropyLoss(), dataloader=loader, cuda=False
        ).density(iter=steps, n_v=starts)
    return [torch.tensor(part, dtype=torch.float64) for part in found]


def eigenthings(model, loader, starts, steps):
    """Nodes and weights (starts, steps)."""
    pytest.importorskip("hessian_eigenthings")
    from hessian_eigenthings.algorithms.spectral_density import spectral_density
    from hessian_eigenthings.operators.hessian import HessianOperator as Theirs

    op = Theirs(model, loader, lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]))
    found = spectral_density(op, num_runs=starts, lanczos_steps=steps)
    return found.raw_eigenvalues.double(), found.raw_weights.double()


RIVALS = {"pyhessian": pyhessian, "hessian-eigenthings": eigenthings}


class Watched:
    """An operator that knows how long its products took."""

    def __init__(self, op: HessianOperator) -> None:
        self._op = op
        self.shape, self.dtype, self.device = op.shape, op.dtype, op.device
        self.samples, self.seconds = op.samples, 0.0

    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """Multiply each row of ``block`` (k, n)."""
        begin = perf_counter()
        out = self._op(block)
        self.seconds += perf_counter() - begin
        return out


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize(("images", "starts", "steps"), SIZES)
def test_density(images, starts, steps, rival, benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "eig", eig, raising=False)
    model, loader = trained_resnet20(images, BATCH, tmp_path)

    def ours():
        return lanczos_quadrature(HessianOperator(model, loader), starts=starts, steps=steps)

    def theirs():
        return RIVALS[rival](model, loader, 1, steps)

    nodes, weights = theirs()
    begin = perf_counter()
    op = Watched(HessianOperator(model, loader))
    set_up = perf_counter() - begin
    found = lanczos_quadrature(op, starts=starts, steps=steps)
    whole = perf_counter() - begin
    top = float(found.nodes.max())
    assert abs(float(nodes.max()) - top) <= 1e-3 * top
    # One start of theirs and the mean of ours: z^T A z has the variance 2 |A|_F^2 at most.
    deviation = math.sqrt(2 * (1 + 1 / starts)) * found.functional("frobenius").value
    moment = found.dimension * float((nodes * weights).sum())
    assert abs(moment - found.functional("trace").value) <= 5 * deviation

    paired = ratios(ours, {rival: theirs}, rounds=2)
    benchmark.extra_info.update(
        ratios={name: {q: v / starts for q, v in of.items()} for name, of in paired.items()},
        rival_starts_timed=1,
        set_up=set_up / whole,
        outside_of_products=1 - (op.seconds + set_up) / whole,
        largest=top,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    benchmark.pedantic(ours, rounds=1)
