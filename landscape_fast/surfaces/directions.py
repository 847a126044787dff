"""Directions that span a surface: random and normalised, between models, along a training run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from landscape_fast.arguments import (
    SEEDS,
    require_choice,
    require_number,
    require_seed,
    require_whole,
)
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.state import unwrap
from landscape_fast.metrics.networks import matched_parameters

Normalisation = Literal["filter", "layer", "unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directions:
    """Directions from a model, and points worth marking in their coordinates."""

    vectors: Tensor  # (d, n), what one unit of each coordinate adds to the parameters
    points: Tensor  # (p, d) float64, coordinates of the models the directions come from
    residuals: Tensor  # (p,) float64, distance of each of these models from the plane
    shares: Tensor  # (d,) float64, part of a run's variance that each explains; else nan

    def spans(self, steps: int, margin: float = 0.2) -> list[tuple[float, float]]:
        """Spans for ``loss_surface`` that hold all points, with the model on a grid of ``steps``.

        Args:
            steps: Points along each axis, at least 3.
            margin: Room on each side, relative to the extent of the points.

        Raises:
            ValueError: There are no points, they do not differ along an axis, or ``steps`` is
                below 3.
        """
        require_whole(3, steps=steps)
        require_number(least=0, margin=margin)
        if not len(self.points):
            raise ValueError("there are no points to hold")
        found = []
        for column in self.points.T:
            low, high = float(column.clamp(max=0).min()), float(column.clamp(min=0).max())
            if not high > low:
                raise ValueError("the points do not differ along every direction")
            low, high = low - margin * (high - low), high + margin * (high - low)
            below = min(max(round(-low / (high - low) * (steps - 1)), 1), steps - 2)
            step = max(-low / below, high / (steps - 1 - below))
            found.append((-below * step, (steps - 1 - below) * step))
        return found


def random_directions(
    model: nn.Module,
    count: int = 2,
    *,
    normalise: Normalisation = "filter",
    params: Selection = None,
    seed: int = 0,
) -> Directions:
    r"""Gaussian directions in parameter space, scaled like the weights of the model.

    With ``normalise="filter"`` every filter of a direction has the norm of the filter it moves:
    :math:`d_{j} \leftarrow d_{j} \lVert w_{j} \rVert / \lVert d_{j} \rVert`. A filter is what makes
    one output: a row of a linear layer, a kernel of a convolution, the column of a transposed one.
    Parameters with at most one dimension (biases, scale and shift of normalisations) do not move.

    Directions are independent, not orthogonal; in many dimensions they nearly are.

    Args:
        model: Whose weights set the scale; left untouched.
        count: d, how many.
        normalise: ``"filter"``; ``"layer"``: one factor per parameter tensor, biases still; or
            ``"unit"``: all parameters move and the whole direction has norm 1.
        params: Names or modules to move; None for all trainable parameters.
        seed: Chooses the directions, also independently of how many: the first of three is the
            first of two.

    Returns:
        ``vectors`` (d, n) in the dtype of the parameters; no points.

    Raises:
        ValueError: ``count`` is below 1, ``normalise`` is unknown, a selection is empty, or no
            selected parameter has two dimensions to be normalised by.

    References:
        Li, Xu, Taylor, Studer and Goldstein (2018), arXiv:1712.09913.

    Example:
        >>> model = nn.Linear(3, 2)
        >>> found = random_directions(model, count=1).vectors[0, :6].reshape(2, 3)
        >>> bool(torch.allclose(found.norm(dim=1), model.weight.detach().norm(dim=1)))
        True
    """
    require_whole(1, count=count)
    require_choice(get_args(Normalisation), normalise=normalise)
    require_seed(seed)
    model = unwrap(model)
    space = ParameterSpace(model, params)
    if normalise != "unit" and all(tensor.dim() < 2 for tensor in space.tensors):
        raise ValueError(
            "no selected parameter has filters to be normalised by; use normalise='unit'"
        )
    transposed = {
        id(module.weight) for module in model.modules() if isinstance(module, _ConvTransposeNd)
    }
    rows = []
    for index in range(count):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + index) % SEEDS)
        parts = [
            torch.randn(shape, generator=generator, dtype=torch.float64) for shape in space.shapes
        ]
        if normalise == "unit":
            norm = torch.stack([part.square().sum() for part in parts]).sum().sqrt()
            parts = [part / norm for part in parts]
        else:
            parts = [
                _scaled(part, tensor.detach(), normalise, int(id(tensor) in transposed))
                for part, tensor in zip(parts, space.tensors, strict=True)
            ]
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return _without_points(torch.stack(rows).to(space.device, space.dtype))


def plane_through(
    model_a: nn.Module, model_b: nn.Module, model_c: nn.Module, *, params: Selection = None
) -> Directions:
    r"""The plane of three models, ``model_a`` at its origin.

    The first direction is :math:`u = b - a`, so that b lies at (1, 0). The second is the part of
    c - a orthogonal to u, so that c lies at (x, 1). Where b and c have other batch statistics than
    a, evaluate the surface with ``batchnorm="recalibrate"``.

    Args:
        model_a: Origin; the model to hand to ``loss_surface``.
        model_b: Second model of the same architecture.
        model_c: Third one.
        params: Names or modules that differ; None for all trainable parameters.

    Returns:
        ``vectors`` (2, n) and ``points`` (3, 2), the models' coordinates.

    Raises:
        ValueError: The models differ in device, or in the name or shape of a parameter; or they lie
            on one line.

    References:
        Garipov, Izmailov, Podoprikhin, Vetrov and Wilson (2018), arXiv:1802.10026.

    Example:
        >>> models = [nn.Linear(1, 2, bias=False) for _ in range(3)]
        >>> for model, w in zip(models, ([0.0, 0.0], [2.0, 0.0], [1.0, 3.0]), strict=True):
        ...     _ = model.weight.data.copy_(torch.tensor(w)[:, None])
        >>> plane_through(*models).points
        tensor([[0.0000, 0.0000],
                [1.0000, 0.0000],
                [0.5000, 1.0000]], dtype=torch.float64)
    """
    model_a = unwrap(model_a, "model_a")
    origin, sides = None, []
    for other in (unwrap(model_b, "model_b"), unwrap(model_c, "model_c")):
        space, tensors = matched_parameters(model_a, other, params)
        origin = _vector(space.tensors)
        sides.append(_vector(tensors) - origin)
    u, side = sides
    if not u.norm() > 0:
        raise ValueError("model_a and model_b have the same parameters: no plane holds them")
    along = float(side @ u / u.square().sum())
    v = side - along * u
    if not v.norm() > 1e-6 * side.norm():
        raise ValueError("the three models lie on one line; give another model_c")
    return Directions(
        vectors=torch.stack([u, v]).to(space.dtype),
        points=torch.tensor([[0.0, 0.0], [1.0, 0.0], [along, 1.0]], dtype=torch.float64),
        residuals=torch.zeros(3, dtype=torch.float64),
        shares=torch.full((2,), torch.nan, dtype=torch.float64),
    )


def trajectory_directions(
    model: nn.Module,
    checkpoints: Sequence[nn.Module],
    count: int = 2,
    *,
    params: Selection = None,
) -> Directions:
    """Principal directions of a training run, through its last model.

    Rows are the checkpoints minus ``model``; their principal components, with the mean removed,
    are the directions. The surface goes through ``model``, not through the mean, so points of the
    run lie off the plane by ``residuals``.

    Args:
        model: Origin, usually the end of the run.
        checkpoints: Models of the run in order; held one at a time besides their differences,
            (p, n) float64.
        count: d, how many directions; less than the number of different checkpoints.
        params: Names or modules to look at; None for all trainable parameters.

    Returns:
        ``vectors`` (d, n) with norm 1, ``points`` (p, d), and ``shares`` (d,) of the variance of
        the run.

    Raises:
        ValueError: The checkpoints span fewer than ``count`` directions, or differ from ``model``
            in device, or in the name or shape of a parameter.

    References:
        Li, Xu, Taylor, Studer and Goldstein (2018), arXiv:1712.09913, section 7.2.

    Example:
        >>> run = [nn.Linear(2, 1, bias=False) for _ in range(3)]
        >>> for model, w in zip(run, ([4.0, 1.0], [2.0, 1.0], [0.0, 1.0]), strict=True):
        ...     _ = model.weight.data.copy_(torch.tensor([w]))
        >>> found = trajectory_directions(run[-1], run, count=1)
        >>> found.points.abs().flatten().tolist(), found.shares.tolist()
        ([4.0, 2.0, 0.0], [1.0])
    """
    require_whole(1, count=count)
    model = unwrap(model)
    if isinstance(checkpoints, nn.Module) or not isinstance(checkpoints, Iterable):
        kind = type(checkpoints).__name__
        raise TypeError(f"checkpoints must be a sequence of modules, got {kind}")
    space = ParameterSpace(model, params)
    origin = _vector(space.tensors)
    moved = []
    for index, other in enumerate(checkpoints):
        _, tensors = matched_parameters(model, unwrap(other, f"checkpoints[{index}]"), params)
        moved.append(_vector(tensors) - origin)
    if len(moved) <= count:
        raise ValueError(f"{count} directions need more than {count} checkpoints, got {len(moved)}")
    rows = torch.stack(moved)
    centred = rows - rows.mean(0)
    _, singular, right = torch.linalg.svd(centred, full_matrices=False)
    if not singular[count - 1] > 1e-6 * singular[0] or not singular[0] > 0:
        raise ValueError(f"the checkpoints span fewer than {count} directions")
    vectors = right[:count]
    points = rows @ vectors.T
    return Directions(
        vectors=vectors.to(space.dtype),
        points=points.cpu(),
        residuals=(rows - points @ vectors).norm(dim=1).cpu(),
        shares=(singular[:count].square() / singular.square().sum()).cpu(),
    )


def _scaled(direction: Tensor, weight: Tensor, normalise: str, unit_axis: int) -> Tensor:
    """``direction`` (float64) with the norms of ``weight``'s filters, or of all of it."""
    if weight.dim() < 2:
        return torch.zeros_like(direction)
    axes = [axis for axis in range(weight.dim()) if normalise == "layer" or axis != unit_axis]
    wanted = torch.linalg.vector_norm(weight.to("cpu", torch.float64), dim=axes, keepdim=True)
    return direction * (wanted / torch.linalg.vector_norm(direction, dim=axes, keepdim=True))


def _vector(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1).double() for tensor in tensors])


def _without_points(vectors: Tensor) -> Directions:
    return Directions(
        vectors=vectors,
        points=torch.zeros(0, len(vectors), dtype=torch.float64),
        residuals=torch.zeros(0, dtype=torch.float64),
        shares=torch.full((len(vectors),), torch.nan, dtype=torch.float64),
    )
