"""Calls of a module with other tensors in place of its own, and copies of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def called_with(module: nn.Module, tensors: dict[str, Tensor], args: tuple[Any, ...]) -> Any:
    """What ``module`` returns with ``tensors`` in place of parameters and buffers of these names.

    As :func:`torch.func.functional_call`, which leaves what is made of the values it put in: in the
    list of weights that a recurrent layer computes with, which would never see its own parameters
    again, in the weight of a layer under ``weight_norm``, and in place of the parameters and
    buffers of a part that the module holds under two names.

    Args:
        module: Any module; comes back as it was.
        tensors: By name. A buffer that the call replaces is replaced here.
        args: Positional arguments of the call.

    Example:
        >>> layer = nn.GRU(2, 1)
        >>> other = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
        >>> _ = called_with(layer, other, (torch.ones(1, 1, 2),))
        >>> layer._flat_weights[0] is layer.weight_ih_l0
        True
    """
    given = {id(tensor) for tensor in tensors.values()}
    buffers = [(part._buffers, dict(part._buffers)) for part in module.modules()]
    try:
        with tensors_kept(module):
            return torch.func.functional_call(module, tensors, args)
    finally:
        for now, before in buffers:
            now.update({name: b for name, b in before.items() if id(now.get(name)) in given})


@contextmanager
def tensors_kept(module: nn.Module) -> Iterator[None]:
    """Give every part of ``module`` back its parameters, and what it holds besides its own.

    ``torch.nn.utils.weight_norm`` and ``spectral_norm`` leave the weight of every call in the
    layer, and recurrent layers list the weights they compute with.
    """
    parameters = [(part._parameters, dict(part._parameters)) for part in module.modules()]
    kept = [(vars(part), dict(vars(part))) for part in module.modules()]
    lists = [
        (layer, list(layer._flat_weights))
        for layer in module.modules()
        if isinstance(layer, nn.RNNBase)
    ]
    try:
        yield
    finally:
        for own, parts in parameters:
            if any(own.get(name) is not part for name, part in parts.items()):
                own.clear()
                own.update(parts)
        for now, before in kept:
            for name in {**now, **before}:
                held = now.get(name), before.get(name)
                if held[0] is held[1] or not any(isinstance(one, Tensor) for one in held):
                    continue
                if name in before:
                    now[name] = before[name]
                else:
                    del now[name]
        for layer, weights in lists:
            layer._flat_weights = weights


def copied(module: nn.Module) -> nn.Module:
    """A deep copy, also of a module that holds tensors with a graph.

    ``torch.nn.utils.weight_norm`` and ``spectral_norm`` leave the weight of the last call in the
    layer. The copy's are without a graph; its next call makes them anew.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in vars(part).values():
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, Tensor) and not item.is_leaf:
                    memo[id(item)] = item.detach().clone()
    with torch.inference_mode(False):  # a tensor made in that mode cannot be changed outside it
        return copy.deepcopy(module, memo)
