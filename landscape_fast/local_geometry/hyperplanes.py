"""Training inside random planes through a model, and the dimension that it needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_choice, require_number, require_seed, require_whole
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import Selection
from landscape_fast.local_geometry.planes import (
    Basis,
    OrthonormalPlane,
    Plane,
    SparsePlane,
    WholeSpace,
)
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.placed import PlacedNetwork, placed
from landscape_fast.metrics.quality import quality
from landscape_fast.randomness import kept_random_states, start_from_seed
from landscape_fast.results import HyperplaneRun, IntrinsicDimension
from landscape_fast.training.schedule import lr_factor


def hyperplane_training(
    model: nn.Module,
    loader: Iterable[Any],
    dimension: int | None,
    *,
    basis: Basis = "orthonormal",
    density: float | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    lr: float = 3e-3,
    judged_by: Iterable[Any] | None = None,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> HyperplaneRun:
    r"""Train :math:`\theta = \theta_0 + M u` in the d coordinates u, M random and fixed.

    Adam on u, its rate falling to zero as half a cosine. A plane of d dimensions gets the rate
    ``lr * sqrt(n / d)``, so that steps in the weights are as long for every d.

    Args:
        model: Any module; its weights are :math:`\theta_0`. It is left untouched, a copy is
            trained.
        loader: Iterable of batches; cut anew into mini-batches.
        dimension: d; None for training in the whole space, for comparison.
        basis: ``"orthonormal"``: columns of M uniform over all orthonormal frames, n d numbers;
            ``"sparse"``: a few random signs in each, nearly orthogonal.
        density: Share of entries of a sparse basis that are not zero, 1 / n at least; None for
            1 / sqrt(n).
        epochs: Passes over the data.
        batch_size: Rows of a mini-batch.
        lr: Rate of Adam in the whole space.
        judged_by: Batches that accuracy and loss in the end are of; None for ``loader``.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules that train; None for all trainable parameters.
        seed: Chooses the plane, the order of the data and what layers draw.
        memory_budget: Bytes of data to keep in memory, where they must fit.

    Returns:
        Accuracy and loss in the end, losses along the run, and the weights.

    Raises:
        ValueError: An argument is out of range, or the data do not fit in memory.

    References:
        Li, Farkhoor, Liu and Yosinski (2018), arXiv:1804.08838. Kingma and Ba (2015),
        arXiv:1412.6980.

    Example:
        >>> data = [(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]))]
        >>> run = hyperplane_training(nn.Linear(1, 2, bias=False), data, 1, lr=0.1)
        >>> run.accuracy, run.dimension, run.space
        (100.0, 1, 2)
    """
    require_choice(("orthonormal", "sparse"), basis=basis)
    require_whole(1, epochs=epochs, batch_size=batch_size)
    require_number(above=0, lr=lr)
    require_seed(seed)
    _require_batches(judged_by)
    network, batches, objective = _read(model, loader, criterion, loss_fn, params, memory_budget)
    n = network.space.size
    if dimension is not None:
        require_whole(1, most=n, dimension=dimension)
    if density is not None:
        require_number(least=1 / n, most=1, density=density)
        if basis != "sparse":
            raise ValueError(f"density goes with basis='sparse', got {basis!r}")
    generator = torch.Generator().manual_seed(seed)
    plane: Plane
    if dimension is None:
        plane = WholeSpace(n)
    elif basis == "orthonormal":
        plane = OrthonormalPlane(n, dimension, generator, network.origin)
    else:
        plane = SparsePlane(n, dimension, generator, network.origin, density)
    plain = torch.autocast(network.space.device.type, enabled=False)
    with kept_random_states(), plain, torch.inference_mode(False), torch.enable_grad():
        rng = start_from_seed(seed, network.space.device)
        data = Minibatches(batches, batch_size)
        u, losses, steps = _train(network, plane, data, objective, rng, epochs, lr)
    end = network.origin + plane.move(u)
    network.place(end)
    diverged = not bool(torch.isfinite(end).all()) or not math.isfinite(losses[-1])
    loss: dict[str, Any] = {"criterion": criterion, "loss_fn": loss_fn}
    found = quality(network.model, batches if judged_by is None else judged_by, **loss)
    return HyperplaneRun(
        accuracy=math.nan if diverged else found.accuracy,
        loss=found.loss,
        train_losses=torch.tensor(losses, dtype=torch.float64),
        weights=end,
        distance=float((end - network.origin).double().norm()),
        dimension=plane.dimension,
        space=n,
        basis="whole" if dimension is None else basis,
        steps=steps,
        diverged=diverged,
    )


def intrinsic_dimension(
    model: nn.Module,
    loader: Iterable[Any],
    dimensions: Sequence[int],
    *,
    threshold: float = 0.9,
    planes: int = 1,
    baseline: float | None = None,
    basis: Basis = "orthonormal",
    density: float | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    lr: float = 3e-3,
    judged_by: Iterable[Any] | None = None,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> IntrinsicDimension:
    """The smallest random plane through a model in which training nearly reaches full accuracy.

    Runs :func:`hyperplane_training` in planes of each dimension. The answer is one of the
    dimensions that are tried; it depends on the threshold, on the start and on how long is
    trained.

    Args:
        model: A classifier; its weights are where all planes pass. Left untouched.
        loader: Iterable of batches ``(inputs, classes)``.
        dimensions: To try, ascending.
        threshold: Share of the baseline's accuracy that counts as solved. 0.9 is a convention.
        planes: Random planes for each dimension.
        baseline: Accuracy of training outside planes, percent; None to train there once.
        basis: As for :func:`hyperplane_training`.
        density: Likewise.
        epochs: Likewise.
        batch_size: Likewise.
        lr: Likewise.
        judged_by: Batches that accuracy is of, held-out ones as a rule; None for ``loader``.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules that train; None for all trainable parameters.
        seed: Of the first plane; the others follow.
        memory_budget: Bytes of data to keep in memory, where they must fit.

    Returns:
        Accuracies (dimensions, planes), ``baseline``, ``value`` and ``bracket``, and ``margins``,
        which say how sure these are.

    Raises:
        ValueError: An argument is out of range, dimensions do not ascend, or the data have no
            accuracy.

    References:
        Li, Farkhoor, Liu and Yosinski (2018), arXiv:1804.08838.

    Example:
        One direction of two decides between the classes, and a random line moves along it:

        >>> data = [(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]))]
        >>> model = nn.Linear(1, 2, bias=False)
        >>> found = intrinsic_dimension(model, data, [1, 2], lr=0.1)
        >>> found.value, found.baseline
        (1, 100.0)
    """
    if not isinstance(dimensions, Iterable):
        raise TypeError(f"dimensions must be whole numbers, got {type(dimensions).__name__}")
    dimensions = dimensions.tolist() if isinstance(dimensions, Tensor) else list(dimensions)
    for dimension in dimensions:
        require_whole(1, dimensions=dimension)
    dimensions = tuple(int(dimension) for dimension in dimensions)
    if not dimensions or any(a >= b for a, b in pairwise(dimensions)):
        raise ValueError(f"dimensions must ascend, got {dimensions}")
    require_number(above=0, most=1, threshold=threshold)
    require_whole(1, planes=planes)
    require_seed(seed)
    if baseline is not None:
        require_number(above=0, most=100, baseline=baseline)
    _require_batches(judged_by)
    network, batches, _ = _read(model, loader, criterion, loss_fn, params, memory_budget)
    if dimensions[-1] > network.space.size:
        raise ValueError(f"dimensions go beyond the {network.space.size} parameters: {dimensions}")
    options: dict[str, Any] = {
        "basis": basis,
        "density": density,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "judged_by": None if judged_by is None else list(judged_by),
        "criterion": criterion,
        "loss_fn": loss_fn,
        "params": params,
        "memory_budget": memory_budget,
    }
    if baseline is None:
        whole = hyperplane_training(model, batches, None, seed=seed, **options)
        baseline = whole.accuracy
    if not baseline > 0:
        raise ValueError(f"baseline must be an accuracy, all dimensions reached {baseline}")
    accuracies = [
        [
            hyperplane_training(model, batches, d, seed=seed + plane, **options).accuracy
            for plane in range(planes)
        ]
        for d in dimensions
    ]
    return IntrinsicDimension(
        dimensions=dimensions,
        accuracies=torch.tensor(accuracies, dtype=torch.float64),
        baseline=baseline,
        threshold=threshold,
        space=network.space.size,
        basis=basis,
    )


def _require_batches(judged_by: object) -> None:
    if judged_by is not None and not isinstance(judged_by, Iterable):
        raise TypeError(f"judged_by must be an iterable of batches, got {type(judged_by).__name__}")


def _read(
    model: nn.Module,
    loader: Iterable[Any],
    criterion: Criterion | None,
    loss_fn: LossFunction | None,
    params: Selection,
    memory_budget: int | None,
) -> tuple[PlacedNetwork, list[Any], Objective]:
    network, batches, objective = placed(model, loader, criterion, loss_fn, params, memory_budget)
    batches.require_resident("training by mini-batches")
    return network, list(batches), objective


def _train(
    network: PlacedNetwork,
    plane: Plane,
    data: Minibatches,
    objective: Objective,
    rng: np.random.Generator,
    epochs: int,
    lr: float,
) -> tuple[Tensor, list[float], int]:
    """Coordinates (d,) at the end, mean loss of each epoch, and steps made."""
    u = torch.zeros(plane.dimension, dtype=network.origin.dtype, device=network.origin.device)
    rate = lr * math.sqrt(network.space.size / plane.dimension)
    optimizer = torch.optim.Adam([u], lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda epoch: lr_factor("cosine", epoch, epochs)
    )
    losses, steps = [], 0
    network.model.train()
    for _ in range(epochs):
        total, counts = 0.0, 0.0
        for batch in data.shuffled(rng):
            network.place(network.origin + plane.move(u))
            value, count = objective(network.model, batch)
            loss = value / (objective.normaliser(count) or 1.0)
            u.grad = plane.coordinates(network.gradient(loss))
            optimizer.step()
            total, counts, steps = total + float(value.detach()), counts + count, steps + 1
        schedule.step()
        losses.append(total / (objective.normaliser(counts) or 1.0))
        if not (math.isfinite(losses[-1]) and torch.isfinite(u).all()):
            break
    return u.detach(), losses, steps
