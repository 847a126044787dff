"""Checks of what networks are built from."""

from __future__ import annotations


def check_positive(**arguments: int) -> None:
    """Refuse what is no count.

    Raises:
        ValueError: An argument is not a whole number of at least 1; it is named.
    """
    for name, value in arguments.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
