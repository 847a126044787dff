"""Models of one network, whatever wraps them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from landscape_fast.linearise.state import measurable
from landscape_fast.metrics.networks import matched_parameters, require_same_rest


def alike(models: Sequence[nn.Module], least: int = 2) -> tuple[nn.Module, ...]:
    """The modules inside ``models``, which differ in parameters and batch statistics alone.

    Raises:
        TypeError: It is one module, or an item is none.
        ValueError: There are fewer than ``least``, or a model differs from the first in more.
    """
    if not isinstance(models, Sequence | nn.ModuleList):
        raise TypeError(f"models must be a sequence of modules, got one {type(models).__name__}")
    for index, model in enumerate(models):
        if not isinstance(model, nn.Module):
            raise TypeError(f"models[{index}] must be a module, got {type(model).__name__}")
    found = tuple(measurable(model) for model in models)
    if len(found) < least:
        raise ValueError(f"models must hold at least {least} modules, got {len(found)}")
    for index, model in enumerate(found[1:], start=1):
        try:
            matched_parameters(found[0], model)
            require_same_rest(found[0], model)
        except ValueError as error:
            problem = f"models[0] (model_a) and models[{index}] (model_b): {error}"
            raise ValueError(problem) from error
    return found
