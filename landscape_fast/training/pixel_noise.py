"""Noise on the pixels of normalised images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_WHITE = 255.0
_ROWS = 500  # images at once; of the stream of draws they change nothing


@dataclass(frozen=True, slots=True)
class PixelScale:
    """How images were normalised: ``(pixel / white - mean) / std`` for each channel."""

    mean: tuple[float, ...]  # in units of the largest pixel value
    std: tuple[float, ...]

    def normalised(self, values: Tensor) -> Tensor:
        """Map pixels in [0, 1], (N, channels, height, width), to inputs, in place."""
        mean, std = self._columns(values)
        return values.sub_(mean).div_(std)

    def values(self, inputs: Tensor) -> Tensor:
        """Map inputs back to pixels in [0, 1], in float64."""
        mean, std = self._columns(inputs.double())
        return inputs.double() * std + mean

    def _columns(self, images: Tensor) -> Tensor:
        return images.new_tensor([self.mean, self.std]).view(2, -1, 1, 1)


def noisy(inputs: Tensor, scale: PixelScale, amplitude: float, *, wraps: bool, seed: int) -> Tensor:
    """Add uniform noise to normalised images.

    Args:
        inputs: (N, channels, height, width).
        scale: Of ``inputs``.
        amplitude: Largest noise, in pixel values from 0 to 255.
        wraps: Whether noise is whole and sums above 255 wrap around; else they are cut to 255.
        seed: Of the draws, made in the order image, row, column, channel.

    Returns:
        New inputs, of the same shape and dtype.
    """
    draws = np.random.RandomState(seed)  # this generator's stream is frozen for good
    parts = []
    for part in inputs.split(_ROWS):
        images, channels, height, width = part.shape
        uniform = torch.from_numpy(draws.rand(images, height, width, channels))
        noise = uniform.permute(0, 3, 1, 2).to(inputs.device) * amplitude
        pixels = scale.values(part) * _WHITE
        if wraps:
            pixels = (pixels.round() + noise.floor()).remainder(_WHITE + 1)
        else:
            pixels = (pixels + noise).clamp_(max=_WHITE)
        parts.append(scale.normalised(pixels / _WHITE).to(inputs.dtype))
    return torch.cat(parts)
