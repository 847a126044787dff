"""What an unconverged result raises when it is required."""

from __future__ import annotations


class NotConverged(ArithmeticError):
    """Raised by ``result.require()``; carries the unconverged ``result``."""

    def __init__(self, result: object, reason: str) -> None:
        super().__init__(reason)
        self.result = result
