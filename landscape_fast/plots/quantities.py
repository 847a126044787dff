"""What each panel shows: column, title, unit, colours and the scale of the paper.

Columns, colour maps and limits are those of Yang et al. (2021, arXiv:2107.11228): yellow is good in
every sequential panel, white is well connected, blue is a barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landscape_fast.plots.grid import Grid
from landscape_fast.plots.titles import barriers, factor, highest, lowest

Scales = Literal["paper", "data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One panel of the figure."""

    key: str  # name of the picture's file
    column: str
    title: str
    unit: str  # text beside the colour bar
    colours: str  # a matplotlib colour map
    limits: tuple[float, float]  # of the colours, on the paper's scale
    says: Callable[[Grid, str], str]  # second line of the title: what the column shows
    centred: bool = False  # whether 0 is the middle of the colours

    def range(self, values: NDArray[np.float64], scales: Scales) -> tuple[float, float]:
        """Limits of the colours for ``values``.

        ``"paper"`` gives :attr:`limits`, unless most values lie outside of them, where one flat
        colour would say nothing; ``"data"``, and then, the 2nd to the 98th percentile of the finite
        values, symmetric about 0 if :attr:`centred`.
        """
        finite = values[np.isfinite(values)]
        inside = (finite >= self.limits[0]) & (finite <= self.limits[1])
        if not len(finite) or (scales == "paper" and 2 * int(inside.sum()) >= len(finite)):
            return self.limits
        low, high = (float(x) for x in np.percentile(finite, (2.0, 98.0)))
        if self.centred:
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        if low == high:
            low, high = low - 0.5, high + 0.5
        return low, high


PANELS: tuple[Quantity, ...] = (
    Quantity(
        key="test_accuracy",
        column="test_acc_mean",
        title="Test accuracy",
        unit="percent",
        colours="viridis",
        limits=(56.0, 91.0),
        says=highest,
    ),
    Quantity(
        key="train_loss",
        column="train_loss_mean",
        title="Training loss",
        unit="nats",
        colours="viridis_r",
        limits=(0.0, 3.0),
        says=lowest,
    ),
    Quantity(
        key="top_eigenvalue",
        column="log_hessian_top_eig",
        title="Top Hessian eigenvalue",
        unit="natural log",
        colours="viridis_r",
        limits=(0.0, 6.0),
        says=factor,
    ),
    Quantity(
        key="trace",
        column="log_hessian_trace",
        title="Hessian trace",
        unit="natural log",
        colours="viridis_r",
        limits=(3.0, 8.0),
        says=factor,
    ),
    Quantity(
        key="connectivity",
        column="mc_train_err",
        title="Mode connectivity",
        unit="percentage points; below 0 a barrier",
        colours="seismic",
        limits=(-30.0, 30.0),
        says=barriers,
        centred=True,
    ),
    Quantity(
        key="similarity",
        column="cka_softmax_mean",
        title="CKA similarity",
        unit="between 0 and 1",
        colours="viridis",
        limits=(0.3, 0.8),
        says=highest,
    ),
    Quantity(
        key="distance",
        column="l2_distance_mean",
        title="Weight distance",
        unit="l2 norm",
        colours="viridis_r",
        limits=(0.0, 100.0),
        says=lowest,
    ),
)
