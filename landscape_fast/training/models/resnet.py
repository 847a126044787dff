"""Residual networks for images of 32x32 pixels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from landscape_fast.arguments import require_whole


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2015)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.shortcut(inputs))


class _Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, the last to four times the channels."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        hidden = functional.relu(self.bn2(self.conv2(hidden)))
        return functional.relu(self.bn3(self.conv3(hidden)) + self.shortcut(inputs))


_Block = type[_BasicBlock] | type[_Bottleneck]


class _ResNet(nn.Module):
    """Stem, four stages of blocks, average pool, linear."""

    def __init__(
        self,
        block: _Block,
        depths: tuple[int, int, int, int],
        width: int,
        classes: int,
        channels: int,
    ) -> None:
        super().__init__()
        require_whole(1, width=width, classes=classes, channels=channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        k, out = width, block.expansion
        self.layer1 = _stage(block, k, k, depths[0], stride=1)
        self.layer2 = _stage(block, out * k, 2 * k, depths[1], stride=2)
        self.layer3 = _stage(block, out * 2 * k, 4 * k, depths[2], stride=2)
        self.layer4 = _stage(block, out * 4 * k, 8 * k, depths[3], stride=2)
        self.linear = nn.Linear(out * 8 * k, classes)

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
    return _ResNet(_BasicBlock, (2, 2, 2, 2), width, classes, channels)


def resnet34(width: int = 64, *, classes: int = 10, channels: int = 3) -> nn.Module:
    """Build a ResNet-34 for 32x32 images: blocks as in :func:`resnet18`, 3, 4, 6 and 3 of them.

    With three channels and ten classes it has exactly ``5190 width**2 + 373 width + 10``
    parameters.

    Args:
        width: Channels of the first stage; 64 is the usual ResNet-34.
        classes: Number of outputs.
        channels: Channels of an input image.

    Raises:
        ValueError: An argument is not a positive whole number.

    References:
        He, Zhang, Ren and Sun (2015), arXiv:1512.03385.
    """
    return _ResNet(_BasicBlock, (3, 4, 6, 3), width, classes, channels)


def resnet50(width: int = 64, *, classes: int = 10, channels: int = 3) -> nn.Module:
    """Build a ResNet-50 for 32x32 images: 3, 4, 6 and 3 bottleneck blocks.

    The stages have ``width`` times 4, 8, 16 and 32 channels at their ends. With three channels and
    ten classes it has exactly ``5724 width**2 + 1177 width + 10`` parameters.

    Args:
        width: Channels between the 1x1 convolutions of the first stage; 64 is the usual ResNet-50.
        classes: Number of outputs.
        channels: Channels of an input image.

    Raises:
        ValueError: An argument is not a positive whole number.

    References:
        He, Zhang, Ren and Sun (2015), arXiv:1512.03385.
    """
    return _ResNet(_Bottleneck, (3, 4, 6, 3), width, classes, channels)


def _stage(block: _Block, inputs: int, width: int, depth: int, *, stride: int) -> nn.Sequential:
    first = block(inputs, width, stride)
    return nn.Sequential(
        first, *(block(block.expansion * width, width, 1) for _ in range(depth - 1))
    )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The identity, or where shapes change a 1x1 convolution with BatchNorm."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs))
