"""Excess of positive curvature over the scale of the weights, and in random planes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.state import measurable
from landscape_fast.local_geometry.planes import orthonormal_rows
from landscape_fast.metrics.frobenius import frobenius_norm
from landscape_fast.metrics.placed import placed
from landscape_fast.metrics.quality import quality
from landscape_fast.metrics.trace import trace
from landscape_fast.results import GoldilocksZone, PlaneCurvature


def goldilocks_zone(
    model: nn.Module,
    loader: Iterable[Any],
    scales: Sequence[float],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    rtol: float = 0.05,
    params: Selection = None,
    seed: int = 0,
    max_products: int = 1000,
    memory_budget: int | None = None,
) -> GoldilocksZone:
    r"""Excess :math:`\operatorname{tr} H / \lVert H \rVert_F` with all weights times a scale.

    The excess is :math:`\sqrt n` if all eigenvalues are one positive number, and 0 if positive and
    negative ones balance. Fort and Scherlis find a shell of weights around the usual initial
    length where it is large, and where training in random planes works.

    Args:
        model: Any module, initialised as usual as a rule; left untouched.
        loader: Iterable of batches.
        scales: Factors of the selected weights, positive.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        rtol: Standard error wanted of the trace and of the norm, relative to each; of a trace also
            relative to the norm, where positive and negative curvature cancel.
        params: Names or modules that are scaled, and that the Hessian is of; None for all.
        seed: Chooses the draws.
        max_products: Bound on products for each trace and for each norm.
        memory_budget: Bytes of data to keep in memory.

    Returns:
        Traces, norms, losses, and from them ``excess``, ``stderr``, ``peak`` and ``in_plane(d)``.

    Raises:
        ValueError: A scale is not positive; ``loss_fn`` uses another model than its argument; or as
            :func:`~landscape_fast.metrics.trace.trace`.

    References:
        Fort and Scherlis (2019), arXiv:1807.02581. Fort and Ganguli (2019), arXiv:1910.05929.

    Example:
        The Hessian of this loss is diagonal with entries 4 and 3, wherever the weights are:

        >>> model = nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 3.0**0.5]]), torch.zeros(2, 1))]
        >>> found = goldilocks_zone(model, data, [0.1, 1.0], criterion=nn.MSELoss())
        >>> found.excess.round(decimals=4)
        tensor([1.4000, 1.4000], dtype=torch.float64)
    """
    if not isinstance(scales, Iterable):
        raise TypeError(f"scales must be a sequence of numbers, got {type(scales).__name__}")
    scales = scales.tolist() if isinstance(scales, Tensor) else list(scales)
    if not len(scales):
        raise ValueError("scales is empty")
    for scale in scales:
        require_number(above=0, scales=scale)
    require_seed(seed)
    scales = tuple(float(scale) for scale in scales)
    network, batches, _ = placed(model, loader, criterion, loss_fn, params, memory_budget)
    data = list(batches) if batches.resident else loader
    loss: dict[str, Any] = {"criterion": criterion, "loss_fn": loss_fn}
    options: dict[str, Any] = {
        "params": network.space.names,
        "max_products": max_products,
        "memory_budget": memory_budget,
        **loss,
    }
    columns: list[tuple[float, ...]] = []
    for scale in scales:
        network.place(scale * network.origin)
        norm = frobenius_norm(network.model, data, rtol=rtol, seed=seed + 1, **options)
        of_norm = rtol * norm.value
        found = trace(network.model, data, rtol=rtol, atol=of_norm, seed=seed, **options)
        own = quality(network.model, data, **loss).loss
        converged = float(norm.converged and found.converged)
        columns.append((found.value, found.stderr, norm.value, norm.stderr, own, converged))
    traces, trace_stderr, norms, norm_stderr, losses, done = torch.tensor(
        columns, dtype=torch.float64
    ).T
    return GoldilocksZone(
        scales=scales,
        traces=traces,
        trace_stderr=trace_stderr,
        norms=norms,
        norm_stderr=norm_stderr,
        losses=losses,
        converged=done > 0,
        dimension=network.space.size,
        radius=float(network.origin.double().norm()),
        samples=batches.samples,
    )


def plane_curvature(
    model: nn.Module,
    loader: Iterable[Any],
    dimension: int,
    *,
    planes: int = 1,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> PlaneCurvature:
    r"""Eigenvalues of :math:`M^\top H M` in random planes, M with d orthonormal columns.

    A product with the Hessian for each dimension of each plane, and nothing estimated.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        dimension: d, at most the number of parameters.
        planes: How many random planes.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules to restrict the Hessian to; None for all trainable parameters.
        seed: Chooses the planes.
        memory_budget: Bytes of data to keep in memory.

    Returns:
        ``values`` (planes, d), and from them ``excess`` and ``positive`` of every plane.

    Raises:
        ValueError: See :class:`HessianOperator`; or ``dimension`` or ``planes`` is out of range.

    References:
        Fort and Scherlis (2019), arXiv:1807.02581.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> data = [(2.0**0.5 * torch.eye(2), torch.zeros(2, 1))]
        >>> found = plane_curvature(model, data, 1, planes=3, criterion=nn.MSELoss())
        >>> found.values.flatten().round(decimals=4), found.positive.tolist()
        (tensor([2., 2., 2.], dtype=torch.float64), [1.0, 1.0, 1.0])
    """
    size = ParameterSpace(measurable(model), params).size
    require_whole(1, most=size, dimension=dimension)
    require_whole(1, planes=planes)
    require_seed(seed)
    op = HessianOperator(
        model,
        loader,
        criterion=criterion,
        loss_fn=loss_fn,
        params=params,
        memory_budget=memory_budget,
    )
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(planes):
        rows = orthonormal_rows(dimension, size, generator)
        products = op(rows.to(op.device, op.dtype)).double().cpu()
        inside = products @ rows.T
        values.append(torch.linalg.eigvalsh((inside + inside.T) / 2).flip(0))
    return PlaneCurvature(
        values=torch.stack(values),
        dimension=size,
        products=planes * dimension,
        samples=op.samples,
    )
