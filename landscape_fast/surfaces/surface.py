"""The public function: the loss on a grid around a model, many points at once, resumable."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_choice, require_number, require_seed, require_whole
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.state import evaluation, measurable
from landscape_fast.results import Eigenpairs, Surface
from landscape_fast.surfaces.cells import Cells
from landscape_fast.surfaces.directions import Directions, random_directions
from landscape_fast.surfaces.evaluation import LossAt

AT_ONCE = 8  # points that one pass over the data serves
_ON_GRID = 1e-9  # distance of the model from the grid, in steps, that rounding of a span may make


def loss_surface(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    directions: Directions | Eigenpairs | Tensor | int = 2,
    steps: int | Sequence[int] = 51,
    span: float | tuple[float, float] | Sequence[tuple[float, float]] = 1.0,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    batchnorm: Literal["eval", "recalibrate"] = "eval",
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    points_at_once: int = AT_ONCE,
    memory_budget: int | None = None,
) -> Surface:
    r"""Loss of the whole data on a grid of d axes, :math:`L(\theta + \sum_j a_j d_j)`.

    One pass over the data serves ``points_at_once`` points. The forward pass is captured once, with
    batch normalisation folded into filters anew at every point, images with their channels last on
    a CPU, and pieces of data that stay in cache; networks without convolutions run the points side
    by side. The program is held to the model in float64 before use. Where it cannot be made or
    differs, the model itself runs at every point, and ``note`` says why.

    Differs from loss-landscape and its descendants in: the model lies exactly on the grid; nan and
    infinity stay; the loss is that of all rows, however they are cut into batches; a killed run
    resumes without losing a finished point; any number of axes.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        directions: From this package's ``surfaces.directions``; eigenpairs, whose vectors are
            taken; a tensor (d, n) or (n,); or a number d of random filter-normalised directions.
        steps: Points along each axis, one number for all or one per axis.
        span: Lowest and highest coordinate, for all axes or per axis; a number s is (-s, s). It
            holds 0, and the grid does: an odd number of steps for a symmetric span.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules that directions are of; None for all trainable parameters.
        batchnorm: Running statistics at a point: ``"eval"``: those of the model, as Li et al. do;
            ``"recalibrate"``: measured anew at every point on the loader's own batches, as between
            models that were trained apart. Costs a pass more, and always runs the plain model.
        seed: Chooses random directions.
        path: File that keeps finished points; a run with the same arguments goes on from there.
        points_at_once: Points that one pass over the data serves; that many copies of the
            parameters are held. A kill loses at most these and what one second holds.
        memory_budget: Bytes of data to keep in memory.

    Returns:
        ``values`` (s_1, ..., s_d), ``coordinates`` along each axis, and ``points`` to mark.

    Raises:
        ValueError: An argument is out of range; 0 is not on the grid; directions do not fit the
            parameters or are not finite; ``path`` holds another surface; the loader is empty.
        TypeError: ``directions`` is of another kind.

    References:
        Li, Xu, Taylor, Studer and Goldstein (2018), arXiv:1712.09913.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(2.0)
        >>> data = [(torch.ones(4, 1), torch.full((4, 1), 2.0))]
        >>> line = torch.ones(1, 1)
        >>> loss_surface(model, data, directions=line, steps=5, criterion=nn.MSELoss()).values
        tensor([1.0000, 0.2500, 0.0000, 0.2500, 1.0000], dtype=torch.float64)
    """
    if not isinstance(path, str | os.PathLike | None):
        raise TypeError(f"path must be a path, got {type(path).__name__}")
    require_choice(("eval", "recalibrate"), batchnorm=batchnorm)
    require_whole(1, points_at_once=points_at_once)
    require_seed(seed)
    model, objective = measurable(model), Objective(criterion, loss_fn)
    space = ParameterSpace(model, params)
    if not isinstance(directions, Directions | Eigenpairs | Tensor):
        require_whole(1, directions=directions)
        directions = random_directions(model, directions, params=params, seed=seed)
    vectors, points, shares = _unpacked(directions, space)
    axes = _axes(steps, span, len(vectors))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    with evaluation(model), torch.no_grad():
        batches = Batches(loader, device=space.device, memory_budget=memory_budget)
        origin = space.flatten([tensor.detach() for tensor in space.tensors])
        loss_at = LossAt(
            model,
            space,
            batches,
            objective,
            far=_placed(origin, vectors, grid[-1:])[0],
            recalibrated=batchnorm == "recalibrate",
        )
        shape = tuple(len(axis) for axis in axes)
        problem = _fingerprint(model, vectors, grid, objective, batchnorm)
        cells = Cells(None if path is None else Path(path), shape, problem, loss_at.loss)
        try:
            for start in range(0, len(grid), points_at_once):
                block = np.arange(start, min(start + points_at_once, len(grid)))
                if not cells.done[block].all():
                    cells.keep(block, loss_at(_placed(origin, vectors, grid[block])))
        finally:  # an interrupt leaves what was done
            cells.write()
    return Surface(
        values=torch.from_numpy(cells.values.reshape(shape)),
        coordinates=tuple(tuple(axis.tolist()) for axis in axes),
        lengths=tuple(vectors.double().norm(dim=1).tolist()),
        points=points,
        shares=shares,
        loss=loss_at.loss,
        batchnorm=batchnorm,
        samples=batches.samples,
        note=loss_at.note,
    )


def _unpacked(
    directions: Directions | Eigenpairs | Tensor, space: ParameterSpace
) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Vectors (d, n), points (p, d), and shares of each direction."""
    vectors = directions if isinstance(directions, Tensor) else directions.vectors
    vectors = vectors.detach().reshape(-1, vectors.shape[-1]).to(space.device, space.dtype)
    if vectors.shape[1] != space.size or not len(vectors):
        raise ValueError(
            f"directions have shape {tuple(vectors.shape)}, but {space.size} parameters are "
            "selected"
        )
    if not torch.isfinite(vectors).all():
        raise ValueError("directions hold values that are not finite")
    if isinstance(directions, Directions):
        return vectors, directions.points, tuple(directions.shares.tolist())
    return vectors, torch.zeros(0, len(vectors)).double(), (float("nan"),) * len(vectors)


def _axes(
    steps: int | Sequence[int],
    span: float | tuple[float, float] | Sequence[tuple[float, float]],
    count: int,
) -> list[np.ndarray]:
    """Coordinates along each axis, with an exact 0 among them."""
    numbers = list(steps) if isinstance(steps, Iterable) else [steps] * count
    for number in numbers:
        require_whole(2, steps=number)
    if not isinstance(span, Iterable):
        require_number(above=0, span=span)
        span = (-span, span)
    given_ends: list[Any] = list(span)
    nested = any(isinstance(end, Iterable) for end in given_ends)
    ends = [_pair(each) for each in (given_ends if nested else [given_ends] * count)]
    for name, given in (("steps", numbers), ("span", ends)):
        if len(given) != count:
            raise ValueError(f"{name} has {len(given)} entries for {count} directions")
    return [_axis(number, low, high) for number, (low, high) in zip(numbers, ends, strict=True)]


def _pair(ends: Any) -> tuple[float, float]:
    pair = list(ends) if isinstance(ends, Iterable) else []
    if len(pair) != 2:
        raise ValueError(
            f"span must be a number, (low, high) or a pair for each axis, got {ends!r}"
        )
    for end in pair:
        require_number(span=end)
    return float(pair[0]), float(pair[1])


def _axis(steps: int, low: float, high: float) -> np.ndarray:
    if not (low <= 0 <= high and low < high):
        raise ValueError(f"span must hold the model at 0, got ({low}, {high})")
    place = -low / (high - low)  # of the model, as a part of the axis
    if not _is_whole(place * (steps - 1)):
        fits = (n for n in range(steps, 8 * steps) if _is_whole(place * (n - 1)))
        advice = next((f"; steps={n} would hold it" for n in fits), "; change the span")
        raise ValueError(
            f"steps={steps} over ({low}, {high}) leaves the model off the grid{advice}"
        )
    axis = np.linspace(low, high, steps)
    axis[round(place * (steps - 1))] = 0.0
    return axis


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < _ON_GRID * (1 + abs(value))


def _placed(origin: Tensor, vectors: Tensor, coordinates: np.ndarray) -> Tensor:
    """Points (k, n) in the precision of the parameters; coordinate 0 is the model to the bit."""
    weights = torch.from_numpy(coordinates).to(vectors)
    points = origin.repeat(len(weights), 1)
    for column, vector in zip(weights.T, vectors, strict=True):
        points += column[:, None] * vector
    return points


def _fingerprint(
    model: nn.Module, vectors: Tensor, grid: np.ndarray, objective: Objective, batchnorm: str
) -> str:
    """Hash of what the values are a function of, but for the data."""
    digest = hashlib.sha256(repr((objective.key, batchnorm)).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(name.encode() + _octets(tensor))
    digest.update(_octets(vectors) + grid.tobytes())
    return digest.hexdigest()


def _octets(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return (
        str((tensor.dtype, tuple(tensor.shape))).encode() + flat.view(torch.uint8).numpy().tobytes()
    )
