"""Permutations of hidden units that bring one network close to another."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape_fast.results.brief import brief


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutations:
    """One permutation per group of hidden units, and where the units stand in the parameters."""

    order: Tensor  # (sum of sizes,) int64: unit i of a group is to be what was unit order[i]
    sizes: tuple[int, ...]  # units of each group; `order` holds the groups one after another
    # Axes that move: name of the tensor, axis, sizes of its factors, group of each or -1.
    places: tuple[tuple[str, int, tuple[int, ...], tuple[int, ...]], ...]
    still: tuple[tuple[str, str], ...]  # axes of parameters that cannot move, and why
    method: str  # "weights" or "activations"
    distance_before: float  # l2 distance of the parameters of the two models
    distance_after: float  # with the units of the second permuted
    rounds: int  # over all groups
    converged: bool  # the last round changed nothing

    __repr__ = brief

    @property
    def permutations(self) -> tuple[Tensor, ...]:
        """The permutation of each group."""
        return self.order.split(list(self.sizes))

    def applied_to(self, model: nn.Module) -> nn.Module:
        """A copy of ``model`` that computes the same with its hidden units in the new order.

        Raises:
            ValueError: The model has no tensor of a name or shape that is permuted.
        """
        model = copy.deepcopy(model)
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        orders = self.permutations
        with torch.no_grad():
            for name, axis, sizes, groups in self.places:
                if name not in named or named[name].shape[axis] != torch.Size(sizes).numel():
                    raise ValueError(f"model has no tensor {name!r} that these permutations fit")
                tensor = named[name]
                moved = tensor.unflatten(axis, sizes)
                for offset, group in enumerate(groups):
                    if group >= 0:
                        moved = moved.index_select(axis + offset, orders[group].to(tensor.device))
                tensor.copy_(moved.reshape(tensor.shape))
        return model
