"""The file of a surface in the making: which cells are done, and their values."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from landscape_fast.clock import seconds
from landscape_fast.store.files import write_atomically

SCHEMA = 1
PAUSE = 1.0  # seconds between two writes, at least


class Cells:
    """Values by cell, kept in a file that is whole at every moment.

    What is done is said by a mask: any value, nan and infinity included, is a value.

    Args:
        path: Of the file, which is read if it exists; None keeps nothing.
        shape: Of the grid.
        problem: Hash of what the values are a function of.
        loss: At the model itself, which tells other data apart.

    Raises:
        ValueError: The file is of another surface, or damaged.
    """

    def __init__(
        self, path: Path | None, shape: tuple[int, ...], problem: str, loss: float
    ) -> None:
        self._path, self._shape, self._problem, self._loss = path, shape, problem, loss
        self.values: NDArray[np.float64] = np.full(int(np.prod(shape)), np.nan)
        self.done: NDArray[np.bool_] = np.zeros(len(self.values), dtype=bool)
        self._written, self._behind = seconds(), False
        if path is not None and path.exists():
            self._read(path)

    def keep(self, cells: NDArray[np.int_], values: list[float]) -> None:
        """Take the values of some cells; the file follows after at most a pause."""
        self.values[cells], self.done[cells] = values, True
        self._behind = True
        if seconds() - self._written > PAUSE:
            self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        if self._path is None or not self._behind:
            return
        buffer = io.BytesIO()
        np.savez(
            buffer,
            schema=SCHEMA,
            problem=self._problem,
            loss=self._loss,
            values=self.values.reshape(self._shape),
            done=self.done.reshape(self._shape),
        )
        write_atomically(self._path, buffer.getvalue())
        self._written, self._behind = seconds(), False

    def _read(self, path: Path) -> None:
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            schema = int(found["schema"])
            values, done = found["values"], found["done"]
            problem, loss = str(found["problem"]), float(found["loss"])
        except (ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ValueError(f"path {path} holds no whole surface: {error}") from error
        if schema != SCHEMA or values.shape != self._shape or problem != self._problem:
            raise ValueError(
                f"path {path} holds a surface of another model, grid, direction or loss; give "
                "another path, or remove the file"
            )
        if not _same(loss, self._loss):
            raise ValueError(
                f"path {path} holds a surface whose loss at the model is {loss:.6g}, here it is "
                f"{self._loss:.6g}: the data differ; give another path, or remove the file"
            )
        self.values[:], self.done[:] = values.ravel(), done.ravel()


def _same(one: float, other: float) -> bool:
    """Equal up to the rounding of another machine."""
    return bool(np.isclose(one, other, rtol=1e-4, atol=1e-12, equal_nan=True))
