"""Low-loss complexes that join several trained models, through optimised centres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.large_scale.alike import alike
from landscape_fast.large_scale.complexes import centroids, faces_of, points_inside
from landscape_fast.large_scale.descent import descend_across, spanned
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.metrics.curve_fit import require_training
from landscape_fast.metrics.points import errors_of, losses_of, placed_points
from landscape_fast.results import Connector


def connector(
    models: Sequence[nn.Module],
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    epochs: int = 30,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    target: float | None = None,
    points: int = 60,
    seed: int = 0,
) -> Connector:
    r"""Join m + 1 trained models by an m-dimensional complex of low loss (an m-connector).

    For every pair, triple, ... of models a centre is sought: from the centroid, SGD on
    :math:`L(x)` with gradients projected orthogonally to the span of :math:`P_i - P_0`, so that x
    stays as far along as the centroid is (for a pair: in the bisecting hyperplane). The complex is
    the barycentric subdivision of the simplex of the models with these centres in place of its
    barycentres: for two models the segments from each to their centre, for three six triangles
    (model, centre of a pair, centre of all). Loss and error are measured at random points inside,
    and at the same points of the flat simplex.

    Running statistics of BatchNorm are measured anew at every point, the models' own included, as
    by :func:`landscape_fast.connectivity`: those of one model are wrong everywhere else.

    A centre is an upper bound: a high loss says that this descent found nothing better. The
    paper's steps and rates are not known to us, so the numbers here are arguments, and the
    subdivision is our reading of it.

    Args:
        models: m + 1 networks of one architecture, two or more; left untouched. The number of
            descents is 2^(m + 1) - m - 2.
        loader: Iterable of batches. Held in memory; rows are shuffled anew in each epoch.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``. Called with a copy
            of the first model.
        epochs: Passes over the data that each centre may take. 0 leaves the flat simplex.
        lr: Learning rate, constant for half of the epochs, then falling to a hundredth.
        momentum: Of SGD.
        weight_decay: w of a term :math:`\tfrac w2 \lVert x \rVert^2` added to the loss.
        batch_size: Rows per step, whatever the batches of the loader.
        target: Loss at which a centre is good enough and its descent stops, looked at after every
            epoch. None: the highest loss among the models.
        points: Random points inside, every simplex of the subdivision equally likely.
        seed: Chooses the order of the data, dropout and the points inside.

    Returns:
        Centres with their losses, errors and steps; losses and errors inside, and flat ones beside
        them; distances and cosines at the centre of all models.

    Raises:
        ValueError: An argument is out of range; the loader is empty; models differ in more than
            parameters and batch statistics, or lie in a space of fewer than m dimensions.
        TypeError: ``models`` is one module, or holds what is none.

    References:
        Fort and Jastrzebski (2019), arXiv:1906.04724.

    Example:
        Two solutions of w_1 w_2 = 1. The straight line between them leaves the hyperbola, the
        connector bends towards it:

        >>> layers = [nn.Linear(1, 1, bias=False).double() for _ in range(4)]
        >>> for layer, w in zip(layers, (3.0, 1 / 3, 1 / 3, 3.0), strict=True):
        ...     _ = nn.init.constant_(layer.weight, w)
        >>> data = [(torch.ones(1, 1).double(), torch.ones(1, 1).double())]
        >>> found = connector(
        ...     [nn.Sequential(*layers[:2]), nn.Sequential(*layers[2:])], data,
        ...     criterion=nn.MSELoss(), lr=0.05, momentum=0.0, epochs=100, target=1e-9)
        >>> [[round(w, 3) for w in centre] for centre in found.centres.tolist()]
        [[1.0, 1.0]]
        >>> found.straight_barrier > 3 * found.barrier
        True
    """
    require_training(epochs, lr, momentum, weight_decay)
    require_whole(1, batch_size=batch_size, points=points)
    require_seed(seed)
    if target is not None:
        require_number(target=target)
    networks = alike(models)
    with placed_points(networks, loader, criterion, loss_fn, batch_size, seed) as at:
        ends, count = at.points, len(networks)
        frames = {face: spanned(ends[list(face)]) for face in faces_of(count)}
        own = [at.quality_at(end) for end in ends]
        if target is None:
            target = max(loss for loss, _ in own)
        flat = centroids(count).to(ends) @ ends
        found = [
            descend_across(
                start,
                frame,
                at,
                target,
                epochs=epochs,
                lr=lr,
                momentum=momentum,
                weight_decay=weight_decay,
            )
            for start, frame in zip(flat[count:], frames.values(), strict=True)
        ]
        weights = points_inside(count, points, at.rng)
        vertices = torch.cat([ends, torch.stack([each.point for each in found])])
        inside = [at.quality_at(row.to(ends) @ vertices) for row in weights]
        straight = [at.quality_at(row.to(ends) @ flat) for row in weights]
        samples = at.samples
    sides = (ends - found[-1].point).double()
    lengths = sides.norm(dim=1)
    starts, centres = [each.before for each in found], [each.quality for each in found]
    return Connector(
        faces=tuple(frames),
        centres=vertices[count:].cpu(),
        steps=tuple(each.steps for each in found),
        reached=tuple(each.reached for each in found),
        target=target,
        model_losses=losses_of(own),
        model_errors=errors_of(own),
        centre_losses=losses_of(centres),
        centre_errors=errors_of(centres),
        centroid_losses=losses_of(starts),
        centroid_errors=errors_of(starts),
        weights=weights,
        losses=losses_of(inside),
        errors=errors_of(inside),
        straight_losses=losses_of(straight),
        straight_errors=errors_of(straight),
        moved=(vertices[count:] - flat[count:]).double().norm(dim=1).cpu(),
        distances=lengths.cpu(),
        cosines=((sides @ sides.T) / lengths.outer(lengths)).cpu(),
        samples=samples,
    )
