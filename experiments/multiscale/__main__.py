"""Growth, separate scales, edge of stability and learning-rate decay: on digits, and where known.

    python experiments/multiscale docs/images
    python experiments/pages.py

A few minutes of one core. Writes pictures, and every figure that docs/studies/multiscale.md quotes
to multiscale.json, of which the second command makes the tables of that page.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import digits
import known
import pictures


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    data = digits.images()
    runs, decay = digits.edges(data), digits.decayed(data)
    around = {name: digits.growth(data, loss) for name, loss in digits.LOSSES.items()}
    separate, laws = known.magnitudes()
    toys = known.toys()
    numbers = {
        "edge": digits.edge_numbers(runs),
        "growth": {name: digits.growth_numbers(*found) for name, found in around.items()},
        "windows": digits.WINDOWS,
        "magnitudes": known.magnitude_numbers(separate, laws),
        "decay": digits.decay_numbers(decay),
        "toys": known.toy_numbers(toys),
    }
    figures = {
        "growth": pictures.growth({name: found for name, (found, _) in around.items()}),
        "magnitudes": pictures.magnitudes(separate, laws),
        "edge": pictures.edges(runs),
        "decay": pictures.decay(decay, toys),
    }
    for name, figure in figures.items():
        figure.savefig(out / f"multiscale-{name}.png", dpi=100)
    (out / "multiscale.json").write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
