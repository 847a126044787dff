"""Two ways to multiply with the second derivative of a batch loss.

``CapturedEngine`` walks a captured program with a whole block of tangents. ``AutogradEngine`` runs
double backward, one vector at a time: slower, and right for anything autograd can differentiate
twice. The first is used where it can be captured and agrees with the second in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from landscape_fast.linearise.agreement import (
    cut,
    derivative_error,
    form_error,
    relative_error,
    spread_rows,
)
from landscape_fast.linearise.capture import LossInputs
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.programs import Programs
from landscape_fast.linearise.quadratic import quadratic_forms
from landscape_fast.linearise.second_derivative import (
    Tangents,
    double_backward,
    twice_differentiable,
)
from landscape_fast.linearise.structure import rows, tensors

# Elements of the largest block of tangents of one pass on a CPU, so that it stays in cache, and the
# rows below which convolutions lose more than the cache gives. Fixed, not timed: the cut decides
# the last bits of a sum, and the same call gives the same bits on every run.
CACHED_ELEMENTS = 2**20
FEWEST_ROWS = 8
DIFFERENCES = 0.02  # error of a second derivative that differences of the gradient can prove
SEPARATE = 1e-10  # relative rounding allowed in float64 where two ways of computing must agree


class Engine(Protocol):
    """Products with the second derivative of the summed loss of one batch."""

    name: str

    @property
    def slow_operations(self) -> tuple[str, ...]:
        """Operations served by a general rule instead of one of their own."""
        ...

    def multiply(self, batch: Any, dots: Sequence[Tensor]) -> Tangents:
        """Products (K, *shape) per parameter for vectors given likewise; None is zero."""
        ...

    def quadratic(self, batch: Any, dots: Sequence[Tensor]) -> Tensor:
        """``v^T S'' v`` for each vector, (K,) float64."""
        ...


class AutogradEngine:
    """Double backward through the model itself."""

    name = "autograd"
    slow_operations: tuple[str, ...] = ()

    def __init__(self, model: nn.Module, objective: Objective, space: ParameterSpace) -> None:
        self._model = model
        self._objective = objective
        self._parameters = space.tensors

    def multiply(self, batch: Any, dots: Sequence[Tensor]) -> Tangents:
        """Products with each vector; the graph of the gradient is built once for all of them."""
        with twice_differentiable(self._model):
            return double_backward(
                self._objective.summed(self._model, batch), self._parameters, dots
            )

    def quadratic(self, batch: Any, dots: Sequence[Tensor]) -> Tensor:
        """Inner products of the vectors with their products."""
        products = self.multiply(batch, dots)
        total = torch.zeros(len(dots[0]), dtype=torch.float64, device=dots[0].device)
        for dot, product in zip(dots, products, strict=True):
            if product is not None:
                total += (dot.double() * product).flatten(1).sum(1)
        return total


class CapturedEngine:
    """One captured program per batch shape, walked with blocks of tangents."""

    name = "captured"

    def __init__(self, model: nn.Module, objective: Objective, space: ParameterSpace) -> None:
        self._model = model
        self._objective = objective
        self._parameters = len(space.tensors)
        self._inputs = LossInputs(model, space)
        self._programs = Programs(model, objective, self._inputs, self._parameters)
        self._separable = False
        self._row_elements = 1  # of the program's largest value

    @property
    def slow_operations(self) -> tuple[str, ...]:
        """Operations served by the general rule instead of one of their own."""
        return self._programs.slow_operations

    def multiply(self, batch: Any, dots: Sequence[Tensor]) -> Tangents:
        """Products with each vector, a cache-sized piece of the batch at a time."""
        total: Tangents = [None] * self._parameters
        for piece in self._pieces(batch, len(dots[0])):
            with twice_differentiable(self._model):
                program = self._programs.find("gradient", piece)
            with torch.no_grad():
                parts = program.tangents(self._inputs.gather(piece), dots)
            total = [
                part if sum_ is None else sum_ if part is None else sum_ + part
                for sum_, part in zip(total, parts, strict=True)
            ]
        return total

    def quadratic(self, batch: Any, dots: Sequence[Tensor]) -> Tensor:
        """Quadratic forms from forward tangents, a cache-sized piece of the batch at a time."""
        total = torch.zeros(len(dots[0]), dtype=torch.float64, device=dots[0].device)
        for piece in self._pieces(batch, len(dots[0])):
            with twice_differentiable(self._model):
                program = self._programs.find("value", piece)
            with torch.no_grad():
                total += quadratic_forms(program, self._inputs.gather(piece), dots)
        return total

    def refusal(self, batch: Any) -> str | None:
        """Why the captured program of ``batch`` must not be used, or None.

        Held to double backward on a few rows in float64: a stop-gradient or a backward pass that
        leaves the graph makes the two disagree.
        """
        few = spread_rows(batch)
        values = self._inputs.gather(few, torch.float64)
        leaves = [value.clone().requires_grad_() for value in values[: self._parameters]]
        generator = torch.Generator().manual_seed(0)
        dots = [
            torch.randn(2, *leaf.shape, generator=generator, dtype=torch.float64).to(leaf.device)
            for leaf in leaves
        ]
        with twice_differentiable(self._model):
            program = self._programs.find("gradient", few, torch.float64)
            with torch.enable_grad():
                value = self._inputs.call(self._objective, few, [*leaves, *values[len(leaves) :]])
            exact = double_backward(value, leaves, dots)
            value_program = self._programs.find("value", few, torch.float64)
        with torch.no_grad():
            ours = program.tangents(values, dots)
            forms = quadratic_forms(value_program, values, dots)
        error = max(relative_error(ours, exact), form_error(forms, dots, exact))
        self._separable = self._objective.sums_rows and self._rows_are_separate(few, leaves)
        self._row_elements = max(1, program.largest // (rows(few) or 1))
        if not error <= SEPARATE:
            return f"the captured program differs from double backward by {error:.1e} in float64"
        return None

    def derivative_error(self, batch: Any) -> tuple[float, list[str]]:
        """Error of double backward itself; see :func:`derivative_error`."""
        with twice_differentiable(self._model):
            return derivative_error(self._inputs, self._objective, batch, self._parameters)

    def _rows_are_separate(self, batch: Any, leaves: list[Tensor]) -> bool:
        """Whether the summed loss is a sum over rows, so that a batch may be cut further."""
        count = rows(batch)
        if count is None or count < 2:
            return False
        gradients = []
        # One row against the rest: a loss over pairs or halves of a batch shows, or fails.
        try:
            for part in (slice(0, count), slice(0, 1), slice(1, count)):
                piece = cut(batch, part)
                others = self._inputs.gather(piece, torch.float64)[len(leaves) :]
                value = self._inputs.call(self._objective, piece, [*leaves, *others])
                gradients.append(torch.autograd.grad(value, leaves, materialize_grads=True))
        except (RuntimeError, ValueError):
            return False
        whole, first, second = gradients
        halves = [one + other for one, other in zip(first, second, strict=True)]
        return relative_error(halves, list(whole)) <= SEPARATE

    def _pieces(self, batch: Any, k: int) -> Iterator[Any]:
        count, size = rows(batch), max(FEWEST_ROWS, CACHED_ELEMENTS // (k * self._row_elements))
        on_cpu = all(leaf.device.type == "cpu" for leaf in tensors(batch))
        if not self._separable or not on_cpu or count is None or count <= size:
            yield batch
            return
        for start in range(0, count, size):
            yield cut(batch, slice(start, start + size))


def choose_engine(
    wanted: str, model: nn.Module, objective: Objective, space: ParameterSpace, batch: Any
) -> tuple[Engine, str | None]:
    """Engine for ``wanted`` (auto, captured or autograd), and why auto did not capture, if so.

    Raises:
        ValueError: ``wanted`` is unknown, or capture was demanded and is refused.
    """
    if wanted not in ("auto", "captured", "autograd"):
        raise ValueError(f"engine must be auto, captured or autograd, got {wanted!r}")
    plain = AutogradEngine(model, objective, space)
    if wanted == "autograd":
        return plain, None
    captured = CapturedEngine(model, objective, space)
    reason = _attempted(
        lambda: captured.refusal(batch) or _disagreement(captured, plain, batch, space)
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
                "autograd cannot differentiate it; write it with differentiable operations, or "
                "take the formal derivative as it is with engine='autograd'"
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
    return plain, reason


def _attempted(check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except Exception as error:
        # A tracer may stop at anything a model does; double backward needs none of its limits.
        return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _disagreement(
    captured: CapturedEngine, plain: AutogradEngine, batch: Any, space: ParameterSpace
) -> str | None:
    """Hold one product and one form over a whole batch to double backward, to rounding."""
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(1, space.size, generator=generator, dtype=space.dtype).to(space.device)
    dots = space.split(vector)
    exact = plain.multiply(batch, dots)
    ours = captured.multiply(batch, dots)
    allowed = 10 * max(torch.finfo(tensor.dtype).eps for tensor in space.tensors) ** 0.5
    error = relative_error(ours, exact)
    form = form_error(captured.quadratic(batch, dots), dots, exact)
    if not max(error, form) <= allowed:
        return f"the captured program differs from double backward by {max(error, form):.1e}"
    return None
