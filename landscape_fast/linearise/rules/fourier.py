"""Fourier transforms and the passage between real and complex values; all linear over the reals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.rules.registry import Tangent, broadcast, linear

aten = torch.ops.aten


@linear(aten._fft_r2c.default, aten._fft_c2r.default, aten._fft_c2c.default, reads="shapes")
def _transformed(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    x, dims, *rest = args
    operation = aten._fft_c2r.default
    if out.is_complex():
        operation = aten._fft_c2c.default if x.is_complex() else aten._fft_r2c.default
    return operation(dots[0], [dim % x.dim() + 1 for dim in dims], *rest)


@linear(aten._conj.default, aten._conj_physical.default, aten.conj_physical.default, reads="shapes")
def _conjugate(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0].conj()


@linear(aten.complex.default, reads="shapes")
def _complex(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    real, imaginary = (
        broadcast(out.new_zeros(1).real if dot is None else dot, out.dim()) for dot in dots
    )
    return torch.complex(*torch.broadcast_tensors(real, imaginary))


@linear(aten.view_as_real.default, reads="shapes")
def _as_real(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return torch.view_as_real(dots[0].resolve_conj())


@linear(aten.view_as_complex.default, reads="shapes")
def _as_complex(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return torch.complex(dots[0][..., 0], dots[0][..., 1])


@linear(aten.real.default, reads="shapes")
def _real(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0].real


@linear(aten.imag.default, reads="shapes")
def _imaginary(args: Sequence[Any], dots: Sequence[Any], out: Tensor) -> Tangent:
    return dots[0].resolve_conj().imag
