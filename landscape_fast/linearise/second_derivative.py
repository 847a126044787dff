"""Double backward, and double vector-Jacobian products: as autograd itself differentiates twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Tangents = list[Tensor | None]


def double_backward(
    value: Tensor, parameters: Sequence[Tensor], dots: Sequence[Tensor]
) -> Tangents:
    """Differentiate ``value`` twice, the second time along each vector of ``dots``.

    Raises:
        ValueError: Torch has no second derivative of an operation.
    """
    try:
        return _double_backward(value, parameters, dots)
    except RuntimeError as error:
        if "is not implemented" not in str(error):
            raise
        raise ValueError(
            f"the loss cannot be differentiated twice: torch says {error}; put it together from "
            "operations that can"
        ) from error


def _double_backward(
    value: Tensor, parameters: Sequence[Tensor], dots: Sequence[Tensor]
) -> Tangents:
    if not value.requires_grad:  # as of a batch in which nothing is labelled
        return [None] * len(parameters)
    gradient = torch.autograd.grad(value, parameters, create_graph=True, materialize_grads=True)
    # Gradients without a graph belong to parameters that enter linearly: their rows are zero.
    moving = [index for index, part in enumerate(gradient) if part.requires_grad]
    if not moving:
        return [None] * len(parameters)
    products = []
    for row in range(len(dots[0])):
        # Copies start at aligned addresses. BLAS rounds by alignment, and a product must not
        # depend on the place of its vector in the block.
        vector = [dots[index][row].to(gradient[index].dtype).clone() for index in moving]
        products.append(
            torch.autograd.grad(
                [gradient[index] for index in moving],
                parameters,
                vector,
                retain_graph=True,
                materialize_grads=True,
            )
        )
    return [torch.stack(parts) for parts in zip(*products, strict=True)]


def gauss_newton(
    value: Tensor,
    outputs: Sequence[Tensor],
    parameters: Sequence[Tensor],
    dots: Sequence[Tensor],
) -> Tangents:
    """``J^T A J v``: A the second derivative of ``value`` in ``outputs``, J theirs, v of ``dots``.

    ``J v`` is the derivative of ``J^T u`` in u, which is linear in u.
    """
    slopes = torch.autograd.grad(value, outputs, create_graph=True)
    bending = [index for index, slope in enumerate(slopes) if slope.requires_grad]
    if not bending:
        return [None] * len(parameters)
    cotangents = [torch.zeros_like(output).requires_grad_() for output in outputs]
    pulled = torch.autograd.grad(
        outputs, parameters, cotangents, create_graph=True, materialize_grads=True
    )
    moving = [index for index, part in enumerate(pulled) if part.requires_grad]
    products = []
    for row in range(len(dots[0])):
        vector = [dots[index][row].to(pulled[index].dtype).clone() for index in moving]
        parts = [pulled[index] for index in moving]
        pushed = torch.autograd.grad(
            parts, cotangents, vector, retain_graph=True, materialize_grads=True
        )
        bent = torch.autograd.grad(
            [slopes[index] for index in bending],
            outputs,
            [pushed[index] for index in bending],
            retain_graph=True,
            materialize_grads=True,
        )
        products.append(
            torch.autograd.grad(
                outputs, parameters, bent, retain_graph=True, materialize_grads=True
            )
        )
    return [torch.stack(parts) for parts in zip(*products, strict=True)]


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Use forms of operations that have second derivatives, inside the block only."""
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def custom_functions(value: Tensor) -> list[str]:
    """Names of the autograd Functions written in Python that ``value`` was computed with."""
    custom = torch.autograd.function.BackwardCFunction
    found = {type(node).__name__ for node in nodes_of(value) if isinstance(node, custom)}
    return sorted(name.removesuffix("Backward") for name in found)


def nodes_of(value: Tensor) -> Iterator[Any]:
    """The nodes of the graph that ``value`` was computed with, each once."""
    seen, queue = set[Any](), [value.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        queue.extend(next_node for next_node, _ in node.next_functions)
