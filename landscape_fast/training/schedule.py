"""The learning rate over a run, as a factor of its peak."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["decay", "constant", "three_step", "cosine", "one_cycle"]

_RISE = 0.3  # share of the run in which one_cycle rises
_START = 1 / 25  # of its peak
_END = 1e-4 * _START


def lr_factor(
    schedule: Schedule, done: float, epochs: int, *, decay: float = 0.1, decay_at: float = 0.75
) -> float:
    """Return the learning rate as a part of its peak.

    ``decay``
        Multiplied by ``decay`` from epoch ``int(decay_at * epochs)`` on.
    ``constant``
        1.
    ``three_step``
        Multiplied by ``decay`` from half the epochs on, and once more from three quarters.
    ``cosine``
        Half a cosine from 1 to 0, changed in every step.
    ``one_cycle``
        Half a cosine from 1/25 to 1 over the first 30 %, then one down to 1/250000, changed in
        every step. Momentum stays as it is.

    Args:
        schedule: One of the above.
        done: Epochs done before the step, with the part of the current one.
        epochs: Of the whole run.
        decay: Factor of a step down.
        decay_at: Share of the epochs before it.

    References:
        cosine: Loshchilov and Hutter (2017), arXiv:1608.03983, without restarts. one_cycle: Smith
        and Topin (2019), doi:10.1117/12.2520589, with the shape and constants of
        ``torch.optim.lr_scheduler.OneCycleLR``.

    Example:
        >>> [lr_factor("three_step", epoch, 8) for epoch in (0, 3, 4, 5)]
        [1.0, 1.0, 0.1, 0.1]
        >>> round(lr_factor("cosine", 2.5, 5), 12)
        0.5
    """
    if schedule == "decay":
        return decay if done >= int(decay_at * epochs) else 1.0
    if schedule == "three_step":
        return decay ** sum(done >= int(share * epochs) for share in (0.5, 0.75))
    if schedule == "cosine":
        return _half_cosine(1.0, 0.0, done / epochs)
    if schedule == "one_cycle":
        share = done / epochs
        if share < _RISE:
            return _half_cosine(_START, 1.0, share / _RISE)
        return _half_cosine(1.0, _END, (share - _RISE) / (1 - _RISE))
    return 1.0


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
