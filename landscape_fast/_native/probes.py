"""Signs and Gaussians that depend on a seed and a position alone."""

from __future__ import annotations

from torch import Tensor

from landscape_fast import _C


def signs_(out: Tensor, seed: int, *, first_row: int = 0, first_entry: int = 0) -> Tensor:
    r"""Fill ``out`` with independent signs :math:`\pm 1` (Rademacher) and return it.

    Element ``(i, j)`` depends on ``(seed, first_row + i, first_entry + j)`` alone: any sub-block
    equals the slice of the whole, and the signs are the same on every device and in both dtypes.

    Args:
        out: ``(k, n)``, overwritten.
        seed: Chooses the signs, ``0 <= seed < 2**64``.
        first_row: Row number of ``out[0]`` in the whole.
        first_entry: Column number of ``out[:, 0]`` in the whole.

    References:
        Philox4x32-10: Salmon et al. (2011), doi:10.1145/2063384.2063405.

    Example:
        >>> import torch
        >>> whole = signs_(torch.empty(4, 10), seed=0)
        >>> part = signs_(torch.empty(2, 3), seed=0, first_row=1, first_entry=5)
        >>> torch.equal(part, whole[1:3, 5:8])
        True
    """
    return _C.signs_(out, *_position(seed, first_row, first_entry))


def normals_(out: Tensor, seed: int, *, first_row: int = 0, first_entry: int = 0) -> Tensor:
    """Fill ``out`` with independent standard Gaussians (Box-Muller) and return it.

    Position rules are those of :func:`signs_`, in a stream independent of its signs.

    Args:
        out: ``(k, n)``, overwritten.
        seed: Chooses the numbers, ``0 <= seed < 2**64``.
        first_row: Row number of ``out[0]`` in the whole.
        first_entry: Column number of ``out[:, 0]`` in the whole.

    References:
        Box and Muller (1958), doi:10.1214/aoms/1177706645.
    """
    return _C.normals_(out, *_position(seed, first_row, first_entry))


def _position(seed: int, first_row: int, first_entry: int) -> tuple[int, int, int]:
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must lie in [0, 2**64), got {seed}")
    for name, value in (("first_row", first_row), ("first_entry", first_entry)):
        if not 0 <= value < 2**62:
            raise ValueError(f"{name} must lie in [0, 2**62), got {value}")
    return seed, first_row, first_entry
