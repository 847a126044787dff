"""A table of cells as a grid: two knobs as axes, each column of numbers as a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from landscape_fast.arguments import require_choice

Number = NDArray[np.float64]
Scale = Literal["log", "linear", "steps"]
Hot = Literal["small", "large"]

# The knobs whose small values are hot; every other knob is hot where it is large.
_HOT_WHEN_SMALL = frozenset({"batch_size"})
# Knobs that change the load; as the second axis of a grid they are neither hot nor cold.
_LOADS = frozenset({"width", "fraction", "label_noise", "pixel_noise"})
_IN_WORDS = {
    "batch_size": "Batch size (samples)",
    "lr": "Learning rate",
    "fraction": "Training data (share of the set)",
    "label_noise": "Label noise (share of labels redrawn)",
    "pixel_noise": "Pixel noise (amplitude)",
}


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """One knob of the grid: its values as centres of cells that touch and do not overlap."""

    name: str
    values: list[Any]  # sorted, each once
    centres: Number  # (m,) positions of the values
    edges: Number  # (m + 1,) positions of the borders between cells
    scale: Scale
    words: str = ""  # label of the axis; empty: the usual one of the knob

    @property
    def label(self) -> str:
        """The knob's name in words, with its unit."""
        usual = _IN_WORDS.get(self.name, self.name.replace("_", " ").capitalize())
        return self.words or usual

    @property
    def short(self) -> str:
        """The knob's name in a sentence."""
        return {"lr": "learning rate"}.get(self.name, self.name.replace("_", " "))

    @property
    def positions(self) -> tuple[Number, Number]:
        """Centres and edges on the scale of the drawing, where distances are what is seen."""
        if self.scale == "log":
            return np.log(self.centres), np.log(self.edges)
        return self.centres, self.edges

    @property
    def middles(self) -> Number:
        """(m,) the point of each cell that is halfway between its edges in the drawing."""
        edges = self.positions[1]
        halfway = (edges[:-1] + edges[1:]) / 2.0
        return np.exp(halfway) if self.scale == "log" else halfway

    @property
    def shares(self) -> Number:
        """(m,) each cell's share of the length of the axis."""
        edges = self.positions[1]
        return np.asarray(np.diff(edges) / (edges[-1] - edges[0]))

    @property
    def ticks(self) -> list[str]:
        """The values as text."""
        return [f"{v:g}" if isinstance(v, int | float) else str(v) for v in self.values]


@dataclass(frozen=True, eq=False, slots=True)
class Grid:
    """A table arranged by load (columns) and temperature (rows).

    Rows run from the coldest cell at the bottom to the hottest at the top of a drawing, whichever
    end of the temperature-like knob is hot.
    """

    columns: Mapping[str, Sequence[Any] | NDArray[Any]]
    load: Axis
    temperature: Axis
    hot: Hot
    places: tuple[NDArray[np.intp], NDArray[np.intp]]  # row and column of each cell of the table

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    @property
    def at_the_top(self) -> str:
        """Says that hot is up, where the second knob is a temperature."""
        return "" if self.temperature.name in _LOADS else ", hot at the top"

    def place(self, row: int, column: int) -> str:
        """The cell in words, such as ``width 4, batch size 32``."""
        across, up = self.load, self.temperature
        return f"{across.short} {across.ticks[column]}, {up.short} {up.ticks[row]}"

    def numbers(self, column: str) -> Number:
        """(rows, cols) a column of numbers; NaN where a cell is absent, empty or infinite."""
        try:
            given = [math.nan if v is None or v == "" else float(v) for v in self.columns[column]]
        except (TypeError, ValueError) as error:
            raise ValueError(f"column {column!r} is not of numbers: {error}") from error
        out = np.full((len(self.temperature.values), len(self.load.values)), np.nan)
        out[self.places] = given
        out[np.isinf(out)] = np.nan
        return out

    def any_number(self, column: str) -> bool:
        """Whether a column is there and holds a finite number."""
        return column in self and bool(np.isfinite(self.numbers(column)).any())

    def threshold(self, quantity: str) -> float | None:
        """The threshold that the table says was used for a quantity, if it is one for all cells."""
        column = f"{quantity}_threshold"
        used = np.unique(self.numbers(column)) if column in self else np.array([])
        used = used[np.isfinite(used)]
        return float(used[0]) if len(used) == 1 else None

    def names(self, column: str) -> NDArray[np.str_]:
        """(rows, cols) a column of text; "" where a cell is absent."""
        given = np.array([str(v) for v in self.columns[column]])
        out = np.full((len(self.temperature.values), len(self.load.values)), "", given.dtype)
        out[self.places] = given
        return out


def arrange(
    table: object,
    *,
    load: str,
    temperature: str,
    hot: Hot | None,
    labels: Mapping[str, str] | None = None,
) -> Grid:
    """Arrange the cells of ``table``; each pair of knob values may appear once.

    What a knob counts may depend on the model, which a table does not name: ``labels`` are what
    axes are to say instead of the usual words, by column.

    Raises:
        TypeError: ``table`` is not a mapping of columns or a data frame.
        ValueError: A knob's column is missing or has an empty field, the table has no rows, or two
            rows are the same cell.
    """
    columns = columns_by_name(table)
    for argument, name in (("load", load), ("temperature", temperature)):
        if name not in columns:
            raise ValueError(f"{argument}: the table has no column {name!r}; it has {[*columns]}")
    if hot is not None:
        require_choice(get_args(Hot), hot=hot)
    knobs = [_values(name, columns[name]) for name in (load, temperature)]
    cells = list(zip(*knobs, strict=True))
    if not cells:
        raise ValueError("table has no rows")
    if len(set(cells)) < len(cells):
        twice = next(cell for cell in cells if cells.count(cell) > 1)
        raise ValueError(f"table has more than one row with {load}, {temperature} = {twice}")
    words = labels or {}
    axes = [
        replace(_axis(name, values), words=words.get(name, ""))
        for name, values in zip((load, temperature), knobs, strict=True)
    ]
    across, up = (
        np.array([axis.values.index(value) for value in values], dtype=np.intp)
        for axis, values in zip(axes, knobs, strict=True)
    )
    return Grid(
        columns=columns,
        load=axes[0],
        temperature=axes[1],
        hot=hot or ("small" if temperature in _HOT_WHEN_SMALL else "large"),
        places=(up, across),
    )


def columns_by_name(table: object) -> dict[str, Any]:
    """The columns of a mapping or a data frame.

    Raises:
        TypeError: ``table`` is neither.
    """
    if not isinstance(table, Mapping) and not hasattr(table, "columns"):
        raise TypeError(
            "table must be a mapping of columns or a data frame; "
            "landscape_fast.study.table.columns_of makes columns of rows"
        )
    names = [str(name) for name in (table if isinstance(table, Mapping) else table.columns)]
    return {name: table[name] for name in names}  # type: ignore[index]


def _values(name: str, column: Any) -> list[Any]:
    """A knob's column as Python values."""
    values = np.asarray(column).tolist()
    for row, value in enumerate(values):
        if value is None or value == "" or value != value:
            raise ValueError(f"column {name!r} is a knob of the grid but is empty in row {row}")
    return list(values)


def _axis(name: str, column: list[Any]) -> Axis:
    """The axis of a knob: logarithmic where that makes the steps more even, else linear."""
    if not all(isinstance(value, int | float) for value in column):
        ordered = sorted(set(column), key=str)
        return _spaced(name, ordered, np.arange(len(ordered), dtype=np.float64), "steps")
    ordered = sorted(set(column))
    centres = np.array(ordered, dtype=np.float64)
    if centres[0] > 0.0 and _unevenness(np.log(centres)) <= _unevenness(centres):
        in_log = _spaced(name, ordered, np.log(centres), "log")
        return Axis(name, ordered, centres, np.exp(in_log.edges), "log")
    return _spaced(name, ordered, centres, "linear")


def _unevenness(positions: Number) -> float:
    """Relative spread of the steps between positions."""
    steps = np.diff(positions)
    return float(steps.std() / steps.mean()) if len(steps) else 0.0


def _spaced(name: str, values: list[Any], centres: Number, scale: Scale) -> Axis:
    """An axis with borders halfway between centres; the outer cells are symmetric."""
    half = np.diff(centres) / 2.0 if len(centres) > 1 else np.array([0.5])
    first, last = centres[0] - half[0], centres[-1] + half[-1]
    edges = np.concatenate([[first], centres[:-1] + half[: len(centres) - 1], [last]])
    return Axis(name, values, centres, edges, scale)
