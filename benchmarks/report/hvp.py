"""Products and quadratic forms: our time per vector as a part of the plain torch ways'."""

from __future__ import annotations

from typing import Any

from runs import Measured, by_machine, markdown, origin, part

RIVALS = {
    "gradient": "in gradients",
    "kept": "of a kept graph",
    "rebuilt": "of a rebuilt graph",
    "vmap": "of vmap",
    "compiled": "of compiled vmap",
}
WHAT = {
    "product": "product",
    "product_against_vmap": "product",
    "quadratic": "quadratic form",
}


def table(measured: list[Measured]) -> str:
    """A part per machine."""
    return "\n".join(
        f"{origin(own)}\n\n{_part(own)}"
        for own in by_machine(one for one in measured if one.name in WHAT).values()
    )


def _part(measured: list[Measured]) -> str:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in measured:
        key = one.case.split("-")[0], WHAT[one.name]
        ms = 1e3 * one.seconds / one.extra.get("vectors", 8)
        rows.setdefault(key, {"ms": ms}).update(one.extra["ratios"])
    rivals = [rival for rival in RIVALS if any(rival in row for row in rows.values())]
    return markdown(
        ["network", "what", "ms per vector", *(RIVALS[rival] for rival in rivals)],
        (
            [network, what, f"{row['ms']:.3g}", *(part(row.get(rival)) for rival in rivals)]
            for (network, what), row in sorted(rows.items())
        ),
    )
