import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_fast.training.data import Dataset, cifar10, digits, load_data


@pytest.fixture(scope="module")
def real() -> Dataset:
    return digits()


def counting(samples: int, classes: int = 10) -> Dataset:
    """Sample i has the value i in its only pixel, and label i modulo the number of classes."""
    inputs = torch.arange(float(samples)).view(-1, 1, 1, 1)
    targets = torch.arange(samples) % classes
    return Dataset(inputs, targets, inputs.clone(), targets.clone(), classes=classes)


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


@given(samples=st.integers(1, 200), fraction=st.floats(0.01, 1.0))
def test_a_fraction_keeps_the_first_samples_in_order(samples, fraction):
    data = counting(samples)
    kept = int(samples * fraction)
    if kept == 0:
        with pytest.raises(ValueError, match=f"fraction {fraction} leaves none of {samples}"):
            data.first(fraction)
    else:
        part = data.first(fraction)
        assert part.train_inputs.flatten().tolist() == list(range(kept))
        assert torch.equal(part.test_inputs, data.test_inputs)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction must lie in"):
        counting(4).first(fraction)


def test_label_noise_is_that_of_the_published_code():
    """The published code: seed, uniform draws, mask by <=, uniform labels for the masked."""
    data = counting(1000)
    np.random.seed(12345)
    expected = data.train_targets.numpy().copy()
    mask = np.random.rand(1000) <= 0.3
    expected[mask] = np.random.choice(10, mask.sum())
    noisy = data.with_label_noise(0.3)
    assert np.array_equal(noisy.train_targets.numpy(), expected)
    assert torch.equal(noisy.test_targets, data.test_targets)
    assert torch.equal(data.train_targets, torch.arange(1000) % 10)  # the clean set is unchanged


@settings(deadline=None)
@given(probability=st.floats(0.0, 1.0))
def test_label_noise_changes_the_expected_share_of_labels(probability):
    data = counting(20_000)
    noisy = data.with_label_noise(probability)
    changed = float((noisy.train_targets != data.train_targets).double().mean())
    share = 0.9 * probability  # one draw in ten hits the true label
    assert abs(changed - share) < 4.5 * (share * (1 - share) / 20_000) ** 0.5 + 1e-4


def test_noise_is_drawn_for_the_whole_set_so_that_fractions_are_nested():
    noisy = counting(1000).with_label_noise(0.5)
    half = noisy.first(0.5).train_targets
    assert torch.equal(half[:250], noisy.first(0.25).train_targets)


def test_noise_on_targets_that_are_no_classes_is_refused():
    data = replace(counting(4), train_targets=torch.rand(4))
    with pytest.raises(ValueError, match="label noise needs class indices"):
        data.with_label_noise(0.5)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_its_range_is_refused(probability):
    with pytest.raises(ValueError, match="probability must lie in"):
        counting(4).with_label_noise(probability)


@given(samples=st.integers(1, 50), size=st.integers(1, 60))
def test_batches_hold_every_sample_once_in_order(samples, size):
    batches = counting(samples).batches("test", size)
    assert all(len(inputs) == len(targets) == size for inputs, targets in batches[:-1])
    assert torch.cat([inputs.flatten() for inputs, _ in batches]).tolist() == list(range(samples))


def test_batches_refuse_an_unknown_part_and_an_empty_size():
    with pytest.raises(ValueError, match="part must be 'train' or 'test', got 'valid'"):
        counting(4).batches("valid", 2)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        counting(4).batches("train", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_targets": torch.zeros(3, dtype=torch.long)}, "train_inputs has 4 rows and .* 3"),
        ({"test_inputs": torch.zeros(0, 1), "test_targets": torch.zeros(0)}, "at least 1"),
        ({"train_targets": torch.tensor([0, 1, 2, 10])}, r"0\.\.9, got values from 0 to 10"),
        ({"test_targets": torch.tensor([0, -1, 2, 3])}, r"0\.\.9, got values from -1 to 3"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(counting(4), **change)


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
    found = load_data("landscape_fast.training.data:digits", {"seed": 3})
    assert torch.equal(found.train_targets, digits(seed=3).train_targets)
