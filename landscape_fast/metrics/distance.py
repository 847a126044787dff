"""Distance of two models in parameter space."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn

from landscape_fast.linearise.state import unwrap
from landscape_fast.metrics.networks import matched_parameters


def l2_distance(
    model_a: nn.Module, model_b: nn.Module, *, params: str | Iterable[str] | None = None
) -> float:
    r"""Euclidean distance :math:`\lVert \theta_a - \theta_b \rVert_2` of two models' parameters.

    Differences and their sum are float64. Buffers do not count, shared parameters count once, and
    no permutation of hidden units is undone.

    Args:
        model_a: Any module.
        model_b: Module with parameters of the same names and shapes, on the same device.
        params: Names of parameters or sub-modules to restrict the distance to; None for all
            trainable parameters.

    Returns:
        The distance, in the unit of the parameters.

    Raises:
        ValueError: The models differ in device, or in a parameter's name or shape (the first one
            that differs is named), or ``params`` selects nothing.

    References:
        Yang et al. (2021), arXiv:2107.11228, where it is a control for similarity.

    Example:
        >>> import torch
        >>> one, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        >>> _ = one.load_state_dict({"weight": torch.zeros(1, 2), "bias": torch.zeros(1)})
        >>> _ = other.load_state_dict({"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.ones(1)})
        >>> l2_distance(one, other, params="weight")
        5.0
    """
    models = unwrap(model_a, "model_a"), unwrap(model_b, "model_b")
    space, tensors_b = matched_parameters(*models, params)
    squares = [
        float((one.detach().double() - other.detach().double()).square().sum())
        for one, other in zip(space.tensors, tensors_b, strict=True)
    ]
    return math.sqrt(math.fsum(squares))
