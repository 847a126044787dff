"""A forward pass whose loss has the second derivatives that penalties on curvature take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import Tensor, nn

from landscape_fast.linearise.plain_operations import PlainOperations
from landscape_fast.linearise.second_derivative import nodes_of, twice_differentiable
from landscape_fast.linearise.state import unwrap

# Torch's backward pass takes the norm that the forward pass saved for a constant (torch 2.13).
_WRONG = {"WeightNormInterfaceBackward0": "weight_norm"}


def differentiable_twice(model: nn.Module) -> AbstractContextManager[None]:
    """Compute losses inside in operations that torch can differentiate twice, and rightly.

    Attention takes its plain path, recurrent layers that of torch in place of cuDNN's; weight
    normalisation, hard sigmoids, ``grid_sample``, margins and bags of embeddings are put together
    from their parts.

    Args:
        model: The network whose forward pass runs inside.

    Raises:
        TypeError: ``model`` is not a module.

    Example:
        >>> import torch
        >>> layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 1))
        >>> with differentiable_twice(layer):
        ...     loss = layer(torch.ones(1, 2)).square().sum()
        >>> require_right(loss)
    """
    return _inside(unwrap(model))


@contextmanager
def _inside(model: nn.Module) -> Iterator[None]:
    with twice_differentiable(model), PlainOperations():
        yield


def require_right(loss: Tensor) -> None:
    """Refuse a loss that holds operations whose second derivative torch has wrong.

    Raises:
        ValueError: As described.
    """
    for node in nodes_of(loss):
        if (name := _WRONG.get(type(node).__name__)) is not None:
            raise ValueError(
                f"loss was computed with {name}, whose second derivative torch has wrong; compute "
                "it inside landscape_fast.regularisers.differentiable_twice(model)"
            )
