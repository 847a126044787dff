"""Ways to make a step of training cheaper: the time with them over that without."""

from __future__ import annotations

from runs import Measured, by_machine, markdown, origin, part

WORDS = {"together": "seeds together", "option": "option", "fused": "fused SGD, over"}


def table(measured: list[Measured]) -> str:
    """A part per machine and number of threads."""
    return "\n".join(f"{origin(own)}\n\n{_rows(own)}" for own in by_machine(measured).values())


def _rows(measured: list[Measured]) -> str:
    rows = [
        [
            WORDS[one.name],
            one.case.split("-", 1)[1].replace("-", " "),
            part(one.extra["ratios"]["without"]),
        ]
        for one in measured
    ]
    return markdown(("what", "case", "time, of that without it"), rows)
