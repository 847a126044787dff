"""One line on a terminal that says how far long work is, and is gone when the work is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from landscape_fast.clock import seconds

if TYPE_CHECKING:
    from landscape_fast.linearise.batches import Batches

PATIENCE = 2.0  # seconds of work before anything is shown
INTERVAL = 0.2  # seconds between two changes of the line


class Progress:
    """Counts products and batches on standard error.

    As a context manager it keeps its line over many products: ``with op.progress: ...``.

    Args:
        what: Whose products.
        wanted: None for only if standard error is a terminal.
    """

    def __init__(self, what: str, wanted: bool | None) -> None:
        self._what = what
        self.shown = sys.stderr.isatty() if wanted is None else wanted
        self._depth = 0
        self._began = self._drawn = 0.0

    def __enter__(self) -> Self:
        if self._depth == 0:
            self._began, self._drawn = seconds(), 0.0
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._drawn:
            sys.stderr.write("\r\x1b[K")

    def over(self, batches: Batches, products: int) -> Iterator[Any]:
        """Yield the batches of one pass; ``products`` were made before it."""
        if not self.shown:
            yield from batches
            return
        with self:
            for number, batch in enumerate(batches, 1):
                yield batch
                self._draw(f"{products} products, batch {number} of {len(batches)}")

    def _draw(self, counts: str) -> None:
        now = seconds()
        if now - self._began > PATIENCE and now - self._drawn > INTERVAL:
            sys.stderr.write(f"\r{self._what}: {counts}, {now - self._began:.0f} s\x1b[K")
            sys.stderr.flush()
            self._drawn = now
