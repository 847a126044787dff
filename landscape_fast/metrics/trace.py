"""The trace of the Hessian or of the Gauss-Newton matrix: exact where it can be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.krylov.trace import mean_until, require_bounds
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.rules.precision import Precision, check_precision
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal
from landscape_fast.linearise.state import unwrap
from landscape_fast.metrics.probes import Probes
from landscape_fast.results import Trace

ROUNDING = 16  # machine epsilons of the model that a sum of its squares may be off by


def trace(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    rtol: float = 0.01,
    atol: float = 0.0,
    params: Selection = None,
    seed: int = 0,
    max_products: int = 1000,
    memory_budget: int | None = None,
    precision: Precision = "float32",
    gauss_newton: bool = False,
    per_layer: bool = False,
    rtol_omitted: float = 1e-7,
) -> Trace:
    r"""Trace of the Hessian of the dataset-level loss, exact where it can be.

    The Hessian is :math:`H = G + R`, G the Gauss-Newton matrix and R the curvature of the outputs.
    The trace of G is a sum of squared per-sample gradients, with no randomness. The block of R of a
    parameter has a zero diagonal if the outputs are piecewise linear in it: every parameter of a
    convolutional network with batch normalisation, relu, pooling and residual sums. ``.exact``
    names these parameters; their part has no standard error. For the others, sign vectors estimate
    the trace of R: each draw is one pass with fresh signs for every batch (Hutchinson), through
    H and through G. Draws are made until the standard error meets ``rtol`` or ``atol``.

    If the loss cannot be cut into a network and a loss of its outputs, couples rows, or cannot be
    captured, all of H is estimated by sign vectors, and ``.note`` says why.

    Differs from PyHessian in: exact for piecewise linear networks; else stops on a standard error,
    not when two running means happen to agree, and states that error; fresh probes per batch.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches. More and smaller batches give a smaller error per draw.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        rtol: Standard error wanted, relative to the trace.
        atol: Standard error wanted, absolute; the looser of both ends the run.
        params: Names or modules to restrict the Hessian to; None for all trainable parameters.
        seed: Chooses the probes.
        max_products: Bound on vectors through H or G over the whole data, for the estimated part.
        memory_budget: Bytes of data to keep in memory.
        precision: Of the estimated part's products, see :class:`HessianOperator`; recorded in the
            result. Squares are in the precision of the model.
        gauss_newton: Whether the trace of G alone is wanted.
        per_layer: Whether the trace of every parameter's block is wanted too, as
            ``.per_layer``; the error bound is on their sum.
        rtol_omitted: Directions of the outputs whose curvature sums to at most this share of all
            output curvature are left out; ``.omitted`` is the share that was. 0 leaves out none.

    Returns:
        ``value``, ``stderr``, ``interval()``, ``converged``; ``gauss_newton`` and ``remainder``,
        the traces of G and R; ``exact``, ``omitted``, ``note``, and the single ``draws``.

    Raises:
        ValueError: See :class:`HessianOperator`; or an argument is out of range.

    References:
        Schraudolph (2002), doi:10.1162/08997660260028683. Hutchinson (1989),
        doi:10.1080/03610918908812806.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> result = trace(model, data, criterion=torch.nn.MSELoss())
        >>> round(result.value, 5), result.stderr, result.exact
        (5.0, 0.0, ('weight',))
    """
    require_bounds(rtol, atol, max_products)
    own = ParameterSpace(unwrap(model), params)
    check_precision(precision, own.dtype, own.device)
    loss: dict[str, Any] = {"criterion": criterion, "loss_fn": loss_fn}
    known = GaussNewtonDiagonal(
        model,
        loader,
        **loss,
        params=params,
        memory_budget=memory_budget,
        rtol_omitted=rtol_omitted,
    )
    probes = Probes(
        model, known, gauss_newton, **loss, memory_budget=memory_budget, precision=precision
    )
    base = float(known.values.sum())
    layers: list[Tensor] = []

    def draw(first: int, count: int) -> Tensor:
        if not per_layer:
            return base + probes.forms(first, count, seed)
        layers.append(known.by_parameter(probes.entries(first, count, seed)))
        return base + layers[-1].sum(1)

    if probes.names:
        found = mean_until(
            draw,
            rtol=rtol,
            atol=atol,
            block=8,
            max_products=max(2, max_products // probes.price),
            samples=known.samples,
        )
    else:
        found = Trace(
            value=base,
            stderr=0.0,
            draws=torch.tensor([base], dtype=torch.float64),
            converged=True,
            products=0,
            samples=known.samples,
        )
    parts = known.by_parameter(known.values)
    errors = torch.zeros_like(parts)
    if layers:
        drawn = torch.cat(layers)
        parts = parts + drawn.mean(0)
        errors = drawn.std(0) / math.sqrt(len(drawn))
    return replace(
        found,
        products=found.products * max(1, probes.price) + math.ceil(known.passes),
        precision=probes.precision or str(own.dtype).removeprefix("torch."),
        gauss_newton=None if known.note else base,
        remainder=None if known.note or gauss_newton else found.value - base,
        exact=tuple(name for name in known.space.names if name not in set(probes.names)),
        omitted=known.omitted,
        rounding=(known.omitted + ROUNDING * torch.finfo(own.dtype).eps) * abs(base),
        note=known.note,
        layer_names=known.space.names if per_layer else (),
        layer_values=parts if per_layer else None,
        layer_stderr=errors if per_layer else None,
    )
