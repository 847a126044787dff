"""Parts of a study that need nothing of one another, so that machines need not talk."""

from __future__ import annotations

import re
from dataclasses import dataclass

from landscape_fast.sweep.subjects import Subject, cells_of
from landscape_fast.training.recipe import Recipe

_STEP_ROWS = 64.0  # rows that cost about what a step costs beside them, in small networks


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` of ``count``.

    A shard has whole cells: nothing is asked of models of two cells, so each shard trains the
    models it measures and waits for no other. Which cells are whose follows from the study alone.

    Raises:
        ValueError: ``index`` is not in ``0 .. count - 1``.

    Example:
        >>> str(Shard.parse("2/8"))
        '2/8'
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"shard must be i/n with i from 0 to n - 1, got {self.index}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``.

        Raises:
            ValueError: It is something else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found is None:
            raise ValueError(f"shard must be i/n with i from 0 to n - 1, got {text!r}")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def slug(self) -> str:
        """Name of the shard in file names."""
        return f"{self.index}-of-{self.count}"

    def choose(self, subjects: list[Subject]) -> list[Subject]:
        """Return the models of this shard.

        Cells are dealt out from the dearest to the cheapest, forth and back, so that shards take
        about the same time.
        """
        cells = list(cells_of(subjects).values())
        dearest = sorted(range(len(cells)), key=lambda i: (-_effort(cells[i][0].recipe), i))
        turn = 2 * self.count
        mine = sorted(
            cell
            for place, cell in enumerate(dearest)
            if place % turn in (self.index, turn - 1 - self.index)
        )
        return [subject for cell in mine for subject in cells[cell]]


def _effort(recipe: Recipe) -> float:
    """How long a training takes relative to others, roughly."""
    rows = recipe.epochs * recipe.fraction * (1.0 + _STEP_ROWS / recipe.batch_size)
    return rows * (recipe.width or 1)
