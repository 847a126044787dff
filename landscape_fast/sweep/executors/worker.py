"""A worker process: performs one task after another until its driver is gone."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any, Literal

from landscape_fast.clock import seconds
from landscape_fast.sweep.graph import Outcome, Task, UnusableError
from landscape_fast.sweep.memory import Memory

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker says about a task, in terms that any process can read."""

    status: Literal["done", "unusable", "failed", "halt", "memory"]  # memory: of the GPU ran out
    message: str = ""
    detail: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    memory: Memory | None = None  # of a GPU, if the task says so

    def as_outcome(self, task: Task) -> Outcome:
        """Return how the task ended; ``halt`` is no end."""
        assert self.status != "halt"
        status = "failed" if self.status == "memory" else self.status
        return Outcome(task, status, self.message, self.detail, self.notes, self.seconds)


def serve(connection: Connection, perform: Callable[[Any], object]) -> None:
    """Receive work, perform it and send a :class:`Reply`, until the connection closes.

    Ctrl-C is left to the driver. The process ends at once when the driver dies, so that no orphan
    goes on computing beside a restarted study.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_the_driver, daemon=True).start()
    try:
        connection.send(None)  # ready
        while True:
            work = connection.recv()
            connection.send(perform_once(work, perform))
    except (EOFError, OSError):  # the driver closed the connection
        return


def perform_once(work: Any, perform: Callable[[Any], object]) -> Reply:
    """Perform one piece of work; what it raises, or returns of memory, is part of the reply."""
    start = seconds()
    status: Literal["done", "unusable", "failed", "halt", "memory"] = "done"
    message = detail = ""
    said: object = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            said = perform(work)
        except UnusableError as error:
            status, message = "unusable", str(error)
        except Exception as error:
            status, detail = _status(error), traceback.format_exc()
            message = f"{type(error).__name__}: {_first_line(error)}"
    notes = tuple(dict.fromkeys(str(warning.message) for warning in caught))
    memory = said if isinstance(said, Memory) else None
    return Reply(status, message, detail, notes, seconds() - start, memory)


def _status(error: Exception) -> Literal["failed", "halt", "memory"]:
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return "halt"
    torch = sys.modules.get("torch")  # a task that never imported it cannot have met its errors
    return "memory" if torch and isinstance(error, torch.OutOfMemoryError) else "failed"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _die_with_the_driver() -> None:
    driver = parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
