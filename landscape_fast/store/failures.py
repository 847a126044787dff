"""What went wrong, kept beside the results until the task succeeds or is to be tried again."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from landscape_fast.clock import timestamp
from landscape_fast.store.folders import Files

SUFFIX = ".failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a result is missing."""

    key: str
    name: str
    message: str  # one line
    detail: str  # the whole log
    written: str  # time of day, UTC
    machine: str  # that recorded it


class Failures:
    """Recorded failures of a store, one file ``<key>/<name>.failed`` each.

    Args:
        files: Files of the store.

    Example:
        >>> from landscape_fast.store.folders import files_at
        >>> import tempfile
        >>> failures = Failures(files_at(tempfile.mkdtemp()))
        >>> failures.record("w8_s0", "trace", "ValueError: no", "Traceback ...")
        >>> [(each.key, each.message) for each in failures]
        [('w8_s0', 'ValueError: no')]
        >>> failures.forget("w8_s0", "trace"), list(failures)
        (None, [])
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def record(self, key: str, name: str, message: str, detail: str) -> None:
        """Keep a failure, in place of an older one.

        Raises:
            StoreWriteError: The file system refused.
        """
        failure = Failure(key, name, message, detail, timestamp(), platform.node())
        content = json.dumps(asdict(failure), indent=1).encode()
        with self._files.writing(key):
            self._files.write(_file(key, name), content)

    def forget(self, key: str, name: str) -> None:
        """Remove a failure; a missing one is no error."""
        self._files.remove(_file(key, name))

    def __iter__(self) -> Iterator[Failure]:
        """All failures by key and name. A record that cannot be read says so in its message."""
        for file in sorted(name for name in self._files.names() if name.endswith(SUFFIX)):
            key, _, last = file.partition("/")
            text = self._files.read(file)
            if text is None:
                continue  # forgotten meanwhile
            try:
                yield Failure(**json.loads(text))
            except (ValueError, TypeError):
                yield Failure(key, last.removesuffix(SUFFIX), "unreadable record", "", "", "")


def _file(key: str, name: str) -> str:
    return f"{key}/{name}{SUFFIX}"
