"""What a reader of image files returns, and how it finds its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Images(NamedTuple):
    """Raw images with their labels."""

    pixels: Tensor  # (N, channels, height, width) uint8
    labels: Tensor  # (N,) int64

    @classmethod
    def checked(cls, path: Path, pixels: np.ndarray, labels: np.ndarray, classes: int) -> Images:
        """Take over what ``path`` holds.

        Args:
            path: Where it was read; used in messages.
            pixels: (N, channels, height, width) uint8.
            labels: (N,) whole numbers.
            classes: Labels lie in 0..classes - 1.

        Raises:
            ValueError: A label does not; the first such image is named.
        """
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        if wrong.size:
            raise ValueError(
                f"{path}: image {wrong[0]} has label {labels[wrong[0]]}, not in 0..{classes - 1}"
            )
        images = torch.from_numpy(np.array(pixels, order="C"))  # a copy that owns its memory
        return cls(images, torch.from_numpy(labels.astype(np.int64)))


def first_complete(root: Path, candidates: Sequence[Sequence[Path]], called: str) -> Sequence[Path]:
    """Return the first list of files that are all there.

    Args:
        root: Folder that the caller gave; used in the message.
        candidates: Lists of files, each a complete set.
        called: Name of the data set.

    Raises:
        FileNotFoundError: None is complete; what is missing of the fullest one is named, and an
            archive to unpack, if one lies in ``root``.
    """
    fewest: list[Path] | None = None
    for paths in candidates:
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return paths
        if fewest is None or len(missing) < len(fewest):
            fewest = missing
    archives = sorted(root.glob("*.tar.gz"))
    unpack = f"; unpack it first: tar -xzf {archives[0]} -C {root}" if archives else ""
    looked = ", ".join(str(path) for path in fewest or [])
    raise FileNotFoundError(
        f"root {str(root)!r} holds no complete {called}; missing: {looked}{unpack}"
    )
