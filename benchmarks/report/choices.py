"""Single decisions of the engine: time with over time without, and the spread of probes."""

from __future__ import annotations

from runs import Measured, by_machine, markdown, origin, part

DECISIONS = ("decision", "case", "time, of that without it", "difference")
SPREADS = ("fresh signs for every so many rows", "deviation of tr H", "deviation of tr (H - G)")


def table(measured: list[Measured]) -> str:
    """A part per machine."""
    return "\n".join(map(_part, by_machine(measured).values()))


def _part(measured: list[Measured]) -> str:
    decisions, spreads = [], []
    for one in measured:
        if "spread" in one.extra:
            spread = one.extra["spread"]
            spreads.append([one.case, f"{spread['H']:.3f}", f"{spread['R']:.4f}"])
        else:
            error = one.extra["error"]
            words = [one.name.replace("_", " "), one.case]
            ratio = part(one.extra["ratios"]["without"])
            decisions.append([*words, ratio, f"{error:.0e}" if error else "none"])
    tables = f"{markdown(DECISIONS, decisions)}\n{markdown(SPREADS, spreads)}"
    return f"{origin(measured)}\n\n{tables}"
