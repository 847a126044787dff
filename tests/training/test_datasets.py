import sys

import numpy as np
import pytest
import torch

from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import cifar10, digits, load_data


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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "data must be one of cifar10, digits or .*did you mean 'digits'"),
        ("digits", {"sed": 1}, "data options .*did you mean 'seed'"),
        ("cifar10", {}, "data options .*missing a required argument: 'root'"),
    ],
)
def test_data_that_cannot_be_named_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_data(name, options)


def test_a_callable_must_return_a_dataset():
    with pytest.raises(TypeError, match=r"must return a .*Dataset, got dict"):
        load_data("builtins:dict")
    found = load_data("landscape_fast.training.datasets:digits", {"seed": 3})
    assert torch.equal(found.train_targets, digits(seed=3).train_targets)
