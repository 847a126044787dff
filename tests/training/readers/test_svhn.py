from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from landscape_fast.training.readers import read_svhn

LABELS = np.array([[10], [1], [9], [2]], np.uint8)  # 10 is the digit 0


def write(folder: Path, **changes) -> Path:
    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 3, 4), np.uint8)
    for part in ("train", "test"):
        savemat(folder / f"{part}_32x32.mat", {"X": pixels, "y": LABELS, **changes})
    return folder


def test_images_come_channels_first_and_ten_means_zero(tmp_path):
    train, test = read_svhn(write(tmp_path))
    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 3, 4), np.uint8)
    assert train.labels.tolist() == [0, 1, 9, 2]
    assert train.pixels.shape == (4, 3, 32, 32)
    assert train.pixels[2, 1, 5, 7] == pixels[5, 7, 1, 2]
    assert np.array_equal(test.pixels.numpy(), train.pixels.numpy())


def test_a_missing_file_is_named(tmp_path):
    (write(tmp_path) / "test_32x32.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"complete SVHN; missing: \S*test_32x32\.mat"):
        read_svhn(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": LABELS[:3]}, r"uint8\[32, 32, 3, 4\] and 3 labels, expected"),
        ({"X": np.zeros((32, 32, 3, 4))}, r"X float64\[32, 32, 3, 4\]"),
        ({"y": LABELS * 0}, r"image 0 has label -1"),  # SVHN has no label 0
        ({"y": LABELS + 1}, r"image 0 has label 11, not in 0\.\.9"),
    ],
)
def test_content_that_does_not_fit_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_svhn(write(tmp_path, **changes))


def test_a_truncated_file_is_refused(tmp_path):
    path = write(tmp_path) / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="train_32x32.mat is truncated or no SVHN file"):
        read_svhn(tmp_path)
