"""The vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_whole


class _Attention(nn.Module):
    """Self-attention of several heads over all patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        parts = self.qkv(tokens).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        # Written out: the fused kernel has no second derivative.
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).reshape(batch, length, width))


class _Block(nn.Module):
    """Attention and a perceptron, each behind LayerNorm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class _VisionTransformer(nn.Module):
    """Patches, positions, blocks, mean over the patches, linear."""

    def __init__(
        self,
        width: int,
        classes: int,
        input_shape: tuple[int, int, int],
        patch: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        channels, height, breadth = input_shape
        patches = (height // patch) * (breadth // patch)
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn(patches, width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT + self.positions
        return self.linear(self.norm(self.blocks(tokens)).mean(1))


def vit(
    width: int = 64,
    *,
    classes: int = 10,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    patch: int = 4,
    depth: int = 6,
    heads: int = 4,
) -> nn.Module:
    """Build a vision transformer: LayerNorm before each part, GELU, mean over the patches.

    Positions are learnt, their initial deviation is 0.02. With C channels, P patches of p x p
    pixels, L blocks and K classes it has exactly
    ``(C p**2 + 1 + P) width + L (12 width**2 + 13 width) + 2 width + K width + K`` parameters.

    Args:
        width: Size of a token, a multiple of ``heads``.
        classes: Number of outputs.
        input_shape: Channels, height and width of an image.
        patch: Pixels at the side of a patch.
        depth: Blocks.
        heads: Of the attention.

    Raises:
        ValueError: An argument is not a positive whole number, ``heads`` does not divide ``width``,
            or ``patch`` does not divide the image.

    References:
        Dosovitskiy et al. (2020), arXiv:2010.11929. Mean over patches: Beyer, Zhai and Kolesnikov
        (2022), arXiv:2205.01580.

    Example:
        >>> vit(width=8, input_shape=(1, 8, 8), depth=1)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """
    require_whole(1, width=width, classes=classes, patch=patch, depth=depth, heads=heads)
    if width % heads:
        raise ValueError(f"heads must divide width, got heads {heads} and width {width}")
    if len(input_shape) != 3 or any(side % patch for side in input_shape[1:]):
        raise ValueError(
            f"patch {patch} must divide the sides of an image, got input_shape {input_shape}"
        )
    return _VisionTransformer(width, classes, input_shape, patch, depth, heads)
