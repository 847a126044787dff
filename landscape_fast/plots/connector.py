"""The picture of a connector: the flat simplex of the models beside the one through its centres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from landscape_fast.plots.canvas import blank_figure, own_style

if TYPE_CHECKING:
    from landscape_fast.results import Connector

Number = NDArray[np.float64]

_FLAT, _JOINED, _MARK = "#D55E00", "#0072B2", "#cc3311"
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
_DECADES = 4  # of the loss that colours span, from the top
_ON_EDGE = 60  # points along an edge


def connector_figure(found: Connector) -> Figure:
    """Loss along both paths for two models, on both triangles for three.

    A point of the connector is drawn where it lies in the flat simplex, with its barycentres in
    place of the optimised centres.

    Raises:
        ValueError: There are more than three models.
    """
    count = len(found.model_losses)
    if count > 3:
        raise ValueError(f"a connector of {count} models has no flat picture; see its losses")
    with own_style():
        if count == 2:
            return _paths(found)
        return _triangles(found)


def _known(found: Connector) -> tuple[Number, Number, Number]:
    """Weights (v, models) of all points of known loss, and their losses, flat and joined."""
    count = len(found.model_losses)
    vertices = np.eye(count + len(found.faces))
    weights = np.concatenate([vertices, found.weights.numpy()])
    barycentres = np.zeros((len(found.faces), count))
    for row, face in zip(barycentres, found.faces, strict=True):
        row[list(face)] = 1 / len(face)
    flat = [found.model_losses, found.centroid_losses, found.straight_losses]
    joined = [found.model_losses, found.centre_losses, found.losses]
    return (
        weights @ np.concatenate([np.eye(count), barycentres]),
        np.concatenate([part.numpy() for part in flat]),
        np.concatenate([part.numpy() for part in joined]),
    )


def _paths(found: Connector) -> Figure:
    weights, flat, joined = _known(found)
    order = np.argsort(weights[:, 1])
    figure = blank_figure(6.4, 4.2)
    axes = figure.add_subplot()
    for values, colour, name in (
        (flat, _FLAT, "straight line"),
        (joined, _JOINED, "through the optimised centre"),
    ):
        axes.plot(weights[order, 1], values[order], ".-", color=colour, label=name, markersize=4)
    axes.plot([0, 1], found.model_losses.numpy(), "o", color=_MARK, label="models")
    if flat.max() > 100 * joined.min() > 0:
        axes.set_yscale("log")
    axes.set_xlabel("Position between the two models", fontsize=12)
    axes.set_ylabel("Loss", fontsize=12)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _triangles(found: Connector) -> Figure:
    weights, flat, joined = _known(found)
    places = weights @ _CORNERS
    known = np.concatenate([flat, joined])
    known = known[np.isfinite(known) & (known > 0)]
    high = float(known.max(initial=1e-12))
    norm = LogNorm(max(float(known.min(initial=high)), high * 10.0**-_DECADES), high * 1.0001)
    figure = blank_figure(9.6, 4.6)
    panels: list[Axes] = [figure.add_subplot(1, 2, index) for index in (1, 2)]
    titles = (
        f"Flat triangle of three networks\nhighest loss {flat.max():.2g}",
        f"Through optimised centres\nhighest loss {joined.max():.2g}",
    )
    for axes, values, title, bent in zip(
        panels, (flat, joined), titles, (False, True), strict=True
    ):
        _triangle(axes, places, values, norm)
        corners = places[: len(_CORNERS)]
        axes.plot(*corners.T, "o", color=_MARK, markersize=9, clip_on=False, zorder=5)
        if bent:
            centres = places[len(_CORNERS) : len(_CORNERS) + len(found.faces)]
            axes.plot(*centres.T, "D", color="white", markeredgecolor=_MARK, zorder=5)
        axes.set_title(title, fontsize=13)
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(norm, "viridis"), ax=panels, pad=0.02, extend="min"
    )
    bar.set_label("Loss", fontsize=12)
    return figure


def _triangle(axes: Axes, places: Number, values: Number, norm: LogNorm) -> None:
    axes.set_aspect("equal")
    axes.set_axis_off()
    kept = np.isfinite(values)
    if kept.sum() >= 3:
        places, values = places[kept], values[kept]
        # Few random points lie near an edge: its colour is that of the nearest.
        t = np.linspace(0, 1, _ON_EDGE)[1:-1, None, None]
        edge = ((1 - t) * _CORNERS + t * np.roll(_CORNERS, 1, axis=0)).reshape(-1, 2)
        near = np.square(edge[:, None] - places).sum(-1).argmin(1)
        shown = np.clip(np.concatenate([values, values[near]]), norm.vmin, norm.vmax)
        axes.tripcolor(
            Triangulation(*np.concatenate([places, edge]).T),
            shown,
            norm=norm,
            cmap="viridis",
            shading="gouraud",
        )
