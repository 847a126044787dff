from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import digits
from landscape_fast.training.pixel_noise import PixelScale

SCALE = PixelScale((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def images(count: int = 7, side: int = 4) -> tuple[torch.Tensor, Dataset]:
    """Raw uint8 pixels, and the data set of them."""
    draws = np.random.RandomState(0)
    raw = torch.from_numpy(draws.randint(0, 256, (count, 3, side, side), dtype=np.uint8))
    inputs = SCALE.normalised(raw.float().div_(255))
    labels = torch.arange(count) % 10
    return raw, Dataset(inputs, labels, inputs.clone(), labels, classes=10, pixels=SCALE)


def pixels_of(data: Dataset) -> torch.Tensor:
    return SCALE.values(data.train_inputs) * 255


def test_the_noise_is_uniform_and_its_draws_are_those_of_the_published_code():
    """The published code: seed 12345, uniform draws in the order image, row, column, channel."""
    raw, data = images()
    draws = np.random.RandomState(12345).uniform(0, 1, size=(7, 4, 4, 3))
    noise = torch.from_numpy(draws).permute(0, 3, 1, 2) * 40
    expected = (raw.double() + noise).clamp(max=255)
    assert torch.allclose(pixels_of(data.with_pixel_noise(40.0)), expected, atol=1e-4)


def test_the_wrapping_variant_is_the_arithmetic_of_bytes():
    raw, data = images()
    draws = np.random.RandomState(12345).uniform(0, 1, size=(7, 4, 4, 3))
    channels_last = raw.permute(0, 2, 3, 1).numpy().copy()
    channels_last += np.uint8(draws * 200)
    found = pixels_of(data.with_pixel_noise(200.0, wraps=True)).round().permute(0, 2, 3, 1)
    assert np.array_equal(found.numpy(), channels_last)
    assert (found.double() < raw.permute(0, 2, 3, 1)).any()  # some did wrap around


@settings(max_examples=20)
@given(amplitude=st.floats(0.0, 255.0))
def test_noise_only_brightens_by_at_most_its_amplitude_and_never_above_white(amplitude):
    raw, data = images()
    found = pixels_of(data.with_pixel_noise(amplitude))
    assert (found >= raw - 1e-3).all()
    assert (found <= (raw.double() + amplitude).clamp(max=255) + 1e-3).all()


def test_test_images_and_the_clean_set_stay_as_they_are():
    _, data = images()
    before = data.train_inputs.clone()
    noisy = data.with_pixel_noise(100.0)
    assert torch.equal(noisy.test_inputs, data.test_inputs)
    assert torch.equal(data.train_inputs, before)
    assert noisy.train_inputs.dtype == before.dtype
    assert data.with_pixel_noise(0.0) is data


def test_the_noise_of_a_fraction_is_that_of_the_whole_set():
    _, data = images(count=1203, side=2)  # more than is drawn at once
    whole = data.with_pixel_noise(30.0)
    part = data.first(0.9).with_pixel_noise(30.0)
    assert torch.equal(whole.train_inputs[: len(part.train_inputs)], part.train_inputs)


def test_digits_know_their_pixels():
    data = digits()
    assert data.pixels is not None
    values = data.pixels.values(data.train_inputs) * 16
    assert torch.allclose(values, values.round(), atol=1e-5)
    assert (float(values.min()), float(values.max())) == pytest.approx((0, 16), abs=1e-5)


@pytest.mark.parametrize("amplitude", [-1.0, 256.0, float("nan")])
def test_an_amplitude_outside_its_range_is_refused(amplitude):
    with pytest.raises(ValueError, match="amplitude must be at least 0 and at most 255"):
        images()[1].with_pixel_noise(amplitude)


def test_inputs_that_are_no_images_are_refused():
    data = replace(images()[1], pixels=None)
    with pytest.raises(ValueError, match="needs images whose pixel scale is known"):
        data.with_pixel_noise(1.0)
