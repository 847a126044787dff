"""Sums of squares, against torch in float64 and against gradients of single samples."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from native.tangent_problems import ORDERS, NormProblem, block

from landscape_fast import _C, _native


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def each_instruction_set():
    """Calls a function under every instruction set of this processor."""

    def call(function):
        found = []
        try:
            for name in ("baseline", "avx2", "avx512"):
                try:
                    _C.select_instruction_set(name)
                except ValueError:
                    continue
                found.append(function())
        finally:
            _C.select_instruction_set(None)
        return found

    return call


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (3, 700, 33), (1, 5, 3000), (0, 2, 3)])
def test_squares_are_added_up_in_float64_from_any_memory(device, dtype, order, shape):
    x = block(random(*shape, dtype=dtype), order).to(device)
    found = _native.square_sums(x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, x.double().square().sum((0, 1)), rtol=1e-13, atol=0)


def test_a_large_block_loses_nothing_that_float32_sums_lose():
    x = 1 + 1e-3 * random(64, 1024, 40, dtype=torch.float32)
    exact = x.double().square().sum((0, 1))
    assert float((_native.square_sums(x) / exact - 1).abs().max()) < 1e-14
    x[0] *= 1e3  # a large square first, and many small ones that float32 would drop
    exact = x.double().square().sum((0, 1))
    assert float((_native.square_sums(x) / exact - 1).abs().max()) < 1e-14


def test_equal_to_the_bit_for_any_number_of_threads_and_instruction_set(each_instruction_set):
    x, delta, image = (
        random(*s, dtype=torch.float32) for s in ((3, 2000, 50), (3, 9, 20, 100), (9, 6, 10, 10))
    )

    def both():
        squares = _native.filter_squares(delta, image, (3, 3), padding=(1, 1))
        return torch.cat([_native.square_sums(x), squares.flatten()])

    threads, answers = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            answers += each_instruction_set(both)[1:]  # the baseline does not fuse
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(answer, answers[0]) for answer in answers)


# window, stride, padding, dilation, groups
GEOMETRIES = {
    "one": ((1, 1), (1, 1), (0, 0), (1, 1), 1),
    "square": ((3, 3), (1, 1), (1, 1), (1, 1), 1),
    "strided": ((3, 2), (2, 3), (1, 0), (1, 1), 1),
    "dilated": ((2, 3), (1, 2), (2, 1), (2, 3), 1),
    "grouped": ((3, 3), (1, 1), (1, 1), (1, 1), 2),
    "depthwise": ((2, 2), (2, 2), (0, 0), (1, 1), 4),
}


def by_sample(delta, x, window, stride, padding, dilation, groups):
    """Squares of the gradients of single samples, by autograd in float64."""
    k, b, outputs = delta.shape[:3]
    weight = torch.zeros(outputs, x.shape[1] // groups, *window, dtype=torch.float64)
    total = torch.zeros_like(weight)
    for i in range(b):
        filters = weight.clone().requires_grad_()
        out = F.conv2d(x[i : i + 1].double(), filters, None, stride, padding, dilation, groups)
        for j in range(k):
            arriving = delta[j, i].double().reshape(out.shape)
            (gradient,) = torch.autograd.grad(out, filters, arriving, retain_graph=True)
            total += gradient.square()
    return total


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("outputs", [4, 20])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_filters_have_the_squares_of_single_samples(
    dtype, name, outputs, order, each_instruction_set
):
    window, stride, padding, dilation, groups = GEOMETRIES[name]
    x = random(3, 4, 7, 9, dtype=dtype)
    like = F.conv2d(x, x.new_zeros(outputs, 4 // groups, *window), None, *GEOMETRIES[name][1:])
    delta = block(random(3, 3, outputs, like[0, 0].numel(), dtype=dtype, seed=1), order)
    exact = by_sample(delta, x, *GEOMETRIES[name])
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    for found in each_instruction_set(lambda: _native.filter_squares(delta, x, window, **options)):
        error = (found - exact).abs().max() / exact.max()
        assert error < 20 * torch.finfo(dtype).eps


def test_many_samples_and_channels_go_through_in_parts(dtype):
    x, delta = random(9, 70, 24, 24, dtype=dtype), random(2, 9, 3, 64, dtype=dtype)
    options = ((3, 3), (3, 3), (0, 0), (1, 1), 1)
    found = _native.filter_squares(delta, x, (3, 3), stride=(3, 3))
    exact = by_sample(delta, x, *options)
    assert (found - exact).abs().max() / exact.max() < 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("shape", [(0, 2, 3, 16), (2, 0, 3, 16), (2, 2, 0, 16)])
def test_filters_without_samples_have_squares_zero(shape):
    found = _native.filter_squares(torch.ones(shape), torch.ones(shape[1], 2, 4, 4), (1, 1))
    assert torch.equal(found, torch.zeros(shape[2], 2, 1, 1, dtype=torch.float64))


WRONG = {
    "delta": lambda d, x: _native.filter_squares(d[..., 1:], x, (3, 3), padding=(1, 1)),
    "x": lambda d, x: _native.filter_squares(d, x[:1], (3, 3), padding=(1, 1)),
    "x must be contiguous": lambda d, x: _native.filter_squares(
        d, x.transpose(2, 3), (3, 3), padding=(1, 1)
    ),
    "window": lambda d, x: _native.filter_squares(d, x, (0, 3)),
    "stride": lambda d, x: _native.filter_squares(d, x, (3, 3), stride=(1, 0)),
    "padding": lambda d, x: _native.filter_squares(d, x, (3, 3), padding=(-1, 0)),
    "dilation": lambda d, x: _native.filter_squares(d, x, (3, 3), dilation=(0, 1)),
    "groups": lambda d, x: _native.filter_squares(d, x, (3, 3), padding=(1, 1), groups=3),
    "block": lambda d, x: _native.square_sums(d),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named(name):
    with pytest.raises(ValueError, match=f"^{name}"):
        WRONG[name](torch.zeros(2, 3, 4, 20), torch.zeros(3, 2, 4, 5))
    with pytest.raises(TypeError, match=r"^x must have the dtype"):
        _native.filter_squares(torch.zeros(2, 3, 4, 20), torch.zeros(3, 2, 4, 5).double(), (1, 1))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 5, 2), (2, 3, 4, 50)])
@pytest.mark.parametrize("plain", [False, True])
def test_a_normalisation_passes_cotangents_on_and_squares_sums_of_single_samples(
    dtype, shape, plain
):
    p = NormProblem(shape, dtype)
    first, second = block(p.first, "bk"), None if plain else block(p.second, "gaps")
    output = None if plain else p.output
    result = torch.full_like(first, torch.nan)
    summed = p.first if plain else p.first + p.second
    delta = summed if plain else summed * (p.output > 0)
    found = _native.affine_norm_squares_(
        first, second, result, p.x, p.mean, p.scale, p.gain, output
    )
    normal = (p.x.double() - p.mean[:, None]) * p.scale[:, None]
    exact = [(delta.double() * by).sum(3).square().sum((0, 1)) for by in (normal, 1.0)]
    eps = torch.finfo(dtype).eps
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=200 * eps, atol=50 * eps)
    assert torch.equal(first, delta)
    torch.testing.assert_close(result, delta * p.gain[:, None], rtol=2 * eps, atol=0)
