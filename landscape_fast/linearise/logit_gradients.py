"""Gradients of single logits of single samples: the rows of the network's Jacobian."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.cuts import cut
from landscape_fast.linearise.dataset_loss import measured_loss
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.samplewise.networks import SampledNetworks
from landscape_fast.linearise.samplewise.table import tables
from landscape_fast.linearise.second_derivative import twice_differentiable
from landscape_fast.linearise.state import evaluation, measurable
from landscape_fast.linearise.structure import rows


class LogitGradients:
    r"""Rows :math:`J_k^\mu = \partial z_k^\mu / \partial \theta` of a classifier.

    Args:
        model: Any module that returns logits (b, C); left untouched.
        loader: Iterable of batches ``(inputs, classes)``; must fit within ``memory_budget``.
        params: Names or modules that gradients are taken by; None for all trainable parameters.
        memory_budget: Bytes of data to keep in memory.

    Attributes:
        space: The selected parameters.
        targets: (N,) int64 on the CPU, class of every sample, in the order of the loader.
        classes: C.

    Raises:
        ValueError: The data do not fit in memory, the model couples rows, or it is no classifier of
            such targets.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        *,
        params: Selection = None,
        memory_budget: int | None = None,
    ) -> None:
        self._model, objective = measurable(model), Objective()
        self.space = ParameterSpace(self._model, params)
        with evaluation(self._model), twice_differentiable(self._model):
            batches = Batches(loader, device=self.space.device, memory_budget=memory_budget)
            batches.require_resident("a gradient per sample, class by class,")
            self._loader = list(batches)
            self._targets = [_classes(batch) for batch in self._loader]
            self.targets = torch.cat(self._targets)
            measured_loss(self._model, objective, self.space, self._loader)
            networks = SampledNetworks(self._model, objective, self.space)
            kinds = list(tables(self._loader, None))
            self._networks = [networks.of(kind) for kind in kinds for _ in kind.batches]
            shapes = {
                tuple(network.output_shape(cut(batch, slice(0, 1))))
                for network, batch in zip(self._networks, self._loader, strict=True)
            }
        if len(shapes) > 1 or len(next(iter(shapes))) != 2:
            raise ValueError(f"model must return logits (b, C), of one row it returns {shapes}")
        self.classes = next(iter(shapes))[1]

    @property
    def samples(self) -> int:
        """N."""
        return len(self.targets)

    def of_class(self, label: int) -> Iterator[Tensor]:
        """The gradients of all C logits, (C, n), of one sample of the class after another."""
        captured = evaluation(self._model), twice_differentiable(self._model)
        units = torch.eye(self.classes, device=self.space.device)[:, None]
        with captured[0], captured[1], torch.no_grad():
            for network, batch, targets in zip(
                self._networks, self._loader, self._targets, strict=True
            ):
                for index in (targets == label).nonzero()[:, 0].tolist():
                    one = cut(batch, slice(index, index + 1))
                    yield self._joined(network.gradients(one, units))

    def _joined(self, parts: list[Tensor | None]) -> Tensor:
        space = self.space
        out = torch.zeros(self.classes, space.size, dtype=space.dtype, device=space.device)
        for place, part in zip(space.views(out), parts, strict=True):
            if part is not None:
                place.copy_(part)
        return out


def _classes(batch: Any) -> Tensor:
    """Class indices (b,) of a batch ``(inputs, classes)``."""
    pair = isinstance(batch, list | tuple) and len(batch) == 2
    targets = batch[1] if pair else None
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.dim() != 1:
        raise ValueError("loader must yield batches (inputs, classes) with class indices (b,)")
    if rows(batch) is None:
        raise ValueError("the tensors of a batch have no common rows")
    if targets.dtype not in (torch.int64, torch.uint8):
        raise ValueError(f"targets must be int64 class indices, got {targets.dtype}")
    if bool((targets < 0).any()):
        raise ValueError(f"targets must be class indices, got {int(targets.min())}")
    return targets.long().cpu()
