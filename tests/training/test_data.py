from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.training.data import Dataset


def counting(samples: int, classes: int = 10) -> Dataset:
    """Sample i has the value i in its only pixel, and label i modulo the number of classes."""
    inputs = torch.arange(float(samples)).view(-1, 1, 1, 1)
    targets = torch.arange(samples) % classes
    return Dataset(inputs, targets, inputs.clone(), targets.clone(), classes=classes)


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
    with pytest.raises(ValueError, match="fraction must be positive and at most 1"):
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
    with pytest.raises(ValueError, match="probability must be at least 0 and at most 1"):
        counting(4).with_label_noise(probability)


@given(samples=st.integers(1, 50), size=st.integers(1, 60))
def test_batches_hold_every_sample_once_in_order(samples, size):
    batches = counting(samples).batches("test", size)
    assert all(len(inputs) == len(targets) == size for inputs, targets in batches[:-1])
    assert torch.cat([inputs.flatten() for inputs, _ in batches]).tolist() == list(range(samples))


def test_batches_refuse_an_unknown_part_and_an_empty_size():
    with pytest.raises(ValueError, match="part must be 'train' or 'test', got 'valid'"):
        counting(4).batches("valid", 2)
    with pytest.raises(ValueError, match="size must be a whole number of at least 1, got 0"):
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


def tokens() -> Dataset:
    """Two sentences of vocabulary 7, the second one shorter."""
    inputs = torch.tensor([[[3, 4, 5], [1, 4, 5]], [[6, 2, 0], [1, 3, 0]]])
    targets = torch.tensor([[4, 5, 2], [3, 2, -100]])
    return Dataset(inputs, targets, inputs, targets, classes=7)


def test_tokens_stay_integers_where_other_inputs_are_cast():
    assert tokens().cast(torch.float64).train_inputs.dtype == torch.int64
    assert counting(4).cast(torch.float64).train_inputs.dtype == torch.float64
    assert counting(4).cast(torch.float64).test_inputs.dtype == torch.float64


def test_positions_without_a_target_are_allowed_in_sequences_only():
    data = tokens()
    assert data.batches("train", 1)[1][1].tolist() == [[3, 2, -100]]
    with pytest.raises(ValueError, match=r"train_targets must be class indices in 0\.\.6"):
        replace(data, train_targets=data.train_targets[:, 2])
    with pytest.raises(ValueError, match="test_targets has no position with a target"):
        replace(data, test_targets=torch.full_like(data.test_targets, -100))
    with pytest.raises(ValueError, match="from 8 to 8"):
        replace(data, train_targets=torch.full_like(data.test_targets, 8))


def test_label_noise_on_sequences_is_refused():
    with pytest.raises(ValueError, match="one label for each sample, got targets of shape"):
        tokens().with_label_noise(0.5)
