"""A chain of networks pulled over the lowest pass between two models: nudged elastic band."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from landscape_fast.arguments import require_number, require_whole
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.metrics.between import between, profile
from landscape_fast.metrics.curve_fit import Force, descend, penalised_gradient, require_training
from landscape_fast.metrics.points import Points
from landscape_fast.metrics.polychain import PolyChain
from landscape_fast.results import Connectivity


def autoneb(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    pivots: int = 3,
    cycles: int = 4,
    epochs: int = 10,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch_size: int = 128,
    insert_above: float = 0.2,
    checks: int = 3,
    points: int = 31,
    seed: int = 0,
) -> Connectivity:
    r"""Path of low loss between two trained models, by an elastic band that gets more pivots.

    The band is a chain of straight segments through pivots. In every step each pivot moves against
    the part of its mini-batch gradient that is perpendicular to the chain, and the pivots are put
    back to their shares of the chain's length, which is what infinitely stiff springs do. After
    each cycle of training, a segment gets a pivot where its loss rises highest above the line
    between the losses of its two pivots, if that is more than ``insert_above`` of the range of
    losses along the chain. So the segments become short where the barrier is.

    As with every trained path the barrier found is an upper bound.

    Differs from Draxler et al. in: tangents are those of Jonsson et al. (1998); each cycle has the
    schedule of :func:`~landscape_fast.metrics.connectivity.connectivity`; the defaults are choices
    made here. A step costs a gradient for each pivot, and memory is two vectors for each.

    Args:
        model_a: Any module; comes back as it went in.
        model_b: The same network with other trainable parameters. Equal parameters give the chain
            that does not move, with value 0.
        loader: Iterable of training batches; held in memory.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``. Called with a copy
            of ``model_a``.
        pivots: Of the straight chain that the first cycle starts from.
        cycles: Trainings, with insertions between them. 0 measures the straight line.
        epochs: Passes over the data in each cycle.
        lr: Learning rate, constant for half of a cycle, then falling to a hundredth.
        momentum: Of SGD.
        weight_decay: Of the penalty on every pivot.
        batch_size: Rows per step.
        insert_above: Share of the range of losses along the chain that a rise must exceed.
        checks: Positions inside a segment that are looked at for a rise.
        points: Positions at which the path is measured in the end, ends included; equally spaced
            by length.
        seed: Chooses the order of the data and dropout.

    Returns:
        The profile of the path, as of :func:`~landscape_fast.metrics.connectivity.connectivity`,
        with the pivots as ``bend`` (pivots, n); t is the share of the path's length. Where training
        diverged, the loss and error inside are nan.

    Raises:
        ValueError: An argument is out of range; the loader is empty; the models differ in more than
            trainable parameters and batch statistics.

    References:
        Draxler, Veschgini, Salmhofer and Hamprecht (2018), arXiv:1803.00885. Jonsson, Mills and
        Jacobsen (1998), doi:10.1142/9789812839664_0016.

    Example:
        The loss (w.w - 1)^2 is lowest on a circle, and 1/16 below a half away from it:

        >>> import torch
        >>> def ring(model, batch):
        ...     return (model.weight.square().sum() - 1) ** 2
        >>> one, other = (torch.nn.Linear(2, 1, bias=False).double() for _ in range(2))
        >>> one.weight.data[:] = torch.tensor([1.0, 0.0])
        >>> other.weight.data[:] = torch.tensor([0.0, 1.0])
        >>> data, options = [(torch.zeros(1, 1),)], {"weight_decay": 0.0, "loss_fn": ring}
        >>> straight = autoneb(one, other, data, cycles=0, points=3, **options)
        >>> path = autoneb(one, other, data, cycles=2, epochs=100, points=3, **options)
        >>> float(straight.losses.max()), float(path.losses.max()) < 1e-4, len(path.bend)
        (0.25, True, 7)
    """
    require_training(epochs, lr, momentum, weight_decay)
    require_whole(0, cycles=cycles)
    require_whole(1, pivots=pivots, batch_size=batch_size, checks=checks)
    require_whole(2, points=points)
    require_number(least=0, insert_above=insert_above)
    with between(
        model_a,
        model_b,
        loader,
        criterion=criterion,
        loss_fn=loss_fn,
        batch_size=batch_size,
        seed=seed,
    ) as joined:
        start, end = joined.points
        inside = [torch.lerp(start, end, j / (pivots + 1)) for j in range(1, pivots + 1)]
        chain = PolyChain(torch.stack([start, *inside, end]))
        steps = 0
        for cycle in range(0 if torch.equal(start, end) else cycles):
            if cycle:
                chain = chain.with_bends_at(rises(chain, joined, insert_above, checks))
            steps += _fit(chain, joined, epochs, lr, momentum, weight_decay)
            if not torch.isfinite(chain.points).all():
                break
        return profile(joined, chain, points, steps=steps)


def rises(chain: PolyChain, joined: Points, share: float, checks: int) -> list[float]:
    """Where in each segment the loss is highest above the line between its ends.

    Args:
        chain: The path.
        joined: Its ends and data.
        share: Of the range of all losses seen, that a rise must exceed to count.
        checks: Positions looked at inside a segment.
    """
    at_knots = [joined.quality_at(point)[0] for point in chain.points]
    parts = [(check + 1) / (checks + 1) for check in range(checks)]
    seen, found = list(at_knots), []
    for (low, high), ends in zip(
        itertools.pairwise(chain.knots), itertools.pairwise(at_knots), strict=True
    ):
        positions = [low + part * (high - low) for part in parts]
        losses = [joined.quality_at(chain(t))[0] for t in positions]
        seen += losses
        above = np.array(losses) - [ends[0] + part * (ends[1] - ends[0]) for part in parts]
        found.append((float(above.max()), positions[int(above.argmax())]))
    least = share * (max(seen) - min(seen))
    return [t for rise, t in found if rise > least]


def _fit(
    chain: PolyChain,
    joined: Points,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> int:
    """Train the band for a cycle; return the steps made."""

    def perpendicular(batch: Any) -> Iterator[Force]:
        chain.respace()
        for j in range(1, len(chain.points) - 1):
            gradient = penalised_gradient(
                chain.points[j], joined.network, batch, joined.objective, weight_decay
            )
            tangent = chain.tangent(j)
            yield j - 1, 1.0, gradient.sub_(tangent, alpha=float(tangent @ gradient))

    steps = descend(
        chain.points[1:-1],
        perpendicular,
        joined.network,
        joined.data,
        joined.rng,
        epochs=epochs,
        lr=lr,
        momentum=momentum,
    )
    chain.respace()
    return steps
