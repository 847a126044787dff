"""MNIST from its idx files."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

from landscape_fast.training.readers.images import Images, first_complete

_CLASSES = 10
_BYTES = 0x08  # the idx code of unsigned bytes
_STEMS = {"train": "train", "test": "t10k"}


def read_mnist(root: str | Path) -> tuple[Images, Images]:
    """Read MNIST, or a set of the same format such as Fashion-MNIST.

    Args:
        root: Folder of the four idx files, compressed (``.gz``) or not, or the folder above
            ``MNIST/raw``, where torchvision puts them.

    Returns:
        Training and test images, one channel.

    Raises:
        FileNotFoundError: ``root`` or a file is missing; says which were looked for.
        ValueError: A file is truncated or no idx file, or images and labels differ in number.

    References:
        LeCun, Bottou, Bengio and Haffner (1998), doi:10.1109/5.726791.
    """
    root = Path(root).expanduser()
    names = [
        f"{stem}-{kind}" for stem in _STEMS.values() for kind in ("images-idx3", "labels-idx1")
    ]
    candidates = [
        [folder / f"{name}-ubyte{suffix}" for name in names]
        for folder in (root, root / "MNIST" / "raw")
        for suffix in (".gz", "")
    ]
    paths = first_complete(root, candidates, "MNIST")
    return _read(*paths[:2]), _read(*paths[2:])


def _read(images: Path, labels: Path) -> Images:
    pixels, targets = _idx(images, dimensions=3), _idx(labels, dimensions=1)
    if len(pixels) != len(targets) or len(targets) == 0:
        raise ValueError(
            f"{images} holds {len(pixels)} images and {labels} {len(targets)} labels; both must "
            "hold the same number, at least 1"
        )
    return Images.checked(images, pixels[:, None], targets, _CLASSES)


def _idx(path: Path, *, dimensions: int) -> np.ndarray:
    try:
        octets = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error})") from error
    start = 4 + 4 * dimensions
    if octets[:4] != bytes([0, 0, _BYTES, dimensions]) or len(octets) < start:
        raise ValueError(f"{path} is no idx file of bytes with {dimensions} dimensions")
    shape = np.frombuffer(octets[4:start], dtype=">u4").tolist()
    if len(octets) - start != math.prod(shape):
        raise ValueError(
            f"{path} has {len(octets) - start} bytes of data, expected {math.prod(shape)} for "
            f"shape {shape}: it is truncated or damaged"
        )
    return np.frombuffer(octets, dtype=np.uint8, offset=start).reshape(shape)
