"""The exact Gauss-Newton diagonal of a dataset-level loss, or why it cannot be had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.engines import attempted
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.samplewise.diagonal import SummedDiagonal, summed_diagonal
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.state import evaluation, unwrap


class GaussNewtonDiagonal:
    r"""Diagonal of :math:`G = \frac{1}{N} \sum_n J_n^\top A_n J_n`, without probes.

    With :math:`A_n = S S^\top` it is the mean over samples of :math:`\sum_c (J_n^\top s_c)^2`.

    Args:
        model: Any module; left untouched.
        loader: Iterable of batches; read once and kept within ``memory_budget``.
        criterion: As for :class:`~landscape_fast.linearise.operators.HessianOperator`.
        loss_fn: Likewise.
        params: Likewise.
        memory_budget: Likewise.
        rtol_omitted: Share of the trace of the output curvature that may be left out.

    Attributes:
        space: The selected parameters.
        values: (n,) float64; zeros where ``note`` says why there are none.
        exact: Names of parameters in which the outputs are piecewise linear: there the diagonal is
            the Hessian's too.
        omitted: Share that was left out.
        passes: Cotangents per row of the data.
        samples: Rows of the data.
        note: Why the diagonal cannot be had; None if it can.
        loader: The data, for others to read.
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
        if not 0 <= rtol_omitted < 1:
            raise ValueError(f"rtol_omitted must be at least 0 and below 1, got {rtol_omitted}")
        self._model = unwrap(model)
        self._objective = Objective(criterion, loss_fn)
        self.space = ParameterSpace(self._model, params)
        with evaluation(self._model):
            batches = Batches(loader, device=self.space.device, memory_budget=memory_budget)
            self.samples = batches.samples
            self.loader: Iterable[Any] = list(batches) if batches.resident else loader
            self.values = torch.zeros(self.space.size, dtype=torch.float64)
            self.exact: tuple[str, ...] = ()
            self.omitted, self.passes = 0.0, 0.0
            self.note = attempted(lambda: self._measure(batches, rtol_omitted))

    def _measure(self, batches: Batches, share: float) -> None:
        network = SampledNetwork(self._model, self._objective, self.space, next(iter(batches)))
        counts = 0.0
        for batch in batches:
            count = self._objective.count_of_targets(batch)
            if count is None:
                with torch.no_grad():
                    _, count = self._objective(self._model, batch)
            counts += count
        found = summed_diagonal(network, self.space, batches, share, pooled=batches.resident)
        values = torch.cat([part.reshape(-1) for part in found.parts])
        if not torch.isfinite(values).all() or not counts > 0:
            raise FloatingPointError("the squares are not finite")
        self._keep(found, values / self._objective.normaliser(counts))
        self.exact = tuple(self.space.names[index] for index in network.exact)

    def _keep(self, found: SummedDiagonal, values: Tensor) -> None:
        self.values = values.cpu()
        self.omitted = found.omitted
        self.passes = found.cotangents / max(1, self.samples)

    def by_parameter(self, vector: Tensor) -> Tensor:
        """Sums of a vector (n,), or of each row of a block, over each parameter: (..., p)."""
        sizes = [shape.numel() for shape in self.space.shapes]
        return torch.stack([part.sum(-1) for part in vector.split(sizes, dim=-1)], dim=-1)
