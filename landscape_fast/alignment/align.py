"""The public function: permutations that bring the hidden units of two models together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape_fast.alignment.groups import find_groups, permuted
from landscape_fast.alignment.matching import by_activations, by_weights
from landscape_fast.arguments import require_choice, require_seed, require_whole
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.state import evaluation, measurable
from landscape_fast.metrics.networks import matched_parameters
from landscape_fast.randomness import start_from_seed
from landscape_fast.results import Permutations


def align(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Iterable[Any],
    *,
    method: Literal["weights", "activations"] = "weights",
    rounds: int = 100,
    seed: int = 0,
) -> Permutations:
    r"""Permutations of the hidden units of ``model_b`` that bring it close to ``model_a``.

    Groups of units that must move together are found in the captured forward pass, for any
    architecture whose operations are known: chains, residual streams, flattened images, depthwise
    and grouped convolutions, group and layer normalisation, heads of attention and the entries of
    a head (one permutation for all heads). The same function is computed: every network is held to
    that in float64 with random permutations before the answer is looked for.

    ``"weights"`` minimises :math:`\lVert \theta_a - \pi(\theta_b) \rVert` by coordinate descent
    over groups, each step an exact linear assignment. ``"activations"`` maximises the inner
    product of the activations of both on the data, one assignment per group.

    Differs from git-re-basin in: no specification by hand; ties within one tensor are taken into
    account; the distance never grows.

    Args:
        model_a: Stays as it is.
        model_b: The same network with other parameters; left untouched, see
            :meth:`Permutations.applied_to`.
        loader: Iterable of batches: ``(inputs, ...)``, or a mapping of keywords. Weight
            matching reads the first batch only, to capture the model.
        method: ``"weights"`` or ``"activations"``.
        rounds: Of coordinate descent over all groups, at most.
        seed: Chooses the order of groups.

    Returns:
        The permutations, the distance before and after, and in ``.still`` which axes of parameters
        could not move, and why.

    Raises:
        ValueError: The models differ in a parameter's name or shape or in device, hold values that
            are not finite, use an operation without a rule (it is named), cannot be captured, or an
            argument is out of range.

    References:
        Ainsworth, Hayase and Srinivasa (2022), arXiv:2209.04836.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> other = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> order = torch.tensor([2, 0, 1])
        >>> for one, two in zip(model.parameters(), other.parameters(), strict=True):
        ...     _ = two.data.copy_(one.data)
        >>> for part in (other[0].weight, other[0].bias):
        ...     _ = part.data.copy_(part.data[order])
        >>> _ = other[2].weight.data.copy_(other[2].weight.data[:, order])
        >>> align(model, other, [(torch.randn(4, 2),)]).distance_after
        0.0
    """
    require_choice(("weights", "activations"), method=method)
    require_whole(1, rounds=rounds)
    require_seed(seed)
    model_a, model_b = measurable(model_a, "model_a"), measurable(model_b, "model_b")
    space, tensors_b = matched_parameters(model_a, model_b)
    for argument, tensors in (("model_a", space.tensors), ("model_b", tensors_b)):
        for name, tensor in zip(space.names, tensors, strict=True):
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{argument} holds values that are not finite, in {name}")
    named_a = dict(zip(space.names, (t.detach() for t in space.tensors), strict=True))
    named_b = dict(zip(space.names, (t.detach() for t in tensors_b), strict=True))
    with evaluation(model_a), evaluation(model_b), torch.no_grad():
        rng = start_from_seed(seed, space.device)
        batches = Batches(loader, device=space.device)
        groups = find_groups(model_b, next(iter(batches)))
        if method == "weights":
            named = _with_frozen(model_a, named_a), _with_frozen(model_b, named_b)
            orders, made, converged = by_weights(groups, *named, rounds=rounds, rng=rng)
        else:
            orders = by_activations(groups, model_a, model_b, batches)
            made, converged = 1, True
    mine = [place for place in groups.places if place.name in named_b]
    return Permutations(
        order=torch.cat([torch.zeros(0, dtype=torch.int64), *orders]),
        sizes=groups.sizes,
        places=tuple((p.name, p.axis, p.sizes, p.groups) for p in groups.places),
        still=groups.still,
        method=method,
        distance_before=_distance(named_a, named_b),
        distance_after=_distance(named_a, permuted(named_b, mine, orders)),
        rounds=made,
        converged=converged,
    )


def _with_frozen(model: nn.Module, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters and buffers; what is not trained moves along but does not decide."""
    rest = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: named[name] if name in named else torch.zeros_like(tensor)
        for name, tensor in rest.items()
    }


def _distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float((one[n].double() - other[n].double()).square().sum()) for n in one))
