"""Where the answer is known: data of given magnitudes, and losses of one parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape_fast import loss_growth
from landscape_fast.multiscale.magnitudes import (
    MagnitudeProblem,
    magnitude_problem,
    power_law_magnitudes,
)
from landscape_fast.multiscale.scalar import ScalarLoss, descend, hyperbola, rippled
from landscape_fast.results import Growth

MAGNITUDES, ALPHAS = (1e4, 1e2, 1.0), (1.5, 2.0, 2.5)
INSIDE = (3e-3, 0.1)  # radii between those of the largest and the smallest magnitude
Levels = NDArray[np.float64]


def magnitudes() -> tuple[dict[str, Growth], dict[float, Growth]]:
    """Growth with separate magnitudes, with the linear control, and with power laws."""
    options: dict[str, Any] = {"span": (1e-6, 1e2), "per_decade": 16}
    separate = {
        "tanh": along(magnitude_problem(MAGNITUDES), **options),
        "linear": along(magnitude_problem(MAGNITUDES, linear=True), **options),
    }
    laws = {}
    for alpha in ALPHAS:
        r = power_law_magnitudes(50_000, alpha, low=1.0, high=1e4)
        laws[alpha] = along(magnitude_problem(r, width=1), span=(1e-6, 1e2), per_decade=8)
    return separate, laws


def along(problem: MagnitudeProblem, **options: Any) -> Growth:
    """Growth along the line of a problem."""
    return loss_growth(
        problem.model,
        problem.data,
        directions=problem.direction,
        criterion=problem.criterion,
        **options,
    )


def predicted() -> list[float]:
    """Curvatures of the separate scales, from the centre out."""
    return [curvature for _, curvature in magnitude_problem(MAGNITUDES).scales]


def magnitude_numbers(separate: dict[str, Growth], laws: dict[float, Growth]) -> dict[str, Any]:
    """Scales and exponents that were measured, each beside its prediction."""
    rows = {}
    for alpha, found in laws.items():
        inside = (found.radii > INSIDE[0]) & (found.radii < INSIDE[1])
        low, high = found.rises[0, inside][[0, -1]].tolist()
        fit = found.exponent(between=(low, high))
        rows[f"{alpha:g}"] = {
            "predicted": alpha - 1,
            "exponent": fit.exponent,
            "stderr": fit.stderr,
        }
    return {
        "predicted": predicted(),
        "plateaus": [
            [one.curvature, one.low, one.high] for one in separate["tanh"].plateaus(tolerance=0.25)
        ],
        "linear plateaus": len(separate["linear"].plateaus()),
        "linear exponent": separate["linear"].exponent().exponent,
        "laws": rows,
    }


@dataclass(frozen=True)
class Toys:
    """Where descent of two losses of one parameter ends, by the learning rate."""

    rates: Levels
    hyperbola: Levels  # mean loss of the last steps
    closed_form: Levels  # the same in closed form
    rippled: Levels


def toys() -> Toys:
    """Levels of a loss of slope 2 far out, and of a bowl with ripples."""
    rates = np.geomspace(0.02, 2.0, 60)
    return Toys(
        rates=rates,
        hyperbola=levels(hyperbola(2.0), rates, start=1.0),
        closed_form=np.maximum(2 * rates - 1, 0.0),
        rippled=levels(rippled(1.0, 0.01, 40.0), rates, start=1.0),
    )


def levels(line: ScalarLoss, rates: Levels, start: float, steps: int = 4000) -> Levels:
    """Mean loss of the last fifth of descent, for each rate."""
    places = descend(line, np.tile(rates, (steps, 1)), start=start)
    return line.value(places[-steps // 5 :]).mean(0)


def toy_numbers(found: Toys) -> dict[str, Any]:
    """How far levels are from their closed form, and from which rate on ripples are left."""
    free = found.rippled < found.rippled[0] / 2
    return {
        "off closed form": float(np.abs(found.hyperbola - found.closed_form).max()),
        "level in ripples": float(found.rippled[0]),
        "ripples left at": float(found.rates[free][0]),
        "level when they are left": float(found.rippled[free][0]),
    }
