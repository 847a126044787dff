"""The table of docs/studies/any-network.md, from any-network.json alone."""

from __future__ import annotations

from typing import Any


def tables(found: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Rows of the table, the first its head."""
    heads = ["", "parameters", "loss", "accuracy", "largest eigenvalues", "trace"]
    heads += ["negative eigenvalues", "CKA", "barrier, nats or squares", "barrier, points"]
    return {"kinds": [heads, *(_row(name, row) for name, row in found.items())]}


def _row(name: str, row: dict[str, Any]) -> list[str]:
    accuracy, barrier = row["accuracy"], row["barrier of the error"]
    return [
        name + (", formal" if row["refused"] else ""),
        f"{row['parameters']:,}",
        f"{row['loss']:.3g}",
        "" if accuracy is None else f"{accuracy:.1f}",
        ", ".join(f"{value:.3g}" for value in row["eigenvalues"]),
        f"{row['trace']:.3g} ± {row['trace error']:.2g}",
        f"{row['negative']:.0%}",
        f"{row['cka']:.2f}",
        f"{row['barrier of the loss']:.2f}",
        "" if barrier is None else f"{barrier:.1f}",
    ]
