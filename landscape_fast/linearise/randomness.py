"""Random numbers of a measurement: from its seed alone."""

from __future__ import annotations

import random
from numbers import Integral

import numpy as np
import torch


def start_from_seed(seed: int, device: torch.device) -> np.random.Generator:
    """Seed every global random state of the host and ``device``, and return a generator besides.

    For use inside :func:`~landscape_fast.linearise.state.untouched`, which gives the caller's
    states back. Global states drive shuffling loaders, dropout and fresh initialisations; the
    generator drives the measurement's own draws, so neither depends on how much the other uses.

    Raises:
        ValueError: ``seed`` is no whole number of at least 0.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    # torch.manual_seed would also reseed every other device of the caller.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    return np.random.default_rng(seed)
