"""Whole figures: all panels at once, the phase map alone, and all of them as files.

Figures are made without pyplot, so no window opens, no current figure changes, and a figure goes
away with its last reference. They look the same under any matplotlibrc, and the same table gives
the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from landscape_fast.arguments import require_choice
from landscape_fast.plots.axes import draw_quantity
from landscape_fast.plots.canvas import blank_figure, own_style
from landscape_fast.plots.curves import curve_profiles, has_profiles
from landscape_fast.plots.grid import Grid, Hot, arrange
from landscape_fast.plots.phases import COLOURS, draw_legend, draw_phases
from landscape_fast.plots.quantities import PANELS, Quantity, Scales
from landscape_fast.plots.slices import slices

_COLUMNS = 4
# Where the file format would otherwise store the moment or the maker of the picture.
_UNDATED = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def panels(
    table: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    hot: Hot | None = None,
    labels: Mapping[str, str] | None = None,
    scales: Scales = "paper",
    quantities: Sequence[Quantity] = PANELS,
    phase: str = "phase",
    probability: str = "phase_probability",
) -> Figure:
    """Draw every measured quantity of a grid and, for a classified table, its phase map.

    Load runs to the right, hot is up; every cell is drawn around its own knob values. Boundaries of
    the phase map are repeated on the other panels: solid between sharp and flat, dashed between
    poorly and well connected. A quantity without a column gets a panel that says so, a cell without
    a value stays hatched.

    Args:
        table: One row per cell: a mapping of columns (such as
            :func:`landscape_fast.study.table.read_table` gives) or a pandas data frame.
        load: Column of the load-like knob.
        temperature: Column of the temperature-like knob.
        hot: Which end of the temperature-like knob is hot; None: small for ``batch_size``, large
            for every other.
        labels: What axes are to say, by column, instead of the usual words; what a width counts
            depends on the model.
        scales: Colours from the limits of Yang et al. (2021), or from the data (2nd to 98th
            percentile); from the data too where most cells lie outside of those limits. Values
            beyond the limits are marked by a pointed colour bar.
        quantities: The panels, in order.
        phase: Column of phase names; without it there is no phase map.
        probability: Column of each phase's probability, shown on the phase map if there.

    Returns:
        A figure with an Agg canvas; ``figure.savefig(path)`` writes it.

    Raises:
        TypeError: ``table`` is neither a mapping of columns nor a data frame.
        ValueError: A knob's column is missing or has gaps, a cell appears twice, or ``scales``,
            ``hot`` or a phase name is unknown.

    References:
        Yang et al. (2021), arXiv:2107.11228, figures 2 and 3.

    Example:
        >>> figure = panels({"width": [2, 4], "batch_size": [16, 16], "log_hessian_trace": [7, 4]})
        >>> print(figure.axes[3].get_title())
        Hessian trace
        from 54.6 to 1.1e+03, 20-fold
    """
    grid = _checked(table, load, temperature, hot, labels, scales, phase)
    mapped = phase in grid
    phases = grid.names(phase) if mapped else None
    # The map takes four places of the top left, its legend the place under them.
    taken = {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)} if mapped else set()
    slots = [divmod(slot, _COLUMNS) for slot in range(len(quantities) + len(taken))]
    slots = [slot for slot in slots if slot not in taken]
    rows = 1 + max([row for row, _ in slots[: len(quantities)]] + [2 if mapped else 0])
    with own_style():
        figure = blank_figure(5.0 * _COLUMNS, 4.2 * rows)
        places = figure.add_gridspec(rows, _COLUMNS)
        for slot, quantity in zip(slots, quantities, strict=False):
            axes = figure.add_subplot(places[slot])
            draw_quantity(axes, grid, quantity, scales, phases=phases)
        if mapped:
            over, under = figure.add_subplot(places[:2, :2]), figure.add_subplot(places[2, 0])
            draw_phases(over, grid, phase=phase, probability=probability)
            draw_legend(under, grid, phase=phase, probability=probability)
    return figure


def phase_map(
    table: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    hot: Hot | None = None,
    labels: Mapping[str, str] | None = None,
    phase: str = "phase",
    probability: str = "phase_probability",
) -> Figure:
    """Draw the phase of every cell of a classified grid, with a legend in words.

    Arguments and errors are those of :func:`panels`; here the column ``phase`` must exist.

    Example:
        >>> table = {"width": [2, 4], "batch_size": [16, 16], "phase": ["I", "IV-B"]}
        >>> print(phase_map(table).axes[0].get_title())
        Phases
        most cells are I: 1 of 2
    """
    grid = _checked(table, load, temperature, hot, labels, "paper", phase)
    if phase not in grid:
        raise ValueError(f"phase: the table has no column {phase!r}; classify it first")
    with own_style():
        figure = blank_figure(10.5, 6.5)
        places = figure.add_gridspec(1, 2, width_ratios=(2.4, 1.0))
        left, right = figure.add_subplot(places[0]), figure.add_subplot(places[1])
        draw_phases(left, grid, phase=phase, probability=probability)
        draw_legend(right, grid, phase=phase, probability=probability)
    return figure


def single_figures(
    table: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    hot: Hot | None = None,
    labels: Mapping[str, str] | None = None,
    scales: Scales = "paper",
    quantities: Sequence[Quantity] = PANELS,
    phase: str = "phase",
    probability: str = "phase_probability",
) -> dict[str, Figure]:
    """Draw what a table holds, one figure each.

    Arguments and errors are those of :func:`panels`.

    Returns:
        By name: ``phases`` of a classified table, ``slices`` of a table with accuracies, and each
        quantity that has a column, by its ``key``.

    Example:
        >>> table = {"width": [2, 4], "batch_size": [16, 16], "log_hessian_trace": [7, 4]}
        >>> list(single_figures(table))
        ['trace']
    """
    grid = _checked(table, load, temperature, hot, labels, scales, phase)
    shared: dict[str, Any] = {"load": load, "temperature": temperature}
    shared |= {"hot": hot, "labels": labels}
    figures = {}
    if phase in grid:
        figures["phases"] = phase_map(table, **shared, phase=phase, probability=probability)
    if grid.any_number("test_acc_mean"):
        figures["slices"] = slices(table, **shared)
    phases = grid.names(phase) if phase in grid else None
    for quantity in quantities:
        if quantity.column in grid:
            with own_style():
                figures[quantity.key] = blank_figure(6.0, 4.8)
                axes = figures[quantity.key].add_subplot()
                draw_quantity(axes, grid, quantity, scales, phases=phases)
    return figures


def save_panels(
    table: object,
    directory: str | os.PathLike[str],
    *,
    load: str = "width",
    temperature: str = "batch_size",
    hot: Hot | None = None,
    labels: Mapping[str, str] | None = None,
    scales: Scales = "paper",
    quantities: Sequence[Quantity] = PANELS,
    phase: str = "phase",
    probability: str = "phase_probability",
    pairs: object | None = None,
    formats: Sequence[str] = ("png",),
    dpi: int = 110,
) -> list[Path]:
    """Write the combined figure, each measured panel and the phase map as files.

    Args:
        table: As in :func:`panels`.
        directory: Folder of the pictures, made if missing: ``panels``, ``phases``, ``slices`` (of a
            table with accuracies) and one file per quantity, named by its ``key``. Quantities
            without a column have no file of their own.
        load: As in :func:`panels`.
        temperature: As in :func:`panels`.
        hot: As in :func:`panels`.
        labels: As in :func:`panels`.
        scales: As in :func:`panels`.
        quantities: As in :func:`panels`.
        phase: As in :func:`panels`.
        probability: As in :func:`panels`.
        pairs: One row per pair of models, as in :func:`landscape_fast.plots.curve_profiles`; where
            it holds profiles, ``curves`` is written too.
        formats: File endings, such as ``"png"``, ``"pdf"`` and ``"svg"``.
        dpi: Pixels per inch of pictures made of pixels.

    Returns:
        The files, in the order of writing.

    Raises:
        TypeError: As :func:`panels`.
        ValueError: As :func:`panels`, or a format that matplotlib cannot write.
    """
    known = FigureCanvasAgg.get_supported_filetypes()
    unknown = [ending for ending in formats if ending not in known]
    if unknown:
        raise ValueError(f"formats: matplotlib writes no {unknown}; it writes {sorted(known)}")
    shared: dict[str, Any] = {"load": load, "temperature": temperature}
    shared |= {"hot": hot, "labels": labels}
    named: dict[str, Any] = {"phase": phase, "probability": probability}
    looks: dict[str, Any] = {"scales": scales, "quantities": quantities}
    figures = {
        "panels": panels(table, **shared, **looks, **named),
        **single_figures(table, **shared, **looks, **named),
    }
    if pairs is not None and has_profiles(pairs):
        figures["curves"] = curve_profiles(table, pairs, **shared, phase=phase)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures.items():
        for ending in formats:
            written.append(folder / f"{name}.{ending}")
            with own_style():
                figure.savefig(written[-1], dpi=dpi, metadata=_UNDATED.get(ending))
    return written


def _checked(
    table: object,
    load: str,
    temperature: str,
    hot: Hot | None,
    labels: Mapping[str, str] | None,
    scales: str,
    phase: str,
) -> Grid:
    """The grid of ``table``, once the arguments that choose among words are known to be good."""
    require_choice(get_args(Scales), scales=scales)
    grid = arrange(table, load=load, temperature=temperature, hot=hot, labels=labels)
    unknown = set(grid.names(phase).ravel()) - set(COLOURS) - {""} if phase in grid else set()
    if unknown:
        raise ValueError(f"phase: column {phase!r} holds {unknown}, which are no phases")
    return grid
