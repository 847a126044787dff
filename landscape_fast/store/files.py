"""Files that a crash, a full disk or a second process cannot leave half-written."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreWriteError(OSError):
    """A file could not be written (full disk, read-only folder); no partial file was left."""


@contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[None]:
    """Hold the advisory lock on a file, which is created if missing and stays.

    The lock ends with the process that holds it, however that ends.

    Args:
        path: The lock file; its folder exists.
        wait: Whether to wait for another holder.
        shared: Whether others may hold it too, who also share it.

    Raises:
        BlockingIOError: ``wait`` is false and the lock is held elsewhere.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Give ``path`` this content in one step: readers and crashes see old or new, no mixture.

    Raises:
        StoreWriteError: The file system refused; ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise refused(path, error) from error


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers left; the caller makes sure that nobody is writing."""
    for orphan in folder.glob(".*.tmp"):
        orphan.unlink(missing_ok=True)


def refused(path: Path, error: OSError) -> StoreWriteError:
    """The error for a write that the file system refused, naming the file and the reason."""
    return StoreWriteError(error.errno, f"cannot write: {error.strerror or error}", str(path))


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
