"""Checks of what callers pass: the argument that is wrong is named at once, with what it was.

A value of the wrong kind raises ``TypeError``, one out of range ``ValueError``. What only one place
can know, as whether a vector fits a model, is checked there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

SEEDS = 2**64  # of the counter-based generator, and of torch's
LONGEST = 60  # characters of a value that a message shows


def require_whole(least: float, /, *, most: float = math.inf, **named: object) -> None:
    """Refuse what is no whole number from ``least`` to ``most``, which may be infinite.

    Example:
        >>> require_whole(1, steps=3, draws=0)
        Traceback (most recent call last):
        ValueError: draws must be a whole number of at least 1, got 0
    """
    words = [
        *([f"at least {least}"] if least > -math.inf else []),
        *([f"at most {most}"] if most < math.inf else []),
    ]
    bounds = f" of {' and '.join(words)}" if words else ""
    for name, value in named.items():
        problem = f"{name} must be a whole number{bounds}, got {_said(value)}"
        _number(value, problem)
        if not isinstance(value, Integral) or not least <= int(value) <= most:
            raise ValueError(problem)


def require_whole_or_none(least: int, /, **named: Any) -> None:
    """The same of arguments that None leaves open."""
    require_whole(least, **{name: value for name, value in named.items() if value is not None})


def require_seed(seed: object) -> None:
    """Refuse what is no whole number from 0 to 2**64 - 1."""
    require_whole(0, most=SEEDS - 1, seed=seed)


def require_number(
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    **named: object,
) -> None:
    """Refuse what is no finite number within the bounds.

    Example:
        >>> require_number(least=0, below=1, momentum=1.0)
        Traceback (most recent call last):
        ValueError: momentum must be at least 0 and below 1, got 1.0
    """
    words = [
        *(["positive" if above == 0 else f"above {above}"] if above > -math.inf else []),
        *([f"at least {least}"] if least > -math.inf else []),
        *([f"below {below}"] if below < math.inf else []),
        *([f"at most {most}"] if most < math.inf else []),
        *(["finite"] if below == most == math.inf else []),
    ]
    for name, value in named.items():
        problem = f"{name} must be {' and '.join(words)}, got {_said(value)}"
        number = _number(value, problem)
        inside = above < number < below and least <= number <= most
        if not inside or not math.isfinite(number):
            raise ValueError(problem)


def require_choice(choices: Sequence[str], /, **named: object) -> None:
    """Refuse what is none of the ``choices``.

    Example:
        >>> require_choice(("l2", "linf"), norm="l1")
        Traceback (most recent call last):
        ValueError: norm must be 'l2' or 'linf', got 'l1'
    """
    *others, last = [repr(choice) for choice in choices]
    for name, value in named.items():
        problem = f"{name} must be {', '.join(others)} or {last}, got {_said(value)}"
        if not isinstance(value, str):
            raise TypeError(problem)
        if value not in choices:
            raise ValueError(problem)


def require_switch(**named: object) -> None:
    """Refuse what is neither True nor False."""
    for name, value in named.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be True or False, got {_said(value)}")


def _number(value: object, problem: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(problem)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(problem) from None


def _said(value: object) -> str:
    """What a message shows of a value: itself where it is short."""
    text = repr(value) if isinstance(value, Real | str | None) else ""
    return text if 0 < len(text) <= LONGEST else type(value).__name__
