"""Local entropy of two networks by its quadratic and by Langevin moves, over neighbourhoods.

    python experiments/local_entropy.py docs/images

A picture and its numbers; a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from landscape_fast import LocalEntropy, langevin_local_entropy, quadratic_local_entropy
from landscape_fast.training.fit import fit
from landscape_fast.training.recipe import Recipe

RECIPE = Recipe(model="small_cnn", data="digits", width=4, epochs=25, lr=0.05)
BATCHES = {"batches of 128": 128, "batches of 16": 16}
GAMMAS = (3e1, 1e2, 1e3, 1e4)
COLOURS = ("#cc3311", "#4477aa")


def entropies(batch_size: int) -> dict[float, dict[str, LocalEntropy | None]]:
    """Both estimates for every neighbourhood of one run's end."""
    recipe = RECIPE.model_copy(update={"batch_size": batch_size})
    data = recipe.load_dataset()
    model = recipe.build_model(data)
    model.load_state_dict(fit(recipe, dataset=data).state_dict)
    rows = data.batches("train", 500)
    found: dict[float, dict[str, LocalEntropy | None]] = {}
    for gamma in GAMMAS:
        try:
            quadratic = quadratic_local_entropy(model, rows, gamma=gamma, starts=10, steps=40)
        except ValueError:  # the expansion has no bottom
            quadratic = None
        langevin = langevin_local_entropy(model, rows, gamma=gamma, runs=16, steps=20)
        found[gamma] = {"quadratic": quadratic, "langevin": langevin}
    return found


def picture(found: dict[str, dict[float, dict[str, LocalEntropy | None]]]) -> Figure:
    """Both estimates with their 95% intervals, by the neighbourhood's typical radius."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for colour, (name, rows) in zip(COLOURS, found.items(), strict=True):
        for method, style in (("langevin", "-"), ("quadratic", ":")):
            points = [each[method] for each in rows.values() if each[method] is not None]
            radii = [(point.dimension / point.gamma) ** 0.5 for point in points]
            half = [point.interval()[1] - point.value for point in points]
            axes.errorbar(
                radii,
                [-point.value - point.loss for point in points],
                half,
                color=colour,
                linestyle=style,
                marker="o" if style == "-" else "s",
                markersize=4,
                label=f"{name}, {'the loss itself' if style == '-' else 'its quadratic'}",
            )
    axes.set_xscale("log")
    axes.set_xticks([0.2, 0.5, 1, 2, 4], ["0.2", "0.5", "1", "2", "4"])
    axes.minorticks_off()
    axes.set_yscale("log")
    axes.set_xlabel("Typical distance of the neighbourhood's points", fontsize=12)
    axes.set_ylabel(
        "What the neighbourhood costs (nats):\nminus local entropy, minus loss", fontsize=12
    )
    axes.legend(fontsize=10, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def numbers(rows: dict[float, dict[str, LocalEntropy | None]]) -> list[dict[str, Any]]:
    """What the page quotes."""
    return [
        {
            "gamma": gamma,
            **{
                method: None
                if one is None
                else {
                    "loss": one.loss,
                    "value": one.value,
                    "stderr": one.stderr,
                    "acceptance": one.acceptance,
                }
                for method, one in each.items()
            },
        }
        for gamma, each in rows.items()
    ]


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    found = {name: entropies(size) for name, size in BATCHES.items()}
    picture(found).savefig(out / "local-entropy.png", dpi=100)
    kept = {name: numbers(rows) for name, rows in found.items()}
    (out / "local-entropy.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
