"""CIFAR from its binary or its Python files."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape_fast.training.readers.images import Images

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS  # binary version: one label byte, then the red, green and blue planes
_CLASSES = 10


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
    folder, suffix = _locate(Path(root).expanduser(), batches)
    read = _read_binary if suffix else _read_python
    train = [read(folder / f"data_batch_{batch}{suffix}") for batch in batches]
    counts = [len(images.labels) for images in train]
    if min(counts) != max(counts):
        short = batches[counts.index(min(counts))]
        raise ValueError(
            f"{folder / f'data_batch_{short}{suffix}'} holds {min(counts)} images and another "
            f"training file {max(counts)}: it is truncated"
        )
    pixels = torch.cat([images.pixels for images in train])
    labels = torch.cat([images.labels for images in train])
    return Images(pixels, labels), read(folder / f"test_batch{suffix}")


def _locate(root: Path, batches: Sequence[int]) -> tuple[Path, str]:
    """Return the folder that holds all files, and their suffix: ``.bin``, or none for Python."""
    stems = [*(f"data_batch_{batch}" for batch in batches), "test_batch"]
    candidates = [
        (root / "cifar-10-batches-bin", ".bin"),
        (root, ".bin"),
        (root / "cifar-10-batches-py", ""),
        (root, ""),
    ]
    fewest: list[Path] = []
    for folder, suffix in candidates:
        missing = [path for stem in stems if not (path := folder / (stem + suffix)).is_file()]
        if not missing:
            return folder, suffix
        if not fewest or len(missing) < len(fewest):
            fewest = missing
    archives = sorted(root.glob("cifar-10-*.tar.gz"))
    unpack = f"; unpack it first: tar -xzf {archives[0]} -C {root}" if archives else ""
    looked = ", ".join(str(path) for path in fewest)
    raise FileNotFoundError(
        f"root {str(root)!r} holds no complete CIFAR-10, neither the binary nor the Python files; "
        f"missing: {looked}{unpack}"
    )


def _read_binary(path: Path) -> Images:
    octets = np.fromfile(path, dtype=np.uint8)
    if octets.size == 0 or octets.size % _RECORD:
        raise ValueError(
            f"{path} has {octets.size} bytes, which is no multiple of {_RECORD} (a label and "
            f"{_PIXELS} pixels): it is truncated or no CIFAR-10 file"
        )
    records = octets.reshape(-1, _RECORD)
    return _checked(path, records[:, 1:], records[:, 0])


def _read_python(path: Path) -> Images:
    try:
        content = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        pixels, labels = np.asarray(content["data"]), np.asarray(content["labels"])
    except _ForbiddenObjectError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ValueError(
            f"{path} is truncated or no CIFAR-10 file ({type(error).__name__}: {error})"
        ) from error
    if pixels.dtype != np.uint8 or pixels.shape != (labels.size, _PIXELS) or labels.size == 0:
        raise ValueError(
            f"{path} holds pixels {pixels.dtype}{list(pixels.shape)} and {labels.size} labels, "
            f"expected uint8 of one row of {_PIXELS} for each label"
        )
    return _checked(path, pixels, labels)


def _checked(path: Path, pixels: np.ndarray, labels: np.ndarray) -> Images:
    wrong = np.flatnonzero((labels < 0) | (labels >= _CLASSES))
    if wrong.size:
        raise ValueError(
            f"{path}: image {wrong[0]} has label {labels[wrong[0]]}, not in 0..{_CLASSES - 1}"
        )
    images = torch.from_numpy(np.ascontiguousarray(pixels)).reshape(-1, *_SHAPE)
    return Images(images, torch.from_numpy(labels.astype(np.int64)))


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
            f"the file asks for {module}.{name}, which no CIFAR-10 file does; it was not run"
        )
