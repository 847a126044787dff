"""The networks of the study, each of a chosen width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from landscape_fast.training.resolve import accepted, call, resolve


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.shortcut(inputs))


class _ResNet18(nn.Module):
    """Stem, four stages of two blocks, average pool, linear."""

    def __init__(self, width: int, classes: int, channels: int) -> None:
        super().__init__()
        k = width
        self.conv1 = nn.Conv2d(channels, k, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(k)
        self.layer1 = nn.Sequential(_BasicBlock(k, k, 1), _BasicBlock(k, k, 1))
        self.layer2 = nn.Sequential(_BasicBlock(k, 2 * k, 2), _BasicBlock(2 * k, 2 * k, 1))
        self.layer3 = nn.Sequential(_BasicBlock(2 * k, 4 * k, 2), _BasicBlock(4 * k, 4 * k, 1))
        self.layer4 = nn.Sequential(_BasicBlock(4 * k, 8 * k, 2), _BasicBlock(8 * k, 8 * k, 1))
        self.linear = nn.Linear(8 * k, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        hidden = self.layer4(self.layer3(self.layer2(self.layer1(hidden))))
        return self.linear(functional.avg_pool2d(hidden, 4).flatten(1))


def resnet18(width: int = 64, *, classes: int = 10, channels: int = 3) -> nn.Module:
    """Build the ResNet-18 of Yang et al. (2021) for 32x32 images.

    The stages have ``width`` times 1, 2, 4 and 8 channels. With three channels and ten classes it
    has exactly ``2724 width**2 + 257 width + 10`` parameters. Parameters are named as in the
    authors' code, so their checkpoints load.

    Args:
        width: Channels of the first stage; 64 is the usual ResNet-18.
        classes: Number of outputs.
        channels: Channels of an input image.

    Raises:
        ValueError: An argument is not a positive whole number.

    References:
        Yang, Hodgkinson, Theisen, Zou, Gonzalez, Ramchandran and Mahoney (2021), arXiv:2107.11228.
        He, Zhang, Ren and Sun (2015), arXiv:1512.03385.

    Example:
        >>> sum(p.numel() for p in resnet18(width=2).parameters()) == 2724 * 2**2 + 257 * 2 + 10
        True
    """
    _check_positive(width=width, classes=classes, channels=channels)
    return _ResNet18(width, classes, channels)


def small_cnn(width: int = 8, *, classes: int = 10, channels: int = 1) -> nn.Module:
    """Build a small convolutional network for images of about 8x8 pixels.

    Two 3x3 convolutions of ``width`` and ``2 width`` channels, each with BatchNorm, ReLU and 2x2
    max pooling, an average over what is left of the image, and a linear layer. Width is a real
    load: the data set ``digits`` cannot be fitted at width 1 and
    are fitted easily at 16. Every operation is piecewise linear in evaluation mode.

    Args:
        width: Channels of the first convolution.
        classes: Number of outputs.
        channels: Channels of an input image.

    Raises:
        ValueError: An argument is not a positive whole number.

    Example:
        >>> import torch
        >>> small_cnn(width=4)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """
    _check_positive(width=width, classes=classes, channels=channels)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, classes),
    )


MODELS: Mapping[str, Callable[..., nn.Module]] = {"resnet18": resnet18, "small_cnn": small_cnn}


def build_model(
    name: str,
    *,
    width: int | None = None,
    classes: int,
    channels: int,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the network called ``name``, initialised from torch's current random state.

    Args:
        name: A key of :data:`MODELS`, or ``package.module:callable``. The callable gets ``options``
            as keywords, and of ``width``, ``classes`` and ``channels`` those that it names.
        width: Load of the network; None leaves the callable's own default.
        classes: Number of outputs.
        channels: Channels of an input image.
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
    offered = {"classes": classes, "channels": channels}
    if width is not None:
        offered["width"] = width
    if clash := options.keys() & {"width", "classes", "channels"}:
        raise ValueError(f"model options may not set {min(clash)!r}: it is given separately")
    arguments = accepted(make, offered)
    if width is not None and "width" not in arguments:
        raise ValueError(f"width is {width}, but model {name!r} takes no argument 'width'")
    model = call(make, {**arguments, **options}, argument="model options")
    if not isinstance(model, nn.Module):
        raise TypeError(f"model {name!r} must return a torch.nn.Module, got {type(model).__name__}")
    return model


def _check_positive(**arguments: int) -> None:
    for name, value in arguments.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
