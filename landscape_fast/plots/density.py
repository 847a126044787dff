"""The picture of a spectrum: where its mass lies, and which eigenvalues stand apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from landscape_fast.plots.canvas import blank_figure, own_style

if TYPE_CHECKING:
    from landscape_fast.results import Outliers, SpectralDensity

_BULK, _OUTLIER = "#4477aa", "#cc3311"
_DECADES = 9  # of the density that are shown
_LABELLED = 12  # outliers with a number beside them, the farthest from zero first
_APART = 0.03  # of the width, between two labels


def density_figure(density: SpectralDensity) -> Figure:
    """Log density against eigenvalue; outliers as marks on top with their multiplicities.

    Args:
        density: Outliers are marked where it has residuals.
    """
    with own_style():
        figure = blank_figure(7.2, 4.2)
        axes = figure.add_subplot()
        x, y = (part.numpy() for part in density.curve())
        shown = y > 0
        top = float(y.max())
        least = max(top * 10.0**-_DECADES, float(y[shown].min()))
        axes.fill_between(x, y, least, where=y > least, color=_BULK, alpha=0.35, linewidth=0)
        axes.plot(x, np.where(y > least, y, np.nan), color=_BULK, linewidth=1.0)
        axes.set_yscale("log")
        axes.set_ylim(least, top * 3)
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        span = float(x[-1] - x[0])
        axes.set_xlim(x[0] - 0.02 * span, x[-1] + 0.02 * span)
        axes.axvline(0.0, color="0.5", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.set_xlabel("Eigenvalue", fontsize=12)
        axes.set_ylabel("Share of eigenvalues per unit", fontsize=12)
        axes.tick_params(labelsize=10)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        _facts(axes, density)
        if density.residuals is not None:
            _mark(axes, density.outliers())
    return figure


def _facts(axes: Axes, density: SpectralDensity) -> None:
    negative = density.functional("fraction_negative")
    zero = density.mass_at_zero()
    axes.set_title(
        f"{density.dimension:,} eigenvalues, {negative.value:.1%} negative, "
        f"{zero.value:.1%} zero to rounding",
        fontsize=12,
        pad=44,
        loc="left",
    )


def _mark(axes: Axes, outliers: Outliers) -> None:
    """A mark per outlier above the axes, its value for those that have room, and the total."""
    if not len(outliers):
        return
    above = axes.get_xaxis_transform()
    values = outliers.values.numpy()
    axes.plot(
        values,
        np.full(len(values), 1.02),
        linestyle="none",
        marker="v",
        markersize=6,
        color=_OUTLIER,
        transform=above,
        clip_on=False,
    )
    low, high = axes.get_xlim()
    taken: list[float] = []
    for index in np.argsort(-np.abs(values)):
        place = float(values[index])
        if len(taken) == _LABELLED or any(abs(place - x) < _APART * (high - low) for x in taken):
            continue
        taken.append(place)
        several = round(float(outliers.multiplicity[index]))
        sure = float(outliers.multiplicity[index] - 2 * outliers.stderr[index]) > 1.5
        times = f" (x{several})" if sure and several > 1 else ""
        axes.annotate(
            f"{place:.3g}{times}",
            (place, 1.05),
            xycoords=above,
            rotation=60,
            fontsize=9,
            color=_OUTLIER,
            ha="left",
            va="bottom",
            rotation_mode="anchor",
        )
    count, stderr = outliers.count
    axes.text(
        0.99,
        0.97,
        f"{len(outliers)} eigenvalues apart from the rest\n"
        f"(counted by their mass: {count:.1f} ± {stderr:.1f})",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=10,
        color=_OUTLIER,
    )
