"""The choice between two ways to multiply with the second derivative of a batch loss.

``CapturedEngine`` walks a captured program with a whole block of tangents. ``AutogradEngine`` runs
double backward, one vector at a time: slower, and right for anything autograd can differentiate
twice. The first is used where it can be captured and agrees with the second in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_choice, require_switch, require_whole_or_none
from landscape_fast.linearise.agreement import by_vector, form_error, relative_error, worst
from landscape_fast.linearise.captured import CapturedEngine
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.plain_operations import PlainOperations
from landscape_fast.linearise.second_derivative import (
    Tangents,
    double_backward,
    twice_differentiable,
)

DIFFERENCES = 0.02  # error of a second derivative that differences of the gradient can prove


class Engine(Protocol):
    """Products with the second derivative of the summed loss of one batch."""

    name: str

    @property
    def slow_operations(self) -> tuple[str, ...]:
        """Operations served by a general rule instead of one of their own."""
        ...

    @property
    def kept_bytes(self) -> int:
        """Bytes kept between products."""
        ...

    def refresh(self) -> None:
        """Notice changes of the model since the last products."""
        ...

    def multiply(self, batch: Any, dots: Sequence[Tensor], index: int | None = None) -> Tangents:
        """Products (K, *shape) per parameter for vectors given likewise; None is zero.

        Batches come with the index under which every pass yields them, None if no pass repeats.
        """
        ...

    def quadratic(self, batch: Any, dots: Sequence[Tensor], index: int | None = None) -> Tensor:
        """``v^T S'' v`` for each vector, (K,) float64."""
        ...


class AutogradEngine:
    """Double backward through the model itself."""

    name = "autograd"
    slow_operations: tuple[str, ...] = ()
    kept_bytes = 0

    def __init__(self, model: nn.Module, objective: Objective, space: ParameterSpace) -> None:
        self._model = model
        self._objective = objective
        self._parameters = space.tensors

    def refresh(self) -> None:
        """Nothing is kept between products."""

    def multiply(
        self,
        batch: Any,
        dots: Sequence[Tensor],
        index: int | None = None,  # noqa: ARG002
    ) -> Tangents:
        """Products with each vector; the graph of the gradient is built once for all of them."""
        with twice_differentiable(self._model), PlainOperations():
            return double_backward(
                self._objective.summed(self._model, batch), self._parameters, dots
            )

    def quadratic(
        self,
        batch: Any,
        dots: Sequence[Tensor],
        index: int | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Inner products of the vectors with their products."""
        products = self.multiply(batch, dots)
        total = torch.zeros(len(dots[0]), dtype=torch.float64, device=dots[0].device)
        for dot, product in zip(dots, products, strict=True):
            if product is not None:
                total += by_vector(dot.double() * product)
        return total


def choose_engine(
    wanted: str,
    model: nn.Module,
    objective: Objective,
    space: ParameterSpace,
    values_budget: int | None,
    batch: Any,
) -> tuple[Engine, str | None]:
    """Engine for ``wanted`` (auto, captured or autograd), and why auto did not capture, if so.

    Raises:
        ValueError: Capture was demanded and is refused, or torch has no second derivative.
    """
    plain = AutogradEngine(model, objective, space)
    if wanted == "autograd":
        return plain, None
    captured = CapturedEngine(model, objective, space, values_budget)
    reason = attempted(
        lambda: captured.refusal(batch) or disagreement(captured, plain, batch, space)
    )
    wrong, functions = 0.0, list[str]()
    try:
        wrong, functions = captured.derivative_error(batch)
    except Exception as error:
        reason = reason or f"float64 does not run through the model: {_first_line(error)}"
    if wrong > DIFFERENCES:
        apart = f"second derivative is {wrong:.0%} off from differences of the model's gradient"
        if functions:
            raise ValueError(
                f"the {apart}: the backward pass of {', '.join(functions)} leaves the graph, so "
                "autograd cannot differentiate it, or is a surrogate for the derivative of its "
                "forward pass, and then this is no Hessian of the loss; write it with "
                "differentiable operations, or take the formal derivative as it is with "
                "HessianOperator(..., engine='autograd')"
            )
        warnings.warn(
            f"the {apart}: either the loss stops gradients (detach), which is then meant, or torch "
            "has the second derivative of one of its operations wrong",
            stacklevel=4,
        )
    if reason is None:
        return captured, None
    if wanted == "captured":
        raise ValueError(f"engine='captured' was asked for, but: {reason}")
    # What cannot be differentiated twice is refused now, not at the first product.
    plain.multiply(batch, [torch.zeros_like(tensor)[None] for tensor in space.tensors])
    return plain, reason


def require_options(
    engine: str, batchnorm: str, values_budget: int | None, progress: bool | None
) -> None:
    """Check what operators take besides model, data and loss.

    Raises:
        ValueError: An argument is out of range.
        TypeError: It is of the wrong kind.
    """
    require_choice(("auto", "captured", "autograd"), engine=engine)
    require_choice(("eval", "train"), batchnorm=batchnorm)
    require_whole_or_none(0, values_budget=values_budget)
    if progress is not None:
        require_switch(progress=progress)


def attempted(check: Callable[[], str | None]) -> str | None:
    """What ``check`` returns, or the first line of what it raises."""
    try:
        return check()
    except Exception as error:
        # A tracer may stop at anything a model does; double backward needs none of its limits.
        return reason_of(error)


# What a tracer says where a value that is only known while running decides a shape or a branch.
DATA_DECIDE = ("data-dependent", "concrete integers", "DataDependent", "DynamicOutputShape")


def reason_of(error: Exception) -> str:
    """The first line of an error; what a tracer is at a loss with, in the words of a model."""
    first = _first_line(error)
    if any(words in first for words in DATA_DECIDE):
        return (
            "values of the data decide a shape or a branch (x[mask], nonzero, unique, .item(), if "
            "on a tensor), and one program cannot stand for that; multiply by the mask, or use "
            f"torch.where ({type(error).__name__})"
        )
    return first


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def disagreement(
    captured: CapturedEngine, plain: Engine, batch: Any, space: ParameterSpace
) -> str | None:
    """Hold one product and one form over a whole batch to double backward, to rounding.

    Programs shared with an earlier model were held to it then, at the same shapes and dtype.
    """
    programs = captured.programs_of(batch)
    if all(program.agrees for program in programs):
        return None
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(1, space.size, generator=generator, dtype=space.dtype).to(space.device)
    dots = space.split(vector)
    exact = plain.multiply(batch, dots)
    ours = captured.multiply(batch, dots)
    allowed = 10 * max(torch.finfo(tensor.dtype).eps for tensor in space.tensors) ** 0.5
    form = form_error(captured.quadratic(batch, dots), dots, exact)
    error = worst(relative_error(ours, exact), form)
    if not error <= allowed:
        return f"the captured program differs from double backward by {error:.1e}"
    for program in programs:
        program.agrees = True
    return None
