"""The tables of docs/studies/local-geometry.md, from local-geometry.json alone."""

from __future__ import annotations

from typing import Any

STAGES = {"start": 0, "middle": 80, "end": 2400}  # steps of the run that the page shows


def tables(found: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Rows of every table, the first its head."""
    return {
        "stages": _stages(found),
        "outliers": _outliers(found["classes"]),
        "dimension": _dimension(found["dimension"]),
    }


def _stages(found: dict[str, Any]) -> list[list[str]]:
    at = {int(row["step"]): row for row in found["run"]}
    stages = [at[step] for step in STAGES.values()]
    rest = [found["logit_curvature"][name] for name in STAGES]
    return [
        ["", *STAGES],
        ["step", *(f"{row['step']}" for row in stages)],
        ["loss", *(f"{row['loss']:.3g}" for row in stages)],
        ["q_SLSC, own logit", *(f"{row['own']:.2f}" for row in stages)],
        ["q_SLSC", *(f"{row['slsc']:.2f}" for row in stages)],
        ["q_SL", *(f"{row['sl']:.2f}" for row in stages)],
        ["q_DL", *(f"{row['dl']:.2f}" for row in stages)],
        ["spread of logits", *(f"{row['logit_std']:.2f}" for row in stages)],
        ["mean largest probability", *(f"{row['confidence']:.2f}" for row in stages)],
        ["mean p (1 - p)", *(f"{row['slope']:.3g}" for row in stages)],
        ["largest eigenvalue", *(f"{row['top']:.3g}" for row in stages)],
        ["the random model foretells", *(f"{row['foretold']:.3g}" for row in stages)],
        ["share of the gradient in the top 10", *(f"{row['share']:.2f}" for row in stages)],
        ["(H - G) v over H v, v random", *(f"{each['random']:.2f}" for each in rest)],
        ["the same, v in the top 10", *(f"{each['top']:.3f}" for each in rest)],
        ["overlap of the top 10 of H and G", *(f"{each['overlap']:.3f}" for each in rest)],
    ]


def _outliers(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        ["classes", *(f"{row['classes']}" for row in rows)],
        ["eigenvalues above the largest gap", *(f"{row['count']}" for row in rows)],
        ["ratio across it", *(f"{row['ratio']:.1f}" for row in rows)],
    ]


def _dimension(found: dict[str, Any]) -> list[list[str]]:
    return [
        ["dimension of the plane", *(f"{d}" for d in found["tried"])],
        ["test accuracy, percent", *(f"{mean:.1f}" for mean in found["means"])],
        ["standard error", *(f"{error:.1f}" for error in found["stderr"])],
    ]
