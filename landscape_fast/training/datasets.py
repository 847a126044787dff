"""The data sets that a recipe can name, read from their standard files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from landscape_fast.arguments import require_whole
from landscape_fast.training.data import Dataset
from landscape_fast.training.pixel_noise import PixelScale
from landscape_fast.training.readers import (
    Images,
    read_cifar10,
    read_cifar100,
    read_folders,
    read_mnist,
    read_svhn,
)
from landscape_fast.training.readers.torchvision import download as fetch
from landscape_fast.training.resolve import call, resolve
from landscape_fast.training.sequences.translation import iwslt16, multi30k

# Of Yang et al. (2021); of the training images, in units of the largest pixel value.
_CIFAR10 = PixelScale((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_WHITE = 255


def digits(*, seed: int = 0) -> Dataset:
    """Load the 1,797 handwritten digits that come with scikit-learn (8x8 pixels, 10 classes).

    One fifth of every class is for testing. Pixels are scaled to [0, 1], then normalised by the
    mean and standard deviation of the training part.

    Args:
        seed: Of the split only. It is not the seed of a run, so all runs see the same split.

    Raises:
        ImportError: scikit-learn is not installed.

    References:
        Alpaydin and Kaynak (1998), doi:10.24432/C50P49.

    Example:
        >>> digits().train_inputs.shape, digits().test_inputs.shape
        (torch.Size([1438, 1, 8, 8]), torch.Size([359, 1, 8, 8]))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "data 'digits' comes with scikit-learn: pip install 'landscape_fast[study]'"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    test = _stratified_fifth(labels, seed)
    images = torch.from_numpy(pixels / 16.0).reshape(-1, 1, 8, 8)
    targets, chosen = torch.from_numpy(labels).long(), torch.from_numpy(test)
    mean, std = images[~chosen].mean(), images[~chosen].std(correction=0)
    images = ((images - mean) / std).float()
    return Dataset(
        images[~chosen],
        targets[~chosen],
        images[chosen],
        targets[chosen],
        classes=10,
        pixels=PixelScale((float(mean),), (float(std),)),
    )


def cifar10(
    root: str | Path, *, batches: Sequence[int] = (1, 2, 3, 4, 5), download: bool = False
) -> Dataset:
    """Load CIFAR-10 from its standard files on disk, normalised, without augmentation.

    Args:
        root: Folder of the binary or the Python files, or the folder above.
        batches: Which of the five training files to use.
        download: Fetch the files into ``root`` by torchvision if they are not there.

    Raises:
        FileNotFoundError: Files are missing; the message lists them.
        ImportError: ``download`` without torchvision.
        ValueError: A file is damaged, or ``batches`` is wrong.

    References:
        Krizhevsky (2009), Learning multiple layers of features from tiny images. Normalisation of
        Yang et al. (2021), arXiv:2107.11228.
    """
    if download:
        fetch("CIFAR10", root)
    return _normalised(*read_cifar10(root, batches), classes=10, scale=_CIFAR10)


def cifar100(root: str | Path, *, download: bool = False) -> Dataset:
    """Load CIFAR-100 with its fine labels, normalised by its training images.

    Args:
        root: Folder of the binary or the Python files, or the folder above.
        download: Fetch the files into ``root`` by torchvision if they are not there.

    Raises:
        FileNotFoundError: Files are missing; the message lists them.
        ImportError: ``download`` without torchvision.
        ValueError: A file is damaged.

    References:
        Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    if download:
        fetch("CIFAR100", root)
    return _normalised(*read_cifar100(root), classes=100)


def svhn(root: str | Path, *, download: bool = False) -> Dataset:
    """Load the cropped street view house numbers, normalised by their training images.

    Args:
        root: Folder of ``train_32x32.mat`` and ``test_32x32.mat``.
        download: Fetch the files into ``root`` by torchvision if they are not there.

    Raises:
        FileNotFoundError: Files are missing; the message lists them.
        ImportError: ``download`` without torchvision.
        ValueError: A file is damaged.

    References:
        Netzer et al. (2011), Reading digits in natural images with unsupervised feature learning.
    """
    if download:
        for split in ("train", "test"):
            fetch("SVHN", root, split=split)
    return _normalised(*read_svhn(root), classes=10)


def mnist(root: str | Path, *, pad: int = 0, download: bool = False) -> Dataset:
    """Load MNIST, normalised by its training images.

    Args:
        root: Folder of the four idx files, compressed or not, or the folder above ``MNIST/raw``.
        pad: Black pixels to add at each side; 2 make the images 32x32, as ResNets here expect.
        download: Fetch the files into ``root`` by torchvision if they are not there.

    Raises:
        FileNotFoundError: Files are missing; the message lists them.
        ImportError: ``download`` without torchvision.
        ValueError: A file is damaged, or ``pad`` is negative.

    References:
        LeCun, Bottou, Bengio and Haffner (1998), doi:10.1109/5.726791.
    """
    require_whole(0, pad=pad)
    if download:
        fetch("MNIST", root)
    parts = [
        images._replace(pixels=functional.pad(images.pixels, (pad,) * 4))
        for images in read_mnist(root)
    ]
    return _normalised(*parts, classes=10)


def image_folder(
    root: str | Path, *, train: str = "train", test: str = "test", size: int = 32
) -> Dataset:
    """Load images from folders, one for each class, normalised by the training images.

    Args:
        root: Folder of the two parts.
        train: Name of the part for training, which holds a folder for each class.
        test: Name of the part for testing, with the same classes.
        size: Pixels at the side that every image is scaled to.

    Raises:
        ImportError: torchvision is not installed.
        FileNotFoundError: A part is missing, or a class of it is empty.
        ValueError: The parts have different classes.
    """
    training, testing, names = read_folders(root, train=train, test=test, size=size)
    return _normalised(training, testing, classes=len(names))


DATA: Mapping[str, Callable[..., Dataset]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digits": digits,
    "image_folder": image_folder,
    "iwslt16": iwslt16,
    "mnist": mnist,
    "multi30k": multi30k,
    "svhn": svhn,
}


#: Built-in data whose inputs are indices of tokens, which cannot be interpolated.
TOKENS = frozenset({"iwslt16", "multi30k"})
_TRAINING_ROWS = {"cifar100": 50_000, "digits": 1_438, "mnist": 60_000, "svhn": 73_257}


def training_rows(name: str, options: Mapping[str, Any]) -> int | None:
    """How many training samples built-in data have; None where only their files tell.

    Example:
        >>> training_rows("cifar10", {"root": "data", "batches": [1, 2]})
        20000
    """
    if name == "cifar10":
        batches = options.get("batches", (1, 2, 3, 4, 5))
        return 10_000 * len(batches) if isinstance(batches, list | tuple) else None
    return _TRAINING_ROWS.get(name)


def load_data(name: str, options: Mapping[str, Any] | None = None) -> Dataset:
    """Load the data set called ``name``, whole and clean.

    Args:
        name: A key of :data:`DATA`, or ``package.module:callable`` that returns a
            :class:`Dataset`.
        options: Keywords for the callable, such as ``root`` for ``cifar10``.

    Raises:
        ValueError: Unknown name or option, of which the nearest valid one is named; or the callable
            failed.
        TypeError: The callable returns something else.
        OSError: A file is not there or cannot be read.
    """
    make = resolve(name, DATA, argument="data")
    try:
        data = call(make, options or {}, argument="data options")
    except (ValueError, TypeError, ImportError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"data {name!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(data, Dataset):
        raise TypeError(
            f"data {name!r} must return a landscape_fast.training.data.Dataset, "
            f"got {type(data).__name__}"
        )
    return data


def _stratified_fifth(labels: np.ndarray, seed: int) -> np.ndarray:
    """Mark a fifth of every class, drawn from ``seed``: (N,) bool."""
    draws = np.random.RandomState(seed)  # this generator's stream is frozen for good
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = draws.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(len(members) / 5)]] = True
    return chosen


def _normalised(
    train: Images, test: Images, *, classes: int, scale: PixelScale | None = None
) -> Dataset:
    """Scale pixels to [0, 1] and then by ``scale``, by default that of the training images."""
    scale = _scale(train.pixels) if scale is None else scale
    train_inputs, test_inputs = (
        scale.normalised(images.pixels.float().div_(_WHITE)) for images in (train, test)
    )
    return Dataset(train_inputs, train.labels, test_inputs, test.labels, classes, pixels=scale)


def _scale(pixels: Tensor) -> PixelScale:
    """Mean and deviation of every channel, exact but for the last rounding."""
    values = torch.arange(_WHITE + 1, dtype=torch.float64) / _WHITE
    counts = torch.stack(
        [channel.flatten().bincount(minlength=_WHITE + 1) for channel in pixels.unbind(1)]
    ).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    std = (shares * (values - mean[:, None]).square()).sum(1).sqrt()
    if not (std > 0).all():
        raise ValueError("the training images have a channel without contrast")
    return PixelScale(tuple(mean.tolist()), tuple(std.tolist()))
