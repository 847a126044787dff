"""Native operations: rates, and what plain torch takes."""

from __future__ import annotations

from runs import Measured, by_machine, markdown, origin, times

TITLES = (
    "operation",
    "size",
    "ms",
    "GB/s",
    "GFMA/s",
    "float32 torch takes",
    "float64 torch takes",
)


def table(measured: list[Measured]) -> str:
    """A part per machine."""
    return "\n".join(
        f"{origin(own)}\n\n{markdown(TITLES, map(_row, own))}"
        for own in by_machine(measured).values()
    )


def _row(one: Measured) -> list[str]:
    extra, ratios = one.extra, one.extra["ratios"]
    rate = extra["multiply_adds"] / one.seconds / 1e9
    shape = extra["shape"]
    sizes = shape.items() if isinstance(shape, dict) else [("", shape)]
    return [
        one.name,
        ", ".join(f"{letter} = {size:,}" if letter else str(size) for letter, size in sizes),
        f"{1e3 * one.seconds:.3g}",
        f"{extra['bytes'] / one.seconds / 1e9:.1f}",
        f"{rate:.1f}" if rate else "",
        times(ratios.get("float32", ratios.get("torch"))),
        times(ratios.get("float64")),
    ]
