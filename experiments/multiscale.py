"""Growth, separate scales, edge of stability and learning-rate decay: on digits, and where known.

    python experiments/multiscale.py docs/images

Two or three minutes on two cores. Writes pictures, and every figure that docs/studies/multiscale.md
quotes to multiscale.json; the table of that page is made from it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

from landscape_fast import edge_of_stability, loss_growth, stability_threshold, top_eigs
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.multiscale.magnitudes import (
    MagnitudeProblem,
    magnitude_problem,
    power_law_magnitudes,
)
from landscape_fast.multiscale.scalar import ScalarLoss, descend, hyperbola, rippled
from landscape_fast.plots.canvas import blank_figure, own_style
from landscape_fast.plots.growth import COLOURS, draw_exponents
from landscape_fast.plots.stability import draw_losses
from landscape_fast.results import Growth, StabilityRun

PAGE = Path(__file__).resolve().parents[1] / "docs" / "studies" / "multiscale.md"
BLOCK = re.compile(r"(<!-- multiscale: begin -->\n).*(\n<!-- multiscale: end -->)", re.DOTALL)
EDGE = 16.0  # sharpness at which all three optimisers lose their footing
STEPS, DECAY, SETTLE = 2000, 1500, 4000
FARTHEST = 30.0  # radius, in weights
WINDOWS = ((1e-3, 1e-1), (1.0, 10.0))  # rises of the loss that exponents are fitted over
NAMES = (
    "top eigenvector",
    "10th eigenvector",
    "last step of the run",
    "back to the start",
    "mean of 16 random",
)
MAGNITUDES, ALPHAS = (1e4, 1e2, 1.0), (1.5, 2.0, 2.5)
RULES: dict[str, dict[str, Any]] = {
    "gradient descent": {},
    "heavy ball": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.9, "nesterov": True},
}
Data = list[tuple[Tensor, Tensor]]
Criterion = Callable[[Tensor, Tensor], Tensor]


def network(seed: int = 0) -> nn.Module:
    """One hidden layer of 32 tanh units: 2,410 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def digits() -> Data:
    """1,000 images and their classes as unit vectors, for the squared loss."""
    found = load_digits()
    x = torch.tensor(found.data[:1000], dtype=torch.float32) / 16.0
    y = nn.functional.one_hot(torch.tensor(found.target[:1000]), 10).float()
    return [(x, y)]


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half the squared norm of the residual, mean over samples, as Cohen et al. (2021)."""
    return (outputs - targets).square().sum(1).mean() / 2


LOSSES: dict[str, Criterion] = {"squared": loss, "cross-entropy": nn.functional.cross_entropy}


def edges(data: Data) -> dict[str, StabilityRun]:
    """One run for every optimiser, learning rates chosen so that all thresholds are one number."""
    return {
        name: edge_of_stability(
            network(),
            data,
            lr=stability_threshold(1.0, **rule) / EDGE,
            steps=STEPS,
            criterion=loss,
            **rule,
        )
        for name, rule in RULES.items()
    }


def decayed(data: Data) -> StabilityRun:
    """Gradient descent at the edge, then with a quarter of the learning rate."""
    lr = stability_threshold(1.0) / EDGE
    rates = {0: lr, DECAY: lr / 4}
    return edge_of_stability(network(), data, lr=rates, steps=STEPS, every=5, criterion=loss)


def placed(weights: Tensor) -> nn.Module:
    """The network at flat parameters ``weights``."""
    model = network()
    space = ParameterSpace(model)
    with torch.no_grad():
        for own, part in zip(space.tensors, space.split(weights), strict=True):
            own.copy_(part)
    return model


def settled(run: StabilityRun, data: Data, criterion: Criterion) -> nn.Module:
    """The network below the end of a run: small steps with momentum, far from any threshold."""
    rule = RULES["heavy ball"]
    lr = stability_threshold(1.0, **rule) / (4 * EDGE)
    found = edge_of_stability(
        placed(run.end), data, lr=lr, steps=SETTLE, every=SETTLE, criterion=criterion, **rule
    )
    return placed(found.end)


def growth(data: Data, criterion: Criterion) -> tuple[Growth, Growth]:
    """Below the end of a run with momentum: the directions of ``NAMES``, and 16 random ones."""
    rule = RULES["heavy ball"]
    lr = stability_threshold(1.0, **rule) / EDGE
    run = edge_of_stability(
        network(), data, lr=lr, steps=STEPS, every=STEPS, criterion=criterion, **rule
    )
    model = settled(run, data, criterion)
    pairs = top_eigs(model, data, k=10, criterion=criterion, tol=1e-4)
    start, here = (
        torch.cat([part.detach().double().reshape(-1) for part in one.parameters()])
        for one in (network(), model)
    )
    vectors = [part.double() for part in (*pairs.vectors[[0, 9]], run.move, start - here)]
    options: dict[str, Any] = {"span": (1e-5, FARTHEST), "per_decade": 12, "criterion": criterion}
    random = loss_growth(model, data, directions=16, **options)
    found = loss_growth(model, data, directions=torch.stack(vectors), **options)
    mean = {
        name: torch.cat([getattr(found, name), getattr(random, name).mean(0, keepdim=True)])
        for name in ("sides", "slopes", "curvatures")
    }
    return replace(found, **mean), random


def growth_numbers(found: Growth, random: Growth) -> dict[str, Any]:
    """Exponents with errors and quadratic radii; of random directions the error over 16."""
    rows: dict[str, Any] = {"loss": found.loss, "slope": float(found.slopes.abs().max())}
    for index, name in enumerate(NAMES):
        radius = found.quadratic_radius(index)
        rows[name] = {
            "curvature": float(found.curvatures[index]),
            "radius": radius.value,
            "ratio": radius.ratio,
            "exponents": [exponent(found, index, between) for between in WINDOWS],
        }
    for at, between in enumerate(WINDOWS):
        fits = [exponent(random, index, between) for index in range(16)]
        if rows[NAMES[-1]]["exponents"][at] and all(fits):
            spread = np.std([fit[0] for fit in fits if fit], ddof=1)
            rows[NAMES[-1]]["exponents"][at][1] = float(spread) / 4
    return rows


def exponent(found: Growth, index: int, between: tuple[float, float]) -> list[float] | None:
    """Exponent, its error and the radii it is from; None where the rise does not get so far."""
    if not bool((found.rises[index] > between[1]).any()):
        return None
    fit = found.exponent(index, between=between)
    return [fit.exponent, fit.stderr, *fit.window]


def draw_growth(found: dict[str, Growth]) -> Figure:
    """Local exponents of every direction under both losses."""
    with own_style():
        figure = blank_figure(11.0, 4.4)
        for axes, (name, one) in zip(
            figure.subplots(1, 2, sharey=True), found.items(), strict=True
        ):
            draw_exponents(axes, one, NAMES)
            axes.set_xlim(1e-3, FARTHEST)
            axes.set_ylim(0.0, 4.0)
            axes.set_title(f"Digits, {name} loss", fontsize=12, loc="left")
        figure.axes[0].legend(fontsize=10, frameon=False, loc="upper left")
        figure.axes[1].set_ylabel("")
    return figure


def magnitudes() -> tuple[dict[str, Growth], dict[str, Growth], dict[str, Any]]:
    """Separate magnitudes, the linear control, and power laws, each beside its prediction."""
    options: dict[str, Any] = {"span": (1e-6, 1e2), "per_decade": 16}

    def along(problem: MagnitudeProblem, **options: Any) -> Growth:
        return loss_growth(
            problem.model,
            problem.data,
            directions=problem.direction,
            criterion=problem.criterion,
            **options,
        )

    three = magnitude_problem(MAGNITUDES)
    separate = {
        "tanh": along(three, **options),
        "linear": along(magnitude_problem(MAGNITUDES, linear=True), **options),
    }
    numbers: dict[str, Any] = {
        "predicted": [curvature for _, curvature in three.scales],
        "plateaus": [
            [one.curvature, one.low, one.high] for one in separate["tanh"].plateaus(tolerance=0.25)
        ],
        "linear plateaus": len(separate["linear"].plateaus()),
        "linear exponent": separate["linear"].exponent().exponent,
    }
    laws = {}
    for alpha in ALPHAS:
        r = power_law_magnitudes(50_000, alpha, low=1.0, high=1e4)
        found = along(magnitude_problem(r, width=1), span=(1e-6, 1e2), per_decade=8)
        inside = (found.radii > 3e-3) & (found.radii < 0.1)
        low, high = found.rises[0, inside][[0, -1]].tolist()
        fit = found.exponent(between=(low, high))
        laws[f"{alpha:g}"] = found
        numbers[f"alpha {alpha:g}"] = {"exponent": fit.exponent, "stderr": fit.stderr}
    return separate, laws, numbers


def draw_magnitudes(
    separate: dict[str, Growth], laws: dict[str, Growth], numbers: dict[str, Any]
) -> Figure:
    """Effective curvature beside predicted scales; local exponents beside predicted ones."""
    guide = {"color": "0.35", "linewidth": 1.0, "linestyle": (0, (4, 3)), "zorder": 1}
    with own_style():
        figure = blank_figure(11.0, 4.4)
        left, right = figure.subplots(1, 2)
        for (name, found), colour in zip(separate.items(), (COLOURS[0], "0.6"), strict=True):
            radii, values = found.effective_curvatures()
            left.plot(radii, values[0], color=colour, linewidth=2.2, label=f"{name} network")
        for level in numbers["predicted"]:
            left.axhline(level, **guide)
            left.text(30, 1.25 * level, f"{level:.3g} predicted", fontsize=10, ha="right")
        left.set(xscale="log", yscale="log", ylim=(1e-3, 1e9))
        left.set_ylabel("Effective curvature (slope / distance)", fontsize=12)
        left.legend(fontsize=10, frameon=False, loc="lower left")
        left.set_title("Data of three magnitudes: three scales", fontsize=12, loc="left")
        for (name, found), colour in zip(laws.items(), COLOURS, strict=False):
            exponents = found.local_exponents()[0]
            right.plot(found.radii, exponents, color=colour, linewidth=2.2)
            right.axhline(float(name) - 1, **guide)
            right.text(20, float(name) - 0.97, f"alpha {name}", fontsize=10, color=colour)
        right.set(xscale="log", ylim=(0, 2.2))
        right.set_ylabel("Exponent d ln(rise) / d ln(distance)", fontsize=12)
        right.set_title("Power law of magnitudes: exponent alpha - 1", fontsize=12, loc="left")
        for axes in (left, right):
            axes.set_xlabel("Distance from the minimum", fontsize=12)
            axes.spines[["top", "right"]].set_visible(False)
    return figure


def edge_numbers(runs: dict[str, StabilityRun]) -> dict[str, Any]:
    """When each run crosses its threshold, where it hovers, how often the loss rises."""
    rows = {}
    for name, run in runs.items():
        mean, spread = run.hovering()
        rows[name] = {
            "lr": float(run.rates[0]),
            "threshold": float(run.thresholds[0]),
            "start": float(run.ratios[0]),
            "crossing": run.crossing,
            "hovering": mean,
            "spread": spread,
            "rising": run.rising_share,
            "loss": float(run.losses[-1]),
        }
    return rows


def draw_edges(runs: dict[str, StabilityRun]) -> Figure:
    """Sharpness over threshold of every optimiser."""
    with own_style():
        figure = blank_figure(7.2, 4.2)
        axes = figure.subplots()
        axes.axhline(1.0, color="0.35", linewidth=1.2, linestyle=(0, (4, 3)))
        for (name, run), colour in zip(runs.items(), COLOURS, strict=False):
            axes.plot(run.steps, run.ratios, color=colour, linewidth=1.5, label=name)
        axes.set_ylim(0.0, 1.4)
        axes.set_xlabel("Step", fontsize=12)
        axes.set_ylabel("Sharpness / threshold of the optimiser", fontsize=12)
        axes.legend(fontsize=10, frameon=False, loc="lower right")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title("Every optimiser hovers at its own threshold", fontsize=12, loc="left")
    return figure


def levels(line: ScalarLoss, rates: np.ndarray, start: float, steps: int = 4000) -> np.ndarray:
    """Mean loss of the last fifth of descent, for each rate."""
    places = descend(line, np.tile(rates, (steps, 1)), start=start)
    return line.value(places[-steps // 5 :]).mean(0)


def decay_numbers(run: StabilityRun) -> dict[str, Any]:
    """What happens at the step where the learning rate is quartered."""
    before = run.losses[DECAY - 100 : DECAY]
    return {
        "level before": float(before.mean()),
        "after 20 steps": float(run.losses[DECAY + 20]),
        "at the end": float(run.losses[-1]),
        "rising before": float((before.diff() > 0).double().mean()),
        "rising after": float((run.losses[DECAY:].diff() > 0).double().mean()),
        "ratio before": run.hovering(DECAY - 200, DECAY)[0],
        "ratio after": run.hovering(DECAY, DECAY + 50)[0],
    }


def draw_decay(run: StabilityRun, toy: dict[str, np.ndarray]) -> Figure:
    """Levels of one-parameter losses against learning rate; a decay on digits."""
    with own_style():
        figure = blank_figure(11.0, 4.4)
        left, right = figure.subplots(1, 2)
        rates = toy["rates"]
        left.plot(rates, toy["closed form"], color="0.35", linewidth=1.2, label="closed form")
        for name, colour in (
            ("sqrt(1 + (2 x)^2) - 1", COLOURS[0]),
            ("x^2 / 2 and ripples", COLOURS[1]),
        ):
            left.plot(rates, toy[name], "o", markersize=4, color=colour, label=name)
        left.set(xscale="log", yscale="log", ylim=(1e-4, 10))
        left.set_xlabel("Learning rate", fontsize=12)
        left.set_ylabel("Level: mean loss of the last steps", fontsize=12)
        left.legend(fontsize=10, frameon=False, loc="upper left")
        left.set_title("A learning rate is a level of the loss", fontsize=12, loc="left")
        draw_losses(right, run)
        right.axvline(DECAY, color="#cc3311", linewidth=1.2, linestyle=(0, (4, 2)))
        right.text(DECAY + 10, float(run.losses[1:].max()) / 2, "rate / 4", color="#cc3311")
        right.set_title(
            "Digits: a lower rate ends the spikes, and is slower", fontsize=12, loc="left"
        )
    return figure


def table(numbers: dict[str, Any]) -> str:
    """The tables of the page."""
    heads = [f"exponent, rises {low:g} to {high:g}" for low, high in WINDOWS]
    rows = [
        f"| loss | direction | curvature | quadratic up to | {' | '.join(heads)} |",
        "|---|---|---|---|---|---|",
    ]
    for kind, found in numbers["growth"].items():
        for name in NAMES:
            row = found[name]
            radius = f"{row['radius']:.2g}" if row["radius"] < FARTHEST else "all radii"
            said = [
                "not reached" if fit is None else f"{fit[0]:.3f} ± {fit[1]:.3f}"
                for fit in row["exponents"]
            ]
            rows.append(
                f"| {kind} | {name} | {row['curvature']:.2g} | {radius} | {' | '.join(said)} |"
            )
    rows += [
        "",
        "| optimiser | learning rate | threshold | crossed at step | hovers at | loss rises in |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in numbers["edge"].items():
        rows.append(
            f"| {name} | {row['lr']:.4g} | {row['threshold']:.3g} | {row['crossing']} | "
            f"{row['hovering']:.3f} ± {row['spread']:.3f} | {row['rising']:.0%} of steps |"
        )
    rows += [
        "",
        "| data | predicted | measured |",
        "|---|---|---|",
    ]
    found = numbers["magnitudes"]
    pairs = zip(found["predicted"], found["plateaus"], strict=True)
    for number, (predicted, (value, low, high)) in enumerate(pairs, 1):
        rows.append(
            f"| three magnitudes, scale {number} | curvature {predicted:.4g} | {value:.4g} "
            f"({low:.4g} to {high:.4g}) |"
        )
    for alpha in ALPHAS:
        row = found[f"alpha {alpha:g}"]
        rows.append(
            f"| density r^-{alpha:g} | exponent {alpha - 1:g} | {row['exponent']:.3f} ± "
            f"{row['stderr']:.3f} |"
        )
    rows.append(f"| linear network | exponent 2 | {found['linear exponent']:.6f} |")
    return "\n".join(rows)


def main() -> None:
    """Train, measure, draw, and write the tables of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    data = digits()
    runs = edges(data)
    decay = decayed(data)
    around = {name: growth(data, criterion) for name, criterion in LOSSES.items()}
    separate, laws, predicted = magnitudes()
    rates = np.geomspace(0.02, 2.0, 60)
    toy = {
        "rates": rates,
        "closed form": np.maximum(2 * rates - 1, 1e-9),
        "sqrt(1 + (2 x)^2) - 1": levels(hyperbola(2.0), rates, start=1.0),
        "x^2 / 2 and ripples": levels(rippled(1.0, 0.01, 40.0), rates, start=1.0),
    }
    numbers = {
        "edge": edge_numbers(runs),
        "growth": {name: growth_numbers(*found) for name, found in around.items()},
        "magnitudes": predicted,
        "decay": decay_numbers(decay),
    }
    figures = {
        "growth": draw_growth({name: found for name, (found, _) in around.items()}),
        "magnitudes": draw_magnitudes(separate, laws, predicted),
        "edge": draw_edges(runs),
        "decay": draw_decay(decay, toy),
    }
    for name, figure in figures.items():
        figure.savefig(out / f"multiscale-{name}.png", dpi=100)
    (out / "multiscale.json").write_text(json.dumps(numbers, indent=1) + "\n")
    if PAGE.exists():
        PAGE.write_text(BLOCK.sub(rf"\g<1>{table(numbers)}\g<2>", PAGE.read_text()))


if __name__ == "__main__":
    main()
