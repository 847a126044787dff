"""The tables of docs/studies/large-scale.md, from large-scale.json alone."""

from __future__ import annotations

from typing import Any

JOINED = {2: "two networks (mean of 6 pairs)", 3: "three (mean of 4)", 4: "four"}
KNOBS = {  # names, and what the paper is said to claim of the width, by summaries
    "lr": ("learning rate", "wider"),
    "batch": ("batch size", "narrower"),
    "l2": ("L2 coefficient", "wider"),
    "dropout": ("dropout rate", "wider"),
    "width": ("hidden units", "acts like these"),
}


def tables(found: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Rows of every table, the first its head."""
    return {
        "centres": _centres(found["connectors"]["four"]["centres"]),
        "inside": _inside(found["connectors"]),
        "tunnels": _tunnels(found["tunnels"]),
        "ensembles": _ensembles(found["ensembles"]),
    }


def _centres(rows: list[dict[str, Any]]) -> list[list[str]]:
    figures = [
        [f"{row['centroid loss']:.3g}", f"{row['centre loss']:.3g}", f"{row['steps']:.0f}"]
        for row in rows
    ]
    heads = ["loss of the centroid", "loss of the centre", "steps to the worst network's loss"]
    names = [JOINED[row["joins"]] for row in rows]
    return [["", *heads], *([name, *row] for name, row in zip(names, figures, strict=True))]


def _inside(found: dict[str, Any]) -> list[list[str]]:
    rows = [["random points inside", "mean loss", "highest loss", "mean error, percent"]]
    for count in ("three", "four"):
        for kind, inside in (("flat", "inside, flat"), ("connector", "inside")):
            loss, error = found[count][inside], found[count][f"error {inside}"]
            figures = loss["mean"], loss["max"], error["mean"]
            rows.append([f"{count} networks, {kind}", *(f"{value:.3g}" for value in figures)])
    return rows


def _tunnels(found: dict[str, Any]) -> list[list[str]]:
    rows = [["", "settings", "width", "claim, from summaries", "here"]]
    for knob, (name, claim) in KNOBS.items():
        ends = [found[knob]["settings"][end] for end in (0, -1)]
        widths = [f"{end['degrees']:.1f} ± {end['stderr']:.1f}" for end in ends]
        here = "wider" if ends[1]["degrees"] > ends[0]["degrees"] else "narrower"
        values = [f"{end['value']:,.6g}" for end in ends]
        rows.append([name, " to ".join(values), " to ".join(widths), claim, here])
    return rows


def _ensembles(found: dict[str, Any]) -> list[list[str]]:
    columns = {
        "successive cosine": ("successive cosine", ".2f"),
        "barrier, nats": ("barrier", ".2g"),
        "disagreement, percent": ("disagreement", ".1f"),
        "gain of averaged weights": ("gain of averaged weights", ".1f"),
        "gain of averaged predictions": ("gain of averaged predictions", ".1f"),
    }
    return [
        ["", *columns],
        *(
            [name, *(f"{row[key]:{form}}" for key, form in columns.values())]
            for name, row in found.items()
        ),
    ]
