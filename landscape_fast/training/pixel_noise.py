"""Noise on the pixels of normalised images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_WHITE = 255.0
_ROWS = 50  # images at once, which stay in cache; of the stream of draws they change nothing


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
    found = torch.empty_like(inputs)
    for part, out in zip(inputs.split(_ROWS), found.split(_ROWS), strict=True):
        images, channels, height, width = part.shape
        uniform = torch.from_numpy(draws.rand(images, height, width, channels))
        noise = uniform.permute(0, 3, 1, 2).to(inputs.device)
        if wraps:
            pixels = (scale.values(part) * _WHITE).round_()
            pixels = pixels.add_((noise * amplitude).floor_()).remainder_(_WHITE + 1)
            out.copy_(scale.normalised(pixels.div_(_WHITE)))
        else:
            bright = scale.normalised(torch.ones_like(part[:1, :, :1, :1]))
            step = bright - scale.normalised(torch.zeros_like(bright))  # from black to white
            torch.addcmul(part, noise.to(part), step, value=amplitude / _WHITE, out=out)
            torch.minimum(out, bright, out=out)
    return found
