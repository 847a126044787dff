"""Pictures of what is measured beside the package's own."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from landscape_fast.local_geometry.spectra import transient
from landscape_fast.plots.canvas import blank_figure, own_style
from landscape_fast.plots.local_geometry import draw_excess
from landscape_fast.results import GoldilocksZone

BLUE, RED, GREY, GREEN = "#4477aa", "#cc3311", "#888888", "#228833"


def along_the_run(rows: list[dict[str, float]]) -> Figure:
    """Three panels over the steps: top eigenvalue, share of the gradient, freezing."""
    with own_style():
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
    return figure


def outliers(rows: list[dict[str, float]]) -> Figure:
    """Outliers over the number of classes."""
    with own_style():
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
        axes.set_title("The number of large eigenvalues follows C - 1", fontsize=12)
        axes.legend(frameon=False, fontsize=10)
        _plain(axes)
    return figure


def goldilocks(found: dict[str, GoldilocksZone], trained: dict[int, list[float]]) -> Figure:
    """Excess, and accuracy in planes, over the scale of the weights."""
    without, biased = found
    with own_style():
        figure = blank_figure(6.4, 6.0)
        above, below = figure.subplots(2, sharex=True)
        draw_excess(above, found[biased], label=biased, color=GREY, linestyle="--")
        draw_excess(above, found[without], label=without)
        above.legend(frameon=False, fontsize=10)
        above.set_title(
            f"Most positive curvature at {found[without].peak[0]:.2g} times the initial weights",
            fontsize=12,
        )
        for (d, column), colour in zip(trained.items(), (GREEN, RED), strict=True):
            below.plot(found[without].scales, column, ".-", color=colour, label=f"{d} dimensions")
        below.legend(frameon=False, fontsize=10, title="trained in a plane of", loc="lower left")
        below.axvline(1.0, color=GREY, linestyle="--", linewidth=1.0)
        below.set_ylim(0, 100)
        below.set_ylabel("Test accuracy, percent", fontsize=12)
        below.set_xlabel("Scale of the initial weights", fontsize=12)
        _plain(below)
    return figure


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=10)
    axes.spines[["top", "right"]].set_visible(False)
