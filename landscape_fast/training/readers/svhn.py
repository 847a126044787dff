"""SVHN from its files for Matlab."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from landscape_fast.training.readers.images import Images, first_complete

_CLASSES = 10
_SHAPE = (32, 32, 3)


def read_svhn(root: str | Path) -> tuple[Images, Images]:
    """Read the cropped digits of SVHN (format 2).

    Args:
        root: Folder of ``train_32x32.mat`` and ``test_32x32.mat``.

    Returns:
        Training and test images; the label 10 of the files, which means the digit 0, is 0.

    Raises:
        FileNotFoundError: ``root`` or a file is missing.
        ValueError: A file is damaged or holds something else.

    References:
        Netzer, Wang, Coates, Bissacco, Wu and Ng (2011), Reading digits in natural images with
        unsupervised feature learning.
    """
    root = Path(root).expanduser()
    paths = [root / f"{part}_32x32.mat" for part in ("train", "test")]
    train, test = first_complete(root, [paths], "SVHN")
    return _read(train), _read(test)


def _read(path: Path) -> Images:
    from scipy.io import loadmat  # a twelfth of a worker's start, which few studies need

    try:
        content = loadmat(path, variable_names=("X", "y"))
        pixels, labels = content["X"], content["y"].astype(np.int64).reshape(-1)
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(
            f"{path} is truncated or no SVHN file ({type(error).__name__}: {error})"
        ) from error
    if pixels.dtype != np.uint8 or pixels.shape != (*_SHAPE, labels.size) or labels.size == 0:
        raise ValueError(
            f"{path} holds X {pixels.dtype}{list(pixels.shape)} and {labels.size} labels, expected "
            "uint8 of shape [32, 32, 3, N] for N labels"
        )
    digits = np.where(labels == _CLASSES, 0, np.where(labels == 0, -1, labels))
    return Images.checked(path, pixels.transpose(3, 2, 0, 1), digits, _CLASSES)
