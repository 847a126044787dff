"""Random estimates of what an exact Gauss-Newton diagonal leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast import _native
from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal

BLOCK = 8  # unit vectors that go through the operators together


class Probes:
    """Sign vectors through the part of a matrix that is not known exactly.

    Where the Gauss-Newton diagonal is known, that part is H - G on the parameters in which the
    outputs bend. Else it is H or G itself.

    Args:
        model: The module.
        known: The exact part.
        names: Parameters whose block is estimated, in order; at least one.
        gauss_newton: Whether G is wanted, not H.
        options: The loss and the budget, for operators.

    Attributes:
        price: Vectors through an operator for one draw.
    """

    def __init__(
        self,
        model: nn.Module,
        known: GaussNewtonDiagonal,
        names: Sequence[str],
        gauss_newton: bool,
        **options: Any,
    ) -> None:
        self._terms: list[tuple[float, HessianOperator | GGNOperator]] = []
        options = {**options, "params": list(names)}
        if not gauss_newton:
            self._terms.append((1.0, HessianOperator(model, known.loader, **options)))
        if gauss_newton or not known.note:
            sign = 1.0 if gauss_newton else -1.0
            self._terms.append((sign, GGNOperator(model, known.loader, **options)))
        self.price = len(self._terms)
        self._places = _places(known, names)
        self._size = known.space.size

    @property
    def precision(self) -> str:
        """Of the products."""
        return self._terms[0][1].precision

    @property
    def exact_price(self) -> int:
        """Vectors through an operator for :meth:`exact`."""
        return self.price * len(self._places)

    def forms(self, first: int, count: int, seed: int) -> Tensor:
        """Estimates of the trace, (count,) float64, with fresh signs for every batch."""
        return torch.stack(
            [sign * op.random_quadratics(count, seed=seed, first=first) for sign, op in self._terms]
        ).sum(0)

    def entries(self, first: int, count: int, seed: int) -> Tensor:
        """Estimates of the diagonal, (count, n) float64, with one sign vector for all batches.

        References:
            Bekas, Kokiopoulou and Saad (2007), doi:10.1016/j.apnum.2007.01.003.
        """
        op = self._terms[0][1]
        signs = torch.empty(count, op.shape[0], dtype=op.dtype, device=op.device)
        _native.signs_(signs, seed, first_row=first)
        out = torch.zeros(count, self._size, dtype=torch.float64)
        for sign, op in self._terms:
            out[:, self._places] += sign * (signs * op(signs)).double().cpu()
        return out

    def exact(self) -> Tensor:
        """The diagonal itself, (n,) float64, by forms of unit vectors."""
        op = self._terms[0][1]
        out = torch.zeros(self._size, dtype=torch.float64)
        for places in torch.arange(len(self._places)).split(BLOCK):
            units = torch.zeros(len(places), op.shape[0], dtype=op.dtype, device=op.device)
            units[torch.arange(len(places)), places] = 1
            for sign, op in self._terms:
                out[self._places[places]] += sign * op.quadratic(units).cpu()
        return out


def _places(known: GaussNewtonDiagonal, names: Sequence[str]) -> Tensor:
    """Positions of the named parameters' entries in the whole vector."""
    space = known.space
    bounds = zip(space.names, space.offsets[:-1], space.offsets[1:], strict=True)
    return torch.cat([torch.arange(a, b) for name, a, b in bounds if name in set(names)])
