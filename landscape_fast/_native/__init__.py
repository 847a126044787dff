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

The operations are in files by kind; this one builds the door and says what holds for all of them.
"""

from __future__ import annotations

import torch  # noqa: F401  # first, so that its OpenMP runtime is the one that _C is bound to

try:
    from landscape_fast import _C
except ImportError as error:
    error.add_note(
        "The native extension of landscape_fast is not built; run `pip install .` "
        "(or `pip install --no-build-isolation -e .`) in its source folder."
    )
    raise

from landscape_fast._native.affine_norm import (
    affine_norm_gradient_tangent_,
    affine_norm_tangent_,
)
from landscape_fast._native.batch_norm import (
    batch_norm_gradient_tangent_,
    batch_norm_quadratic,
    batch_norm_tangent_,
)
from landscape_fast._native.blocks import (
    block_dots,
    block_update_,
    orthogonalise_,
    row_dots,
)
from landscape_fast._native.layer_norm import (
    layer_norm_gradient_tangent_,
    layer_norm_quadratic,
    layer_norm_tangent_,
)
from landscape_fast._native.pointwise import (
    pointwise_gradient_tangent_,
    pointwise_quadratic,
    pointwise_tangent_,
)
from landscape_fast._native.probes import normals_, signs_
from landscape_fast._native.softmax import softmax_quadratic, softmax_tangent_
from landscape_fast._native.squares import affine_norm_squares_, filter_squares, square_sums

__all__ = [
    "affine_norm_gradient_tangent_",
    "affine_norm_squares_",
    "affine_norm_tangent_",
    "batch_norm_gradient_tangent_",
    "batch_norm_quadratic",
    "batch_norm_tangent_",
    "block_dots",
    "block_update_",
    "filter_squares",
    "has_cuda",
    "layer_norm_gradient_tangent_",
    "layer_norm_quadratic",
    "layer_norm_tangent_",
    "normals_",
    "orthogonalise_",
    "pointwise_gradient_tangent_",
    "pointwise_quadratic",
    "pointwise_tangent_",
    "row_dots",
    "signs_",
    "softmax_quadratic",
    "softmax_tangent_",
    "square_sums",
]


def has_cuda() -> bool:
    """Whether the extension was built with CUDA kernels."""
    return _C.has_cuda()
