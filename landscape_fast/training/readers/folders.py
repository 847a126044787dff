"""Images in folders, one folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from landscape_fast.arguments import require_whole
from landscape_fast.training.readers.images import Images
from landscape_fast.training.readers.torchvision import datasets


def read_folders(
    root: str | Path, *, train: str = "train", test: str = "test", size: int = 32
) -> tuple[Images, Images, tuple[str, ...]]:
    """Read ``root/train/<class>/<image>`` and ``root/test/<class>/<image>`` as colour images.

    Every image is scaled to a square, whatever its sides were. Classes are numbered in the order of
    their names, images come in the order of theirs.

    Args:
        root: Folder of the two parts.
        train: Name of the part for training.
        test: Name of the part for testing.
        size: Pixels at the side of an image.

    Returns:
        Training images, test images, names of the classes.

    Raises:
        ImportError: torchvision, which finds and opens the files, is not installed.
        FileNotFoundError: A part is missing, or a class of it is empty.
        ValueError: The parts have different classes, or ``size`` is below 1.
    """
    require_whole(1, size=size)
    image_folder = datasets("data 'image_folder'").ImageFolder
    folder = Path(root).expanduser()
    for part in (train, test):
        if not (folder / part).is_dir():
            raise FileNotFoundError(f"root {str(root)!r} has no folder {part!r}")
    parts = [image_folder(str(folder / part)) for part in (train, test)]
    names = [tuple(part.classes) for part in parts]
    if names[0] != names[1]:
        differing = sorted(set(names[0]) ^ set(names[1]))
        raise ValueError(f"{train!r} and {test!r} have different classes: {', '.join(differing)}")
    images = []
    for part in parts:
        pixels = np.stack([np.asarray(image.resize((size, size))) for image, _ in part])
        labels = np.asarray(part.targets)
        channels_first = pixels.transpose(0, 3, 1, 2)
        images.append(Images.checked(folder, channels_first, labels, len(names[0])))
    return images[0], images[1], names[0]
