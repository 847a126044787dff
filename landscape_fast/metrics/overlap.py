"""How the gradient lies to the top subspace of the Hessian, and how such subspaces move."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import Selection
from landscape_fast.results import Eigenpairs, GradientOverlap, SubspaceOverlap


def gradient_overlap(
    model: nn.Module,
    loader: Iterable[Any],
    top: int | Eigenpairs = 10,
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    tol: float = 1e-3,
    seed: int = 0,
) -> GradientOverlap:
    r"""Share of the gradient in the top subspace of the Hessian, and its cosine with H g.

    :math:`\lVert P g \rVert^2 / \lVert g \rVert^2` with P the projection on the eigenvectors of the
    k largest eigenvalues, and :math:`g^\top H g / (\lVert g \rVert \lVert H g \rVert)`. Of a random
    gradient the share would be about k / n. A gradient whose parts along eigenvectors with values
    i = 1, 2, ... are equal has the cosine :math:`\sqrt{3/4}`.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        top: k, often the number of classes; or eigenpairs of this model that are at hand.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules to restrict gradient and Hessian to.
        tol: Residual allowed for eigenpairs, relative to the largest eigenvalue.
        seed: Of the search for eigenpairs.

    Returns:
        Share and cosines; nan where the gradient is zero.

    Raises:
        ValueError: See :class:`HessianOperator`; or eigenpairs do not fit the parameters.
        NotConverged: The eigenpairs are not.

    References:
        Gur-Ari, Roberts and Dyer (2018), arXiv:1812.04754.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0]]))
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> found = gradient_overlap(model, data, 1, criterion=torch.nn.MSELoss())
        >>> round(found.share, 6), round(found.hessian_cosine, 6)
        (1.0, 1.0)
    """
    require_number(above=0, tol=tol)
    require_seed(seed)
    if not isinstance(top, Eigenpairs):
        require_whole(1, top=top)
    op = HessianOperator(model, loader, criterion=criterion, loss_fn=loss_fn, params=params)
    if not isinstance(top, Eigenpairs):
        top = extreme_eigenpairs(op, top, tol=tol, seed=seed)
    vectors = top.require().vectors.double()
    if vectors.shape[1] != op.shape[0]:
        raise ValueError(
            f"top has eigenvectors of {vectors.shape[1]} entries for {op.shape[0]} parameters"
        )
    loss, gradient = op.loss_and_gradient()
    product = op(gradient[None])[0].double()
    gradient = gradient.double()
    size = float(gradient.norm())
    cosines = (vectors @ gradient / size if size > 0 else vectors @ gradient * math.nan).abs()
    scale = size * float(product.norm())
    return GradientOverlap(
        share=float(cosines.square().sum()),
        cosines=cosines.cpu(),
        hessian_cosine=float(gradient @ product) / scale if scale > 0 else math.nan,
        gradient_norm=size,
        loss=loss,
        samples=op.samples,
    )


def subspace_overlap(one: Eigenpairs | Tensor, other: Eigenpairs | Tensor) -> SubspaceOverlap:
    r"""Overlap of two subspaces, :math:`\tfrac1k \operatorname{tr} P P'`.

    Of the top subspaces at two times of a training run, say. The mean of the squared cosines of
    their principal angles: 1 where they are the same, k / n on average for random ones.

    Args:
        one: Eigenpairs, or vectors (k, n) that span the subspace, orthonormal or not.
        other: The other subspace, (k, n).

    Returns:
        The overlap, the cosines behind it, and what random subspaces have.

    Raises:
        ValueError: Shapes differ, or vectors are dependent.

    References:
        Gur-Ari, Roberts and Dyer (2018), arXiv:1812.04754.

    Example:
        >>> import torch
        >>> subspace_overlap(torch.eye(3)[:2], torch.eye(3)[1:]).value
        0.5
    """
    frames = []
    for name, given in (("one", one), ("other", other)):
        if not isinstance(given, Tensor | Eigenpairs):
            raise TypeError(f"{name} must be Eigenpairs or a tensor, got {type(given).__name__}")
        vectors = (given if isinstance(given, Tensor) else given.vectors).detach().cpu().double()
        if vectors.dim() != 2 or not len(vectors):
            raise ValueError(f"{name} must hold vectors (k, n), got shape {tuple(vectors.shape)}")
        frame, triangle = torch.linalg.qr(vectors.T)
        lengths = vectors.norm(dim=1)
        if not (triangle.diagonal().abs() > 1e-6 * lengths).all():
            raise ValueError(f"{name} holds vectors that depend on each other")
        frames.append(frame)
    if frames[0].shape != frames[1].shape:
        raise ValueError(
            f"one and other must have one shape, got {tuple(frames[0].T.shape)} and "
            f"{tuple(frames[1].T.shape)}"
        )
    n, k = frames[0].shape
    cosines = torch.linalg.svdvals(frames[0].T @ frames[1]).clamp(max=1.0)
    return SubspaceOverlap(value=float(cosines.square().mean()), cosines=cosines, expected=k / n)
