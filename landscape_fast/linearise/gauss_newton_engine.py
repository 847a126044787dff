"""The choice between two ways to multiply with the Gauss-Newton matrix of a batch loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from landscape_fast.linearise.captured import CapturedEngine
from landscape_fast.linearise.engines import (
    AutogradEngine,
    Engine,
    attempted,
    disagreement,
)
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.plain_operations import PlainOperations
from landscape_fast.linearise.second_derivative import (
    Tangents,
    gauss_newton,
    twice_differentiable,
)


class GaussNewtonEngine(AutogradEngine):
    """Double vector-Jacobian products through the model, for known losses of its output."""

    def refusal(self, batch: Any) -> str | None:
        """Why this engine cannot serve ``batch``, or None."""
        try:
            self._objective.outputs_and_loss(self._model, batch)
        except ValueError as error:
            return str(error)
        return None

    def multiply(
        self,
        batch: Any,
        dots: Sequence[Tensor],
        index: int | None = None,  # noqa: ARG002
    ) -> Tangents:
        """Products with each vector; the graphs are built once for all of them."""
        with twice_differentiable(self._model), PlainOperations():
            outputs, loss = self._objective.outputs_and_loss(self._model, batch)
            return gauss_newton(loss, [outputs], self._parameters, dots)


def choose_gauss_newton(
    wanted: str,
    model: nn.Module,
    objective: Objective,
    space: ParameterSpace,
    values_budget: int | None,
    batch: Any,
) -> tuple[Engine, str | None]:
    """Engine for ``wanted`` (auto, captured or autograd), and why auto did not capture, if so.

    Raises:
        ValueError: No engine can serve the loss.
    """
    plain = GaussNewtonEngine(model, objective, space)
    lacking = plain.refusal(batch)
    reason = None
    if wanted != "autograd":
        captured = CapturedEngine(model, objective, space, values_budget, "gauss-newton")
        reason = attempted(
            lambda: (
                captured.refusal(batch)
                or (None if lacking else disagreement(captured, plain, batch, space))
            )
        )
        if reason is None:
            return captured, None
        if wanted == "captured":
            raise ValueError(f"engine='captured' was asked for, but: {reason}")
    if lacking is not None:
        raise ValueError(
            f"{lacking}, so the Gauss-Newton matrix needs a captured loss"
            + (f", but: {reason}" if reason else "; leave engine='auto'")
        )
    return plain, reason
