"""Random numbers of a run: from its seed, and never from or into the caller's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

from landscape_fast.randomness import kept_random_states, start_from_seed

_PURPOSES = {"weights": 0, "order": 1, "layers": 2}


def derived_seed(seed: int, purpose: Literal["weights", "order", "layers"], epoch: int = 0) -> int:
    """Return the seed of one stream of a run.

    A stream depends on ``(seed, purpose, epoch)`` alone, so a run that is resumed at an epoch needs
    no saved random state, and runs of neighbouring seeds share no stream.

    Args:
        seed: Of the run.
        purpose: ``weights`` at the start, ``order`` of the samples, or random ``layers``.
        epoch: Index of the epoch.
    """
    words = np.random.SeedSequence([seed, _PURPOSES[purpose], epoch]).generate_state(1, np.uint64)
    return int(words[0])


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch (CPU and ``device``), numpy and Python inside; restore the caller's states after.

    Args:
        seed: From :func:`derived_seed`.
        device: Where the random layers run.
    """
    with kept_random_states():
        start_from_seed(seed, device)
        yield
