"""What was asked beside what was reached: every goal of goals.toml, met or missed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from runs import Measured, markdown

GOALS = Path(__file__).with_name("goals.toml")
TITLES = ("goal", "asked", "reached", "")


def table(measured: list[Measured]) -> str:
    """One row per goal and case; a goal without a result says so."""
    goals = tomllib.loads(GOALS.read_text())["goal"]
    return markdown(TITLES, (row for goal in goals for row in _rows(goal, measured)))


def _rows(goal: dict[str, Any], measured: list[Measured]) -> list[list[str]]:
    found = [
        one
        for one in measured
        if one.source == goal["benchmark"]
        and one.gpu == goal.get("gpu", False)
        and re.fullmatch(goal["name"], f"{one.name}[{one.case}]")
        and _value(one, goal) is not None
    ]
    if not found:
        return [[goal["text"], _asked(goal), "not measured", "open"]]
    return [_row(goal, one) for one in found]


def _value(one: Measured, goal: dict[str, Any]) -> float | None:
    value: Any = one.extra
    for key in goal["value"].split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return None if value is None else float(value)


def _row(goal: dict[str, Any], one: Measured) -> list[str]:
    value = _value(one, goal)
    assert value is not None
    if goal.get("inverse"):
        value = 1 / value
    if "most" in goal:
        met, miss = value <= goal["most"], value / goal["most"] - 1
    else:
        met, miss = value >= goal["least"], goal["least"] / value - 1
    text = f"{goal['text']}: {one.case}" if one.case else goal["text"]
    return [text, _asked(goal), f"{value:.3g}", "met" if met else f"missed by {100 * miss:.1f}%"]


def _asked(goal: dict[str, Any]) -> str:
    return f"at most {goal['most']}" if "most" in goal else f"at least {goal['least']}"
