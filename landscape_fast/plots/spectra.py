"""Spectral densities of all cells, side by side on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import NDArray

from landscape_fast.plots.canvas import own_style
from landscape_fast.plots.cells import figure_of_cells, into_cell, name_key, phase_keys
from landscape_fast.plots.grid import Hot, arrange

if TYPE_CHECKING:
    from landscape_fast.results import SpectralDensity

Number = NDArray[np.float64]

_BULK = "#0072B2"
_DECADES = 6  # of the density that are shown
_LINEAR = 0.01  # of the largest eigenvalue: up to here the scale is about linear


def spectra(
    table: object,
    densities: Mapping[tuple[Any, Any], SpectralDensity],
    *,
    load: str = "width",
    temperature: str = "batch_size",
    hot: Hot | None = None,
    labels: Mapping[str, str] | None = None,
    phase: str = "phase",
) -> Figure:
    """Draw the spectral density of one model of every cell, logarithmic in both directions.

    Args:
        table: One row per cell, as in :func:`landscape_fast.plots.panels`.
        densities: By (load, temperature).
        load: Column of the load-like knob.
        temperature: Column of the temperature-like knob.
        hot: As in :func:`landscape_fast.plots.panels`.
        labels: As in :func:`landscape_fast.plots.panels`.
        phase: Column of phase names, if there.

    Raises:
        TypeError: As :func:`landscape_fast.plots.panels`.
        ValueError: As there, there is no density, or one of a cell that the table does not have.

    References:
        Ghorbani, Krishnan and Xiao (2019), arXiv:1901.10159.
    """
    grid = arrange(table, load=load, temperature=temperature, hot=hot, labels=labels)
    if not densities:
        raise ValueError("densities is empty; there is nothing to draw")
    cells = set(
        zip(*(np.asarray(grid.columns[n]).tolist() for n in (load, temperature)), strict=True)
    )
    if strange := set(densities) - cells:
        raise ValueError(f"densities: the table has no cell {min(strange)}")
    curves = {cell: tuple(p.numpy() for p in each.curve()) for cell, each in densities.items()}
    ends = [float(x[i]) for x, _ in curves.values() for i in (0, -1)]
    scale = _LINEAR * max(abs(end) for end in ends) or 1.0
    low, high = (float(np.arcsinh(end / scale)) for end in (min(ends), max(ends)))
    top = max(float(np.log10(y.max())) for _, y in curves.values())

    def shares(x: Number, y: Number) -> tuple[Number, Number]:
        with np.errstate(divide="ignore"):
            height = 1.0 + (np.log10(y) - top) / _DECADES
        return (np.arcsinh(x / scale) - low) / (high - low), np.maximum(height, 0.0)

    with own_style():
        figure, axes, key = figure_of_cells(grid, _title(densities), phase=phase)
        for (across, up), (x, y) in curves.items():
            place = grid.temperature.values.index(up), grid.load.values.index(across)
            axes.plot(*into_cell(grid, place, *shares(x, y)), color=_BULK, linewidth=1.0)
        widest = max(curves, key=lambda cell: curves[cell][0][-1])
        place = grid.temperature.values.index(widest[1]), grid.load.values.index(widest[0])
        key.plot(*shares(*curves[widest]), color=_BULK, linewidth=1.4)
        _scales(key, scale, (low, high), top)
        name_key(
            key,
            f"Largest eigenvalue\n{grid.place(*place)}",
            x="Eigenvalue",
            y="Share of eigenvalues per unit",
            handles=phase_keys(grid, phase),
        )
    return figure


def _title(densities: Mapping[Any, SpectralDensity]) -> str:
    low = min(float(each.nodes.min()) for each in densities.values())
    tops = [float(each.nodes.max()) for each in densities.values()]
    return (
        "Spectral density of the Hessian\n"
        f"largest eigenvalue {min(tops):.3g} to {max(tops):.3g}, none below {low:.3g}"
    )


def _scales(key: Axes, scale: float, ends: tuple[float, float], top: float) -> None:
    """The two logarithmic scales of all cells, on the axes of the key."""
    low, high = ends
    decades = 10.0 ** np.arange(np.ceil(np.log10(scale)), np.log10(scale * np.sinh(high)) + 1e-9)
    values = [-value for value in decades[::-1]] + [0.0, *decades]
    inside = [value for value in values if low <= np.arcsinh(value / scale) <= high]
    places = [(np.arcsinh(value / scale) - low) / (high - low) for value in inside]
    key.xaxis.set_major_locator(FixedLocator(places))
    key.xaxis.set_major_formatter(FixedFormatter([f"{value:g}" for value in inside]))
    levels = np.arange(np.floor(top), top - _DECADES, -2.0)
    key.yaxis.set_major_locator(FixedLocator((1.0 + (levels - top) / _DECADES).tolist()))
    key.yaxis.set_major_formatter(FixedFormatter([f"1e{level:.0f}" for level in levels]))
    key.set(xlim=(0, 1), ylim=(0, 1.04))
