import sys

import numpy as np
import pytest
import torch

from landscape_fast.training import datasets
from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import DATA, cifar10, digits, load_data
from landscape_fast.training.readers import Images


@pytest.fixture(scope="module")
def real() -> Dataset:
    return digits()


def test_digits_are_split_by_a_fifth_of_every_class(real):
    train, test = torch.bincount(real.train_targets), torch.bincount(real.test_targets)
    assert int(train.sum() + test.sum()) == 1797
    assert ((test - (train + test) / 5).abs() <= 0.5).all()


def test_digits_are_normalised_by_the_training_part(real):
    assert real.train_inputs.dtype == torch.float32
    assert abs(float(real.train_inputs.double().mean())) < 1e-6
    assert abs(float(real.train_inputs.double().std(correction=0)) - 1) < 1e-6
    assert abs(float(real.test_inputs.double().std(correction=0)) - 1) > 1e-4  # not by itself


def test_no_digit_is_in_both_parts_and_none_is_lost(real):
    from sklearn.datasets import load_digits

    whole = load_digits().data
    low = float(real.train_inputs.min())
    scale = 16 / (float(real.train_inputs.max()) - low)
    both = torch.cat([real.train_inputs, real.test_inputs]).double()
    found = ((both - low) * scale).round().reshape(-1, 64).numpy()
    assert np.array_equal(np.sort(found, axis=0), np.sort(whole, axis=0))
    key = 17 ** np.arange(64, dtype=object)
    assert sorted((found.astype(int) * key).sum(1)) == sorted((whole.astype(int) * key).sum(1))


def test_the_split_depends_on_its_own_seed_alone(real):
    torch.manual_seed(5)
    np.random.seed(5)
    again = digits()
    assert torch.equal(again.train_inputs, real.train_inputs)
    assert not torch.equal(digits(seed=1).train_targets, real.train_targets)


def test_digits_without_scikit_learn_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'landscape_fast\[study\]'"):
        digits()


def test_cifar10_is_scaled_and_normalised_per_channel(tmp_path):
    records = np.zeros((2, 3073), np.uint8)
    records[1] = [7] + [255] * 1024 + [51] * 1024 + [0] * 1024
    for stem in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        records.tofile(tmp_path / f"{stem}.bin")
    data = cifar10(tmp_path)
    assert data.train_inputs.shape == (10, 3, 32, 32)
    assert data.train_targets.tolist() == [0, 7] * 5
    expected = [(1 - 0.4914) / 0.2023, (0.2 - 0.4822) / 0.1994, -0.4465 / 0.2010]
    assert torch.allclose(data.train_inputs[1].amax((1, 2)), torch.tensor(expected))
    assert torch.equal(data.train_inputs[1].amax((1, 2)), data.train_inputs[1].amin((1, 2)))
    assert torch.equal(data.test_inputs, data.train_inputs[:2])
    assert torch.equal(load_data("cifar10", {"root": str(tmp_path)}).test_inputs, data.test_inputs)


def few(classes: int, side: int = 32, channels: int = 3) -> tuple[Images, Images]:
    draws = torch.Generator().manual_seed(0)
    shape = (6, channels, side, side)
    pixels = torch.randint(256, (2, *shape), generator=draws, dtype=torch.uint8)
    labels = torch.arange(6) % classes
    return Images(pixels[0], labels), Images(pixels[1], labels)


@pytest.mark.parametrize(
    ("name", "classes", "shape"), [("cifar100", 100, (3, 32)), ("svhn", 10, (3, 32))]
)
def test_images_are_normalised_by_their_own_training_part(monkeypatch, name, classes, shape):
    monkeypatch.setattr(datasets, f"read_{name}", lambda root: few(classes, shape[1], shape[0]))
    data = load_data(name, {"root": "anywhere"})
    train = data.train_inputs.double()
    assert data.classes == classes
    assert train.mean((0, 2, 3)).abs().max() < 1e-6
    assert (train.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6
    raw = few(classes)[1].pixels.double() / 255
    assert torch.allclose(data.pixels.values(data.test_inputs), raw, atol=1e-6)


def test_mnist_can_be_padded_to_the_size_that_residual_networks_take(monkeypatch):
    monkeypatch.setattr(datasets, "read_mnist", lambda root: few(10, 28, 1))
    data = load_data("mnist", {"root": "anywhere", "pad": 2})
    assert data.train_inputs.shape == (6, 1, 32, 32)
    pixels = data.pixels.values(data.train_inputs) * 255
    assert torch.allclose(pixels[:, :, 2:-2, 2:-2], few(10, 28, 1)[0].pixels.double(), atol=1e-3)
    assert pixels[:, :, :2].abs().max() < 1e-3
    with pytest.raises(ValueError, match="pad must be a whole number of at least 0, got -1"):
        load_data("mnist", {"root": "anywhere", "pad": -1})


def test_images_without_contrast_are_refused(monkeypatch):
    flat = Images(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, dtype=torch.long))
    monkeypatch.setattr(datasets, "read_svhn", lambda root: (flat, flat))
    with pytest.raises(ValueError, match="a channel without contrast"):
        load_data("svhn", {"root": "anywhere"})


@pytest.mark.parametrize(
    ("name", "fetched"),
    [
        ("cifar10", [("CIFAR10", {})]),
        ("cifar100", [("CIFAR100", {})]),
        ("mnist", [("MNIST", {})]),
        ("svhn", [("SVHN", {"split": "train"}), ("SVHN", {"split": "test"})]),
    ],
)
def test_files_are_fetched_only_when_asked(tmp_path, monkeypatch, name, fetched):
    calls = []
    monkeypatch.setattr(
        datasets, "fetch", lambda called, root, **options: calls.append((called, options))
    )
    for download, expected in ((False, []), (True, fetched)):
        with pytest.raises(FileNotFoundError):
            DATA[name](tmp_path, download=download)
        assert calls == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "data must be one of cifar10, cifar100, digits, .*did you mean 'digits'"),
        ("digits", {"sed": 1}, "data options .*did you mean 'seed'"),
        ("cifar10", {}, "data options .*missing a required argument: 'root'"),
    ],
)
def test_data_that_cannot_be_named_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_data(name, options)


def missing_key():
    return {}["train"]


def test_a_callable_that_fails_is_named():
    with pytest.raises(ValueError, match=r"data '.*:missing_key' failed: KeyError: 'train'"):
        load_data(f"{__name__}:missing_key")


def test_a_callable_must_return_a_dataset():
    with pytest.raises(TypeError, match=r"must return a .*Dataset, got dict"):
        load_data("builtins:dict")
    found = load_data("landscape_fast.training.datasets:digits", {"seed": 3})
    assert torch.equal(found.train_targets, digits(seed=3).train_targets)
