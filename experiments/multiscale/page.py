"""The tables of docs/studies/multiscale.md, from multiscale.json alone."""

from __future__ import annotations

from typing import Any

Rows = list[list[str]]


def tables(found: dict[str, Any]) -> dict[str, Rows]:
    """Rows of every table, the first its head."""
    return {
        "growth": _growth(found["growth"], found["windows"]),
        "edge": _edge(found["edge"]),
        "magnitudes": _magnitudes(found["magnitudes"]),
    }


def _growth(kinds: dict[str, Any], windows: list[list[float]]) -> Rows:
    heads = [f"exponent, rises {low:g} to {high:g}" for low, high in windows]
    rows = [["loss", "direction", "curvature", "quadratic up to", *heads]]
    for kind, found in kinds.items():
        for name, row in found["directions"].items():
            everywhere = "all radii" if row["curvature"] > 0 else "no radius"
            radius = everywhere if row["radius"] is None else f"{row['radius']:.2g}"
            said = [
                "not reached" if fit is None else f"{fit[0]:.3f} ± {fit[1]:.3f}"
                for fit in row["exponents"]
            ]
            rows.append([kind, name, f"{row['curvature']:.2g}", radius, *said])
    return rows


def _edge(runs: dict[str, Any]) -> Rows:
    heads = ["learning rate", "threshold", "crossed at step", "hovers at", "loss rises in"]
    rows = [["optimiser", *heads]]
    for name, row in runs.items():
        hovers = f"{row['hovering']:.3f} ± {row['spread']:.3f}"
        figures = [f"{row['lr']:.4g}", f"{row['threshold']:.3g}", f"{row['crossing']}", hovers]
        rows.append([name, *figures, f"{row['rising']:.0%} of steps"])
    return rows


def _magnitudes(found: dict[str, Any]) -> Rows:
    rows = [["data", "predicted", "measured"]]
    pairs = zip(found["predicted"], found["plateaus"], strict=True)
    for number, (predicted, (value, low, high)) in enumerate(pairs, 1):
        measured = f"{value:.4g} ({low:.4g} to {high:.4g})"
        name = f"three magnitudes, scale {number}"
        rows.append([name, f"curvature {predicted:.4g}", measured])
    for alpha, law in found["laws"].items():
        measured = f"{law['exponent']:.3f} ± {law['stderr']:.3f}"
        rows.append([f"density r^-{alpha}", f"exponent {law['predicted']:g}", measured])
    return [*rows, ["linear network", "exponent 2", f"{found['linear exponent']:.6f}"]]
