"""The data sets that a recipe can name, read from their standard files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape_fast.training.data import Dataset
from landscape_fast.training.readers import Images, read_cifar10
from landscape_fast.training.resolve import call, resolve

# Of Yang et al. (2021); of the training images, in units of the largest pixel value.
_CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
_CIFAR10_STD = (0.2023, 0.1994, 0.2010)


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
    return Dataset(images[~chosen], targets[~chosen], images[chosen], targets[chosen], classes=10)


def cifar10(root: str | Path, *, batches: Sequence[int] = (1, 2, 3, 4, 5)) -> Dataset:
    """Load CIFAR-10 from its standard files on disk, normalised, without augmentation.

    Args:
        root: Folder of the binary or the Python files, or the folder above; nothing is downloaded.
        batches: Which of the five training files to use.

    Raises:
        FileNotFoundError: Files are missing; the message lists them.
        ValueError: A file is damaged, or ``batches`` is wrong.

    References:
        Krizhevsky (2009), Learning multiple layers of features from tiny images. Normalisation of
        Yang et al. (2021), arXiv:2107.11228.
    """
    train, test = read_cifar10(root, batches)
    return Dataset(
        _normalised(train, _CIFAR10_MEAN, _CIFAR10_STD),
        train.labels,
        _normalised(test, _CIFAR10_MEAN, _CIFAR10_STD),
        test.labels,
        classes=10,
    )


DATA: Mapping[str, Callable[..., Dataset]] = {"digits": digits, "cifar10": cifar10}


def load_data(name: str, options: Mapping[str, Any] | None = None) -> Dataset:
    """Load the data set called ``name``, whole and clean.

    Args:
        name: A key of :data:`DATA`, or ``package.module:callable`` that returns a
            :class:`Dataset`.
        options: Keywords for the callable, such as ``root`` for ``cifar10``.

    Raises:
        ValueError: Unknown name or option; the nearest valid one is named.
        TypeError: The callable returns something else.
    """
    data = call(resolve(name, DATA, argument="data"), options or {}, argument="data options")
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


def _normalised(images: Images, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, channels, height, width) float32, scaled to [0, 1] and then to mean 0 and deviation 1."""
    scaled = images.pixels.float().div_(255)
    columns = scaled.new_tensor([mean, std]).view(2, -1, 1, 1)
    return scaled.sub_(columns[0]).div_(columns[1])
