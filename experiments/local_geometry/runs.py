"""Networks trained on the handwritten digits, and their curvature along a run and by class."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from page import STAGES
from sklearn.datasets import load_digits
from torch import Tensor, nn

from landscape_fast import (
    GGNOperator,
    HessianOperator,
    Tracker,
    ggn_spectrum,
    logit_clustering,
    probability_freezing,
    subspace_overlap,
    top_eigs,
)
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.local_geometry.random_model import LogitGradientModel
from landscape_fast.local_geometry.spectra import largest_gap

TRAIN, BATCH, WIDTH, RATE = 1000, 50, 40, 0.05
STEPS = (0, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2400)
CLASSES = range(2, 11)
BESIDE = 200  # samples of the spectrum beside the random model

Batches = list[tuple[Tensor, Tensor]]


def digits(classes: int = 10) -> tuple[Tensor, Tensor, Batches]:
    """Training inputs and classes, and the held-out rows as batches, of the first classes."""
    whole = load_digits()
    x = torch.tensor(whole.data, dtype=torch.float32) / 16.0
    y = torch.tensor(whole.target)
    x, y = x[y < classes], y[y < classes]
    count = TRAIN * classes // 10
    return x[:count], y[:count], [(x[count:], y[count:])]


def network(classes: int = 10, *, bias: bool = True) -> nn.Module:
    """Two hidden layers of 40, as initialised by torch."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, WIDTH, bias),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH, bias),
        nn.ReLU(),
        nn.Linear(WIDTH, classes, bias),
    )


def train(model: nn.Module, x: Tensor, y: Tensor, at: tuple[int, ...]) -> dict[int, nn.Module]:
    """Train ``model`` by SGD; return copies of it after the steps of ``at``."""
    order = torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(model.parameters(), RATE, momentum=0.9)
    found, step = {0: copy.deepcopy(model)} if 0 in at else {}, 0
    while step < max(at):
        for rows in torch.randperm(len(x), generator=order).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
            step += 1
            if step in at:
                found[step] = copy.deepcopy(model)
    return found


def along_the_run(run: dict[int, nn.Module], data: Batches) -> list[dict[str, float]]:
    """Curvature, gradient, clusters and freezing at every kept step, and what the model says."""
    rows = []
    for step, model in run.items():
        point = Tracker(model, data, k=10, tol=1e-3, draws=0, max_products=1000).measure(step)
        frozen, clusters = probability_freezing(model, data), logit_clustering(model, data)
        random = LogitGradientModel.fitted(clusters, frozen.probabilities, frozen.targets)
        shared, by_class, rest = clusters.scales
        rows.append(
            {
                "step": step,
                "loss": point.loss,
                "top": float(point.values[0]),
                "foretold": random.predict(limit=1).outliers[:1].sum().item(),
                "share": point.share,
                "logit_std": frozen.logit_std,
                "critical_std": frozen.critical_std,
                "entropy": frozen.entropy,
                "confidence": frozen.confidence,
                "slope": frozen.slope,
                "own": clusters.own_logit_own_class,
                "slsc": clusters.same_logit_same_class,
                "sl": clusters.same_logit_any_class,
                "dl": clusters.different_logit,
                "logit_scale": shared,
                "class_scale": by_class,
                "sample_scale": rest,
            }
        )
    return rows


def logit_curvature(model: nn.Module, data: Batches) -> dict[str, float]:
    """How much of the Hessian H the Gauss-Newton matrix G leaves out."""
    hessian, gauss_newton = HessianOperator(model, data), GGNOperator(model, data)
    top = top_eigs(model, data, k=10, tol=1e-4)
    own = extreme_eigenpairs(gauss_newton, 10, tol=1e-4)
    draws = torch.randn(8, hessian.shape[0], generator=torch.Generator().manual_seed(0))
    found = {}
    for name, block in (("random", draws), ("top", top.vectors)):
        product = hessian(block)
        rest = (product - gauss_newton(block)).norm(dim=1) / product.norm(dim=1)
        found[name] = float(rest.mean())
    found["overlap"] = subspace_overlap(top.vectors, own.vectors).value
    return found


def outliers_by_class() -> list[dict[str, float]]:
    """Eigenvalues above the largest gap, of networks for the first classes in the middle."""
    rows = []
    for classes in CLASSES:
        x, y, _ = digits(classes)
        (model,) = train(network(classes), x, y, (STAGES["middle"],)).values()
        values = top_eigs(model, [(x, y)], k=3 * classes, tol=1e-3, max_products=2000).values
        gap = largest_gap(values, limit=2 * classes)
        rows.append({"classes": classes, "count": gap.count, "ratio": gap.ratio})
    return rows


def beside(model: nn.Module, x: Tensor, y: Tensor) -> tuple[dict[str, Any], Figure]:
    """Gauss-Newton spectrum of a network, of a draw of its random model, and what is foretold."""
    data = [(x[:BESIDE], y[:BESIDE])]
    frozen = probability_freezing(model, data)
    random = LogitGradientModel.fitted(
        logit_clustering(model, data), frozen.probabilities, frozen.targets
    )
    foretold, drawn = random.predict(), random.simulate()
    own = ggn_spectrum(model, data, rtol_omitted=0.0, max_rows=None)
    return {
        "network": own.values[:20].tolist(),
        "drawn": drawn.values[:20].tolist(),
        "foretold": foretold.outliers[:20].tolist(),
        "outliers": len(foretold.outliers),
        "edge": foretold.edge,
        "beyond_edge": [
            int((values > foretold.edge).sum()) for values in (own.values, drawn.values)
        ],
        "drawn_share": float(drawn.shares[:10].sum()),
        "trace": own.trace,
        "foretold_trace": foretold.trace,
    }, foretold.plot(drawn=drawn, network=own)
