"""Local geometry of networks on the handwritten digits, as pictures and numbers.

    python experiments/local_geometry.py docs/images

A minute or two on two cores. After Fort and Ganguli (2019), arXiv:1910.05929, and Li, Farkhoor, Liu
and Yosinski (2018), arXiv:1804.08838. What it finds goes to ``local-geometry.json``, from which the
tables of docs/studies/local-geometry.md are made (``--tables`` prints them again).
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from sklearn.datasets import load_digits
from torch import Tensor, nn

from landscape_fast import (
    GGNOperator,
    HessianOperator,
    Tracker,
    ggn_spectrum,
    goldilocks_zone,
    hyperplane_training,
    intrinsic_dimension,
    logit_clustering,
    plane_curvature,
    probability_freezing,
    quality,
    spectral_density,
    subspace_overlap,
    top_eigs,
)
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.local_geometry.random_model import LogitGradientModel
from landscape_fast.local_geometry.spectra import largest_gap, transient
from landscape_fast.plots.canvas import blank_figure, own_style

TRAIN, BATCH, WIDTH, RATE = 1000, 50, 40, 0.05
STEPS = (0, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2400)
STAGES = {"start": 0, "middle": 80, "end": 2400}  # steps that the tables show
CLASSES = range(2, 11)
SCALES = [10 ** (place / 6) for place in range(-6, 7)]
PLANES = (20, 80)
DIMENSIONS = (5, 10, 20, 40, 60, 80, 120, 200)
IN_PLANES, OUTSIDE = 2e-2, 3e-3  # rates of Adam
BESIDE = 200  # samples of the spectrum beside the random model
BLUE, RED, GREY, GREEN = "#4477aa", "#cc3311", "#888888", "#228833"

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


def beside(model: nn.Module, x: Tensor, y: Tensor, picture: Path) -> dict[str, Any]:
    """Gauss-Newton spectrum of a network, of a draw of its random model, and what is foretold."""
    data = [(x[:BESIDE], y[:BESIDE])]
    frozen = probability_freezing(model, data)
    random = LogitGradientModel.fitted(
        logit_clustering(model, data), frozen.probabilities, frozen.targets
    )
    foretold, drawn = random.predict(), random.simulate()
    own = ggn_spectrum(model, data, rtol_omitted=0.0, max_rows=None)
    foretold.plot(drawn=drawn, network=own).savefig(picture, dpi=100)
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
    }


def zone(data: Batches, held_out: Batches) -> dict[str, Any]:
    """Excess over the scale of the weights, and accuracies of training in planes there."""
    with_biases = goldilocks_zone(network(), data, SCALES, rtol=0.05)
    found = goldilocks_zone(network(bias=False), data, SCALES, rtol=0.05)
    accuracies: dict[int, list[float]] = {d: [] for d in PLANES}
    for scale in SCALES:
        model = network(bias=False)
        for parameter in model.parameters():
            parameter.data *= scale
        for d in PLANES:
            run = hyperplane_training(model, data, d, judged_by=held_out, lr=IN_PLANES)
            accuracies[d].append(0.0 if run.diverged else run.accuracy)
    planes = plane_curvature(network(), data, 20, planes=10)
    return {
        "scales": SCALES,
        "excess": found.excess.tolist(),
        "stderr": found.stderr.tolist(),
        "peak": found.peak,
        "with_biases": with_biases.excess.tolist(),
        "accuracies": {str(d): column for d, column in accuracies.items()},
        "in_plane": float(planes.excess.mean()),
        "in_plane_foretold": float(with_biases.in_plane(20)[SCALES.index(1.0)]),
        "in_plane_positive": float(planes.positive.mean()),
    }


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tables", action="store_true", help="print tables of what was found")
    arguments = parser.parse_args()
    out: Path = arguments.output
    file = out / "local-geometry.json"
    if arguments.tables:
        sys.stdout.write(tables(json.loads(file.read_text())) + "\n")
        return
    out.mkdir(parents=True, exist_ok=True)
    x, y, held_out = digits()
    data = list(zip(x.split(200), y.split(200), strict=True))
    run = train(network(), x, y, STEPS)
    middle = run[STAGES["middle"]]
    rows = along_the_run(run, data)
    rise = transient([int(row["step"]) for row in rows], [row["top"] for row in rows])
    density = spectral_density(middle, data, starts=6, steps=100)
    options: dict[str, Any] = {"judged_by": held_out, "epochs": 40}
    outside = hyperplane_training(network(), data, None, lr=OUTSIDE, **options).accuracy
    dimension = intrinsic_dimension(
        network(), data, DIMENSIONS, planes=3, baseline=outside, lr=IN_PLANES, **options
    )
    numbers: dict[str, Any] = {
        "parameters": sum(p.numel() for p in network().parameters()),
        "accuracy": quality(run[STEPS[-1]], held_out).accuracy,
        "run": rows,
        "transient": [rise.peak_step, rise.rise, rise.fall],
        "logit_curvature": {name: logit_curvature(run[at], data) for name, at in STAGES.items()},
        "density_outliers": list(density.outliers(gap=1.0).count),
        "classes": outliers_by_class(),
        "beside": beside(middle, x, y, out / "local-geometry-spectrum.png"),
        "zone": zone(data, held_out),
        "dimension": {
            "tried": DIMENSIONS,
            "means": dimension.means.tolist(),
            "stderr": dimension.stderr.tolist(),
            "baseline": dimension.baseline,
            "bracket": dimension.bracket,
        },
    }
    file.write_text(json.dumps(numbers, indent=1) + "\n")
    dimension.plot().savefig(out / "local-geometry-dimension.png", dpi=100)
    logit_clustering(middle, data).plot().savefig(out / "local-geometry-clusters.png", dpi=100)
    with own_style():
        draw_run(rows, out / "local-geometry-run.png")
        draw_classes(numbers["classes"], out / "local-geometry-outliers.png")
        draw_zone(numbers["zone"], out / "local-geometry-goldilocks.png")


def draw_run(rows: list[dict[str, float]], path: Path) -> None:
    """Three panels over the steps: top eigenvalue, share of the gradient, freezing."""
    figure = blank_figure(6.4, 7.4)
    top, share, frozen = figure.subplots(3, sharex=True)
    steps = [row["step"] for row in rows]

    def line(axes: Axes, name: str, colour: str, label: str) -> None:
        axes.plot(steps, [row[name] for row in rows], ".-", color=colour, label=label)

    line(top, "top", BLUE, "largest eigenvalue of H")
    line(top, "foretold", RED, "random model, foretold")
    values = [row["top"] for row in rows]
    rise = transient([int(step) for step in steps], values)
    top.set_title(
        f"The curvature rises {rise.rise:.0f}-fold, then falls to {rise.fall:.1%} of its peak",
        fontsize=12,
    )
    line(share, "share", BLUE, "share of the squared gradient")
    share.set_ylim(0, 1.02)
    share.set_title("Once it learns, the gradient lies in the top 10 directions", fontsize=12)
    line(frozen, "confidence", RED, "mean largest probability")
    line(frozen, "entropy", BLUE, "entropy, nats")
    frozen.set_title("Probabilities freeze", fontsize=12)
    for axes in (top, share, frozen):
        axes.legend(frameon=False, fontsize=10)
        _plain(axes)
    top.set_ylim(0)
    frozen.set_xscale("symlog", linthresh=1)
    frozen.set_xlim(-0.1, 1.2 * steps[-1])
    frozen.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    frozen.set_xlabel("Step of SGD", fontsize=12)
    figure.savefig(path, dpi=100)


def draw_classes(rows: list[dict[str, float]], path: Path) -> None:
    """Outliers over the number of classes."""
    figure = blank_figure(6.4, 4.0)
    axes = figure.add_subplot()
    classes = [row["classes"] for row in rows]
    axes.plot(classes, classes, color=GREY, linestyle="--", label="C")
    axes.plot(classes, [c - 1 for c in classes], color=GREY, label="C - 1")
    axes.plot(
        classes, [row["count"] for row in rows], "o", color=RED, label="above the largest gap"
    )
    axes.set_xlabel("Classes C", fontsize=12)
    axes.set_ylabel("Outliers of the Hessian", fontsize=12)
    axes.set_title("About as many large eigenvalues as classes", fontsize=12)
    axes.legend(frameon=False, fontsize=10)
    _plain(axes)
    figure.savefig(path, dpi=100)


def draw_zone(found: dict[str, Any], path: Path) -> None:
    """Excess, and accuracy in planes, over the scale of the weights."""
    figure = blank_figure(6.4, 6.0)
    above, below = figure.subplots(2, sharex=True)
    bars = [2 * error for error in found["stderr"]]
    options: dict[str, Any] = {"color": BLUE, "marker": "o", "capsize": 3}
    above.errorbar(found["scales"], found["excess"], bars, label="no biases", **options)
    above.plot(found["scales"], found["with_biases"], ".--", color=GREY, label="with biases")
    above.legend(frameon=False, fontsize=10)
    above.set_ylabel("Tr H / |H|$_F$", fontsize=12)
    above.set_title(
        f"Most positive curvature at {found['peak'][0]:.2g} times the initial weights", fontsize=12
    )
    for (d, column), colour in zip(found["accuracies"].items(), (GREEN, RED), strict=True):
        below.plot(found["scales"], column, ".-", color=colour, label=f"{d} dimensions")
    below.legend(frameon=False, fontsize=10, title="trained in a plane of", loc="lower left")
    below.set_ylim(0, 100)
    below.set_ylabel("Test accuracy, percent", fontsize=12)
    below.set_xlabel("Scale of the initial weights", fontsize=12)
    below.set_xscale("log")
    below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in (above, below):
        axes.axvline(1.0, color=GREY, linestyle="--", linewidth=1.0)
        _plain(axes)
    figure.savefig(path, dpi=100)


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def tables(found: dict[str, Any]) -> str:
    """The tables of the page, in Markdown."""
    at = {int(row["step"]): row for row in found["run"]}
    stages = [at[step] for step in STAGES.values()]
    rest = [found["logit_curvature"][name] for name in STAGES]
    rows = [
        ("step", [f"{row['step']}" for row in stages]),
        ("loss", [f"{row['loss']:.3g}" for row in stages]),
        ("q_SLSC, own logit", [f"{row['own']:.2f}" for row in stages]),
        ("q_SLSC", [f"{row['slsc']:.2f}" for row in stages]),
        ("q_SL", [f"{row['sl']:.2f}" for row in stages]),
        ("q_DL", [f"{row['dl']:.2f}" for row in stages]),
        ("spread of logits", [f"{row['logit_std']:.2f}" for row in stages]),
        ("mean largest probability", [f"{row['confidence']:.2f}" for row in stages]),
        ("mean p (1 - p)", [f"{row['slope']:.3g}" for row in stages]),
        ("largest eigenvalue", [f"{row['top']:.3g}" for row in stages]),
        ("the random model foretells", [f"{row['foretold']:.3g}" for row in stages]),
        ("share of the gradient in the top 10", [f"{row['share']:.2f}" for row in stages]),
        ("(H - G) v over H v, v random", [f"{each['random']:.2f}" for each in rest]),
        ("the same, v in the top 10", [f"{each['top']:.3f}" for each in rest]),
        ("overlap of the top 10 of H and G", [f"{each['overlap']:.3f}" for each in rest]),
    ]
    counts = found["classes"]
    dimension = found["dimension"]
    return "\n\n".join(
        [
            _table(["", *STAGES], [[name, *values] for name, values in rows]),
            _table(
                ["classes", *(f"{row['classes']}" for row in counts)],
                [
                    ["eigenvalues above the largest gap", *(f"{row['count']}" for row in counts)],
                    ["ratio across it", *(f"{row['ratio']:.1f}" for row in counts)],
                ],
            ),
            _table(
                ["dimension of the plane", *(f"{d}" for d in dimension["tried"])],
                [["test accuracy, percent", *(f"{mean:.1f}" for mean in dimension["means"])]],
            ),
        ]
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
