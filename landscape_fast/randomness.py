"""Global random states: kept for the caller, and set from a seed while we use them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from landscape_fast.arguments import require_seed


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Restore the random states of torch (CPU and CUDA), numpy and Python on any way out."""
    states = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def start_from_seed(seed: int, device: torch.device) -> np.random.Generator:
    """Seed every global random state of the host and ``device``, and return a generator besides.

    For use inside :func:`kept_random_states`, which gives the caller's states back. Global states
    drive shuffling loaders, dropout and fresh initialisations; the generator drives the
    measurement's own draws, so neither depends on how much the other uses.

    Raises:
        ValueError: ``seed`` is out of range.
        TypeError: It is no number.
    """
    require_seed(seed)
    # torch.manual_seed would also reseed every other device of the caller.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    return np.random.default_rng(seed)
