import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape_fast.training.readers import read_mnist


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def contents() -> dict[str, np.ndarray]:
    draws = np.random.RandomState(0)
    found = {}
    for stem, count in (("train", 5), ("t10k", 3)):
        found[f"{stem}-images-idx3-ubyte"] = draws.randint(0, 256, (count, 28, 28), np.uint8)
        found[f"{stem}-labels-idx1-ubyte"] = draws.randint(0, 10, count).astype(np.uint8)
    return found


def write(folder: Path, suffix: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in contents().items():
        octets = idx(array)
        (folder / (name + suffix)).write_bytes(gzip.compress(octets) if suffix else octets)
    return folder


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_images_come_with_their_labels_in_file_order(tmp_path, suffix, below):
    write(tmp_path / below, suffix)
    train, test = read_mnist(tmp_path)
    wanted = contents()
    assert train.pixels.shape == (5, 1, 28, 28)
    assert np.array_equal(train.pixels[:, 0].numpy(), wanted["train-images-idx3-ubyte"])
    assert np.array_equal(train.labels.numpy(), wanted["train-labels-idx1-ubyte"])
    assert np.array_equal(test.labels.numpy(), wanted["t10k-labels-idx1-ubyte"])
    assert train.labels.dtype == torch.int64


def test_only_what_is_missing_is_named(tmp_path):
    (write(tmp_path) / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"complete MNIST; missing: \S*t10k-labels"
    ) as error:
        read_mnist(tmp_path)
    assert "train-images" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("train-images-idx3-ubyte", lambda b: b[:-1], "3919 bytes of data, expected 3920"),
        ("train-images-idx3-ubyte", lambda b: b"\0\0\x0d\3" + b[4:], "no idx file of bytes with 3"),
        ("train-labels-idx1-ubyte", lambda b: b[:5], "no idx file of bytes with 1"),
        (
            "t10k-labels-idx1-ubyte",
            lambda b: b[:-1] + b"\x0a",
            r"image 2 has label 10, not in 0..9",
        ),
        ("t10k-labels-idx1-ubyte", lambda b: idx(np.zeros(2, np.uint8)), "3 images .* 2 labels"),
    ],
)
def test_a_damaged_file_is_named_with_the_damage(tmp_path, name, damage, message):
    path = write(tmp_path, "") / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_mnist(tmp_path)


def test_a_truncated_archive_is_refused(tmp_path):
    path = write(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="train-images.*truncated or damaged"):
        read_mnist(tmp_path)


@pytest.mark.data
def test_the_real_files_are_read(shared_data):
    train, test = read_mnist(shared_data / "mnist")
    assert (len(train.labels), len(test.labels)) == (60_000, 10_000)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    mean = int(train.pixels.sum()) / train.pixels.numel() / 255
    assert mean == pytest.approx(0.1307, abs=5e-5)  # the published normalisation
