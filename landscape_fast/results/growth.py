"""How the loss grows with the distance from a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from landscape_fast.arguments import require_choice, require_number, require_whole
from landscape_fast.results.brief import brief
from landscape_fast.results.scales import Plateau, PowerLaw, QuadraticRadius, plateaus, power_law

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Side = Literal["mean", "plus", "minus"]

_ROUNDING = 0.02  # relative error by rounding up to which a value counts
_FLOORS = 30  # times rounding: a difference that is none of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    r"""Rise of the loss along directions from a model, in float64.

    ``sides[i, 0, j]`` is :math:`L(\theta + r_j v_i) - L(\theta)`, and ``sides[i, 1, j]`` the same
    along :math:`-v_i`, for unit vectors v.
    """

    radii: Tensor  # (m,) float64, ascending, l2 distance in weights
    sides: Tensor  # (d, 2, m) float64; nan and infinity where the loss is
    slopes: Tensor  # (d,) float64, g^T v: 0 at a minimum
    curvatures: Tensor  # (d,) float64, v^T H v
    loss: float  # where the model is
    floor: float  # standard deviation of a rise by rounding
    samples: int
    note: str | None  # why the plain model ran at every point; None where a program did

    __repr__ = brief

    @property
    def rises(self) -> Tensor:
        """Mean of both sides (d, m), in which the slope cancels."""
        return self._of("mean")

    @property
    def ratios(self) -> Tensor:
        r"""Rises over :math:`\tfrac12 r^2 v^T H v` (d, m): 1 where the loss is quadratic."""
        return self.rises / (0.5 * self.curvatures[:, None] * self.radii.square())

    def exponent(
        self, index: int = 0, *, between: tuple[float, float] = (1e-4, 1e-1), side: Side = "mean"
    ) -> PowerLaw:
        """Exponent of the growth along direction ``index``.

        Args:
            index: Of the direction, from 0.
            between: Rises, in the unit of the loss, between which it is fitted: the radii from the
                first that reaches the lower one up to the first that exceeds the higher one.
            side: Both signs together, or one of them.

        Raises:
            ValueError: Fewer than four radii lie in the window, or there is no such direction.
        """
        self._require(index)
        return power_law(self.radii, self._of(side)[index], between=between, floor=self.floor)

    def local_exponents(self, *, decades: float = 0.5, side: Side = "mean") -> Tensor:
        """Slopes d ln rise / d ln r (d, m), each fitted over ``decades`` of radii around its own.

        Nearer radii weigh more (a triangle); nan where a rise is not positive, not finite or
        rounding.

        Raises:
            ValueError: ``decades`` holds fewer than three radii.
        """
        x = self.radii.log10()
        near = (1 - (x[:, None] - x).abs() / (decades / 2)).clamp(min=0.0)
        if int((near[len(x) // 2] > 0).sum()) < 3:
            raise ValueError(f"decades={decades} holds fewer than three radii")
        rows = []
        for y in self._of(side):
            usable = y.isfinite() & (y > self.floor / _ROUNDING)
            weights = near * usable
            total = weights.sum(1)
            logs = torch.where(usable, y, 1.0).log10()
            centred = x - (weights @ x / total)[:, None]
            slope = (weights * centred * logs).sum(1) / (weights * centred.square()).sum(1)
            rows.append(torch.where(usable & ((weights > 0).sum(1) >= 3), slope, torch.nan))
        return torch.stack(rows)

    def effective_curvatures(self, *, side: Side = "mean") -> tuple[Tensor, Tensor]:
        r"""Slope of the loss per distance, :math:`\ell'(r) / r`, between neighbouring radii.

        The mean over the interval with weight r dr, which needs no derivative:
        :math:`2 (\ell(r_2) - \ell(r_1)) / (r_2^2 - r_1^2)`. On a quadratic it is the curvature,
        whatever is added to the loss. nan where rounding is more than 2%.

        Returns:
            Radii (m - 1,), the geometric means of neighbours, and values (d, m - 1).
        """
        squares = self.radii.square()
        steps = squares[1:] - squares[:-1]
        values = 2 * self._of(side).diff(dim=1) / steps
        error = 2 * math.sqrt(2) * self.floor / steps
        values[error > _ROUNDING * values.abs()] = torch.nan
        return (self.radii[1:] * self.radii[:-1]).sqrt(), values

    def quadratic_radius(self, index: int = 0, *, tolerance: float = 0.1) -> QuadraticRadius:
        """Largest radius up to which the rise is within ``tolerance`` of the second-order one.

        Both signs together. Small radii where rounding hides the answer are passed over. The value
        is interpolated between two neighbouring radii, which bound it; where the first radius that
        shows anything is already beyond it, the value is that radius and ``lower`` is 0. nan where
        the curvature is not positive, or no radius shows anything.

        Raises:
            ValueError: ``tolerance`` is not between 0 and 1, or there is no such direction.
        """
        self._require(index)
        require_number(above=0, below=1, tolerance=tolerance)
        if not self.curvatures[index] > 0:
            return QuadraticRadius(value=math.nan, lower=math.nan, upper=math.nan, ratio=math.nan)
        ratios = self.ratios[index]
        error = self.floor / (0.5 * self.curvatures[index] * self.radii.square())
        clear = error < 0.1 * tolerance
        off = (ratios - 1).abs()
        # Far above what is foretold and above rounding, though what is foretold lies below it.
        beyond = ~clear & ~(off < tolerance + _FLOORS * error)
        wrong = ((clear & ~(off < tolerance)) | beyond).nonzero()
        if not len(wrong) and not clear.any():
            return QuadraticRadius(value=math.nan, lower=0.0, upper=math.inf, ratio=math.nan)
        if not len(wrong):
            last = float(self.radii[-1])
            return QuadraticRadius(value=math.inf, lower=last, upper=math.inf, ratio=math.nan)
        at = int(wrong[0])
        upper, ratio = float(self.radii[at]), float(ratios[at])
        if at == 0 or not clear[at - 1]:
            return QuadraticRadius(value=upper, lower=0.0, upper=upper, ratio=ratio)
        lower, inside, outside = float(self.radii[at - 1]), float(off[at - 1]), float(off[at])
        share = 0.0 if not math.isfinite(outside) else (tolerance - inside) / (outside - inside)
        value = lower * (upper / lower) ** share
        return QuadraticRadius(value=value, lower=lower, upper=upper, ratio=ratio)

    def plateaus(
        self,
        index: int = 0,
        *,
        tolerance: float = 0.2,
        decades: float = 0.5,
        side: Side = "mean",
    ) -> tuple[Plateau, ...]:
        """Stretches over which the effective curvature stays within a factor 1 + ``tolerance``.

        The longest stretch is found first, then the longest of what is left.

        Args:
            index: Of the direction, from 0.
            tolerance: Largest value over smallest, less 1.
            decades: Length of radii that makes a plateau.
            side: Both signs together, or one of them.

        Returns:
            Plateaus from the centre outwards; none where curvature falls steadily.

        Raises:
            ValueError: ``tolerance`` or ``decades`` is not positive, or there is no such direction.
        """
        self._require(index)
        require_number(above=0, tolerance=tolerance, decades=decades)
        radii, values = self.effective_curvatures(side=side)
        return plateaus(radii, values[index], factor=1 + tolerance, decades=decades)

    def plot(self, names: tuple[str, ...] | None = None) -> Figure:
        """Rise, local exponent and effective curvature against distance; needs matplotlib.

        Args:
            names: Of the directions, for the key.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.

        Raises:
            ValueError: ``names`` are not as many as directions.
        """
        from landscape_fast.plots.growth import growth_figure

        return growth_figure(self, names)

    def _require(self, index: int) -> None:
        require_whole(0, most=len(self.sides) - 1, index=index)

    def _of(self, side: Side) -> Tensor:
        """Rises (d, m) of one side, or the mean of both."""
        require_choice(("mean", "plus", "minus"), side=side)
        return self.sides.mean(1) if side == "mean" else self.sides[:, int(side == "minus")]
