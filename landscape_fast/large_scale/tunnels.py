"""Radial tunnels: the loss along the ray through a model, and across it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape_fast.arguments import (
    require_choice,
    require_number,
    require_seed,
    require_whole,
)
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.state import evaluation, measurable
from landscape_fast.metrics.networks import device_of
from landscape_fast.randomness import kept_random_states
from landscape_fast.results import RadialTunnel, TunnelTrend
from landscape_fast.surfaces.directions import Directions, Normalisation, random_directions
from landscape_fast.surfaces.evaluation import LossAt
from landscape_fast.surfaces.surface import AT_ONCE


def radial_tunnel(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    threshold: float | None = None,
    directions: Directions | Tensor | int = 20,
    normalise: Normalisation = "unit",
    path: Literal["sphere", "line"] = "sphere",
    largest: float = 1.5,
    steps: int = 31,
    radial_steps: int = 41,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    batchnorm: Literal["eval", "recalibrate"] = "eval",
    seed: int = 0,
    points_at_once: int = AT_ONCE,
) -> RadialTunnel:
    r"""Loss along the ray from the origin through a model, and across it, with an angular width.

    Across, for directions v made orthogonal to the parameters P and of norm 1, the loss at
    :math:`\lVert P \rVert (\cos \varphi \, \hat P + \sin \varphi \, \hat v)`. The width of a
    direction is the smallest angle at which the loss passes ``threshold``, between grid points by
    linear interpolation. Along, the loss at :math:`\alpha P` for :math:`\alpha` from 0 to 2.

    Layers before a normalisation do not see the norm of their weights: along the ray such a network
    says little, and with ``batchnorm="eval"`` its statistics are wrong there.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        threshold: Loss that counts as leaving the tunnel. None: half of the loss of chance,
            :math:`\tfrac12 \log C` for C classes, which needs cross-entropy. The paper's choice is
            not known to us; a multiple of the model's own loss is another one.
        directions: How many random Gaussian ones, or given: a tensor (r, n), or from this package's
            ``surfaces.directions``.
        normalise: Of random directions, before they are made orthogonal: ``"unit"`` is isotropic;
            ``"filter"`` and ``"layer"`` as for ``random_directions``.
        path: ``"sphere"``, or ``"line"``: :math:`P + \lVert P \rVert \tan \varphi \, \hat v`.
        largest: Largest angle in radians, below pi / 2 on a line.
        steps: Angles, 0 included.
        radial_steps: Values of :math:`\alpha` from 0 to 2, an odd number, so that 1 is among them.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules that P is of; None for all trainable parameters.
        batchnorm: Running statistics at a point, as for :func:`landscape_fast.loss_surface`.
        seed: Chooses random directions.
        points_at_once: Points that one pass over the data serves.

    Returns:
        The mean width with its standard error over directions, all profiles, and the threshold. A
        direction that never passes it has width infinity, and so has the mean; a loss that is not
        finite is above it; a model above it has width 0.

    Raises:
        ValueError: An argument is out of range or not known; directions do not fit the parameters;
            all parameters are zero; the loader is empty; ``threshold`` is None for another loss.
        TypeError: ``directions`` is of another kind.

    References:
        Fort and Jastrzebski (2019), arXiv:1906.04724.

    Example:
        A bowl around P = (3, 0): across, its loss is 18 (1 - cos phi).

        >>> model = nn.Linear(2, 1, bias=False).double()
        >>> _ = model.weight.data.copy_(torch.tensor([[3.0, 0.0]]))
        >>> x = torch.eye(2).double() * 2**0.5
        >>> data = [(x, x[:, :1] * 3.0)]
        >>> found = radial_tunnel(
        ...     model, data, criterion=nn.MSELoss(), threshold=9.0, directions=2, steps=301)
        >>> abs(found.width - math.acos(0.5)) < 1e-4
        True
    """
    require_whole(2, steps=steps)
    require_whole(3, radial_steps=radial_steps)
    require_whole(1, points_at_once=points_at_once)
    if radial_steps % 2 == 0:
        raise ValueError(f"radial_steps must be odd, to hold the model, got {radial_steps}")
    require_choice(("sphere", "line"), path=path)
    require_choice(("eval", "recalibrate"), batchnorm=batchnorm)
    require_number(above=0, most=math.pi if path == "sphere" else 1.57, largest=largest)
    require_seed(seed)
    if threshold is not None:
        require_number(threshold=threshold)
    model, objective = measurable(model), Objective(criterion, loss_fn)
    space = ParameterSpace(model, params)
    if isinstance(directions, Integral):
        require_whole(1, directions=directions)
        directions = random_directions(
            model, int(directions), normalise=normalise, params=params, seed=seed
        )
    if not isinstance(directions, Directions | Tensor):
        raise TypeError(
            "directions must be Directions, a tensor (r, n) or a number, got "
            f"{type(directions).__name__}"
        )
    with evaluation(model), torch.no_grad():
        batches = Batches(loader, device=space.device)
        if threshold is None:
            threshold = _half_of_chance(model, objective, next(iter(batches)))
        origin = space.flatten([tensor.detach() for tensor in space.tensors])
        sides, norm = _across(directions, origin, space)
        angles = torch.linspace(0.0, largest, steps, dtype=torch.float64)
        alphas = torch.linspace(0.0, 2.0, radial_steps, dtype=torch.float64)
        alphas[radial_steps // 2] = 1.0
        loss_at = LossAt(
            model,
            space,
            batches,
            objective,
            far=_placed(origin, sides[0], norm, angles[-1:], path)[0],
            recalibrated=batchnorm == "recalibrate",
        )
        along = _losses(loss_at, alphas.to(origin)[:, None] * origin, points_at_once)
        placed = (_placed(origin, side, norm, angles, path) for side in sides)
        losses = torch.stack([_losses(loss_at, points, points_at_once) for points in placed])
    if not math.isfinite(loss_at.loss):
        raise ValueError(f"loss is {loss_at.loss} at the model itself, so no width can be told")
    widths = torch.tensor([first_crossing(angles, row, threshold) for row in losses]).double()
    several = len(widths) > 1 and bool(widths.isfinite().all())
    return RadialTunnel(
        width=float(widths.mean()),
        stderr=float(widths.std()) / math.sqrt(len(widths)) if several else math.nan,
        widths=widths,
        threshold=threshold,
        angles=angles,
        losses=losses,
        scales=alphas,
        radial_losses=along,
        norm=norm,
        loss=loss_at.loss,
        path=path,
        batchnorm=batchnorm,
        samples=batches.samples,
        note=loss_at.note,
    )


def tunnel_trend(
    groups: Mapping[float, Sequence[nn.Module]], loader: Iterable[Any], **options: Any
) -> TunnelTrend:
    """How the angular width moves with a hyper-parameter of training.

    Args:
        groups: A list of models for each value of the hyper-parameter, which is a number.
        loader: Iterable of batches, the same for all.
        options: Of :func:`radial_tunnel`, the same for all; an absolute ``threshold`` keeps models
            of different loss comparable.

    Returns:
        Width, norm and loss of every model, and the rank correlation of setting and width.

    Raises:
        ValueError: There is no model, or as :func:`radial_tunnel`.
        TypeError: ``groups`` is no mapping from numbers to lists of models.

    Example:
        >>> groups = {0.1: [nn.Linear(2, 2)], 0.2: [nn.Linear(2, 2)]}
        >>> data = [(torch.eye(2), torch.tensor([0, 1]))]
        >>> len(tunnel_trend(groups, data, directions=3).widths)
        2
    """
    if not isinstance(groups, Mapping):
        raise TypeError(f"groups must be a mapping of models, got {type(groups).__name__}")
    for setting, models in groups.items():
        require_number(**{"settings of groups": setting})
        if isinstance(models, nn.Module):  # a Sequential would be taken for a list of its layers
            raise TypeError(f"groups[{setting}] must be a list of models, got one model")
    pairs = [(float(setting), model) for setting, models in groups.items() for model in models]
    if not pairs:
        raise ValueError("groups holds no model")
    with kept_random_states():
        data = list(Batches(loader, device=device_of(pairs[0][1])))
    rows = [(setting, radial_tunnel(model, data, **options)) for setting, model in pairs]
    settings = torch.tensor([setting for setting, _ in rows], dtype=torch.float64)

    def column(name: str) -> Tensor:
        return torch.tensor([getattr(found, name) for _, found in rows], dtype=torch.float64)

    return TunnelTrend(
        settings=settings,
        widths=column("width"),
        stderrs=column("stderr"),
        norms=column("norm"),
        losses=column("loss"),
        thresholds=column("threshold"),
        rank_correlation=_rank_correlation(settings, column("width")),
    )


def first_crossing(positions: Tensor, values: Tensor, threshold: float) -> float:
    """Where ``values`` (p,) along ``positions`` first pass ``threshold``; infinity for nowhere.

    Between two points by linear interpolation; before a value that is not finite, the point before.

    Example:
        >>> first_crossing(torch.arange(3.0), torch.tensor([0.0, 1.0, 3.0]), 2.0)
        1.5
    """
    outside = ~(values <= threshold)
    if not outside.any():
        return math.inf
    index = int(outside.int().argmax())
    if index == 0:
        return float(positions[0])
    before, after = float(values[index - 1]), float(values[index])
    share = (threshold - before) / (after - before) if math.isfinite(after) else 0.0
    return float(torch.lerp(positions[index - 1], positions[index], share))


def _across(
    directions: Directions | Tensor, origin: Tensor, space: ParameterSpace
) -> tuple[Tensor, float]:
    """Unit directions (r, n) orthogonal to ``origin`` (n,), and its norm."""
    vectors = directions if isinstance(directions, Tensor) else directions.vectors
    if vectors.dim() != 2 or vectors.shape[1] != space.size or not len(vectors):
        raise ValueError(
            f"directions have shape {tuple(vectors.shape)}, but {space.size} parameters are "
            "selected"
        )
    norm = float(origin.double().norm())
    if not math.isfinite(norm):
        raise ValueError("parameters of the model are not finite: no ray goes through it")
    if not norm > 0:
        raise ValueError("all parameters of the model are zero: no ray goes through it")
    ray, sides = origin.double() / norm, vectors.detach().to(origin.device, torch.float64)
    lengths = sides.norm(dim=1, keepdim=True)
    sides = sides - (sides @ ray)[:, None] * ray
    rest = sides.norm(dim=1, keepdim=True)
    if not (rest > 1e-6 * lengths).all():
        raise ValueError("a direction is zero, not finite, or along the ray through the model")
    return (sides / rest).to(origin.dtype), norm


def _placed(origin: Tensor, side: Tensor, norm: float, angles: Tensor, path: str) -> Tensor:
    """Points (a, n) at ``angles`` (a,) from the ray; angle 0 is the model to the bit."""
    angles = angles.to(origin.device)
    forward = angles.cos() if path == "sphere" else torch.ones_like(angles)
    out = norm * (angles.sin() if path == "sphere" else angles.tan())
    return forward.to(origin)[:, None] * origin + out.to(origin)[:, None] * side


def _losses(loss_at: LossAt, points: Tensor, at_once: int) -> Tensor:
    found = [value for block in points.split(at_once) for value in loss_at(block)]
    return torch.tensor(found, dtype=torch.float64)


def _half_of_chance(model: nn.Module, objective: Objective, batch: Any) -> float:
    if objective.count_of_targets(batch) is None:
        raise ValueError(
            "threshold is needed: the loss of chance is known only for cross-entropy of class "
            "indices, where half of it, log(C) / 2, is the default"
        )
    return 0.5 * math.log(model(batch[0]).shape[1])


def _rank_correlation(settings: Tensor, widths: Tensor) -> float:
    if len(set(settings.tolist())) < 2 or len(set(widths.tolist())) < 2:
        return math.nan
    return float(torch.corrcoef(torch.stack([_ranks(settings), _ranks(widths)]))[0, 1])


def _ranks(values: Tensor) -> Tensor:
    """How many are smaller, and half of those that are equal: mean ranks, shifted."""
    smaller, equal = values[:, None] > values, values[:, None] == values
    return smaller.sum(1) + equal.double().sum(1) / 2
