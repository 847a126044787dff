"""What was asked beside what was reached: every goal of goals.toml, met or missed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runs import Measured, markdown

GOALS = Path(__file__).with_name("goals.toml")
TITLES = ("goal", "asked", "reached", "")


def table(measured: list[Measured]) -> str:
    """One row per goal and case; a goal without a result says so."""
    return markdown(TITLES, (row for goal in _goals() for row in _rows(goal, measured)))


def reached(measured: list[Measured]) -> Iterator[tuple[dict[str, Any], Measured, float]]:
    """Every goal with each result that it is about, and the value reached."""
    for goal in _goals():
        for one in measured:
            value = _value(one, goal)
            if value is not None:
                yield goal, one, value


def _goals() -> list[dict[str, Any]]:
    goals: list[dict[str, Any]] = tomllib.loads(GOALS.read_text())["goal"]
    return goals


def _rows(goal: dict[str, Any], measured: list[Measured]) -> list[list[str]]:
    values = ((one, _value(one, goal)) for one in measured)
    found = [_row(goal, one, value) for one, value in values if value is not None]
    return found or [[goal["text"], _asked(goal), "not measured", "open"]]


def _value(one: Measured, goal: dict[str, Any]) -> float | None:
    """What the goal asks for; None if the result is not about it."""
    about = one.source == goal["benchmark"] and one.gpu == goal.get("gpu", False)
    if not about or not re.fullmatch(goal["name"], f"{one.name}[{one.case}]"):
        return None
    value: Any = one.extra
    for key in goal["value"].split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return None
    return 1 / float(value) if goal.get("inverse") else float(value)


def _row(goal: dict[str, Any], one: Measured, value: float) -> list[str]:
    if "most" in goal:
        met, miss = value <= goal["most"], value / goal["most"] - 1
    else:
        met, miss = value >= goal["least"], 1 - value / goal["least"]
    text = f"{goal['text']}: {one.case}" if one.case else goal["text"]
    return [text, _asked(goal), f"{value:.3g}", "met" if met else f"missed by {100 * miss:.1f}%"]


def _asked(goal: dict[str, Any]) -> str:
    return f"at most {goal['most']}" if "most" in goal else f"at least {goal['least']}"
