"""The curvature of the network's outputs, R = H - G, by rows: forms and their probabilities.

For a row n with slope g of its loss in the outputs z, ``R_n = sum_c g_c D^2 z_c``: it is linear in
the slope. So rows of large slope matter most, and a row that is drawn with probability p counts
1 / p times when its slope is multiplied by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.agreement import (
    SEPARATE,
    by_vector,
    derivative_error,
    form_error,
    spread_rows,
)
from landscape_fast.linearise.capture import LossInputs
from landscape_fast.linearise.engines import DIFFERENCES
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.programs import Programs
from landscape_fast.linearise.quadratic import TailProgram, curvature_terms, curved_values, run
from landscape_fast.linearise.samplewise.factors import Tail
from landscape_fast.linearise.samplewise.layouts import Layout
from landscape_fast.linearise.second_derivative import (
    double_backward,
    gauss_newton,
    twice_differentiable,
)
from landscape_fast.linearise.structure import rows

# Of the largest slope, and in machine epsilons: what rounding may make between batches.
SLOPES, ROUNDINGS = 1e-3, 32


class Remainder:
    """Quadratic forms of R over chosen rows.

    Args:
        model: The module, in evaluation mode.
        objective: The loss.
        space: The parameters of the block that is wanted.
        layout: Of the rows in the network's outputs.
        batch: A batch; eight of its rows are used to check.

    Attributes:
        elements_per_row: Of all values of the captured loss that depend on the data.

    Raises:
        ValueError: The forms are not those of double backward.
        Exception: As :func:`capture_gradient`.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        space: ParameterSpace,
        layout: Layout,
        batch: Any,
    ) -> None:
        self._model = model
        self._objective = objective
        self._inputs = LossInputs(model, space)
        self._count = len(space.tensors)
        self._layout = layout
        self._programs = Programs(model, objective, self._inputs, self._count, "gauss-newton")
        with twice_differentiable(model):
            self._check(spread_rows(batch))
        self._require_rows_apart(batch)

    def slopes(self, batch: Any, dtype: torch.dtype | None = None) -> Tensor:
        """Norm of the slope of each row's loss in the outputs: (B,) float64."""
        tail = Tail(self._program(batch, dtype), self._inputs.gather(batch, dtype))
        outputs = tail.outputs.requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(tail.loss(outputs), outputs)
        apart = self._layout.apart(slope, rows(batch) or 1)
        return apart.flatten(1).double().norm(dim=1)

    def forms(self, batch: Any, weights: Tensor, dots: Sequence[Tensor]) -> Tensor:
        """``sum_n w_n v^T R_n v`` over the rows of a batch, for each vector v: (K,) float64.

        Args:
            batch: The rows.
            weights: (B,).
            dots: (K, *shape) per parameter.
        """
        values = self._inputs.gather(batch)
        along = _along(self._layout, weights)
        return remainder_forms(self._program(batch), values, dots, along)

    def _program(self, batch: Any, dtype: torch.dtype | None = None) -> TailProgram:
        with twice_differentiable(self._model):
            program = self._programs.find("value", batch, dtype)
        assert isinstance(program, TailProgram)
        return program

    def _require_rows_apart(self, batch: Any) -> None:
        """A row's slope must be the same beside few others as beside all of its batch."""
        count = rows(batch) or 1
        chosen = spread_rows(torch.arange(count)) if count > 1 else torch.zeros(1, dtype=torch.long)
        whole = self.slopes(batch)
        few = self.slopes(spread_rows(batch), torch.float64)  # its program is there already
        apart = (few - whole[chosen.to(whole.device)]).abs().max()
        dtypes = {part.dtype for part in self._inputs.gather(batch)[: self._count]}
        allowed = max(SLOPES, *(ROUNDINGS * torch.finfo(dtype).eps for dtype in dtypes))
        if not float(apart) <= allowed * max(float(whole.max()), 1e-300):
            raise ValueError("the loss of a row depends on the other rows of its batch")

    def _check(self, few: Any) -> None:
        values = self._inputs.gather(few, torch.float64)
        leaves = [value.clone().requires_grad_() for value in values[: self._count]]
        generator = torch.Generator().manual_seed(0)
        dots = [
            torch.randn(2, *leaf.shape, generator=generator, dtype=torch.float64).to(leaf.device)
            for leaf in leaves
        ]
        moved = [*leaves, *values[self._count :]]
        program = self._program(few, torch.float64)
        with torch.enable_grad():
            whole = double_backward(self._inputs.call(self._objective, few, moved), leaves, dots)
            outputs, loss = program.outputs_and_loss(moved)
            part = gauss_newton(loss, outputs, leaves, dots)
        self.elements_per_row = max(1, program.total // (rows(few) or 1))
        forms = remainder_forms(program, values, dots, None)
        for dot, product in zip(dots, part, strict=True):
            if product is not None:
                forms += by_vector(dot * product)
        if not (error := form_error(forms, dots, whole)) <= SEPARATE:
            raise ValueError(f"the curvature of the outputs differs by {error:.1e}")
        wrong, _ = derivative_error(self._inputs, self._objective, few, self._count)
        if wrong > DIFFERENCES:
            raise ValueError(f"the second derivative is {wrong:.0%} off from differences")


def remainder_forms(
    program: TailProgram,
    inputs: Sequence[Tensor],
    dots: Sequence[Tensor],
    along: tuple[Tensor, int] | None,
) -> Tensor:
    """Quadratic forms of R, as :func:`quadratic_forms` up to the outputs instead of behind them.

    Args:
        program: The loss, with its cut.
        inputs: One value per placeholder.
        dots: (K, *shape) for each of the leading ones.
        along: Weights of the rows along a dimension of the outputs; None for ones.
    """
    count = len(dots)
    leaves = [value.detach().requires_grad_() for value in inputs[:count]]
    with torch.enable_grad():
        values = run(program, [*leaves, *inputs[count:]])
        (end,) = program.outputs
        assert end is not None
        outputs = values[program.cut]
        (slope,) = torch.autograd.grad(values[end], outputs, retain_graph=True)
        if along is not None:
            weights, dim = along
            shape = [1] * slope.dim()
            shape[dim] = -1
            slope = slope * weights.to(slope).reshape(shape)
        curved = curved_values((s for s in program.steps if s.slot <= program.cut), values)
        if not curved:
            return torch.zeros(len(dots[0]), dtype=torch.float64, device=dots[0].device)
        gradients = torch.autograd.grad(outputs, list(curved.values()), slope, allow_unused=True)
    adjoints = {slot: g for slot, g in zip(curved, gradients, strict=True) if g is not None}
    return curvature_terms(program, inputs, dots, values, adjoints)


def _along(layout: Layout, weights: Tensor) -> tuple[Tensor, int]:
    """Weights of the rows in every place of the dimension that counts them."""
    spread = weights[None, :, None].expand(layout.outer, -1, layout.inner)
    return spread.reshape(-1), layout.dim
