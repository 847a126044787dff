"""Connectors, radial tunnels and ensembles of small networks on the handwritten digits.

    python experiments/large_scale docs/images
    python experiments/pages.py

Two or three minutes of one core. Writes two pictures and large-scale.json, of which the second
command makes the tables of docs/studies/large-scale.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import connectors
import ensembles
import tunnels
import wedges
from networks import digits, network, trained

from landscape_fast import connector, linear_barrier, low_loss_simplex
from landscape_fast.plots.tunnels import trends_figure


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    data, test = digits()
    models = [trained(seed, data) for seed in range(4)]
    start = linear_barrier(network(0), models[0], data, points=21).losses
    three = connector(models[:3], data, epochs=60, lr=0.1, points=400)
    four = connector(models, data, epochs=60, lr=0.1, points=100)
    shared = low_loss_simplex(models[:2], data, vertices=3, epochs=60, lr=0.1, volume_weight=0.1)
    trends, widths = tunnels.measured(data, test)
    numbers = {
        "toy": wedges.numbers(),
        "from start to optimum": start.tolist(),
        "connectors": {
            "three": connectors.connector_numbers(three, models[0], test),
            "four": connectors.connector_numbers(four, models[0], test),
            "simplex": connectors.simplex_numbers(shared),
        },
        "tunnels": widths,
        "ensembles": ensembles.numbers(data, test),
    }
    three.plot().savefig(out / "large-scale-connector.png", dpi=110)
    trends_figure(trends).savefig(out / "large-scale-tunnels.png", dpi=110)
    (out / "large-scale.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
