"""Low-loss simplexes: trained vertices that several models share, with a large volume between."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.large_scale.alike import alike
from landscape_fast.large_scale.volumes import SummedVolume, log_volume
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.metrics.curve_fit import (
    Force,
    descend,
    penalised_gradient,
    require_training,
)
from landscape_fast.metrics.points import Points, errors_of, losses_of, placed_points
from landscape_fast.results import LowLossSimplex

#: Added to the volume inside its logarithm, as in the authors' code.
VOLUME_OFFSET = 1e-4
#: Distance of a new vertex from the mean of the others, by the models' norm.
START = 1e-2


def low_loss_simplex(
    models: Sequence[nn.Module],
    loader: Iterable[Any],
    *,
    vertices: int = 2,
    volume_weight: float = 1e-2,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    epochs: int = 30,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    points: int = 60,
    seed: int = 0,
) -> LowLossSimplex:
    r"""Train vertices that span a simplex of low loss with each of the models.

    Vertices :math:`\theta_1, \theta_2, \ldots` are added one by one, each from the mean of the
    models and the vertices before it (beside it, where the volume counts, by a hundredth of the
    models' norm in a random direction). The complex is the union over models of the simplexes of
    one model and all vertices, so every two models are joined through what they share. A new
    vertex minimises :math:`\mathrm{E} [L(x)] - \lambda \log(V + 10^{-4})`: x is drawn for each
    mini-batch, a model first, then weights uniform on its simplex (Dirichlet(1)); V is the summed
    volume of the simplexes. The first vertex that joins several models is trained without the term
    of the volume. Models and earlier vertices stay.

    With one model the simplex shows how far its own region of low loss reaches. Running statistics
    of BatchNorm are measured anew at every point, as in
    :func:`landscape_fast.large_scale.connector.connector`.

    Differs from the authors' released code in: V is the volume, where theirs is its square; one
    draw per mini-batch.

    Args:
        models: One or more networks of one architecture; left untouched.
        loader: Iterable of batches. Held in memory; rows are shuffled anew in each epoch.
        vertices: k, how many are trained.
        volume_weight: :math:`\lambda`. A choice of ours: volumes of other networks want others.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``. Called with a copy
            of the first model.
        epochs: Passes over the data for each vertex.
        lr: Learning rate, constant for half of the epochs, then falling to a hundredth.
        momentum: Of SGD.
        weight_decay: w of a term :math:`\tfrac w2 \lVert x \rVert^2` added to the loss.
        batch_size: Rows per step, whatever the batches of the loader.
        points: Random points inside at which the loss is measured, drawn as in training.
        seed: Chooses the draws, the order of the data and dropout.

    Returns:
        The vertices, volumes after each, and losses and errors at vertices and points inside.
        Where training diverged they are nan.

    Raises:
        ValueError: An argument is out of range; the loader is empty; models differ in more than
            parameters and batch statistics.
        TypeError: ``models`` is one module, or holds what is none.

    References:
        Benton, Maddox, Lotfi and Wilson (2021), arXiv:2102.13042.

    Example:
        Least squares of one weight in three: the vertex moves away where the loss does not rise.

        >>> model = nn.Linear(3, 1, bias=False).double()
        >>> _ = nn.init.zeros_(model.weight)
        >>> data = [(torch.tensor([[1.0, 0.0, 0.0]]).double(), torch.zeros(1, 1).double())]
        >>> found = low_loss_simplex([model], data, criterion=nn.MSELoss(), lr=0.1, epochs=100)
        >>> found.barrier < 0.01 < float(found.log_volumes[-1].exp())
        True
    """
    require_training(epochs, lr, momentum, weight_decay)
    require_whole(1, vertices=vertices, batch_size=batch_size, points=points)
    require_number(least=0, volume_weight=volume_weight)
    require_seed(seed)
    networks = alike(models, least=1)
    with placed_points(networks, loader, criterion, loss_fn, batch_size, seed) as at:
        ends, shared = at.points, at.points[:0]
        if vertices > ends.shape[1]:
            raise ValueError(
                f"vertices must be at most the {ends.shape[1]} parameters, got {vertices}"
            )
        own = [at.quality_at(end) for end in ends]
        volumes, steps = [], 0
        for index in range(vertices):
            joins = index == 0 and len(ends) > 1
            vertex, made = _trained(
                at,
                ends,
                shared,
                0.0 if joins else volume_weight,
                epochs=epochs,
                lr=lr,
                momentum=momentum,
                weight_decay=weight_decay,
            )
            shared, steps = torch.cat([shared, vertex[None]]), steps + made
            volumes.append(_summed_log_volume(ends, shared))
        corners = [at.quality_at(vertex) for vertex in shared]
        which, weights, inside = [], [], []
        for _ in range(points):
            chosen, weight = _draw(at, len(ends), len(shared) + 1)
            which.append(chosen)
            weights.append(weight)
            inside.append(at.quality_at(_mixed(weight, ends[chosen], shared)))
        samples = at.samples
    return LowLossSimplex(
        vertices=shared.cpu(),
        log_volumes=torch.tensor(volumes, dtype=torch.float64),
        model_losses=losses_of(own),
        model_errors=errors_of(own),
        vertex_losses=losses_of(corners),
        vertex_errors=errors_of(corners),
        simplexes=torch.tensor(which),
        weights=torch.stack(weights),
        losses=losses_of(inside),
        errors=errors_of(inside),
        steps=steps,
        samples=samples,
    )


def _trained(
    at: Points,
    ends: Tensor,
    shared: Tensor,
    volume_weight: float,
    *,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> tuple[Tensor, int]:
    """The next vertex (n,), and the steps that it took."""
    vertex = torch.cat([ends, shared]).mean(0, keepdim=True)
    if volume_weight:  # at the mean of a simplex its volume has no slope
        noise = torch.from_numpy(at.rng.standard_normal(vertex.shape)).to(vertex)
        size = float(ends.norm(dim=1).mean()) or 1.0
        vertex += noise * (START * size / float(noise.norm()))
    volume = SummedVolume([torch.cat([end[None], shared]) for end in ends])

    def inside(batch: Any) -> Iterator[Force]:
        chosen, weight = _draw(at, len(ends), len(shared) + 2)
        point = _mixed(weight, ends[chosen], torch.cat([shared, vertex]))
        slope = penalised_gradient(point, at.network, batch, at.objective, weight_decay)
        yield 0, float(weight[-1]), slope
        if volume_weight:
            yield 0, -volume_weight, volume.log_slope(vertex[0], VOLUME_OFFSET)

    steps = descend(
        vertex, inside, at.network, at.data, at.rng, epochs=epochs, lr=lr, momentum=momentum
    )
    return vertex[0], steps


def _draw(at: Points, models: int, corners: int) -> tuple[int, Tensor]:
    """A model, and weights (corners,) float64 uniform on a simplex."""
    chosen = int(at.rng.integers(models))
    return chosen, torch.from_numpy(at.rng.dirichlet([1.0] * corners))


def _mixed(weight: Tensor, end: Tensor, shared: Tensor) -> Tensor:
    return weight.to(end) @ torch.cat([end[None], shared])


def _summed_log_volume(ends: Tensor, shared: Tensor) -> float:
    if not torch.isfinite(shared).all():
        return math.nan
    logs = [log_volume(torch.cat([end[None], shared])) for end in ends]
    return float(torch.tensor(logs, dtype=torch.float64).logsumexp(0))
