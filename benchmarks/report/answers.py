"""Whole answers against the packages that people use: how much longer those take."""

from __future__ import annotations

from runs import Measured, by_machine, markdown, origin, times

PLAIN = ("ratios", "threads", "torch", "gpu")


def table(measured: list[Measured]) -> str:
    """A part per machine."""
    return "\n".join(map(_part, by_machine(measured).values()))


def _part(measured: list[Measured]) -> str:
    rivals = list(dict.fromkeys(name for one in measured for name in one.extra.get("ratios", ())))
    titles = ["what", "case", "seconds", *(f"{rival} takes" for rival in rivals), "beside"]
    rows = (
        [
            one.name.replace("_", " "),
            one.case,
            f"{one.seconds:.3g}",
            *(times(one.extra.get("ratios", {}).get(rival)) for rival in rivals),
            _rest(one),
        ]
        for one in measured
    )
    return f"{origin(measured)}\n\n{markdown(titles, rows)}"


def _rest(one: Measured) -> str:
    """Everything else that was recorded: accuracy, products, what was extrapolated."""
    return "; ".join(
        f"{name.replace('_', ' ')} {_told(value)}"
        for name, value in one.extra.items()
        if name not in PLAIN
    )


def _told(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_told(inner)}" for key, inner in value.items())
    return ", ".join(map(_told, value)) if isinstance(value, list | tuple) else str(value)
