"""Tables of cells: one row per grid cell or run, as columns, as rows or as a data frame.

Everything in this room works on *columns*, a dict from column name to a one-dimensional numpy
array. This file turns the tables that people have into columns, gives answers back in the kind of
table that came in, and reads and writes CSV.
"""

from __future__ import annotations

import copy
import csv
import difflib
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from landscape_fast.store import write_atomically

Array = NDArray[Any]
Columns = dict[str, Array]
T = TypeVar("T")

# int() and float() also take "1_000", "007" and "١٢"; a table that holds such text means text.
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)", re.ASCII)
_REAL = re.compile(
    r"[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|nan)", re.ASCII | re.IGNORECASE
)
_BOOLEAN = {"true": True, "false": False}


def columns_of(table: object) -> Columns:
    """Return the columns of ``table``, which is not changed.

    Args:
        table: A mapping from column name to values, a sequence of rows (each a mapping from column
            name to value; a row may lack a column), or a data frame with pandas' interface.

    Returns:
        One array per column: int64, float64, bool or str where the values allow, else object.
        None is NaN in a column of numbers and "" in a column of text.

    Raises:
        TypeError: ``table`` is none of these.
        ValueError: Columns differ in length, or a column's values are not scalars.

    Example:
        >>> columns_of([{"width": 2, "batch_size": 16}, {"width": 4}])
        {'width': array([2, 4]), 'batch_size': array([16., nan])}
    """
    if isinstance(table, Mapping):
        found = {str(name): table[name] for name in table}
    elif _is_frame(table):
        frame = cast(Any, table)
        found = {str(name): frame[name] for name in frame.columns}
    elif isinstance(table, Sequence) and not isinstance(table, str | bytes):
        if not all(isinstance(row, Mapping) for row in table):
            raise TypeError("table is a sequence, so each of its rows must be a mapping")
        names = dict.fromkeys(str(name) for row in table for name in row)
        found = {name: [row.get(name) for row in table] for name in names}
    else:
        raise TypeError(
            "table must be a mapping of columns, a sequence of rows or a pandas data frame, "
            f"not {type(table).__name__}"
        )
    columns = {name: _array(name, values) for name, values in found.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"table has columns of different lengths: {lengths}")
    return columns


def with_columns(table: T, added: Mapping[str, Array]) -> T:
    """Return a copy of ``table``, of the same kind, in which ``added`` are the last columns.

    Existing columns of these names are replaced. ``table`` itself stays as it is.
    """
    if isinstance(table, Mapping):
        as_lists = any(isinstance(table[name], list) for name in table)
        new = {name: values.tolist() if as_lists else values for name, values in added.items()}
        return cast(T, {name: copy.copy(table[name]) for name in table} | new)
    if _is_frame(table):
        frame = cast(Any, table).copy()
        for name, values in added.items():
            frame[name] = values
        return cast(T, frame)
    rows = [dict(row) for row in cast(Sequence[Mapping[str, object]], table)]
    for name, values in added.items():
        for row, value in zip(rows, values.tolist(), strict=True):
            row[name] = value
    return cast(T, rows)


def column(columns: Columns, name: str, *, argument: str) -> Array:
    """Return the column that ``argument`` asks for; a missing one raises with its nearest names."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be the name of a column, got {name!r}")
    if name in columns:
        return columns[name]
    near = difflib.get_close_matches(name, columns, n=3, cutoff=0.4)
    there = f"the nearest are {near}" if near else f"there are {list(columns)}"
    raise ValueError(f"{argument}: the table has no column {name!r}; {there}")


def numbers(columns: Columns, name: str, *, argument: str) -> NDArray[np.float64]:
    """Return a column as float64; empty fields and None are NaN, other text is an error."""
    values = column(columns, name, argument=argument)
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    out = np.empty(len(values))
    for row, value in enumerate(values.tolist()):
        try:
            out[row] = math.nan if value is None or value == "" else float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"{argument}: column {name!r} holds {value!r} in row {row}, which is not a number"
            ) from None
    return out


def read_table(path: str | os.PathLike[str]) -> Columns:
    """Read a CSV file with a header line into columns.

    A column is int64, float64, bool (``true``/``false``) or str, the first that fits all its
    fields. An empty field is NaN in a column of numbers, which is then float64, and ``""`` in a
    column of text. Blank lines are skipped; a byte order mark is too.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: No header, an unnamed or repeated column, a line with too few or too many
            fields (its number is named), or a file that is not UTF-8 text.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no table at {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parsed(path, csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV table in UTF-8: {error}") from error


def write_table(path: str | os.PathLike[str], table: object) -> None:
    """Write ``table`` as CSV, whole or not at all; :func:`read_table` gives the same columns back.

    That holds for numbers to the last bit, and for text that neither reads as a number nor begins
    or ends with a blank. NaN and None are written as empty fields. The file appears under its name
    only when it is complete. Missing folders are made.
    """
    path = Path(path)
    columns = columns_of(table)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    fields = [[_field(value) for value in values.tolist()] for values in columns.values()]
    writer.writerows(zip(*fields, strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def _is_frame(table: object) -> bool:
    """Whether ``table`` has the part of pandas' interface that is used here."""
    return all(hasattr(table, name) for name in ("columns", "copy", "iloc", "__setitem__"))


def _array(name: str, values: Iterable[Any]) -> Array:
    """One column as an array of the narrowest kind that holds all its values."""
    array = values if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)
    if array.ndim != 1:
        raise ValueError(f"table: column {name!r} must be one-dimensional, got {array.shape}")
    if array.dtype.kind in "biufU":
        return array
    items: list[Any] = array.tolist()
    present = [item for item in items if item is not None]
    if present and all(isinstance(item, str) for item in present):
        return np.array(["" if item is None else item for item in items])
    for kinds, dtype in (((bool, np.bool_), bool), ((int, np.integer), np.int64)):
        if len(present) == len(items) and all(isinstance(item, kinds) for item in items):
            return _fitting(items, dtype, array)
    if all(isinstance(item, (int, float, np.number)) for item in present):
        return _fitting([math.nan if item is None else item for item in items], float, array)
    return array


def _fitting(items: list[Any], dtype: type, otherwise: Array) -> Array:
    """``items`` as ``dtype``, or ``otherwise`` where an integer needs more than 64 bits."""
    try:
        return np.array(items, dtype=dtype)
    except OverflowError:
        return otherwise


def _parsed(path: Path, lines: Any) -> Columns:
    """Columns of the CSV ``lines`` of ``path``."""
    header = next((line for line in lines if line), None)
    if header is None:
        raise ValueError(f"{path} has no header line: it is empty")
    names = [name.strip() for name in header]
    for position, name in enumerate(names):
        if not name:
            raise ValueError(f"{path}: column {position + 1} has no name in the header line")
        if name in names[:position]:
            raise ValueError(f"{path}: column {name!r} appears twice in the header line")
    rows = []
    for line in lines:
        if line and len(line) != len(names):
            raise ValueError(
                f"{path}, line {lines.line_num}: {len(line)} fields where the header has "
                f"{len(names)}"
            )
        if line:
            rows.append([field.strip() for field in line])
    return {name: _typed(name, [row[i] for row in rows]) for i, name in enumerate(names)}


def _typed(name: str, fields: list[str]) -> Array:
    """A column of text as the first kind that fits all of its fields."""
    filled = [field for field in fields if field]
    kinds: tuple[tuple[Callable[[str], bool], Callable[[str], object]], ...] = (
        (lambda text: _INTEGER.fullmatch(text) is not None, int),
        (lambda text: _REAL.fullmatch(text) is not None, float),
        (lambda text: text.lower() in _BOOLEAN, lambda text: _BOOLEAN[text.lower()]),
    )
    for fits, convert in kinds:
        if all(fits(field) for field in filled):
            return _array(name, [convert(field) if field else None for field in fields])
    return np.array(fields)


def _field(value: object) -> str:
    """One value as the text of its CSV field."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)
