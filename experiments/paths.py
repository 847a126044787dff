"""Copies of a run that part, and paths between two runs, on the handwritten digits.

    python experiments/paths.py docs/images

Two pictures and their numbers; a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from landscape_fast import Connectivity, Instability, autoneb, connectivity, instability
from landscape_fast.training.data import Dataset
from landscape_fast.training.fit import fit
from landscape_fast.training.recipe import Recipe

RECIPE = Recipe(model="small_cnn", data="digits", width=8, batch_size=32, epochs=12, lr=0.1)
HOT = RECIPE.model_copy(update={"lr": 0.5})  # noise of SGD that parts copies
PART_AT = (0, 11, 44, 132, 264, 528)  # of 528 steps, 44 to an epoch
COLOURS = {"line": "0.5", "bezier": "#4477aa", "polychain": "#228833", "autoneb": "#cc3311"}
NAMES = {
    "line": "straight line",
    "bezier": "Bezier curve, one bend",
    "polychain": "chain, three bends",
    "autoneb": "elastic band",
}


def network(data: Dataset, seed: int) -> nn.Module:
    """The end of a run."""
    recipe = RECIPE.model_copy(update={"seed": seed})
    model = recipe.build_model(data)
    model.load_state_dict(fit(recipe, dataset=data).state_dict)
    return model


def paths(data: Dataset) -> dict[str, Connectivity]:
    """What joins two runs from different seeds."""
    ends, rows = (network(data, 0), network(data, 1)), data.batches("train", 128)
    measured: dict[str, Any] = {"points": 31}
    training: dict[str, Any] = {"epochs": 40, "lr": 0.05, **measured}
    return {
        "line": connectivity(*ends, rows, epochs=0, **measured),
        "bezier": connectivity(*ends, rows, **training),
        "polychain": connectivity(*ends, rows, bends=3, curve="polychain", **training),
        "autoneb": autoneb(*ends, rows, cycles=3, epochs=6, lr=0.05, **measured),
    }


def picture(found: dict[str, Connectivity]) -> Figure:
    """Loss along every path, by the share of its length."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for kind, path in found.items():
        along = path.lengths.cumsum(0)
        label = f"{NAMES[kind]}: length {float(along[-1]):.1f}, highest {path.losses.max():.2g}"
        axes.plot(along / along[-1], path.losses, color=COLOURS[kind], linewidth=2, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("Share of the path between two seeds", fontsize=12)
    axes.set_ylabel("Training loss (nats)", fontsize=12)
    axes.legend(fontsize=10, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.3))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def numbers(parted: dict[str, Instability], joined: dict[str, Connectivity]) -> dict[str, Any]:
    """What the page quotes."""
    return {
        "instability": {
            name: {
                "run steps": found.run_steps,
                "steps": found.steps,
                "barriers": found.barriers.tolist(),
                "loss barriers": found.loss_barriers.tolist(),
                "stable from": found.stable_from(),
            }
            for name, found in parted.items()
        },
        "paths": {
            kind: {
                "highest loss": float(path.losses.max()),
                "highest error": float(path.errors.max()),
                "loss at the ends": path.losses[[0, -1]].tolist(),
                "length": float(path.lengths.sum()),
                "bends": len(path.bend) if path.bend.dim() == 2 else 1,
                "steps": path.steps,
            }
            for kind, path in joined.items()
        },
    }


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    data = RECIPE.load_dataset()
    parted = {
        f"lr {recipe.lr}": instability(recipe, PART_AT, orders=(1, 2, 3), dataset=data)
        for recipe in (RECIPE, HOT)
    }
    parted[f"lr {HOT.lr}"].plot().savefig(out / "instability.png", dpi=100)
    joined = paths(data)
    picture(joined).savefig(out / "paths.png", dpi=100, bbox_inches="tight")
    found = numbers(parted, joined)
    (out / "paths.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
