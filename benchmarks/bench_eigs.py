"""Top eigenvalues of a trained ResNet-20 against PyHessian, hessian-eigenthings and scipy.

Everyone has to reach the same accuracy: each value within 1e-3 of the converged one. Each is given
its loosest tolerance of a ladder that reaches it, found before the clock counts, so that nobody
pays for accuracy that was not asked for; with many images the ladder begins one step before the
tolerance that was enough for the first 64. Rivals do not look for missing copies of an eigenvalue,
so ``ours`` is stated without that examination (``risk=1``); ``with_examination`` is the factor that
it costs at the defaults. Our time includes the capture of the program.

Ten eigenvalues by deflated power iteration take hours. A rival that has used ``PATIENCE`` times our
time is stopped and its time so far counts, which understates our advantage: ``stopped`` says so.
Its ladder begins at ``ACCURACY``: what still changes by more than that is not within it.

    pytest benchmarks/bench_eigs.py --benchmark-only -k "64-1-"       # minutes
    pytest benchmarks/bench_eigs.py --benchmark-only -k "2000-"       # an hour
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from time import perf_counter

import pytest
import torch
import torch.nn.functional as F
from resnet20 import trained_resnet20
from torch import Tensor, nn

from landscape_fast import top_eigs

ACCURACY = 1e-3
BATCH = 125
PATIENCE = 20.0
LADDER = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6)


def ours(model, loader, k, tol):
    """Residuals of at most ``tol``, no examination."""
    found = top_eigs(model, loader, k, tol=tol, risk=1)
    return found.values, found.products


def examined(model, loader, k, tol):
    """The same with the examination for missing eigenvalues at its default risk."""
    found = top_eigs(model, loader, k, tol=tol)
    assert found.complete
    return found.values, found.products


def pyhessian(model, loader, k, tol):
    """Power iteration per eigenvalue, until two estimates differ by less than ``tol``."""
    package = pytest.importorskip("pyhessian")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its backward pass with create_graph
        their = package.hessian(model, nn.CrossEntropyLoss(), dataloader=loader, cuda=False)
        products, plain = [0], their.dataloader_hv_product

        def counted(v):
            products[0] += 1
            return plain(v)

        their.dataloader_hv_product = counted
        values, _ = their.eigenvalues(maxIter=300, tol=tol, top_n=k)
    return torch.tensor(values, dtype=torch.float64).sort(descending=True).values, products[0]


def eigenthings(model, loader, k, tol):
    """Their Lanczos. Without restarts ``max_iter`` decides too, so it grows as ``tol`` falls."""
    pytest.importorskip("hessian_eigenthings")
    from hessian_eigenthings.algorithms.lanczos import lanczos
    from hessian_eigenthings.operators.hessian import HessianOperator as Theirs

    op = Theirs(model, loader, lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]))
    steps = k + 2 + 3 * LADDER.index(tol)
    found = lanczos(op, k=k, max_iter=steps, tol=tol, which="LA", reorthogonalize=True, seed=0)
    return found.eigenvalues.double().sort(descending=True).values, steps


def scipy(model, loader, k, tol):
    """ARPACK on a curvlinops operator; for one value its usual 20 vectors would be too many."""
    curvlinops = pytest.importorskip("curvlinops")
    from scipy.sparse.linalg import LinearOperator, eigsh

    parameters = [p for p in model.parameters() if p.requires_grad]
    plain = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), parameters, loader, check_deterministic=False
    ).to_scipy()
    products = [0]

    def counted(v):
        products[0] += 1
        return plain @ v

    op = LinearOperator(plain.shape, matvec=counted, dtype=plain.dtype)
    values = eigsh(op, k=k, which="LA", ncv=max(2 * k + 2, 8), tol=tol, return_eigenvectors=False)
    return torch.from_numpy(values.copy()).double().sort(descending=True).values, products[0]


RIVALS = {"pyhessian": pyhessian, "hessian-eigenthings": eigenthings, "scipy": scipy}
Solver = Callable[[nn.Module, list[tuple[Tensor, Tensor]], int, float], tuple[Tensor, int]]


def timed(solver: Solver, *problem) -> tuple[Tensor, int, float]:
    begin = perf_counter()
    values, products = solver(*problem)
    return values, products, perf_counter() - begin


def off(values: Tensor, exact: Tensor) -> float:
    """Largest relative error; infinite where values are missing."""
    if values.shape != exact.shape:
        return float("inf")
    return float(((values - exact) / exact).abs().max())


def tightened(
    solver: Solver, model, loader, k, exact, start: float = LADDER[0]
) -> Iterator[tuple[float, float, int, float]]:
    """Tolerances, errors, products and seconds down the ladder until the accuracy is reached."""
    for tol in LADDER[LADDER.index(start) :]:
        values, products, seconds = timed(solver, model, loader, k, tol)
        error = off(values, exact)
        yield tol, error, products, seconds
        if error <= ACCURACY:
            return
    pytest.fail(f"{solver.__name__} does not reach {ACCURACY} with tol={LADDER[-1]}")


class OutOfPatienceError(Exception):
    """A rival has used as much time as it is given."""


def within(
    solver: Solver, model, loader, k, exact, seconds: float
) -> tuple[tuple[float, float, int, float], bool]:
    """What :func:`tightened` found last from ``tol=ACCURACY`` on, or used until it was stopped.

    Its error is nan then; the second value says which.
    """
    passes, begin, tol = 0, 0.0, ACCURACY

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1
        if perf_counter() - begin > seconds:
            raise OutOfPatienceError

    hook = model.register_forward_pre_hook(count)
    try:
        for tol in LADDER[LADDER.index(ACCURACY) :]:
            passes, begin = 0, perf_counter()
            values, products, taken = timed(solver, model, loader, k, tol)
            if (error := off(values, exact)) <= ACCURACY:
                return (tol, error, products, taken), False
    except OutOfPatienceError:
        return (tol, float("nan"), passes // len(loader), perf_counter() - begin), True
    finally:
        hook.remove()
    pytest.fail(f"{solver.__name__} does not reach {ACCURACY} with tol={LADDER[-1]}")


@cache
def first_step(solver: Solver, k: int, folder: Path) -> float:
    """One tolerance before the one that is enough for 64 images."""
    model, loader = trained_resnet20(64, BATCH, folder)
    exact = top_eigs(model, loader, k, tol=1e-5).require()
    tol = list(tightened(solver, model, loader, k, exact.values))[-1][0]
    return LADDER[max(LADDER.index(tol) - 1, 0)]


@cache
def converged(images: int, k: int, folder: Path) -> Tensor:
    """The values that everyone is held to."""
    exact = top_eigs(*trained_resnet20(images, BATCH, folder), k, tol=1e-5).require()
    assert exact.complete
    return exact.values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("images", [64, 500, 2000])
def test_top_eigenvalues(images, k, rival, benchmark, folder):
    model, loader = trained_resnet20(images, BATCH, folder)
    exact = converged(images, k, folder)

    def steps(solver: Solver) -> list[tuple[float, float, int, float]]:
        start = LADDER[0] if images <= 64 else first_step(solver, k, folder)
        return list(tightened(solver, model, loader, k, exact, start))

    mine = steps(ours)[-1]
    stopped = False
    if rival == "pyhessian" and k > 1:
        limit = PATIENCE * mine[3]
        theirs, stopped = within(RIVALS[rival], model, loader, k, exact, limit)
    else:
        theirs = steps(RIVALS[rival])[-1]
    # The last of their runs that were needed to find their tolerance counts, ours around it.
    around = [mine[3], timed(ours, model, loader, k, mine[0])[2]]
    ratios = sorted(seconds / theirs[3] for seconds in around)
    full = timed(examined, model, loader, k, mine[0])
    benchmark.extra_info.update(
        ratios={rival: {"median": sum(ratios) / 2, "low": ratios[0], "high": ratios[1]}},
        accuracy=ACCURACY,
        error={"ours": mine[1], rival: theirs[1]},
        tol={"ours": mine[0], rival: theirs[0]},
        products={"ours": mine[2], rival: theirs[2], "with_examination": full[1]},
        with_examination=full[2] / min(around),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        stopped=stopped,
    )
    benchmark.pedantic(ours, args=(model, loader, k, mine[0]), rounds=1)
