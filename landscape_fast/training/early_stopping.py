"""When the training loss no longer moves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_EPOCHS = 30  # before them nothing is decided
_CHANGES = 5  # in a row
_TOLERANCE = 1e-4


def settled(losses: Sequence[float]) -> bool:
    """Whether 30 epochs are done and each of the last five changes of the loss is at most 1e-4.

    Args:
        losses: Training loss of each epoch so far.

    References:
        Rule of the code of Yang et al. (2021), arXiv:2107.11228.

    Example:
        >>> settled([0.5] * 29), settled([0.5] * 30), settled([0.5] * 29 + [0.4998])
        (False, True, False)
    """
    last = losses[-_CHANGES - 1 :]
    changes = (abs(new - old) for old, new in pairwise(last))
    return len(losses) >= _EPOCHS and all(change <= _TOLERANCE for change in changes)
