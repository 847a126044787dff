"""Local geometry of networks on the handwritten digits, as pictures and numbers.

    python experiments/local_geometry docs/images
    python experiments/pages.py

About a minute of one core. After Fort and Ganguli (2019), arXiv:1910.05929, and Li, Farkhoor, Liu
and Yosinski (2018), arXiv:1804.08838. What it finds goes to ``local-geometry.json``, from which the
second command makes the tables of docs/studies/local-geometry.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pictures
import planes
import runs
from page import STAGES

from landscape_fast import logit_clustering, quality, spectral_density
from landscape_fast.local_geometry.spectra import transient


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    x, y, held_out = runs.digits()
    data = list(zip(x.split(200), y.split(200), strict=True))
    run = runs.train(runs.network(), x, y, runs.STEPS)
    middle = run[STAGES["middle"]]
    rows = runs.along_the_run(run, data)
    rise = transient([int(row["step"]) for row in rows], [row["top"] for row in rows])
    density = spectral_density(middle, data, starts=6, steps=100)
    classes = runs.outliers_by_class()
    beside, spectrum = runs.beside(middle, x, y)
    zones, trained = planes.zones(data), planes.accuracies(data, held_out)
    dimension = planes.dimension(data, held_out)
    numbers = {
        "parameters": sum(p.numel() for p in middle.parameters()),
        "accuracy": quality(run[runs.STEPS[-1]], held_out).accuracy,
        "run": rows,
        "transient": [rise.peak_step, rise.rise, rise.fall],
        "logit_curvature": {
            name: runs.logit_curvature(run[at], data) for name, at in STAGES.items()
        },
        "density_outliers": list(density.outliers(gap=1.0).count),
        "classes": classes,
        "beside": beside,
        "zone": planes.zone_numbers(zones, trained, data),
        "dimension": planes.dimension_numbers(dimension),
    }
    figures = {
        "run": pictures.along_the_run(rows),
        "outliers": pictures.outliers(classes),
        "goldilocks": pictures.goldilocks(zones, trained),
        "spectrum": spectrum,
        "dimension": dimension.plot(),
        "clusters": logit_clustering(middle, data).plot(),
    }
    for name, figure in figures.items():
        figure.savefig(out / f"local-geometry-{name}.png", dpi=100)
    (out / "local-geometry.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
