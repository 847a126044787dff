"""The trace of the Hessian or of the Gauss-Newton matrix, to the error asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_switch
from landscape_fast.krylov.allocation import Drawn, Estimated, Part, require_bounds, sum_until
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.rules.precision import Precision, check_precision
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal
from landscape_fast.linearise.state import measurable
from landscape_fast.metrics.open_part import OpenPart
from landscape_fast.results import Trace

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

RTOL_OMITTED = 1e-4  # of `trace` and `diagonal`
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
    rtol_omitted: float = RTOL_OMITTED,
    process_group: ProcessGroup | None = None,
) -> Trace:
    r"""Trace of the Hessian of the dataset-level loss, with the error asked for.

    The Hessian is :math:`H = G + R`, G the Gauss-Newton matrix and R the curvature of the outputs.
    The trace of G is a sum of squared per-sample gradients, one for each direction in which a row's
    loss bends. The directions of large curvature are all taken. The others are drawn in proportion
    to their curvature until the standard error meets ``rtol`` or ``atol``, or all are taken where
    that is less work (``.sampled`` says which); ``rtol=0`` takes all.

    The block of R of a parameter has a zero diagonal if the outputs are piecewise linear in it:
    every parameter of a convolutional network with batch normalisation, relu, pooling and residual
    sums. ``.exact`` names these parameters. For the others the trace of R is estimated by sign
    vectors through few rows at a time, drawn in proportion to the slope of their loss. Draws go to
    G or to R, whichever lowers the error more for its price.

    If the loss cannot be cut into a network and a loss of its outputs, couples rows, or cannot be
    captured, all of H is estimated by sign vectors (Hutchinson), and ``.note`` says why.

    Differs from PyHessian in: no probes for piecewise linear networks; stops on a standard error,
    not when two running means happen to agree, and states that error. docs/trace.md has the
    variances, the prices, and when not to use it.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches. More and smaller batches give a smaller error per draw.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        rtol: Standard error wanted, relative to the trace; 0 for a sum over all directions.
        atol: Standard error wanted, absolute; the looser of both ends the run.
        params: Names or modules to restrict the Hessian to; None for all trainable parameters.
        seed: Chooses the draws and the probes.
        max_products: Bound on vectors through H or G over the whole data, for the estimated part.
        memory_budget: Bytes of data to keep in memory.
        precision: Of the estimated part's products, see :class:`HessianOperator`; recorded in the
            result. Squares are in the precision of the model.
        gauss_newton: Whether the trace of G alone is wanted.
        per_layer: Whether the trace of every parameter's block is wanted too, as
            ``.per_layer``; the error bound is on their sum.
        rtol_omitted: Where all directions are taken: the smallest ones, which sum to at most this
            share of all output curvature, are estimated by a few draws instead, whose standard
            error is in ``.stderr``; ``.omitted`` is their share. 0 takes these too.
        process_group: Processes of ``torch.distributed`` that each hold a share of the data.

    Returns:
        ``value``, ``stderr``, ``interval()``, ``converged``; ``gauss_newton`` and ``remainder``,
        the traces of G and R, with their ``..._stderr``; ``sampled``, ``cotangents``, ``exact``,
        ``omitted``, ``note``, and ``draws``.

    Raises:
        ValueError: See :class:`HessianOperator`; or an argument is out of range.

    References:
        Schraudolph (2002), doi:10.1162/08997660260028683. Hutchinson (1989),
        doi:10.1080/03610918908812806. Horvitz and Thompson (1952),
        doi:10.1080/01621459.1952.10483446. Neyman (1934), doi:10.2307/2342192.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> result = trace(model, data, criterion=torch.nn.MSELoss())
        >>> round(result.value, 5), result.stderr, result.exact
        (5.0, 0.0, ('weight',))
    """
    require_bounds(rtol, atol, max_products)
    require_switch(gauss_newton=gauss_newton, per_layer=per_layer)
    own = ParameterSpace(measurable(model), params)
    check_precision(precision, own.dtype, own.device)
    loss: dict[str, Any] = {"criterion": criterion, "loss_fn": loss_fn}
    known = GaussNewtonDiagonal(
        model,
        loader,
        **loss,
        params=params,
        memory_budget=memory_budget,
        rtol_omitted=rtol_omitted,
        rtol=rtol,
        seed=seed,
        process_group=process_group,
    )
    base = known.by_parameter(known.values)
    parts = [rest_of(known, seed)] if known.sampled else []
    fixed = [known.corrections] if len(known.corrections) else []
    open_part = OpenPart(
        model, known, gauss_newton, per_layer, loss, memory_budget, precision, seed, process_group
    )
    parts = [*parts, *open_part.parts]
    sure = float(base.sum()) + sum(float(drawn.sum(1).mean()) for drawn in fixed)
    drawn = Drawn([], converged=True, spent=[])
    if parts:
        drawn = sum_until(parts, sure, rtol=rtol, atol=atol, max_products=max_products)
    probed = drawn.draws[-1] if open_part.parts else None
    estimated = Estimated([*fixed, *drawn.draws])
    value = float(base.sum()) + estimated.value
    rest = Estimated([] if probed is None else [probed])
    stderr = math.sqrt(estimated.variance)
    split = known.note is None and not gauss_newton
    # Draws of the Gauss-Newton part are counted as cotangents.
    spent = drawn.spent[-1] if open_part.parts else 0.0
    return Trace(
        value=value,
        stderr=stderr,
        draws=value + estimated.dearest(),
        converged=drawn.converged and stderr <= max(max(rtol, rtol_omitted) * abs(value), atol),
        products=math.ceil(spent) + math.ceil(known.cotangents / max(1, known.samples)),
        samples=known.samples,
        freedom=estimated.freedom,
        precision=open_part.precision or str(own.dtype).removeprefix("torch."),
        gauss_newton=None if known.note else value - rest.value,
        gauss_newton_stderr=(
            None if known.note else math.sqrt(max(0.0, estimated.variance - rest.variance))
        ),
        remainder=rest.value if split else None,
        remainder_stderr=math.sqrt(rest.variance) if split else None,
        sampled=known.sampled,
        cotangents=known.cotangents,
        exact=tuple(name for name in known.space.names if name not in set(open_part.names)),
        omitted=known.omitted,
        rounding=(known.unseen + ROUNDING * torch.finfo(own.dtype).eps) * abs(value),
        note=known.note,
        layer_names=known.space.names if per_layer else (),
        layer_values=base + estimated.means if per_layer else None,
        layer_stderr=estimated.variances.sqrt() if per_layer else None,
    )


def rest_of(known: GaussNewtonDiagonal, seed: int) -> Part:
    """What was not summed of the Gauss-Newton part, by draws."""

    def part(count: int, large: bool) -> Part:
        def draw(first: int, more: int) -> Tensor:
            groups = range(first, first + more)
            return torch.stack(
                [known.by_parameter(known.rest(index, seed, large=large)) for index in groups]
            )

        # A product costs six forward passes, a cotangent with the primal pass of its row three.
        return Part(draw, count / (2 * known.samples))

    # A small draw costs hardly less time than a large one where operations are small.
    if known.large_group == known.group:
        return part(known.group, False)
    return replace(part(known.group, False), larger=part(known.large_group, True))
