import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landscape_fast.training.readers import read_folders
from landscape_fast.training.readers.torchvision import datasets, download

try:
    datasets("this test")
except ImportError:
    MISSING = True
else:
    MISSING = False
needs_torchvision = pytest.mark.skipif(MISSING, reason="torchvision is not installed")


def write(root: Path, parts=("train", "test")) -> Path:
    """Two classes; image i of a part is a rectangle of grey 10 i."""
    for part in parts:
        for i, name in enumerate(["cat/b.png", "cat/a.png", "ant/c.png"]):
            path = root / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (9, 5), 10 * i).save(path)
    return root


@needs_torchvision
def test_classes_are_numbered_by_name_and_images_become_colour_squares(tmp_path):
    train, test, names = read_folders(write(tmp_path), size=6)
    assert names == ("ant", "cat")
    assert train.labels.tolist() == test.labels.tolist() == [0, 1, 1]
    assert train.pixels.shape == (3, 3, 6, 6)
    assert np.array_equal(train.pixels[:, 1, 3, 3], [20, 10, 0])


@needs_torchvision
def test_parts_with_other_classes_are_refused(tmp_path):
    root = write(tmp_path)
    (root / "test" / "cat").rename(root / "test" / "dog")
    with pytest.raises(ValueError, match="'train' and 'test' have different classes: cat, dog"):
        read_folders(root)


@needs_torchvision
def test_a_part_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no folder 'val'"):
        read_folders(write(tmp_path), test="val")


@pytest.mark.parametrize(
    ("call", "wanted_for"),
    [
        (lambda root: read_folders(root), "data 'image_folder'"),
        (lambda root: download("SVHN", root, split="train"), "download of SVHN"),
    ],
)
def test_without_torchvision_the_error_says_how_to_install_it(
    tmp_path, monkeypatch, call, wanted_for
):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(
        ImportError, match=f"{wanted_for} needs torchvision: pip install torchvision"
    ):
        call(tmp_path)


def test_a_size_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="size must be a whole number of at least 1, got 0"):
        read_folders(tmp_path, size=0)
