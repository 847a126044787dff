"""Ensembles in the picture of wedges: where members lie, and what is between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_seed, require_whole
from landscape_fast.large_scale.alike import alike
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.state import untouched
from landscape_fast.metrics.batchnorm import recalibrate
from landscape_fast.metrics.line import linear_barrier
from landscape_fast.metrics.points import as_points, placed_points
from landscape_fast.metrics.predictions import agreement, ensemble_quality
from landscape_fast.metrics.quality import quality
from landscape_fast.results import EnsembleGeometry


def ensemble_geometry(
    models: Sequence[nn.Module],
    loader: Iterable[Any],
    *,
    held_out: Iterable[Any] | None = None,
    points: int = 11,
    batch_size: int = 128,
    seed: int = 0,
) -> EnsembleGeometry:
    """Geometry of the members of an ensemble of classifiers, in the order they were found.

    Members of weight averaging (SWA) should lie in one wedge: no barrier between them, alike
    predictions, and an average that is better than its members. Snapshots of a cyclical learning
    rate should leave it: barriers, other predictions, and a gain of averaged probabilities alone.

    Args:
        models: Two or more networks of one architecture with class scores (N, C, ...); left
            untouched. Displacements are between one and the next.
        loader: Iterable of training batches, for barriers and running statistics.
        held_out: Batches on which losses, accuracies, disagreement and both averages are measured;
            None: ``loader``.
        points: Positions on each straight line between two members, ends included.
        batch_size: Rows of the mini-batches behind new running statistics.
        seed: Chooses these mini-batches.

    Returns:
        Distances, cosines of successive displacements, barriers and disagreement of all pairs, and
        the gains of averaged parameters and averaged probabilities. Members have their own running
        statistics, averaged parameters have new ones, and along lines they are measured anew.

    Raises:
        ValueError: There are fewer than two models, they differ in more than parameters and batch
            statistics, or a loader is empty.
        TypeError: ``models`` is one module, or holds what is none.

    References:
        Fort and Jastrzebski (2019), arXiv:1906.04724. Izmailov, Podoprikhin, Garipov, Vetrov and
        Wilson (2018), arXiv:1803.05407, for SWA; Huang, Li, Pleiss, Liu, Hopcroft and Weinberger
        (2017), arXiv:1704.00109, for snapshots.

    Example:
        >>> data = [(torch.eye(2), torch.tensor([0, 1]))]
        >>> members = [nn.Linear(2, 2, bias=False) for _ in range(3)]
        >>> for step, member in enumerate(members):
        ...     _ = member.weight.data.copy_((1 + step) * torch.eye(2))
        >>> found = ensemble_geometry(members, data)
        >>> round(found.successive_cosine, 6), float(found.disagreement.max())
        (1.0, 0.0)
    """
    require_whole(3, points=points)
    require_whole(1, batch_size=batch_size)
    require_seed(seed)
    members = alike(models)
    found = as_points(members).double()
    with untouched(*members):
        train = list(Batches(loader, device=found.device))
        test = train if held_out is None else list(Batches(held_out, device=found.device))
    steps = found[1:] - found[:-1]
    barriers, error_barriers, unequal = (_square(len(members)) for _ in range(3))
    for i, one in enumerate(members):
        for j, other in enumerate(members[:i]):
            line = linear_barrier(
                one, other, train, points=points, batch_size=batch_size, seed=seed
            )
            barriers[i, j] = barriers[j, i] = line.loss_value
            error_barriers[i, j] = error_barriers[j, i] = line.value
            unequal[i, j] = unequal[j, i] = agreement(one, other, test).disagreement
    own = [quality(member, test) for member in members]
    mean = quality(averaged(members, train, batch_size=batch_size, seed=seed), test)
    ensemble = ensemble_quality(members, test)
    return EnsembleGeometry(
        travelled=steps.norm(dim=1).cpu(),
        step_cosines=nn.functional.cosine_similarity(steps[:, None], steps[None], dim=-1).cpu(),
        distances=torch.cdist(found, found, compute_mode="donot_use_mm_for_euclid_dist").cpu(),
        barriers=barriers,
        error_barriers=error_barriers,
        disagreement=unequal,
        losses=torch.tensor([each.loss for each in own], dtype=torch.float64),
        accuracies=torch.tensor([each.accuracy for each in own], dtype=torch.float64),
        average_loss=mean.loss,
        average_accuracy=mean.accuracy,
        ensemble_loss=ensemble.loss,
        ensemble_accuracy=ensemble.accuracy,
        samples=ensemble.samples,
    )


def averaged(
    models: Sequence[nn.Module], loader: Iterable[Any], *, batch_size: int = 128, seed: int = 0
) -> nn.Module:
    """The network with the mean of several models' parameters, as in SWA.

    Args:
        models: Networks of one architecture; left untouched.
        loader: Iterable of training batches, behind new running statistics of BatchNorm.
        batch_size: Rows of their mini-batches.
        seed: Chooses these.

    Returns:
        A new module in evaluation mode.

    Raises:
        ValueError: As :func:`ensemble_geometry`.
        TypeError: Likewise.

    References:
        Izmailov, Podoprikhin, Garipov, Vetrov and Wilson (2018), arXiv:1803.05407.

    Example:
        >>> one, other = nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False)
        >>> _ = nn.init.ones_(one.weight), nn.init.constant_(other.weight, 2.0)
        >>> averaged([one, other], [(torch.ones(2, 1), torch.tensor([0, 1]))]).weight.tolist()
        [[1.5], [1.5]]
    """
    members = alike(models, least=1)
    with placed_points(members, loader, None, None, batch_size, seed) as at:
        at.network.place(at.points.double().mean(0).to(at.points))
        recalibrate(at.network.model, at.data.shuffled(at.rng), at.objective)
        return at.network.model.eval()


def _square(size: int) -> Tensor:
    return torch.zeros(size, size, dtype=torch.float64)
