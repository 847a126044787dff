"""The README's table: how many times faster, for the goals that name a row of it."""

from __future__ import annotations

from goals import reached
from runs import Measured, by_machine, markdown, origin

TITLES = ("what", "against", "times faster")


def table(measured: list[Measured]) -> str:
    """One row per goal with ``readme``, of results that exist, the largest factor first."""
    found = [
        (value if goal.get("inverse") else 1 / value, goal["readme"], one)
        for goal, one, value in reached(measured)
        if "readme" in goal
    ]
    found.sort(key=lambda row: -row[0])
    rows = ([*words, f"{float(f'{faster:.2g}'):,g}"] for faster, words, _ in found)
    where = "\n".join(origin(ones) for ones in by_machine(one for *_, one in found).values())
    return f"{markdown(TITLES, rows)}\n{where}\n"
