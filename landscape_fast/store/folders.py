"""Where the files of a store lie: a folder, or a place that fsspec reads and writes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from landscape_fast.store.files import (
    StoreWriteError,
    locked,
    refused,
    remove_temporary,
    write_atomically,
)

# Places that move a file in one step. Elsewhere an object appears when all of it has arrived.
_MOVES = {"sftp", "ssh", "smb"}
_AT_ONCE = 500  # files asked for together, where that saves waiting


class Files(Protocol):
    """Files named ``key/file`` below a root; each is whole or absent."""

    def where(self, name: str) -> str:
        """Return the full name, for messages."""

    def read(self, name: str) -> bytes | None:
        """Return the content, or ``None`` when there is no such file."""

    def read_many(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Return the contents in the order of ``names``."""

    def write(self, name: str, content: bytes) -> None:
        """Replace the content in one step; :class:`StoreWriteError` if the place refuses."""

    def remove(self, name: str) -> None:
        """Remove a file; a missing one is no error."""

    def names(self) -> Iterator[str]:
        """All files, in any order, temporary ones left out."""

    def writing(self, key: str) -> AbstractContextManager[None]:
        """Context in which nobody else writes under ``key``, as far as the place has locks."""

    def clean(self) -> None:
        """Remove what killed writers left."""


def files_at(root: str | os.PathLike[str]) -> Files:
    """Return the files below a folder or a URL."""
    if not isinstance(root, str) or "://" not in root:
        return Folder(Path(root))
    return Folder(Path(root[7:])) if root.startswith("file://") else RemoteFiles(root)


class Folder:
    """Files of this machine, or of a file system that machines share; writers lock (``flock``)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = str(root)

    def where(self, name: str) -> str:
        """See :class:`Files`."""
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        """See :class:`Files`."""
        try:
            with open(self.where(name), "rb") as file:  # noqa: PTH123  a Path costs more than this
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_many(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """See :class:`Files`."""
        return map(self.read, names)

    def write(self, name: str, content: bytes) -> None:
        """See :class:`Files`."""
        write_atomically(Path(self.where(name)), content)

    def remove(self, name: str) -> None:
        """See :class:`Files`."""
        Path(self.where(name)).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """See :class:`Files`."""
        for key in _entries(self._root):
            if key.is_dir():
                for file in _entries(key.path):
                    if not file.name.startswith("."):
                        yield f"{key.name}/{file.name}"

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """See :class:`Files`."""
        folder = Path(self._root, key)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock"):
                remove_temporary(folder)
                yield
        except StoreWriteError:
            raise
        except OSError as error:
            raise refused(folder, error) from error

    def clean(self) -> None:
        """See :class:`Files`."""
        for key in _entries(self._root):
            found = {file.name for file in _entries(key.path)} if key.is_dir() else set()
            if ".lock" in found and any(_left_behind(name, found) for name in found):
                with locked(Path(key.path, ".lock")):
                    remove_temporary(Path(key.path))
                    for arrays in Path(key.path).glob("*.npz"):
                        if not arrays.with_suffix(".json").exists():
                            arrays.unlink()


class RemoteFiles:
    """Files behind an fsspec URL: ``s3://``, ``gs://``, ``sftp://`` and so on; no locks there.

    Two writers of one result write the same arrays, because a result is a function of its recipe;
    so the header of either fits them.
    """

    def __init__(self, url: str) -> None:
        import fsspec  # torch brings it

        self._url = url.rstrip("/")
        self._fs, root = fsspec.core.url_to_fs(self._url)
        self._root = root.rstrip("/")
        protocol = self._fs.protocol
        self._moves = bool(_MOVES & set([protocol] if isinstance(protocol, str) else protocol))

    def where(self, name: str) -> str:
        """See :class:`Files`."""
        return f"{self._url}/{name}"

    def read(self, name: str) -> bytes | None:
        """See :class:`Files`."""
        try:
            return bytes(self._fs.cat_file(self._at(name)))
        except FileNotFoundError:
            return None

    def read_many(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """See :class:`Files`."""
        paths = [self._at(name) for name in names]
        for first in range(0, len(paths), _AT_ONCE):
            part = paths[first : first + _AT_ONCE]
            found = self._fs.cat(part, on_error="return")
            for path in part:
                content = found[path]
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
                yield None if isinstance(content, Exception) else bytes(content)

    def write(self, name: str, content: bytes) -> None:
        """See :class:`Files`."""
        path = self._at(name)
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self._moves:
                folder, _, last = path.rpartition("/")
                temporary = f"{folder}/.{last}.{uuid.uuid4().hex[:8]}.tmp"
                self._fs.pipe_file(temporary, content)
                self._fs.mv(temporary, path)
            else:
                self._fs.pipe_file(path, content)
        except OSError as error:
            reason = f"cannot write: {error.strerror or error}"
            raise StoreWriteError(error.errno, reason, self.where(name)) from error

    def remove(self, name: str) -> None:
        """See :class:`Files`."""
        if self._fs.exists(self._at(name)):
            self._fs.rm_file(self._at(name))

    def names(self) -> Iterator[str]:
        """See :class:`Files`."""
        self._fs.invalidate_cache()
        for path in self._fs.find(self._root) if self._fs.exists(self._root) else ():
            name = path[len(self._root) + 1 :]
            if not name.rpartition("/")[2].startswith("."):
                yield name

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:  # noqa: ARG002
        """See :class:`Files`."""
        yield

    def clean(self) -> None:
        """Nothing: what is not whole is never seen there."""

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _left_behind(name: str, found: set[str]) -> bool:
    """Whether a file of a folder is temporary, or arrays without a header."""
    without_header = name.endswith(".npz") and f"{name[:-4]}.json" not in found
    return without_header or name.endswith(".tmp")
