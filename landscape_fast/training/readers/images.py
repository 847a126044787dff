"""What a reader of image files returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Images(NamedTuple):
    """Raw images with their labels."""

    pixels: Tensor  # (N, channels, height, width) uint8
    labels: Tensor  # (N,) int64
