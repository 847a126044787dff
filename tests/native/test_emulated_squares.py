"""The CUDA kernel of sums of squares, run on the CPU by emulator/, against its CPU twin."""

from __future__ import annotations

import pytest
import torch
from native.tangent_problems import ORDERS, block

from landscape_fast import _native


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 33), (2, 400, 5), (0, 2, 3), (2, 3, 0)])
def test_square_sums(kernels, dtype, shape, order):
    generator = torch.Generator().manual_seed(0)
    x = block(torch.randn(shape, generator=generator, dtype=dtype), order)
    torch.testing.assert_close(
        kernels.square_sums(x), _native.square_sums(x), rtol=1e-14, atol=1e-300
    )
