"""Loss surfaces and alignment of small networks on the handwritten digits, as pictures and numbers.

    python experiments/surfaces.py docs/images

A minute or two on two cores. Surfaces go on where they were when the script was stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from landscape_fast import (
    align,
    average_sharpness,
    gradient_overlap,
    interpolated,
    loss_surface,
    neural_collapse,
    quality,
    subspace_overlap,
    top_eigs,
    worst_case_sharpness,
)
from landscape_fast.surfaces.directions import (
    plane_through,
    random_directions,
    trajectory_directions,
)
from landscape_fast.training.models import small_cnn

EPOCHS, BATCH = 40, 64


def train(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> list[nn.Module]:
    """Train ``model`` in place; return a copy of it before each epoch and at the end."""
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    run = [copy.deepcopy(model)]
    for _ in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(x), generator=order).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
        schedule.step()
        run.append(copy.deepcopy(model.eval()))
    return run


def convolutional(seed: int) -> nn.Module:
    """Two convolutions with BatchNorm."""
    torch.manual_seed(seed)
    return small_cnn(width=16)


def connected(seed: int) -> nn.Module:
    """Two hidden layers without normalisation."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def surfaces(runs: list[list[nn.Module]], data: list[tuple[Tensor, Tensor]], out: Path) -> None:
    """Write one picture for each kind of direction."""
    ends = [run[-1] for run in runs]
    near = [align(ends[0], end, data).applied_to(end) for end in ends[1:]]
    planes = {
        "random": (random_directions(ends[0]), "eval"),
        "trajectory": (trajectory_directions(ends[0], runs[0]), "recalibrate"),
        "three": (plane_through(*ends), "recalibrate"),
        "aligned": (plane_through(ends[0], *near), "recalibrate"),
    }
    for name, (plane, batchnorm) in planes.items():
        steps = 51 if name == "random" else 25
        found = loss_surface(
            ends[0],
            data,
            directions=plane,
            steps=steps,
            span=1.0 if name == "random" else plane.spans(steps),
            batchnorm=batchnorm,  # type: ignore[arg-type]
            path=out / f"surface-{name}.npz",
        )
        found.plot().savefig(out / f"surface-{name}.png", dpi=100)


def barriers(ends: list[nn.Module], data: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Loss in the middle between two networks, above the mean of their own losses."""
    own = sum(quality(end, data).loss for end in ends) / 2
    found = {}
    others = {"as trained": ends[1]}
    for method in ("weights", "activations"):
        others[method] = align(ends[0], ends[1], data, method=method).applied_to(ends[1])  # type: ignore[arg-type]
    for name, other in others.items():
        for repair in (False, True):
            middle = interpolated(ends[0], other, data, repair=repair)
            key = f"{name}{', repaired' if repair else ''}"
            found[key] = quality(middle, data).loss - own
    return found


def local(run: list[nn.Module], data: list[tuple[Tensor, Tensor]]) -> list[dict[str, float]]:
    """Measures of one network at a few epochs."""
    rows = []
    before = None
    for epoch in (1, 5, 10, 20, 40):
        model = run[epoch]
        pairs = top_eigs(model, data, k=10, tol=1e-2, max_products=2000)
        collapse = neural_collapse(model, data)
        overlap = gradient_overlap(model, data, pairs)
        average = average_sharpness(model, data, rho=0.02)
        rows.append(
            {
                "epoch": epoch,
                "loss": quality(model, data).loss,
                "top eigenvalue": float(pairs.values[0]),
                "share of the gradient in the top 10": overlap.share,
                "top 10 kept": 1.0 if before is None else subspace_overlap(before, pairs).value,
                "SAM, rho 0.05": worst_case_sharpness(model, data, steps=1).value,
                "worst case, rho 0.05": worst_case_sharpness(model, data).value,
                "adaptive worst case, rho 0.05": worst_case_sharpness(
                    model, data, adaptive=True
                ).value,
                "average, rho 0.02": average.value,
                "its error": average.stderr,
                "nc1": collapse.nc1,
                "nc2 angles": collapse.nc2_angles,
                "nc3": collapse.nc3,
                "nc4": collapse.nc4,
            }
        )
        before = pairs
    return rows


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:1400, None] / 16.0
    y = torch.tensor(digits.target)[:1400]
    data = list(zip(x.split(200), y.split(200), strict=True))
    runs = []
    for seed in range(3):
        model = convolutional(seed)
        runs.append(train(model, x, y, seed))
    plain = []
    for seed in range(2):
        model = connected(seed)
        plain.append(train(model, x, y, seed)[-1])
    numbers = {
        "convolutional": barriers([run[-1] for run in runs[:2]], data),
        "connected": barriers(plain, data),
        "run": local(runs[0], data),
    }
    (out / "surfaces.json").write_text(json.dumps(numbers, indent=1))
    surfaces(runs, data, out)


if __name__ == "__main__":
    main()
