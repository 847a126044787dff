"""The pictures of the page on multiscale structure."""

from __future__ import annotations

from typing import Any

from digits import DECAY, FARTHEST, NAMES
from known import Toys, predicted
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape_fast.plots.canvas import blank_figure, own_style
from landscape_fast.plots.growth import COLOURS, draw_exponents
from landscape_fast.plots.stability import draw_losses
from landscape_fast.results import Growth, StabilityRun

GUIDE: dict[str, Any] = {"color": "0.35", "linewidth": 1.0, "linestyle": (0, (4, 3)), "zorder": 1}


def growth(found: dict[str, Growth]) -> Figure:
    """Local exponents of every direction under both losses."""
    with own_style():
        figure = blank_figure(11.0, 4.4)
        for axes, (name, one) in zip(
            figure.subplots(1, 2, sharey=True), found.items(), strict=True
        ):
            draw_exponents(axes, one, NAMES)
            axes.set_xlim(1e-3, FARTHEST)
            axes.set_title(f"Digits, {name} loss", fontsize=12, loc="left")
        figure.axes[0].legend(fontsize=10, frameon=False, loc="upper left")
        figure.axes[1].set_ylabel("")
    return figure


def magnitudes(separate: dict[str, Growth], laws: dict[float, Growth]) -> Figure:
    """Effective curvature beside predicted scales; local exponents beside predicted ones."""
    with own_style():
        figure = blank_figure(11.0, 4.4)
        left, right = figure.subplots(1, 2)
        for (name, found), colour in zip(separate.items(), (COLOURS[0], "0.6"), strict=True):
            radii, values = found.effective_curvatures()
            left.plot(radii, values[0], color=colour, linewidth=2.2, label=f"{name} network")
        for level in predicted():
            left.axhline(level, **GUIDE)
            left.text(30, 1.25 * level, f"{level:.3g} predicted", fontsize=10, ha="right")
        left.set(xscale="log", yscale="log", ylim=(1e-3, 1e9))
        left.set_ylabel("Effective curvature (slope / distance)", fontsize=12)
        left.legend(fontsize=10, frameon=False, loc="lower left")
        left.set_title("Data of three magnitudes: three scales", fontsize=12, loc="left")
        for (alpha, found), colour in zip(laws.items(), COLOURS, strict=False):
            exponents = found.local_exponents()[0]
            right.plot(found.radii, exponents, color=colour, linewidth=2.2)
            right.axhline(alpha - 1, **GUIDE)
            right.text(20, alpha - 0.97, f"alpha {alpha:g}", fontsize=10, color=colour)
        right.set(xscale="log", ylim=(0, 2.2))
        right.set_ylabel("Exponent d ln(rise) / d ln(distance)", fontsize=12)
        right.set_title("Power law of magnitudes: exponent alpha - 1", fontsize=12, loc="left")
        for axes in (left, right):
            axes.set_xlabel("Distance from the minimum", fontsize=12)
            plain(axes)
    return figure


def edges(runs: dict[str, StabilityRun]) -> Figure:
    """Sharpness over threshold of every optimiser."""
    with own_style():
        figure = blank_figure(7.2, 4.2)
        axes = figure.subplots()
        axes.axhline(1.0, **GUIDE)
        for (name, run), colour in zip(runs.items(), COLOURS, strict=False):
            axes.plot(run.steps, run.ratios, color=colour, linewidth=1.5, label=name)
        axes.set_ylim(0.0, 1.4)
        axes.set_xlabel("Step", fontsize=12)
        axes.set_ylabel("Sharpness / threshold of the optimiser", fontsize=12)
        axes.legend(fontsize=10, frameon=False, loc="lower right")
        axes.set_title("Every optimiser hovers at its own threshold", fontsize=12, loc="left")
        plain(axes)
    return figure


def decay(run: StabilityRun, toys: Toys) -> Figure:
    """Levels of one-parameter losses against learning rate; a decay on digits."""
    with own_style():
        figure = blank_figure(11.0, 4.4)
        left, right = figure.subplots(1, 2)
        closed_form = toys.closed_form.clip(1e-9)
        left.plot(toys.rates, closed_form, color="0.35", linewidth=1.2, label="closed form")
        for levels, name, colour in (
            (toys.hyperbola, "sqrt(1 + (2 x)^2) - 1", COLOURS[0]),
            (toys.rippled, "x^2 / 2 and ripples", COLOURS[1]),
        ):
            left.plot(toys.rates, levels, "o", markersize=4, color=colour, label=name)
        left.set(xscale="log", yscale="log", ylim=(1e-4, 10))
        left.set_xlabel("Learning rate", fontsize=12)
        left.set_ylabel("Level: mean loss of the last steps", fontsize=12)
        left.legend(fontsize=10, frameon=False, loc="upper left")
        left.set_title("Where descent ends: on a level, or in ripples", fontsize=12, loc="left")
        plain(left)
        draw_losses(right, run)
        right.axvline(DECAY, color="#cc3311", linewidth=1.2, linestyle=(0, (4, 2)))
        right.text(DECAY + 10, float(run.losses[1:].max()) / 2, "rate / 4", color="#cc3311")
        right.set_title(
            "Digits: a lower rate ends the spikes, and is slower", fontsize=12, loc="left"
        )
    return figure


def plain(axes: Axes) -> None:
    """No frame above and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
