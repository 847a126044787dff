"""Tangents of convolutions equal sums of single convolutions, however K is folded."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_relative

from landscape_fast.linearise.rules import RULES, convolution

aten = torch.ops.aten


def problem(k, rows, inputs, outputs, window, stride, padding, dilation, size, dims):
    generator = torch.Generator().manual_seed(k + 10 * outputs)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, weight = draw(rows, inputs, *[size] * dims), draw(outputs, inputs, *[window] * dims)
    geometry = ([stride] * dims, [padding] * dims, [dilation] * dims, False, [0] * dims, 1)
    delta = aten.convolution.default(x, weight, None, *geometry)
    delta = draw(*delta.shape)
    # Memory as the rules leave it: the probe axis before the channels.
    blocks = [draw(len(t), k, *t.shape[1:]).transpose(0, 1) for t in (delta, x)]
    return delta, x, weight, geometry, *blocks, draw(k, *weight.shape)


@settings(max_examples=60)
@given(
    k=st.sampled_from([1, 2, 3, 4, 8, 16]),
    outputs=st.sampled_from([1, 2, 4, 5, 8, 15, 16, 17]),
    inputs=st.integers(1, 9),
    window=st.integers(1, 4),
    stride=st.integers(1, 2),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    dims=st.integers(1, 2),
)
def test_folded_convolutions_equal_single_ones(
    k, outputs, inputs, window, stride, padding, dilation, dims
):
    size = 1 + dilation * (window - 1) + 2
    delta, x, weight, geometry, delta_dot, x_dot, weight_dot = problem(
        k, 2, inputs, outputs, window, stride, padding, dilation, size, dims
    )
    out = aten.convolution.default(x, weight, None, *geometry)
    forward = RULES[aten.convolution.default](
        (x, weight, None, *geometry), (x_dot, weight_dot, None), out
    )
    backward = RULES[aten.convolution_backward.default](
        (delta, x, weight, [0], *geometry, [True, True, True]),
        (delta_dot, x_dot, weight_dot),
        None,
    )
    for row in range(k):
        single = aten.convolution.default(x_dot[row], weight, None, *geometry)
        single = single + aten.convolution.default(x, weight_dot[row], None, *geometry)
        assert_relative(forward[row], single, 1e-12)
        gradients = [
            aten.convolution_backward.default(d, a, w, [0], *geometry, [True, True, False])
            for d, a, w in (
                (delta_dot[row], x, weight),
                (delta, x_dot[row], weight),
                (delta, x, weight_dot[row]),
            )
        ]
        assert_relative(backward[0][row], gradients[0][0] + gradients[2][0], 1e-12)
        assert_relative(backward[1][row], gradients[0][1] + gradients[1][1], 1e-12)
        assert_relative(backward[2][row], delta_dot[row].sum([0, *range(2, delta.dim())]), 1e-12)


def test_narrow_images_go_side_by_side_and_wide_ones_do_not():
    block, weight = torch.randn(8 * 3, 4, 5, 5), torch.randn(4, 6, 3, 3)
    wide, kernel = convolution._side_by_side(block, weight, 8)
    assert wide.shape == (6, 16, 5, 5)
    assert kernel.shape == (16, 24, 3, 3)
    assert (kernel != 0).float().mean() == 0.25
    for k, outputs in ((8, 16), (3, 4)):
        block, weight = torch.randn(k * 3, outputs, 5, 5), torch.randn(outputs, 6, 3, 3)
        assert convolution._side_by_side(block, weight, k)[0] is block
