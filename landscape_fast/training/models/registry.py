"""Builds the network that a recipe names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from landscape_fast.training.models.plain import mlp, small_cnn, vgg11, vgg11_bn
from landscape_fast.training.models.resnet import resnet18, resnet34, resnet50
from landscape_fast.training.models.vit import vit
from landscape_fast.training.resolve import accepted, call, resolve
from landscape_fast.training.sequences.transformer import transformer

MODELS: Mapping[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "small_cnn": small_cnn,
    "transformer": transformer,
    "vgg11": vgg11,
    "vgg11_bn": vgg11_bn,
    "vit": vit,
}

# What ``width`` counts.
_CHANNELS, _EMBEDDING = "channels of the first layer", "embedding dimension"
_WIDTHS: Mapping[str, str] = {
    "mlp": "units of a hidden layer",
    "resnet18": _CHANNELS,
    "resnet34": _CHANNELS,
    "resnet50": _CHANNELS,
    "small_cnn": _CHANNELS,
    "transformer": _EMBEDDING,
    "vgg11": _CHANNELS,
    "vgg11_bn": _CHANNELS,
    "vit": _EMBEDDING,
}

_DECIDED_ELSEWHERE = ("width", "classes", "channels", "input_shape")


def width_in_words(name: str) -> str:
    """Return what an axis along the width of a network is to say.

    Args:
        name: As for :func:`build_model`; of a network that is no built-in the unit is unknown.

    Example:
        >>> width_in_words("vit"), width_in_words("my.module:network")
        ('Width (embedding dimension)', 'Width')
    """
    return f"Width ({_WIDTHS[name]})" if name in _WIDTHS else "Width"


def build_model(
    name: str,
    *,
    width: int | None = None,
    classes: int,
    channels: int,
    input_shape: tuple[int, ...] | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the network called ``name``, initialised from torch's current random state.

    Args:
        name: A key of :data:`MODELS`, or ``package.module:callable``. The callable gets ``options``
            as keywords, and of ``width``, ``classes``, ``channels`` and ``input_shape`` those that
            it names.
        width: Load of the network; None leaves the callable's own default.
        classes: Number of outputs.
        channels: Channels of an input image.
        input_shape: Shape of one input; None leaves the callable's own default.
        options: Further keywords for the callable.

    Raises:
        ValueError: Unknown name or option (the nearest valid one is named), a width for a callable
            that takes none, or an option that is an argument of this function.
        TypeError: The callable does not return a ``torch.nn.Module``.

    Example:
        >>> build_model("torch.nn:Linear", classes=3, channels=1,
        ...             options={"in_features": 2, "out_features": 3})
        Linear(in_features=2, out_features=3, bias=True)
    """
    make = resolve(name, MODELS, argument="model")
    options = dict(options or {})
    offered: dict[str, Any] = {"classes": classes, "channels": channels}
    if width is not None:
        offered["width"] = width
    if input_shape is not None:
        offered["input_shape"] = input_shape
    if clash := options.keys() & set(_DECIDED_ELSEWHERE):
        raise ValueError(f"model options may not set {min(clash)!r}: it is given separately")
    arguments = accepted(make, offered)
    if width is not None and "width" not in arguments:
        raise ValueError(f"width is {width}, but model {name!r} takes no argument 'width'")
    model = call(make, {**arguments, **options}, argument="model options")
    if not isinstance(model, nn.Module):
        raise TypeError(f"model {name!r} must return a torch.nn.Module, got {type(model).__name__}")
    return model
