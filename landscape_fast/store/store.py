"""The store: which file holds which result, and who may write it when."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from landscape_fast.provenance import provenance
from landscape_fast.store.failures import SUFFIX, Failures
from landscape_fast.store.folders import Folder, files_at
from landscape_fast.store.format import RefusedError, check, pack, parse, unpack

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")
_AT_ONCE = 1000  # results looked at together; bounds memory


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """A file that was found and refused; its result counts as missing."""

    path: Path | str  # a string where it is a URL
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; the result counts as missing"


class Store:
    """Results by key (which model or pair) and name (which measurement).

    ``<root>/<key>/<name>.json`` is the header, ``<name>.npz`` beside it holds the arrays. The
    header is written last and moved into place in one step, so a header that exists belongs to a
    whole result. Several processes may share a store, also on a shared file system with working
    ``flock``: a reader sees one writer's result or none, never parts of two. Behind a URL there are
    no locks; there, two writers of one result must write the same, as tasks of a study do.

    Args:
        root: Folder of the store, which the first ``save`` creates, or a URL that fsspec opens
            (``s3://bucket/study``).

    Attributes:
        root: The folder or the URL.
        problems: Files refused so far, in the order met. Each is also logged as a warning.
        failures: What went wrong where a result is missing; ``save`` forgets it.

    Raises:
        ImportError: The protocol of the URL needs a package that is not installed.
        ValueError: fsspec does not know the protocol.

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
        self._files = files_at(root)
        self.root = self._files.root if isinstance(self._files, Folder) else str(root)
        self.problems: list[StoreProblem] = []
        self.failures = Failures(self._files)

    def path(self, key: str, name: str) -> Path:
        """Header file of a result, whether it exists or not.

        Raises:
            ValueError: ``key`` or ``name`` is not a plain file name, or the store is no folder.
        """
        if not isinstance(self.root, Path):
            raise ValueError(f"the store {self.root} is no folder and has no paths")
        return self.root / _header(key, name)

    def save(
        self,
        key: str,
        name: str,
        result: Any,
        *,
        recipe: Mapping[str, object] | None = None,
        seconds: float | None = None,
        memory: Mapping[str, int] | None = None,
    ) -> Path | str:
        """Write a result; an older one of the same key and name is replaced.

        Args:
            key: Identifier of the model or pair.
            name: Identifier of the measurement.
            result: Dataclass of ``landscape_fast.results`` or a plain ``float``. Tensors of any
                strided type and device are kept to the bit.
            recipe: What the result is a function of, for the reader of the header.
            seconds: Wall time the result took.
            memory: Bytes of a GPU's memory that it took, and those that there are.

        Returns:
            Path of the header, or its URL.

        Raises:
            TypeError: ``result`` or one of its fields is of a kind the format does not hold.
            StoreWriteError: The file system refused; nothing half-written is left.
        """
        file = _header(key, name)
        made = {**provenance(), "seconds": seconds, "recipe": recipe}
        if memory is not None:
            made["memory"] = dict(memory)
        header, archive = pack(result, made)
        with self._files.writing(key):
            # The old header goes first: no reader may pair it with the new arrays.
            self._files.remove(file)
            if archive is None:
                self._files.remove(_arrays(file))
            else:
                self._files.write(_arrays(file), archive)
            self._files.write(file, header)
            self.failures.forget(key, name)
        return self._where(file)

    def load(self, key: str, name: str) -> Any | None:
        """Return the result, its tensors on the CPU, or ``None`` when there is none to trust.

        A refused file (damaged, truncated, of another schema or class) is added to ``problems``.
        """
        return self._read(_header(key, name), unpack)

    def has(self, key: str, name: str) -> bool:
        """Whether ``load`` would return a result; reads and checks all of it."""
        return self._read(_header(key, name), _checked) is not None

    def header(self, key: str, name: str) -> dict[str, Any] | None:
        """Return the header as JSON holds it, provenance included, or ``None`` if there is none.

        The arrays are not read: ``load`` and ``has`` vouch for them, this does not.
        """
        file = _header(key, name)
        text = self._files.read(file)
        try:
            return None if text is None else parse(text)
        except RefusedError as error:
            self._refuse(file, str(error))
            return None

    def headers(
        self, addresses: Iterable[tuple[str, str]], *, arrays: bool = True
    ) -> Iterator[dict[str, Any] | None]:
        """Return the headers of many results, in order; ``None`` where there is none to trust.

        Faster than one ``header`` after the other: what is not there is known from one listing, and
        behind a URL many files are asked for together.

        Args:
            addresses: Keys and names.
            arrays: Whether to read and check the arrays as ``has`` does. Behind a URL they are
                never read, but have to be there.
        """
        there = set(self._files.names())
        waiting = iter(addresses)
        while part := [_header(*address) for address in islice(waiting, _AT_ONCE)]:
            present = [file for file in part if file in there]
            texts = dict(zip(present, self._files.read_many(present), strict=True))
            for file in part:
                yield self._vouched(file, texts.get(file), there, arrays=arrays)

    def attach(self, key: str, file: str, content: bytes) -> None:
        """Keep a file of another kind beside the results of a key, whole or not at all.

        Args:
            key: Identifier of the model or pair.
            file: Its name, with an ending that results do not have.
            content: What it holds.

        Raises:
            ValueError: ``key`` is not a plain file name, or ``file`` could be a result's.
            StoreWriteError: The file system refused.
        """
        _header(key, file)
        if file.endswith((".json", ".npz", SUFFIX)):
            raise ValueError(f"file must not end like a result's, got {file!r}")
        with self._files.writing(key):
            self._files.write(f"{key}/{file}", content)

    def attachment(self, key: str, file: str) -> bytes | None:
        """Return what ``attach`` kept, or ``None``."""
        return self._files.read(f"{key}/{file}")

    def attached(self, file: str) -> set[str]:
        """Keys that have an attachment of this name."""
        found = (name.split("/") for name in self._files.names())
        return {key for key, last in found if last == file}

    def delete(self, key: str, name: str) -> None:
        """Remove a result; to remove a missing one is no error."""
        file = _header(key, name)
        if isinstance(self.root, str) or (self.root / key).is_dir():
            with self._files.writing(key):
                self._files.remove(file)
                self._files.remove(_arrays(file))

    def clean(self) -> None:
        """Remove temporary files, and arrays without a header, that killed writers left."""
        self._files.clean()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Key and name of every header, sorted; the files are not read."""
        found = (file.split("/") for file in self._files.names() if file.endswith(".json"))
        for key, last in sorted(found):
            yield key, last.removesuffix(".json")

    def _read(self, file: str, make: Callable[[dict[str, Any], bytes | None], Any]) -> Any | None:
        """What ``make`` builds of a header and its arrays, if the file is to be trusted."""
        while (text := self._files.read(file)) is not None:
            try:
                header = parse(text)
                archive = self._files.read(_arrays(file)) if header["arrays"] else None
                return make(header, archive)
            except RefusedError as error:
                if self._files.read(file) == text:
                    self._refuse(file, str(error))
                    return None
                # Replaced between the two reads: look at the new one.
        return None

    def _vouched(
        self, file: str, text: bytes | None, there: set[str], *, arrays: bool
    ) -> dict[str, Any] | None:
        if text is None:
            return None
        try:
            header = parse(text)
            if not header["arrays"]:
                check(header, None)
            elif arrays and isinstance(self.root, Path):
                check(header, self._files.read(_arrays(file)))
            elif _arrays(file) not in there:
                raise RefusedError("the .npz file is missing")
        except RefusedError:
            return self._read(file, _checked)  # which reports it, unless it was replaced meanwhile
        return header

    def _where(self, file: str) -> Path | str:
        where = self._files.where(file)
        return Path(where) if isinstance(self.root, Path) else where

    def _refuse(self, file: str, reason: str) -> None:
        problem = StoreProblem(self._where(file), reason)
        self.problems.append(problem)
        logger.warning("%s", problem)


def _header(key: str, name: str) -> str:
    """Name of a header below the root."""
    for argument, value in (("key", key), ("name", name)):
        if not _NAME.fullmatch(value):
            raise ValueError(
                f"{argument} must consist of letters, digits and ._=+- and begin with neither "
                f"dot nor sign, got {value!r}"
            )
    return f"{key}/{name}.json"


def _arrays(header: str) -> str:
    """Name of the arrays that belong to a header."""
    return f"{header.removesuffix('.json')}.npz"


def _checked(header: dict[str, Any], archive: bytes | None) -> dict[str, Any]:
    check(header, archive)
    return header
