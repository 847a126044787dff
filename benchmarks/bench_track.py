"""The sharpness of ten steps of one training run, against PyHessian and hessian-eigenthings.

Gradient descent of a small residual network on real images. All measure the largest eigenvalue at
every step, to 1e-2 of the converged value: each is given its loosest tolerance of a ladder that
reaches it at all steps. Ours is one :class:`landscape_fast.Tracker` for the whole run; theirs are
asked anew at each step, which is what they offer.

    pytest benchmarks/bench_track.py --benchmark-only
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter

import pytest
import torch
import torch.nn.functional as F
from bench_eigs import eigenthings, pyhessian
from resnet20 import trained_resnet20
from torch import nn

from landscape_fast import Tracker, top_eigs
from landscape_fast.training.models import resnet18

IMAGES, BATCH, STEPS, RATE, WIDTH = 256, 128, 10, 0.05, 4
ACCURACY = 1e-2
LADDER = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
Measure = Callable[[nn.Module, float], Callable[[], float]]


def run(model: nn.Module, loader) -> Iterator[int]:
    """Steps of gradient descent; measured before each."""
    for step in range(STEPS):
        yield step
        model.zero_grad()
        for x, y in loader:
            (F.cross_entropy(model(x), y) / len(loader)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= RATE * parameter.grad


def sharpness(measure: Measure, loader, tol: float) -> tuple[list[float], float]:
    """The values of a run, and the seconds that measuring took."""
    torch.manual_seed(0)
    model = resnet18(WIDTH).eval()
    begin = perf_counter()
    value = measure(model, tol)
    seconds, values = perf_counter() - begin, []
    for _ in run(model, loader):
        begin = perf_counter()
        values.append(value())
        seconds += perf_counter() - begin
    return values, seconds


@pytest.mark.parametrize("rival", ["pyhessian", "hessian-eigenthings"])
def test_sharpness_of_a_run(rival, benchmark, tmp_path):
    _, loader = trained_resnet20(IMAGES, BATCH, tmp_path)
    solver = {"pyhessian": pyhessian, "hessian-eigenthings": eigenthings}[rival]

    def ours(model: nn.Module, tol: float) -> Callable[[], float]:
        tracker = Tracker(model, loader, draws=0, tol=tol, risk=1)
        return lambda: float(tracker.measure(len(tracker.points)).values[0])

    def theirs(model: nn.Module, tol: float) -> Callable[[], float]:
        return lambda: float(solver(model, loader, 1, tol)[0][0])

    def exact(model: nn.Module, tol: float) -> Callable[[], float]:
        return lambda: float(top_eigs(model, loader, tol=tol, risk=1).values[0])

    converged = sharpness(exact, loader, 1e-5)[0]

    def tightened(measure: Measure) -> tuple[float, float, float]:
        for tol in LADDER:
            values, seconds = sharpness(measure, loader, tol)
            error = max(abs(a / b - 1) for a, b in zip(values, converged, strict=True))
            if error <= ACCURACY:
                return tol, error, seconds
        pytest.fail(f"{measure.__name__} does not reach {ACCURACY}")

    mine, rivals = tightened(ours), tightened(theirs)
    around = sorted([mine[2], sharpness(ours, loader, mine[0])[1]])
    ratios = [seconds / rivals[2] for seconds in around]
    benchmark.extra_info.update(
        ratios={rival: {"median": sum(ratios) / 2, "low": ratios[0], "high": ratios[1]}},
        accuracy=ACCURACY,
        error={"ours": mine[1], rival: rivals[1]},
        tol={"ours": mine[0], rival: rivals[0]},
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    benchmark.pedantic(sharpness, args=(ours, loader, mine[0]), rounds=1)
