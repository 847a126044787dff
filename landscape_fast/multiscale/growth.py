"""The rise of the loss over many decades of distance from a model."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.state import evaluation, measurable, unwrap
from landscape_fast.linearise.structure import map_tensors
from landscape_fast.metrics.networks import matched_parameters
from landscape_fast.metrics.placed import PlacedNetwork
from landscape_fast.results import Eigenpairs, Growth
from landscape_fast.surfaces.directions import Directions, random_directions
from landscape_fast.surfaces.evaluation import LossAt

_JITTERS = 8  # places within rounding of the model, whose losses show what rounding does

Way = nn.Module | Tensor
Ways = Directions | Eigenpairs | int | Way | Sequence[Way]


def loss_growth(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    directions: Ways = 4,
    span: tuple[float, float] = (1e-5, 10.0),
    per_decade: int = 8,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    seed: int = 0,
    points_at_once: int = 8,
    memory_budget: int | None = None,
) -> Growth:
    r"""Rise of the loss along straight lines from a model, at radii spaced evenly in logarithm.

    :math:`\ell(r) = L(\theta \pm r v) - L(\theta)` for unit vectors v, both signs, in float64
    whatever the precision of the model: a copy is measured, in evaluation mode. What the growth is
    like is read off the result: exponents with errors, the radius up to which the second-order
    expansion holds, plateaus of effective curvature. The mean of both signs has no part of the
    slope, so the model need not be exactly at a minimum; ``slopes`` says how far it is from one.

    Args:
        model: Any module; left untouched.
        loader: Iterable of batches; held in memory in float64.
        directions: Eigenpairs, whose vectors are taken; models, towards each of which a line goes,
            as the earlier ones of a run; directions of ``surfaces.directions``; tensors (n,), as
            the last move of a run, or one (d, n); or a number d of random ones. All are made unit
            vectors.
        span: Lowest and highest radius, as l2 distance in weights.
        per_decade: Radii in a factor of ten.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``; called with a copy
            in float64, and batches in float64.
        params: Names or modules that directions are of; None for all trainable parameters.
        seed: Chooses random directions.
        points_at_once: Points that one pass over the data serves; that many copies of the
            parameters are held.
        memory_budget: Bytes of data to keep in memory while they are read.

    Returns:
        ``radii`` (m,), ``sides`` (d, 2, m), and ``slopes`` and ``curvatures`` (d,) along the
        directions by derivatives. ``floor`` is measured: the spread of the loss within rounding of
        the model.

    Raises:
        ValueError: An argument is out of range; a direction is zero, not finite or does not fit the
            parameters; the loader is empty or holds no valid target.
        TypeError: ``directions`` is of another kind.

    References:
        Ma, Kunin, Wu and Ying (2022), doi:10.4208/jml.220404, arXiv:2204.11326, who find growth
        slower than quadratic. How it is measured here is this package's own.

    Example:
        A loss of exponent 4 away from zero weights:

        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.zero_()
        >>> data = [(torch.ones(1, 1), torch.zeros(1, 1))]
        >>> loss = lambda outputs, targets: (outputs - targets).pow(4).mean()
        >>> found = loss_growth(model, data, directions=1, criterion=loss)
        >>> round(found.exponent().exponent, 6)
        4.0
    """
    low, high = _ends(span)
    require_whole(1, per_decade=per_decade, points_at_once=points_at_once)
    require_seed(seed)
    model = measurable(model)
    criterion = _doubled(criterion)
    objective = Objective(criterion, loss_fn)
    with evaluation(model):
        placed = PlacedNetwork(model, params)
        names = placed.space.names
        vectors = _unit_vectors(directions, model, names, seed)
        network = placed.model.double()
        space = ParameterSpace(network, names)
        read = Batches(loader, device=space.device, memory_budget=memory_budget)
        data = [map_tensors(_as_double, batch) for batch in read]
        samples = read.samples
        del read
        placed.require_moved_by(objective, data[0])
        op = HessianOperator(network, data, criterion=criterion, loss_fn=loss_fn, params=names)
        slopes = vectors @ op.loss_and_gradient()[1]
        curvatures = op.quadratic(vectors)
        del op
        count = round(math.log10(high / low) * per_decade) + 1
        radii = torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)
        with torch.no_grad():
            batches = Batches(data, device=space.device)
            origin = space.flatten([tensor.detach() for tensor in space.tensors])
            far = origin + high * vectors[0]
            loss_at = LossAt(network, space, batches, objective, far=far, recalibrated=False)
            (base,) = loss_at(origin[None])
            spread = torch.tensor(_values(loss_at, _jittered(origin), points_at_once)) - base
            lines = _along(origin, vectors, radii.to(origin))
            values = torch.tensor(_values(loss_at, lines, points_at_once), dtype=torch.float64)
    eps = torch.finfo(torch.float64).eps
    return Growth(
        radii=radii,
        sides=(values - base).reshape(len(vectors), 2, count),
        slopes=slopes.double().cpu(),
        curvatures=curvatures.double().cpu(),
        loss=base,
        floor=float(spread.square().mean().sqrt()) + eps * abs(base),
        samples=samples,
        note=loss_at.note,
    )


def _ends(span: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(span, Sequence) or isinstance(span, str) or len(span) != 2:
        raise TypeError(f"span must be two radii (low, high), got {span!r}")
    low, high = span
    require_number(above=0, **{"low end of span": low, "high end of span": high})
    if not low < high:
        raise ValueError(f"span must be (low, high) with low < high, got {span}")
    return low, high


def _unit_vectors(ways: Ways, model: nn.Module, names: tuple[str, ...], seed: int) -> Tensor:
    """Directions (d, n) of norm 1 in float64."""
    if isinstance(ways, int):
        ways = random_directions(model, ways, normalise="unit", params=names, seed=seed)
    if isinstance(ways, Directions | Eigenpairs):
        ways = ways.vectors
    if isinstance(ways, Tensor):
        ways = list(torch.atleast_2d(ways))
    space = ParameterSpace(model, names)
    rows = [_vector(way, model, space) for way in (ways if isinstance(ways, Sequence) else [ways])]
    if not rows:
        raise ValueError("directions is empty")
    vectors = torch.stack(rows)
    norms = vectors.norm(dim=1, keepdim=True)
    for index, norm in enumerate(norms[:, 0].tolist()):
        if not 0 < norm < math.inf:
            raise ValueError(f"direction {index} has norm {norm}: it must be positive and finite")
    return vectors / norms


def _vector(way: Way, model: nn.Module, space: ParameterSpace) -> Tensor:
    """One direction (n,) in float64, of any length."""
    if isinstance(way, nn.Module):
        _, tensors = matched_parameters(model, unwrap(way), space.names)
        pairs = zip(tensors, space.tensors, strict=True)
        moves = [b.detach().double() - a.detach().double() for b, a in pairs]
        return torch.cat([move.reshape(-1) for move in moves])
    if not isinstance(way, Tensor):
        raise TypeError(
            "directions must be Directions, Eigenpairs, models, tensors or a number, got "
            f"{type(way).__name__}"
        )
    if way.shape != (space.size,):
        raise ValueError(
            f"a direction has shape {tuple(way.shape)}, but {space.size} parameters are selected"
        )
    return way.detach().to(space.device, torch.float64)


def _along(origin: Tensor, vectors: Tensor, radii: Tensor) -> Iterator[Tensor]:
    """Points of every line: plus r v for all radii, then minus."""
    for vector in vectors:
        for sign in (1.0, -1.0):
            for radius in radii:
                yield origin + sign * radius * vector


def _jittered(origin: Tensor) -> Iterator[Tensor]:
    """Points within a few roundings of ``origin``."""
    size = 4 * torch.finfo(origin.dtype).eps
    for seed in range(_JITTERS):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(origin.shape, generator=generator, dtype=origin.dtype)
        yield origin * (1 + size * noise.to(origin))


def _values(loss_at: LossAt, points: Iterator[Tensor], at_once: int) -> list[float]:
    found: list[float] = []
    while block := list(itertools.islice(points, at_once)):
        found += loss_at(torch.stack(block))
    return found


def _doubled(criterion: Criterion | None) -> Criterion | None:
    """A criterion whose weights, if it has any, are in float64."""
    return copy.deepcopy(criterion).double() if isinstance(criterion, nn.Module) else criterion


def _as_double(leaf: Tensor) -> Tensor:
    return leaf.double() if leaf.is_floating_point() else leaf
