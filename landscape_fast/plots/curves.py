"""Training error along the curves between models, for every pair of every cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from landscape_fast.arguments import require_choice
from landscape_fast.plots.canvas import own_style
from landscape_fast.plots.cells import figure_of_cells, into_cell, name_key, phase_keys
from landscape_fast.plots.grid import Grid, Hot, arrange, columns_by_name

Number = NDArray[np.float64]

_CURVE, _STRAIGHT = "#0072B2", "#D55E00"
_LABELS = {"err": "Training error (percent)", "nll": "Training loss (nats)"}
#: Columns of a table of pairs begin with one of these, and end with t in percent.
CURVE, STRAIGHT = "tr_{of}_t", "linear_{of}_t"


def curve_profiles(
    table: object,
    pairs: object,
    *,
    load: str = "width",
    temperature: str = "batch_size",
    hot: Hot | None = None,
    labels: Mapping[str, str] | None = None,
    of: Literal["err", "nll"] = "err",
    phase: str = "phase",
) -> Figure:
    """Draw, in every cell, the profile of each pair's curve and of the straight line beside it.

    All cells have one scale; the cell with the highest rise is repeated larger, with axes. Cells
    are tinted by their phase.

    Args:
        table: One row per cell, as in :func:`landscape_fast.plots.panels`.
        pairs: One row per pair of models with both knobs and ``tr_err_t000`` to ``tr_err_t100``
            (or ``tr_nll_...``), the error in percent at t; ``linear_err_t...`` if measured.
        load: Column of the load-like knob.
        temperature: Column of the temperature-like knob.
        hot: As in :func:`landscape_fast.plots.panels`.
        labels: As in :func:`landscape_fast.plots.panels`.
        of: The training error, or the loss.
        phase: Column of phase names in ``table``, if there.

    Raises:
        TypeError: As :func:`landscape_fast.plots.panels`.
        ValueError: As there, ``of`` is unknown, or no pair has a profile.

    References:
        Garipov et al. (2018), arXiv:1802.10026; Yang et al. (2021), arXiv:2107.11228, figure 12.

    Example:
        >>> table = {"width": [2], "batch_size": [8]}
        >>> pairs = {"width": [2], "batch_size": [8], "tr_err_t000": [0.0], "tr_err_t050": [7.0],
        ...          "tr_err_t100": [1.0]}
        >>> print(curve_profiles(table, pairs).axes[1].get_title())
        Highest rise
        width 2, batch size 8
    """
    require_choice(tuple(_LABELS), of=of)
    grid = arrange(table, load=load, temperature=temperature, hot=hot, labels=labels)
    columns = columns_by_name(pairs)
    series = {kind: _series(columns, kind.format(of=of)) for kind in (CURVE, STRAIGHT)}
    t, heights = series[CURVE]
    if not np.isfinite(heights).any():
        raise ValueError(
            f"pairs: no pair has a profile; needs columns {CURVE.format(of=of)}000 ..."
        )
    places = _places(grid, columns, load, temperature)
    top = max(float(np.nan_to_num(values).max(initial=0.0)) for _, values in series.values()) or 1.0
    rise = np.nanmax(np.nan_to_num(heights), axis=1) - (heights[:, 0] + heights[:, -1]) / 2.0
    worst = places[int(np.nanargmax(rise))]
    with own_style():
        figure, axes, key = figure_of_cells(grid, _title(of, rise), phase=phase)
        for kind, (t, values) in series.items():
            for place, line in zip(places, values, strict=True):
                if np.isfinite(line).any():
                    axes.plot(*into_cell(grid, place, t, line / top), **_look(kind))
                    if place == worst:
                        key.plot(t, line, **{**_look(kind), "linewidth": 1.6, "marker": "."})
        key.set(xlim=(0, 1), ylim=(0, 1.04 * top), xticks=(0, 0.5, 1))
        name_key(
            key,
            f"Highest rise\n{grid.place(*worst)}",
            x="Position t between the two models",
            y=_LABELS[of],
            handles=[
                *_keys(straight=bool(np.isfinite(series[STRAIGHT][1]).any())),
                *phase_keys(grid, phase),
            ],
        )
    return figure


def has_profiles(pairs: object) -> bool:
    """Whether a table of pairs holds the profile of any curve."""
    return bool(np.isfinite(_series(columns_by_name(pairs), CURVE.format(of="err"))[1]).any())


def _title(of: str, rise: Number) -> str:
    known = rise[np.isfinite(rise)]
    unit = "points" if of == "err" else "nats"
    least = 2.0 if of == "err" else 0.1
    return (
        f"{_LABELS[of].split(' (')[0]} along the curve between two models\n"
        f"{(known > least).sum()} of {len(known)} pairs rise more than {least:g} {unit}, "
        f"the highest by {known.max():.3g}"
    )


def _look(kind: str) -> dict[str, Any]:
    if kind == CURVE:
        return {"color": _CURVE, "linewidth": 1.1}
    return {"color": _STRAIGHT, "linewidth": 0.9, "linestyle": (0, (3, 1.5))}


def _keys(*, straight: bool) -> list[Line2D]:
    curve = Line2D([], [], label="trained curve", **_look(CURVE))
    return [curve, Line2D([], [], label="straight line", **_look(STRAIGHT))][: 1 + straight]


def _series(columns: dict[str, Any], prefix: str) -> tuple[Number, Number]:
    """(p,) positions, and (pairs, p) values at them, of the columns that begin with ``prefix``."""
    names = sorted(name for name in columns if re.fullmatch(rf"{prefix}\d{{3}}", name))
    t = np.array([int(name[-3:]) / 100.0 for name in names])
    values = [np.array([_number(v) for v in columns[name]]) for name in names]
    rows = len(next(iter(columns.values()), ()))
    return t, np.array(values, dtype=np.float64).T.reshape(rows, len(names))


def _number(value: Any) -> float:
    return np.nan if value is None or value == "" else float(value)


def _places(
    grid: Grid, columns: dict[str, Any], load: str, temperature: str
) -> Sequence[tuple[int, int]]:
    """Row and column of every pair's cell."""
    for argument, name in (("load", load), ("temperature", temperature)):
        if name not in columns:
            raise ValueError(f"{argument}: pairs have no column {name!r}")
    across, up = (np.asarray(columns[name]).tolist() for name in (load, temperature))
    return [
        (grid.temperature.values.index(y), grid.load.values.index(x))
        for x, y in zip(across, up, strict=True)
    ]
