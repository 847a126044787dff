"""Tensors as the C functions of emulator/ take them."""

from __future__ import annotations

import ctypes
import math

import torch


class Block(ctypes.Structure):
    """A 2-D tensor as the C functions of emulator/entry.cpp take it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("is_float64", ctypes.c_int),
    )


def as_block(tensor: torch.Tensor) -> Block:
    assert tensor.dim() == 2
    assert tensor.shape[1] < 2 or tensor.stride(1) == 1
    is_float64 = tensor.dtype == torch.float64
    return Block(tensor.data_ptr(), *tensor.shape, tensor.stride(0), is_float64)


class Pieces(ctypes.Structure):
    """A block of tangents as the C functions of emulator/entry_tangents.cpp take it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("tangents", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("tangent_stride", ctypes.c_int64),
        ("batch_stride", ctypes.c_int64),
        ("is_float64", ctypes.c_int),
    )


def as_pieces(block: torch.Tensor | None) -> Pieces:
    if block is None:
        return Pieces()
    is_float64 = block.dtype == torch.float64
    size = math.prod(block.shape[2:])
    return Pieces(block.data_ptr(), *block.shape[:2], size, *block.stride()[:2], is_float64)


def as_rows(tensor: torch.Tensor | None) -> Block:
    """A primal as (B, rest), a vector as one row."""
    if tensor is None:
        return Block()
    return as_block(tensor[None] if tensor.dim() == 1 else tensor.flatten(1))


def array(kind: type[ctypes.Structure], *items: ctypes.Structure) -> ctypes.Array:
    return (kind * len(items))(*items)


def address(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
