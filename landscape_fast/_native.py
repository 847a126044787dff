"""The one door to the native extension, and the only importer of ``_C``.

Blocks are ``(k, n)``: one vector per row, float32 or float64, on the CPU or a CUDA device. Rows are
contiguous; a slice of rows or columns of a larger buffer is fine, any other view is refused. All
arithmetic and all sums are float64, in an order fixed by the shapes: results are equal to the bit
on repeat and for any number of threads. Nothing here is differentiable, so an argument that
requires grad is refused.

Every function raises ``TypeError`` (no tensor, wrong dtype) or ``ValueError`` (shape, layout,
device, shared memory) naming the argument, and ``RuntimeError`` for a CUDA tensor when the
extension was built without CUDA kernels.

Operations on tangents take blocks ``(K, B, C, S)`` or ``(K, R, C)``: K tangents of one primal value
of the same shape without K. Dimensions behind the first two are contiguous, strides over K and over
B or R are free, primal values are contiguous. All data of a call share one dtype, in which
elementwise arithmetic is done; sums are float64. ``None`` stands for a zero tangent.
"""

from __future__ import annotations

from torch import Tensor  # first, so that its OpenMP runtime is the one that _C is bound to

try:
    from landscape_fast import _C
except ImportError as error:
    error.add_note(
        "The native extension of landscape_fast is not built; run `pip install .` "
        "(or `pip install --no-build-isolation -e .`) in its source folder."
    )
    raise


def has_cuda() -> bool:
    """Whether the extension was built with CUDA kernels."""
    return _C.has_cuda()


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


def row_dots(x: Tensor, y: Tensor) -> Tensor:
    r"""Inner products of matching rows, :math:`d_i = \sum_j x_{ij} y_{ij}`.

    Args:
        x: ``(k, n)``.
        y: ``(k, n)``, dtype and device of ``x``; may be ``x`` itself (squared norms).

    Returns:
        ``(k,)`` float64 on the device of ``x``.

    Example:
        >>> import torch
        >>> row_dots(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([11.], dtype=torch.float64)
    """
    return _C.row_dots(x, y)


def block_dots(x: Tensor, y: Tensor) -> Tensor:
    r"""All inner products of two blocks, :math:`D = X Y^\top`.

    Args:
        x: ``(k, n)``.
        y: ``(m, n)``, dtype and device of ``x``; may be ``x`` itself.

    Returns:
        ``(k, m)`` float64 on the device of ``x``.
    """
    return _C.block_dots(x, y)


def block_update_(y: Tensor, coefficients: Tensor, basis: Tensor) -> Tensor:
    r"""Subtract combinations of basis rows in place, :math:`Y \leftarrow Y - C B`; return ``y``.

    Computed in float64 and rounded once on store.

    Args:
        y: ``(k, n)``, overwritten; shares no memory with the others.
        coefficients: ``(k, m)`` float64.
        basis: ``(m, n)``, dtype and device of ``y``.
    """
    _C.block_update_(y, coefficients, basis)
    return y


def orthogonalise_(block: Tensor, basis: Tensor) -> Tensor:
    r"""Project the rows of ``basis`` out of ``block`` in place, twice (CGS2).

    Two rounds of :math:`C = Y B^\top`, :math:`Y \leftarrow Y - C B`. Twice is enough: the rows
    left behind are orthogonal to the basis up to the rounding of their own dtype, however small
    they became. Rows of ``block`` are not made orthogonal to each other.

    Args:
        block: ``(k, n)``, overwritten; shares no memory with ``basis``.
        basis: ``(m, n)`` with orthonormal rows, dtype and device of ``block``.

    Returns:
        ``(k, m)`` float64, the sum of both rounds' coefficients: ``block`` as it came in equals
        ``coefficients @ basis`` plus ``block`` as it is left.

    References:
        Giraud, Langou, Rozloznik, van den Eshof (2005), doi:10.1007/s00211-005-0615-4.

    Example:
        >>> import torch
        >>> block = torch.tensor([[3.0, 4.0]])
        >>> orthogonalise_(block, torch.tensor([[1.0, 0.0]])), block
        (tensor([[3.]], dtype=torch.float64), tensor([[0., 4.]]))
    """
    return _C.orthogonalise_(block, basis)


def affine_norm_tangent_(
    first: Tensor | None,
    second: Tensor | None,
    result: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    gain: Tensor,
    weight_dot: Tensor | None,
    bias_dot: Tensor | None,
    residual: Tensor | None,
    output: Tensor | None,
) -> Tensor:
    r"""Tangents of ``relu((x - mean) * scale * weight + bias + residual)``; return ``result``.

    .. math:: t = [y > 0] (x' g_c + (x - m_c) s_c w'_{kc} + b'_{kc} + r'),\quad x' = u + v

    Args:
        first: :math:`u`, ``(K, B, C, S)``; overwritten with :math:`x'` where ``second`` is given.
        second: :math:`v`; only together with ``first``.
        result: :math:`t`, overwritten; may be ``second`` itself and share no other memory.
        x: ``(B, C, S)``.
        mean: :math:`m`, ``(C,)``.
        scale: :math:`s`, one over the deviation, ``(C,)``.
        gain: :math:`g`, ``scale * weight``, ``(C,)``.
        weight_dot: :math:`w'`, ``(K, C)`` with contiguous rows.
        bias_dot: :math:`b'`, ``(K, C)`` with contiguous rows.
        residual: :math:`r'`, ``(K, B, C, S)``.
        output: :math:`y`, ``(B, C, S)``; ``None`` where there is no relu.
    """
    _C.affine_norm_tangent_(
        first, second, result, x, mean, scale, gain, weight_dot, bias_dot, residual, output
    )
    return result


def affine_norm_gradient_tangent_(
    first: Tensor,
    second: Tensor | None,
    result: Tensor | None,
    delta: Tensor,
    x: Tensor,
    x_dot: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    gain: Tensor,
    weight_dot: Tensor | None,
    output: Tensor | None,
) -> tuple[Tensor, Tensor]:
    r"""Tangents of the backward pass of :func:`affine_norm_tangent_`'s function.

    .. math:: \delta' = [y > 0] (u + v),\quad t = \delta' g_c + \delta s_c w'_{kc}

    Args:
        first: :math:`u`, ``(K, B, C, S)``, overwritten with :math:`\delta'`.
        second: :math:`v`.
        result: :math:`t`, tangents of the gradient in ``x``, overwritten; may be ``second`` itself.
        delta: Gradient that arrives at the normalisation, behind the relu's mask, ``(B, C, S)``.
        x: ``(B, C, S)``.
        x_dot: ``(K, B, C, S)``.
        mean: ``(C,)``, like ``scale`` and ``gain`` as in :func:`affine_norm_tangent_`.
        scale: ``(C,)``.
        gain: ``(C,)``.
        weight_dot: ``(K, C)`` with contiguous rows.
        output: :math:`y`, ``(B, C, S)``; ``None`` where there is no relu.

    Returns:
        Tangents of the gradients in weight and bias, both ``(K, C)`` float64:
        :math:`\sum_{bs} \delta' (x - m_c) s_c + x' \delta s_c` and :math:`\sum_{bs} \delta'`.
    """
    return _C.affine_norm_gradient_tangent_(
        first, second, result, delta, x, x_dot, mean, scale, gain, weight_dot, output
    )


def pointwise_tangent_(kind: str, z: Tensor, dot: Tensor, out: Tensor) -> Tensor:
    r"""Tangents of an activation, :math:`f'(z) \dot z`, into ``out`` and return it.

    Args:
        kind: "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid" or "softplus" of torch.
        z: ``(R, C)``.
        dot: ``(K, R, C)``.
        out: ``(K, R, C)``, overwritten; may be ``dot`` itself.
    """
    return _C.pointwise_tangent_(kind, z, dot, out)


def pointwise_gradient_tangent_(
    kind: str,
    z: Tensor,
    delta: Tensor,
    z_dot: Tensor | None,
    delta_dot: Tensor | None,
    out: Tensor,
) -> Tensor:
    r"""Tangents of its backward pass, :math:`f''(z) \delta \dot z + f'(z) \dot\delta`.

    Args:
        kind: As in :func:`pointwise_tangent_`.
        z: ``(R, C)``.
        delta: Gradient that arrives, ``(R, C)``.
        z_dot: ``(K, R, C)``.
        delta_dot: ``(K, R, C)``; one of the two may be ``None``.
        out: ``(K, R, C)``, overwritten and returned; may be one of the two itself.
    """
    return _C.pointwise_gradient_tangent_(kind, z, delta, z_dot, delta_dot, out)


def pointwise_quadratic(kind: str, z: Tensor, adjoint: Tensor, z_dot: Tensor) -> Tensor:
    r""":math:`\sum_{rc} \lambda f''(z) \dot z^2`, ``(K,)`` float64, of ``z_dot`` ``(K, R, C)``."""
    return _C.pointwise_quadratic(kind, z, adjoint, z_dot)


def softmax_tangent_(p: Tensor, dot: Tensor, row_weight: Tensor, out: Tensor) -> Tensor:
    r"""Hessian of weighted cross-entropy times logit tangents, into ``out`` and return it.

    .. math:: t_{kr} = w_r (p_r \odot z'_{kr} - p_r (p_r \cdot z'_{kr}))

    ``p`` is ``(R, C)``, ``row_weight`` ``(R,)``, ``dot`` and ``out`` are ``(K, R, C)``, one or two.
    """
    return _C.softmax_tangent_(p, dot, row_weight, out)


def softmax_quadratic(p: Tensor, dot: Tensor, row_weight: Tensor) -> Tensor:
    r"""Its forms :math:`\sum_r w_r \mathrm{Var}_{p_r}(z'_{kr})`, ``(K,)`` float64."""
    return _C.softmax_quadratic(p, dot, row_weight)


def _position(seed: int, first_row: int, first_entry: int) -> tuple[int, int, int]:
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must lie in [0, 2**64), got {seed}")
    for name, value in (("first_row", first_row), ("first_entry", first_entry)):
        if not 0 <= value < 2**62:
            raise ValueError(f"{name} must lie in [0, 2**62), got {value}")
    return seed, first_row, first_entry
