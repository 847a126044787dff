"""Pictures of local geometry: clusters of logit gradients, the Goldilocks zone, random planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from landscape_fast.plots.canvas import blank_figure, own_style

if TYPE_CHECKING:
    from landscape_fast.results import (
        GGNSpectrum,
        GoldilocksZone,
        IntrinsicDimension,
        LogitClustering,
        PredictedSpectrum,
        SimulatedSpectrum,
    )

_MAIN, _MARK, _OTHER, _REST = "#4477aa", "#cc3311", "#ccbb44", "#888888"
_SHOWN = 1e-6  # of the largest eigenvalue, down to which spectra are drawn


def clustering_figure(found: LogitClustering) -> Figure:
    """A bar for each kind of pair, with its mean cosine."""
    bars = {
        "one logit, its own class": found.own_logit_own_class,
        "one logit, one class": found.same_logit_same_class,
        "one logit, any two samples": found.same_logit_any_class,
        "two logits, any two samples": found.different_logit,
    }
    with own_style():
        figure = blank_figure(6.4, 2.8)
        axes = figure.add_subplot()
        values = np.array(list(bars.values()))
        colours = [_MAIN, _MAIN, _MAIN, _REST]
        axes.barh(list(bars), values, color=colours)
        axes.invert_yaxis()
        axes.axvline(0.0, color="black", linewidth=0.8)
        for place, value in enumerate(values):
            axes.annotate(
                f"{value:.2f}",
                (max(value, 0.0), place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=11,
            )
        axes.margins(x=0.12)
        axes.set_xlabel("Mean cosine of logit gradients", fontsize=12)
        axes.set_title(
            f"Gradients of one logit: {found.same_logit_any_class:.2f}, "
            f"of two logits: {found.different_logit:.2f}",
            fontsize=12,
        )
        _plain(axes)
    return figure


def goldilocks_figure(found: GoldilocksZone) -> Figure:
    """Excess of positive curvature over the scale of the weights, with two standard errors."""
    with own_style():
        figure = blank_figure(6.4, 4.0)
        axes = figure.add_subplot()
        draw_excess(axes, found)
        axes.annotate(
            "as initialised",
            (1.0, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
            color=_REST,
            fontsize=10,
        )
        if found.excess.isfinite().any():
            scale, height = found.peak
            axes.plot(scale, height, "o", color=_MARK, markersize=9, zorder=3)
            axes.set_title(
                f"Most positive curvature at {scale:.2g} times the initial weights", fontsize=12
            )
        axes.set_xlabel("Scale of the weights", fontsize=12)
        axes.margins(y=0.12)
    return figure


def draw_excess(axes: Axes, found: GoldilocksZone, **line: Any) -> None:
    """Excess with two standard errors over the scale of the weights, whose start is marked.

    Args:
        axes: Where.
        found: What is drawn.
        line: How, in matplotlib's words.
    """
    line = {"color": _MAIN, "marker": "o", "markersize": 5, "capsize": 3, **line}
    axes.errorbar(np.array(found.scales), found.excess.numpy(), 2 * found.stderr.numpy(), **line)
    axes.axvline(1.0, color=_REST, linewidth=1.0, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("Tr H / |H|$_F$", fontsize=12)
    _plain(axes)


def intrinsic_dimension_figure(found: IntrinsicDimension) -> Figure:
    """Accuracy over the dimension of the plane, with the threshold and where it is reached."""
    with own_style():
        figure = blank_figure(6.4, 4.0)
        axes = figure.add_subplot()
        across = np.array(found.dimensions)
        for column in found.accuracies.nan_to_num(0.0).numpy().T:
            axes.plot(across, column, ".", color=_MAIN, alpha=0.5, markersize=6)
        axes.plot(across, found.means.numpy(), color=_MAIN, linewidth=1.6)
        axes.axhline(found.baseline, color="black", linewidth=1.0)
        axes.axhline(found.wanted, color=_REST, linewidth=1.0, linestyle="--")
        for height, text in (
            (found.baseline, f"all {found.space:,} dimensions: {found.baseline:.1f}%"),
            (found.wanted, f"{found.threshold:.0%} of it"),
        ):
            axes.annotate(
                text,
                (0.0, height),
                xycoords=("axes fraction", "data"),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=10,
            )
        title = f"None of these dimensions reaches {found.threshold:.0%} of full accuracy"
        if found.value is not None:
            place = found.dimensions.index(found.value)
            axes.plot(found.value, float(found.means[place]), "o", color=_MARK, markersize=9)
            title = (
                f"{found.value} of {found.space:,} dimensions reach {found.threshold:.0%} of "
                "full accuracy"
            )
        axes.set_title(title, fontsize=12)
        axes.set_xscale("log")
        axes.set_xticks(across, [str(each) for each in across])
        axes.minorticks_off()
        axes.set_xlabel("Dimension of the random plane", fontsize=12)
        axes.set_ylabel("Accuracy in percent", fontsize=12)
        axes.set_ylim(0, max(104.0, found.baseline + 4))
        _plain(axes)
    return figure


def random_model_figure(
    foretold: PredictedSpectrum,
    drawn: SimulatedSpectrum | None,
    network: GGNSpectrum | None,
) -> Figure:
    """Eigenvalues in order: a network's, a draw's, and the outliers and the edge foretold."""
    with own_style():
        figure = blank_figure(6.4, 4.2)
        axes = figure.add_subplot()
        for own, colour, label in (
            (network, _MAIN, "network"),
            (drawn, _OTHER, "random model, one draw"),
        ):
            if own is not None:
                values = own.values[own.values > _SHOWN * own.values[0]].numpy()
                ranks = np.arange(1, len(values) + 1)
                axes.plot(ranks, values, ".", color=colour, markersize=4, label=label)
        values = foretold.outliers.numpy()
        axes.plot(
            np.arange(1, len(values) + 1),
            values,
            "o",
            color=_MARK,
            markerfacecolor="none",
            label="random model, foretold outliers",
        )
        if foretold.edge > 0:
            axes.axhline(foretold.edge, color=_MARK, linestyle="--", linewidth=1.0)
            axes.annotate(
                "foretold edge of the bulk",
                (0.0, foretold.edge),
                xycoords=("axes fraction", "data"),
                xytext=(4, 3),
                textcoords="offset points",
                color=_MARK,
                fontsize=10,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("Rank of the eigenvalue", fontsize=12)
        axes.set_ylabel("Eigenvalue of G", fontsize=12)
        axes.set_title(f"{len(values)} eigenvalues foretold above the bulk", fontsize=12)
        axes.legend(frameon=False, fontsize=10)
        _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
