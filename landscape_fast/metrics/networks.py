"""What two networks must share before a metric may compare them."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from landscape_fast.linearise.params import ParameterSpace, Selection


def device_of(model: nn.Module) -> torch.device:
    """Device of the first parameter or buffer; the CPU for a model that has neither."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def common_device(model_a: nn.Module, model_b: nn.Module) -> torch.device:
    """Device of both models.

    Raises:
        ValueError: They are on different devices.
    """
    device_a, device_b = device_of(model_a), device_of(model_b)
    if device_a != device_b:
        raise ValueError(
            f"model_a is on {device_a} and model_b on {device_b}; move them to one device"
        )
    return device_a


def matched_parameters(
    model_a: nn.Module, model_b: nn.Module, params: Selection = None
) -> tuple[ParameterSpace, tuple[Tensor, ...]]:
    """Parameters of ``model_a``, and those of ``model_b`` in the same order.

    Raises:
        ValueError: The models differ in device or in the name or shape of a parameter; the first
            one that differs is named.
    """
    common_device(model_a, model_b)
    space_a, space_b = ParameterSpace(model_a, params), ParameterSpace(model_b, params)
    of_b = dict(zip(space_b.names, space_b.tensors, strict=True))
    for name, shape in zip(space_a.names, space_a.shapes, strict=True):
        if name not in of_b:
            raise ValueError(f"model_a has the trainable parameter {name!r}, model_b has not")
        if of_b[name].shape != shape:
            raise ValueError(
                f"parameter {name!r} has shape {tuple(shape)} in model_a and "
                f"{tuple(of_b[name].shape)} in model_b"
            )
    for name in space_b.names:
        if name not in space_a.names:
            raise ValueError(f"model_b has the trainable parameter {name!r}, model_a has not")
    return space_a, tuple(of_b[name] for name in space_a.names)


def require_same_rest(model_a: nn.Module, model_b: nn.Module) -> None:
    """Check that nothing but trainable parameters and batch statistics tells the models apart.

    What is moved from one model to the other is their trainable parameters; batch statistics are
    measured anew. Had the models other layers, frozen weights or masks as well, the path that
    starts at ``model_a`` would not end at ``model_b``.

    Raises:
        ValueError: A layer, frozen parameter or buffer differs; the first one is named.
    """
    none: tuple[str, None] = ("", None)
    for (name_a, layer_a), (name_b, layer_b) in zip_longest(
        model_a.named_modules(), model_b.named_modules(), fillvalue=none
    ):
        if name_a != name_b or type(layer_a).__name__ != type(layer_b).__name__:
            raise ValueError(
                f"model_a has {_said(name_a, layer_a)} where model_b has {_said(name_b, layer_b)}"
            )
        assert layer_a is not None
        assert layer_b is not None
        options_a, options_b = _options(layer_a), _options(layer_b)
        for key in options_a.keys() & options_b.keys():
            if options_a[key] != options_b[key]:
                raise ValueError(
                    f"layer {name_a!r} has {key}={options_a[key]} in model_a and "
                    f"{key}={options_b[key]} in model_b"
                )
    rest_a, rest_b = _fixed_tensors(model_a), _fixed_tensors(model_b)
    for name in [*rest_a, *(name for name in rest_b if name not in rest_a)]:
        if not _equal(rest_a.get(name), rest_b.get(name)):
            raise ValueError(
                f"{name!r} is neither a trainable parameter nor a batch statistic, and differs "
                "between model_a and model_b: no curve over trainable parameters joins them"
            )


def _said(name: str, layer: nn.Module | None) -> str:
    return "no further layer" if layer is None else f"the layer {name!r} ({type(layer).__name__})"


# Of layers of torch, what does not change the function in evaluation mode.
_WITHOUT_EFFECT = frozenset({"training", "inplace", "momentum"})


def _options(layer: nn.Module) -> dict[str, Any]:
    """With what a layer of torch was made, as the slope of a leaky relu."""
    if not type(layer).__module__.startswith("torch.nn.") or isinstance(layer, _DropoutNd):
        return {}
    return {
        key: value
        for key, value in vars(layer).items()
        if isinstance(value, bool | int | float | str | tuple)
        and not key.startswith("_")
        and key not in _WITHOUT_EFFECT
    }


def _fixed_tensors(model: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            found[name] = parameter
    for path, module in model.named_modules():
        if not isinstance(module, _NormBase):
            for name, buffer in module.named_buffers(path, recurse=False):
                found[name] = buffer
    return found


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)
