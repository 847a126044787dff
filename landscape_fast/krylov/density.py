"""The spectrum as a measure: stochastic Lanczos quadrature."""

from __future__ import annotations

from typing import Any

import torch

from landscape_fast import _native
from landscape_fast.arguments import require_seed, require_whole, require_whole_or_none
from landscape_fast.krylov.adapter import as_operator
from landscape_fast.krylov.basis import NEGLIGIBLE
from landscape_fast.krylov.lanczos import Tridiagonal, tridiagonalise
from landscape_fast.results import SpectralDensity

BASES_BYTES = 2**29  # of the bases of the starts that run together, unless the caller says how many


def lanczos_quadrature(
    op: Any,
    *,
    starts: int = 10,
    steps: int = 80,
    seed: int = 0,
    block: int | None = None,
) -> SpectralDensity:
    r"""Estimate the spectral measure of A from Ritz values of random starts.

    From a random sign vector z, m Lanczos steps give nodes :math:`\theta_j` and weights
    :math:`w_j` with :math:`z^\top f(A) z / n \approx \sum_j w_j f(\theta_j)`, exact for
    polynomials of degree 2m - 1; the mean over starts estimates :math:`\operatorname{tr} f(A)/n`.

    Args:
        op: Symmetric operator on vectors of length n, or what
            :func:`~landscape_fast.krylov.adapter.as_operator` takes.
        starts: r, independent starts: the error of the mean falls as ``1/sqrt(starts)``.
        steps: m, depth of each; more steps resolve more of the spectrum's edges. Cut at n.
        seed: Chooses the starts; start i depends on ``(seed, i)`` alone.
        block: Starts that run together, their products as one block, then the next ones. Memory is
            ``block * steps * n`` elements. None for as many as keep that below 512 MiB. Changes no
            bit of the answer but what the operator rounds otherwise in a block of another size.

    Returns:
        Nodes and weights (r, m). After a breakdown unused entries repeat the start's last node with
        weight zero.

    Raises:
        ValueError: ``starts``, ``steps`` or ``block`` is below 1.

    References:
        Ubaru, Chen and Saad (2017), doi:10.1137/16M1104974.
        Ghorbani, Krishnan and Xiao (2019), arXiv:1901.10159.

    Example:
        >>> from landscape_fast.krylov.operator import DenseOperator
        >>> density = lanczos_quadrature(DenseOperator(torch.eye(4)), starts=1, steps=3)
        >>> density.nodes, density.weights
        (tensor([[1., 1., 1.]], dtype=torch.float64), tensor([[1., 0., 0.]], dtype=torch.float64))
    """
    require_quadrature(starts, steps, seed, block)
    op = as_operator(op)
    n = op.shape[0]
    steps = min(steps, n)
    if block is None:
        block = max(1, BASES_BYTES // (steps * n * op.dtype.itemsize))
    parts = []
    for first in range(0, starts, block):
        signs = torch.empty(min(block, starts - first), n, dtype=op.dtype, device=op.device)
        parts.append(tridiagonalise(op, _native.signs_(signs, seed, first_row=first), steps))
    lanczos = Tridiagonal.joined(parts)
    nodes = torch.empty(starts, steps, dtype=torch.float64)
    weights, residuals = torch.zeros(2, starts, steps, dtype=torch.float64)
    for start, depth in enumerate(lanczos.depth.tolist()):
        off = lanczos.offdiagonal[start, : depth - 1]
        t = torch.diag(lanczos.diagonal[start, :depth]) + torch.diag(off, 1) + torch.diag(off, -1)
        theta, y = torch.linalg.eigh(t)
        nodes[start, :depth], nodes[start, depth:] = theta, theta[-1]
        weights[start, :depth] = y[0].square()
        residuals[start, :depth] = lanczos.residual[start] * y[-1].abs()
    return SpectralDensity(
        nodes=nodes,
        weights=weights / weights.sum(1, keepdim=True),
        dimension=n,
        products=int(lanczos.depth.sum()),
        samples=op.samples,
        residuals=residuals,
        rounding=NEGLIGIBLE * torch.finfo(op.dtype).eps * lanczos.scale,
    )


def require_quadrature(starts: int, steps: int, seed: int, block: int | None) -> None:
    """Check what :func:`lanczos_quadrature` takes besides the operator.

    Raises:
        ValueError: An argument is out of range.
        TypeError: It is no number.
    """
    require_whole(1, starts=starts, steps=steps)
    require_whole_or_none(1, block=block)
    require_seed(seed)
