"""CIFAR from its binary or its Python files."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape_fast.training.readers.images import Images, first_complete

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32  # of one image: the red, green and blue planes


@dataclass(frozen=True, slots=True)
class _Format:
    called: str
    classes: int
    label_bytes: int  # of a binary record, before its pixels; the last is the class
    key: str  # of the labels in a Python file
    folders: tuple[str, str]  # of the binary and of the Python version


_CIFAR10 = _Format("CIFAR-10", 10, 1, "labels", ("cifar-10-batches-bin", "cifar-10-batches-py"))
_CIFAR100 = _Format("CIFAR-100", 100, 2, "fine_labels", ("cifar-100-binary", "cifar-100-python"))


def read_cifar10(
    root: str | Path, batches: Sequence[int] = (1, 2, 3, 4, 5)
) -> tuple[Images, Images]:
    """Read CIFAR-10 from its binary or its Python files.

    Args:
        root: Folder of the files, or the folder above ``cifar-10-batches-bin`` or
            ``cifar-10-batches-py``. The binary version is taken where both are there.
        batches: Which of the training files 1 to 5 to read, in this order.

    Returns:
        Training and test images.

    Raises:
        FileNotFoundError: ``root`` or one of the files is missing; says which were looked for.
        ValueError: A file is truncated or no CIFAR-10 file, or a label is not in 0..9, or
            ``batches`` is empty or names a file that does not exist in CIFAR-10.

    References:
        Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    if not batches or not set(batches) <= set(range(1, 6)):
        raise ValueError(f"batches must be some of 1, 2, 3, 4, 5, got {list(batches)}")
    stems = [*(f"data_batch_{batch}" for batch in batches), "test_batch"]
    *paths, test = _locate(Path(root).expanduser(), stems, _CIFAR10)
    train = [_read(path, _CIFAR10) for path in paths]
    counts = [len(images.labels) for images in train]
    if min(counts) != max(counts):
        short = paths[counts.index(min(counts))]
        raise ValueError(
            f"{short} holds {min(counts)} images and another training file {max(counts)}: it is "
            "truncated"
        )
    pixels = torch.cat([images.pixels for images in train])
    labels = torch.cat([images.labels for images in train])
    return Images(pixels, labels), _read(test, _CIFAR10)


def read_cifar100(root: str | Path) -> tuple[Images, Images]:
    """Read CIFAR-100, with its 100 fine labels, from its binary or its Python files.

    Args:
        root: Folder of the files, or the folder above ``cifar-100-binary`` or
            ``cifar-100-python``. The binary version is taken where both are there.

    Returns:
        Training and test images.

    Raises:
        FileNotFoundError: ``root`` or one of the files is missing; says which were looked for.
        ValueError: A file is truncated or no CIFAR-100 file, or a label is not in 0..99.

    References:
        Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    train, test = _locate(Path(root).expanduser(), ("train", "test"), _CIFAR100)
    return _read(train, _CIFAR100), _read(test, _CIFAR100)


def _locate(root: Path, stems: Sequence[str], form: _Format) -> Sequence[Path]:
    """Return the files, one for each stem: all binary (``.bin``), or all for Python."""
    binary, python = form.folders
    candidates = [
        [folder / (stem + suffix) for stem in stems]
        for folder, suffix in (
            *((root / binary, ".bin"), (root, ".bin")),
            *((root / python, ""), (root, "")),
        )
    ]
    return first_complete(
        root, candidates, f"{form.called}, neither the binary nor the Python files"
    )


def _read(path: Path, form: _Format) -> Images:
    return _read_binary(path, form) if path.suffix == ".bin" else _read_python(path, form)


def _read_binary(path: Path, form: _Format) -> Images:
    octets = np.fromfile(path, dtype=np.uint8)
    record = form.label_bytes + _PIXELS
    if octets.size == 0 or octets.size % record:
        raise ValueError(
            f"{path} has {octets.size} bytes, which is no multiple of {record} (labels and "
            f"{_PIXELS} pixels): it is truncated or no {form.called} file"
        )
    records = octets.reshape(-1, record)
    pixels, labels = records[:, form.label_bytes :], records[:, form.label_bytes - 1]
    return Images.checked(path, pixels.reshape(-1, *_SHAPE), labels, form.classes)


def _read_python(path: Path, form: _Format) -> Images:
    try:
        content = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        pixels, labels = np.asarray(content["data"]), np.asarray(content[form.key])
    except _ForbiddenObjectError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ValueError(
            f"{path} is truncated or no {form.called} file ({type(error).__name__}: {error})"
        ) from error
    if pixels.dtype != np.uint8 or pixels.shape != (labels.size, _PIXELS) or labels.size == 0:
        raise ValueError(
            f"{path} holds pixels {pixels.dtype}{list(pixels.shape)} and {labels.size} labels, "
            f"expected uint8 of one row of {_PIXELS} for each label"
        )
    return Images.checked(path, pixels.reshape(-1, *_SHAPE), labels, form.classes)


class _ForbiddenObjectError(ValueError):
    """A pickle asked for something that is no part of an array."""


class _ArraysOnly(pickle.Unpickler):
    """Loads numpy arrays and plain containers, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in {"numpy.core.multiarray", "numpy._core.multiarray"}:
            return np.empty(0).__reduce__()[0]  # its home differs between numpy versions
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            # The files give align and copy as integers, which newer numpy warns about.
            return lambda code, *_: np.dtype(code)
        raise _ForbiddenObjectError(
            f"the file asks for {module}.{name}, which no CIFAR file does; it was not run"
        )
