"""The store: which file holds which result, and who may write it when."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape_fast.provenance import provenance
from landscape_fast.store.files import (
    StoreWriteError,
    locked,
    refused,
    remove_temporary,
    write_atomically,
)
from landscape_fast.store.format import RefusedError, pack, parse, unpack

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """A file that was found and refused; its result counts as missing."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; the result counts as missing"


class Store:
    """Results by key (which model or pair) and name (which measurement).

    ``<root>/<key>/<name>.json`` is the header, ``<name>.npz`` beside it holds the arrays. The
    header is written last and moved into place in one step, so a header that exists belongs to a
    whole result. Several processes may share a store, also on a shared file system with working
    ``flock``: a reader sees one writer's result or none, never parts of two.

    Args:
        root: Folder of the store; the first ``save`` creates it.

    Attributes:
        root: The folder.
        problems: Files refused so far, in the order met. Each is also logged as a warning.

    Example:
        >>> import tempfile
        >>> from landscape_fast.results import Quality
        >>> store = Store(tempfile.mkdtemp())
        >>> _ = store.save("w8_s0", "quality", Quality(loss=0.5, accuracy=float("nan"), samples=64))
        >>> store.load("w8_s0", "quality")
        Quality(loss=0.5, accuracy=nan, samples=64)
        >>> list(store)
        [('w8_s0', 'quality')]
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.problems: list[StoreProblem] = []

    def path(self, key: str, name: str) -> Path:
        """Header file of a result, whether it exists or not.

        Raises:
            ValueError: ``key`` or ``name`` is not a plain file name.
        """
        for argument, value in (("key", key), ("name", name)):
            if not _NAME.fullmatch(value):
                raise ValueError(
                    f"{argument} must consist of letters, digits and ._=+- and begin with neither "
                    f"dot nor sign, got {value!r}"
                )
        return self.root / key / f"{name}.json"

    def save(
        self,
        key: str,
        name: str,
        result: Any,
        *,
        recipe: Mapping[str, object] | None = None,
        seconds: float | None = None,
    ) -> Path:
        """Write a result; an older one of the same key and name is replaced.

        Args:
            key: Identifier of the model or pair.
            name: Identifier of the measurement.
            result: Dataclass of ``landscape_fast.results`` or a plain ``float``. Tensors of any
                strided type and device are kept to the bit.
            recipe: What the result is a function of, for the reader of the header.
            seconds: Wall time the result took.

        Returns:
            Path of the header.

        Raises:
            TypeError: ``result`` or one of its fields is of a kind the format does not hold.
            StoreWriteError: The file system refused; nothing half-written is left.
        """
        path = self.path(key, name)
        arrays_path = path.with_suffix(".npz")
        header, archive = pack(result, {**provenance(), "seconds": seconds, "recipe": recipe})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.parent / ".lock"):
                remove_temporary(path.parent)
                # The old header goes first: no reader may pair it with the new arrays.
                path.unlink(missing_ok=True)
                if archive is None:
                    arrays_path.unlink(missing_ok=True)
                else:
                    write_atomically(arrays_path, archive)
                write_atomically(path, header)
        except StoreWriteError:
            raise
        except OSError as error:
            raise refused(path, error) from error
        return path

    def load(self, key: str, name: str) -> Any | None:
        """Return the result, its tensors on the CPU, or ``None`` when there is none to trust.

        A refused file (damaged, truncated, of another schema or class) is added to ``problems``.
        """
        path = self.path(key, name)
        while (text := _read(path)) is not None:
            try:
                return unpack(parse(text), _read(path.with_suffix(".npz")))
            except RefusedError as error:
                if _read(path) == text:
                    self._refuse(path, str(error))
                    return None
                # Replaced between the two reads: look at the new one.
        return None

    def has(self, key: str, name: str) -> bool:
        """Whether ``load`` would return a result; reads and checks all of it."""
        return self.load(key, name) is not None

    def header(self, key: str, name: str) -> dict[str, Any] | None:
        """Return the header as JSON holds it, provenance included, or ``None`` if there is none.

        The arrays are not read: ``load`` and ``has`` vouch for them, this does not.
        """
        path = self.path(key, name)
        text = _read(path)
        try:
            return None if text is None else parse(text)
        except RefusedError as error:
            self._refuse(path, str(error))
            return None

    def delete(self, key: str, name: str) -> None:
        """Remove a result; to remove a missing one is no error."""
        path = self.path(key, name)
        if path.parent.is_dir():
            with locked(path.parent / ".lock"):
                path.unlink(missing_ok=True)
                path.with_suffix(".npz").unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove temporary files, and arrays without a header, that killed writers left."""
        for lock in self.root.glob("*/.lock"):
            with locked(lock):
                remove_temporary(lock.parent)
                for arrays in lock.parent.glob("*.npz"):
                    if not arrays.with_suffix(".json").exists():
                        arrays.unlink()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Key and name of every header, sorted; the files are not read."""
        for path in sorted(self.root.glob("*/*.json")):
            yield path.parent.name, path.stem

    def _refuse(self, path: Path, reason: str) -> None:
        problem = StoreProblem(path, reason)
        self.problems.append(problem)
        logger.warning("%s", problem)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
