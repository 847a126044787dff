"""Random estimates of what an exact Gauss-Newton diagonal leaves open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast import _native
from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.samplewise.dataset import GaussNewtonDiagonal


class Probes:
    """Sign vectors through the part of a matrix that is not known exactly.

    Where the Gauss-Newton diagonal is known, that part is H - G on the parameters in which the
    outputs bend. Else it is H or G itself.

    Args:
        model: The module.
        known: The exact part.
        gauss_newton: Whether G is wanted, not H.
        options: The loss and the budget, for operators.

    Attributes:
        names: Parameters whose block is estimated, in order; empty where nothing is open.
        price: Vectors through an operator for one draw.
    """

    def __init__(
        self, model: nn.Module, known: GaussNewtonDiagonal, gauss_newton: bool, **options: Any
    ) -> None:
        names = known.space.names
        settled: Iterable[str] = () if known.note else names if gauss_newton else known.exact
        self.names = tuple(name for name in names if name not in set(settled))
        self._terms: list[tuple[float, HessianOperator | GGNOperator]] = []
        options = {**options, "params": list(self.names)}
        if self.names and not gauss_newton:
            self._terms.append((1.0, HessianOperator(model, known.loader, **options)))
        if self.names and (gauss_newton or not known.note):
            sign = 1.0 if gauss_newton else -1.0
            self._terms.append((sign, GGNOperator(model, known.loader, **options)))
        self.price = len(self._terms)
        self._places = _places(known, self.names)
        self._size = known.space.size

    @property
    def precision(self) -> str | None:
        """Of the products; None where there are none."""
        return self._terms[0][1].precision if self._terms else None

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


def _places(known: GaussNewtonDiagonal, names: tuple[str, ...]) -> Tensor:
    """Positions of the named parameters' entries in the whole vector."""
    space = known.space
    ranges = [
        torch.arange(start, stop)
        for name, start, stop in zip(
            space.names, space.offsets[:-1], space.offsets[1:], strict=True
        )
        if name in set(names)
    ]
    return torch.cat(ranges) if ranges else torch.empty(0, dtype=torch.long)
