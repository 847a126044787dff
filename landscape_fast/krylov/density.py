"""The spectrum as a measure: stochastic Lanczos quadrature."""

from __future__ import annotations

import torch

from landscape_fast import _native
from landscape_fast.krylov.lanczos import tridiagonalise
from landscape_fast.krylov.operator import SymmetricOperator
from landscape_fast.results import SpectralDensity


def lanczos_quadrature(
    op: SymmetricOperator, *, starts: int = 10, steps: int = 80, seed: int = 0
) -> SpectralDensity:
    r"""Estimate the spectral measure of A from Ritz values of random starts.

    From a random sign vector z, m Lanczos steps give nodes :math:`\theta_j` and weights
    :math:`w_j` with :math:`z^\top f(A) z / n \approx \sum_j w_j f(\theta_j)`, exact for
    polynomials of degree 2m - 1; the mean over starts estimates :math:`\operatorname{tr} f(A)/n`.

    Args:
        op: Symmetric operator on vectors of length n.
        starts: r, independent starts: the error of the mean falls as ``1/sqrt(starts)``.
        steps: m, depth of each; more steps resolve more of the spectrum's edges. Cut at n.
        seed: Chooses the starts.

    Returns:
        Nodes and weights (r, m). After a breakdown unused entries repeat the start's last node with
        weight zero.

    Raises:
        ValueError: ``starts`` or ``steps`` is below 1.

    References:
        Ubaru, Chen and Saad (2017), doi:10.1137/16M1104974.
        Ghorbani, Krishnan and Xiao (2019), arXiv:1901.10159.

    Example:
        >>> from landscape_fast.krylov.operator import DenseOperator
        >>> density = lanczos_quadrature(DenseOperator(torch.eye(4)), starts=1, steps=3)
        >>> density.nodes, density.weights
        (tensor([[1., 1., 1.]], dtype=torch.float64), tensor([[1., 0., 0.]], dtype=torch.float64))
    """
    if starts < 1 or steps < 1:
        raise ValueError(f"starts and steps must be at least 1, got {starts} and {steps}")
    n = op.shape[0]
    steps = min(steps, n)
    signs = torch.empty(starts, n, dtype=op.dtype, device=op.device)
    _native.signs_(signs, seed)
    lanczos = tridiagonalise(op, signs, steps)
    nodes = torch.empty(starts, steps, dtype=torch.float64)
    weights = torch.zeros(starts, steps, dtype=torch.float64)
    for start, depth in enumerate(lanczos.depth.tolist()):
        off = lanczos.offdiagonal[start, : depth - 1]
        t = torch.diag(lanczos.diagonal[start, :depth]) + torch.diag(off, 1) + torch.diag(off, -1)
        theta, y = torch.linalg.eigh(t)
        nodes[start, :depth], nodes[start, depth:] = theta, theta[-1]
        weights[start, :depth] = y[0].square()
    return SpectralDensity(
        nodes=nodes,
        weights=weights / weights.sum(1, keepdim=True),
        dimension=n,
        products=int(lanczos.depth.sum()),
        samples=op.samples,
    )
