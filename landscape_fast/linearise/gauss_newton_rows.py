"""The rows of a factor of a Gauss-Newton matrix: gradients of single outputs of single samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.cuts import cut
from landscape_fast.linearise.dataset_loss import measured_loss
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.samplewise.factors import grouped
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.samplewise.networks import SampledNetworks
from landscape_fast.linearise.samplewise.table import tables
from landscape_fast.linearise.second_derivative import twice_differentiable
from landscape_fast.linearise.state import evaluation, measurable


class GaussNewtonRows:
    r"""Rows :math:`a = J_n^\top s / \sqrt N` with :math:`G = \sum \pm a a^\top`.

    The second derivative of the loss in the outputs of sample n is a sum of directions
    :math:`\pm s s^\top`; each is one row. The rows of largest :math:`\lVert s \rVert` are kept.

    Args:
        model: Any module; left untouched.
        loader: Iterable of batches; read once, and must fit within ``memory_budget``.
        criterion: As for :class:`~landscape_fast.linearise.operators.HessianOperator`.
        loss_fn: Likewise.
        params: Likewise.
        memory_budget: Likewise.
        rtol_omitted: Share of the trace of the output curvature that may be left out.

    Attributes:
        space: The selected parameters.
        samples: Rows of the data.
        total: Directions of non-zero curvature, over all samples.
        loader: The data, for others to read.

    Raises:
        ValueError: The loss cannot be cut, couples rows, or the data do not fit in memory.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        *,
        criterion: Criterion | None,
        loss_fn: LossFunction | None,
        params: Selection,
        memory_budget: int | None,
        rtol_omitted: float,
    ) -> None:
        self._model = measurable(model)
        self._objective = Objective(criterion, loss_fn)
        self.space = ParameterSpace(self._model, params)
        # Programs are shared: whoever captures one first, it must have second derivatives.
        with evaluation(self._model), twice_differentiable(self._model):
            batches = Batches(loader, device=self.space.device, memory_budget=memory_budget)
            if not batches.resident:
                raise ValueError(
                    "the rows of a Gauss-Newton matrix need the same batches on every pass, but "
                    "the data are larger than memory_budget; raise it"
                )
            self.samples = batches.samples
            self.loader = list(batches)
            _, counts = measured_loss(self._model, self._objective, self.space, self.loader)
            networks = SampledNetworks(self._model, self._objective, self.space)
            kinds = list(tables(self.loader, None))
            self._networks = [networks.of(kind) for kind in kinds for _ in kind.batches]
            values = [
                network.factors(batch).values.flatten(1).cpu()
                for network, batch in zip(self._networks, self.loader, strict=True)
            ]
        if not counts > 0:
            raise ValueError(f"the loader holds no valid target: the loss divides by {counts}")
        self._scale = self._objective.normaliser(counts) ** -0.5
        self._curvature = values  # (b, directions) per batch
        self._chosen: list[Tensor] = []  # as booleans, which of them count
        sizes = self._sizes()
        self.total = int((sizes > 0).sum())
        sums = sizes.sort().values.cumsum(0)
        self._keep(min(self.total, len(sums) - int((sums <= rtol_omitted * sums[-1]).sum())))

    @property
    def kept(self) -> int:
        """Rows that count."""
        return sum(int(chosen.sum()) for chosen in self._chosen)

    def keep_largest(self, count: int) -> None:
        """Leave out all but ``count`` rows, those of least output curvature first."""
        self._keep(min(count, self.kept))

    def _keep(self, count: int) -> None:
        sizes = self._sizes()
        chosen = torch.zeros(len(sizes), dtype=torch.bool)
        chosen[sizes.argsort(descending=True, stable=True)[:count]] = True
        parts = chosen.split([part.numel() for part in self._curvature])
        pairs = zip(parts, self._curvature, strict=True)
        self._chosen = [part.reshape(like.shape) for part, like in pairs]

    def _sizes(self) -> Tensor:
        return torch.cat([part.flatten() for part in self._curvature]).abs()

    @property
    def signs(self) -> Tensor:
        """Of the curvature of every row, (rows,) float64 on the CPU."""
        pairs = zip(self._curvature, self._chosen, strict=True)
        return torch.cat([part[chosen].sign() for part, chosen in pairs])

    def columns(self, start: int, stop: int) -> Tensor:
        """Entries ``start`` to ``stop`` of every row, (rows, stop - start)."""
        out = torch.empty(self.kept, stop - start, dtype=self.space.dtype, device=self.space.device)
        first = 0
        for part in self.by_sample():
            out[first : first + len(part)] = part[:, start:stop]
            first += len(part)
        return out

    def by_sample(self) -> Iterator[Tensor]:
        """The rows of one sample after another, (k, n) each."""
        captured = evaluation(self._model), twice_differentiable(self._model)
        with captured[0], captured[1], torch.no_grad():
            for network, batch, chosen in zip(
                self._networks, self.loader, self._chosen, strict=True
            ):
                factors = network.factors(batch)
                for index in chosen.any(1).nonzero()[:, 0].tolist():
                    places = chosen[index].nonzero().T.to(self.space.device)
                    row = torch.tensor([index], device=self.space.device)
                    directions = factors.directions(row, places)[:, 0]
                    one = cut(batch, slice(index, index + 1))
                    yield self._gradients(network, one, directions, factors.dim)

    def _gradients(
        self, network: SampledNetwork, one: Any, directions: Tensor, dim: int | None
    ) -> Tensor:
        """``J^T s`` for cotangents (k, outputs) of a batch of one row: (k, n)."""
        shape = network.output_shape(one)
        order = grouped(shape, network.layout, 1, dim).reshape(-1).to(directions.device)
        cotangents = torch.empty_like(directions)
        cotangents[:, order] = directions * self._scale
        found = network.gradients(one, cotangents)
        out = torch.zeros(
            len(cotangents), self.space.size, dtype=self.space.dtype, device=cotangents.device
        )
        for part, gradient in zip(self.space.views(out), found, strict=True):
            if gradient is not None:
                part.copy_(gradient)
        return out
