"""Networks without shortcuts: convolutional ones and the multilayer perceptron."""

from __future__ import annotations

import math

from torch import nn

from landscape_fast.arguments import require_whole

_VGG11 = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # channels by width, between max pools


def small_cnn(width: int = 8, *, classes: int = 10, channels: int = 1) -> nn.Module:
    """Build a small convolutional network for images of about 8x8 pixels.

    Two 3x3 convolutions of ``width`` and ``2 width`` channels, each with BatchNorm, ReLU and 2x2
    max pooling, an average over what is left of the image, and a linear layer. Width is a real
    load: the digits of scikit-learn cannot be fitted at width 1 and are fitted easily at 16. Every
    operation is piecewise linear in evaluation mode.

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
    require_whole(1, width=width, classes=classes, channels=channels)
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


def vgg11(width: int = 64, *, classes: int = 10, channels: int = 3) -> nn.Module:
    """Build a VGG-11 for 32x32 images, with one linear layer after its eight convolutions.

    The convolutions have ``width`` times 1, 2, 4, 4, 8, 8, 8 and 8 channels. With three channels
    and ten classes it has exactly ``2250 width**2 + 150 width + 10`` parameters.

    Args:
        width: Channels of the first convolution; 64 is the usual VGG-11.
        classes: Number of outputs.
        channels: Channels of an input image.

    Raises:
        ValueError: An argument is not a positive whole number.

    References:
        Simonyan and Zisserman (2014), arXiv:1409.1556, configuration A.

    Example:
        >>> sum(p.numel() for p in vgg11(width=2).parameters()) == 2250 * 2**2 + 150 * 2 + 10
        True
    """
    return _vgg11(width, classes, channels, normalised=False)


def vgg11_bn(width: int = 64, *, classes: int = 10, channels: int = 3) -> nn.Module:
    """Build :func:`vgg11` with BatchNorm after every convolution, which then has no bias.

    With three channels and ten classes it has exactly ``2250 width**2 + 193 width + 10``
    parameters.

    Args:
        width: Channels of the first convolution.
        classes: Number of outputs.
        channels: Channels of an input image.

    Raises:
        ValueError: An argument is not a positive whole number.
    """
    return _vgg11(width, classes, channels, normalised=True)


def mlp(
    width: int = 64,
    *,
    classes: int = 10,
    input_shape: tuple[int, ...] = (3, 32, 32),
    depth: int = 2,
) -> nn.Module:
    """Build a perceptron of ``depth`` hidden layers of ``width`` units with ReLU.

    With I numbers per input, C classes and depth D it has exactly
    ``I width + width + (D - 1) (width**2 + width) + width C + C`` parameters.

    Args:
        width: Units of a hidden layer.
        classes: Number of outputs.
        input_shape: Shape of one input; it is flattened.
        depth: Hidden layers.

    Raises:
        ValueError: An argument is not a positive whole number.

    Example:
        >>> [tuple(p.shape) for p in mlp(width=4, classes=3, input_shape=(1, 2, 2)).parameters()]
        [(4, 4), (4,), (4, 4), (4,), (3, 4), (3,)]
    """
    inputs = math.prod(input_shape)
    require_whole(1, width=width, classes=classes, input_shape=inputs, depth=depth)
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(width, classes))


def _vgg11(width: int, classes: int, channels: int, *, normalised: bool) -> nn.Module:
    require_whole(1, width=width, classes=classes, channels=channels)
    layers: list[nn.Module] = []
    inputs = channels
    for stage in _VGG11:
        for multiple in stage:
            outputs = multiple * width
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=not normalised))
            layers += [nn.BatchNorm2d(outputs)] if normalised else []
            layers.append(nn.ReLU())
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, classes))
