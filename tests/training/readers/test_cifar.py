import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape_fast.training.readers import read_cifar10, read_cifar100

STEMS = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def records(stem: str, count: int) -> np.ndarray:
    """(count, 3073) uint8: a label, then pixels; different in every file."""
    draws = np.random.RandomState(STEMS.index(stem))
    pixels = draws.randint(0, 256, (count, 3072))
    return np.concatenate([draws.randint(0, 10, (count, 1)), pixels], 1).astype(np.uint8)


def write_binary(folder: Path, counts: dict[str, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, count in counts.items():
        records(stem, count).tofile(folder / f"{stem}.bin")
    return folder


def write_python(folder: Path, counts: dict[str, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, count in counts.items():
        rows = records(stem, count)
        content = {"labels": rows[:, 0].tolist(), "data": rows[:, 1:], "filenames": ["x.png"]}
        (folder / stem).write_bytes(pickle.dumps(content, protocol=4))
    return folder


COUNTS = dict.fromkeys(STEMS, 4)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("write", [write_binary, write_python])
def test_both_versions_give_the_images_in_file_order(tmp_path, write, nested):
    name = "cifar-10-batches-bin" if write is write_binary else "cifar-10-batches-py"
    write(tmp_path / name if nested else tmp_path, COUNTS)
    train, test = read_cifar10(tmp_path)
    rows = np.concatenate([records(stem, 4) for stem in STEMS[:5]])
    assert train.pixels.shape == (20, 3, 32, 32)
    assert train.pixels.dtype == torch.uint8
    assert np.array_equal(train.labels.numpy(), rows[:, 0])
    assert np.array_equal(train.pixels.numpy().reshape(20, -1), rows[:, 1:])
    assert np.array_equal(test.labels.numpy(), records("test_batch", 4)[:, 0])


def test_chosen_batches_are_read_alone_and_in_the_order_given(tmp_path):
    write_binary(tmp_path, {"data_batch_2": 4, "data_batch_5": 4, "test_batch": 2})
    train, _ = read_cifar10(tmp_path, batches=(5, 2))
    expected = np.concatenate([records("data_batch_5", 4), records("data_batch_2", 4)])[:, 0]
    assert np.array_equal(train.labels.numpy(), expected)


@pytest.mark.parametrize("batches", [(), (0,), (1, 6)])
def test_batches_that_do_not_exist_are_refused(tmp_path, batches):
    with pytest.raises(ValueError, match="batches must be some of 1, 2, 3, 4, 5"):
        read_cifar10(tmp_path, batches)


def test_a_missing_root_names_the_argument_and_the_files_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root .*nowhere.*data_batch_1\.bin"):
        read_cifar10(tmp_path / "nowhere")


def test_only_the_missing_file_is_named_where_the_others_are_there(tmp_path):
    write_python(tmp_path / "cifar-10-batches-py", {**COUNTS})
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        read_cifar10(tmp_path)
    assert "data_batch_3" in str(caught.value)
    assert "data_batch_2" not in str(caught.value)


def test_an_archive_that_was_not_unpacked_is_pointed_out(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").touch()
    with pytest.raises(FileNotFoundError, match=r"tar -xzf .*cifar-10-python\.tar\.gz"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("lost", [1, 3072, 4 * 3073])
def test_a_truncated_binary_file_is_refused(tmp_path, lost):
    write_binary(tmp_path, COUNTS)
    path = tmp_path / "data_batch_4.bin"
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ValueError, match=r"data_batch_4\.bin has \d+ bytes.*truncated"):
        read_cifar10(tmp_path)


def test_a_file_cut_between_two_images_is_refused(tmp_path):
    write_binary(tmp_path, {**COUNTS, "data_batch_4": 3})
    with pytest.raises(ValueError, match=r"data_batch_4\.bin holds 3 images and another .* 4"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_python_file_is_refused(tmp_path, kept):
    write_python(tmp_path, COUNTS)
    path = tmp_path / "test_batch"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match="test_batch is truncated or no CIFAR-10 file"):
        read_cifar10(tmp_path)


def test_python_content_of_another_shape_is_refused(tmp_path):
    write_python(tmp_path, COUNTS)
    content = {"labels": [1, 2], "data": np.zeros((2, 3000), np.uint8)}
    (tmp_path / "data_batch_2").write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(ValueError, match=r"data_batch_2 holds pixels uint8\[2, 3000\]"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("write", [write_binary, write_python])
def test_a_wrong_label_is_named_with_its_place(tmp_path, write):
    write(tmp_path, COUNTS)
    rows = records("data_batch_2", 4)
    rows[2, 0] = 37
    if write is write_binary:
        rows.tofile(tmp_path / "data_batch_2.bin")
    else:
        content = {"labels": rows[:, 0].tolist(), "data": rows[:, 1:]}
        (tmp_path / "data_batch_2").write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(ValueError, match=r"data_batch_2.*image 2 has label 37, not in 0\.\.9"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("nested", [True, False])
def test_cifar100_has_the_fine_labels_of_both_versions(tmp_path, version, nested):
    folder = tmp_path / f"cifar-100-{version}" if nested else tmp_path
    folder.mkdir(exist_ok=True)
    draws = np.random.RandomState(0)
    pixels = draws.randint(0, 256, (3, 3072)).astype(np.uint8)
    coarse, fine = np.array([[1], [0], [19]], np.uint8), np.array([[99], [0], [41]], np.uint8)
    for stem in ("train", "test"):
        if version == "binary":
            np.concatenate([coarse, fine, pixels], 1).tofile(folder / f"{stem}.bin")
        else:
            content = {"fine_labels": [99, 0, 41], "coarse_labels": [1, 0, 19], "data": pixels}
            (folder / stem).write_bytes(pickle.dumps(content, protocol=4))
    train, test = read_cifar100(tmp_path)
    assert train.labels.tolist() == test.labels.tolist() == [99, 0, 41]
    assert np.array_equal(train.pixels.reshape(3, -1), pixels)


def test_cifar100_refuses_a_file_of_cifar10(tmp_path):
    records("test_batch", 4).tofile(tmp_path / "train.bin")
    records("test_batch", 4).tofile(tmp_path / "test.bin")
    with pytest.raises(ValueError, match=r"no multiple of 3074 .* no CIFAR-100 file"):
        read_cifar100(tmp_path)


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


def test_a_pickle_that_asks_for_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_python(tmp_path, COUNTS)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Malicious(), protocol=4))
    with pytest.raises(ValueError, match="which no CIFAR file does; it was not run"):
        read_cifar10(tmp_path)
    assert not Path("was-run").exists()


@pytest.mark.data
@pytest.mark.slow
def test_the_real_python_files_are_read(shared_data, tmp_path):
    script = [sys.executable, shared_data / "unpack_cifar10.py", tmp_path]
    subprocess.run(
        [*script, "--format", "py", "--chunks", "0,test"], check=True, capture_output=True
    )
    train, test = read_cifar10(tmp_path, batches=(1,))
    assert train.pixels.shape == test.pixels.shape == (10_000, 3, 32, 32)
    assert train.labels[:5].tolist() == [6, 9, 9, 4, 1]  # frog, truck, truck, deer, automobile
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    assert train.pixels[0, :, 0, 0].tolist() == [59, 62, 63]
    # the published normalisation is that of the training images
    mean = train.pixels.double().mean((0, 2, 3)) / 255
    assert torch.allclose(mean, torch.tensor([0.4914, 0.4822, 0.4465]).double(), atol=3e-3)
