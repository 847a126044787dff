"""One set of measures on four kinds of networks, as a picture and numbers.

    python experiments/any_network.py docs/images

Spectra, traces, surfaces, CKA and barriers of a perceptron on a table, a convolutional network, a
vision transformer and a recurrent spiking network. A few minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn

from landscape_fast import (
    HessianOperator,
    SpectralDensity,
    cka,
    linear_barrier,
    loss_surface,
    quality,
    spectral_density,
    top_eigs,
    trace,
    xtrace,
)
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.training.models import mlp, small_cnn, vit

EPOCHS, BATCH = 30, 64
Data = list[tuple[Tensor, Tensor]]


class Spike(torch.autograd.Function):
    """A step, whose backward pass takes a steep sigmoid's slope for the derivative it lacks."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor) -> Tensor:
        """1 where the potential is above the threshold."""
        ctx.save_for_backward(potential)
        return (potential > 0).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Zenke and Ganguli (2018), doi:10.1162/neco_a_01086."""
        (potential,) = ctx.saved_tensors
        return gradient / (1 + 5 * potential.abs()) ** 2


class Spiking(nn.Module):
    """Leaky integrate-and-fire neurons with recurrent weights; an image is read row by row.

    Args:
        inputs: Numbers in a row.
        hidden: Neurons.
        outputs: Readout, of the mean over steps.
        spike: Whether a neuron fires, by its potential above the threshold.
    """

    def __init__(
        self,
        inputs: int = 8,
        hidden: int = 64,
        outputs: int = 10,
        spike: Callable[[Tensor], Tensor] = Spike.apply,
    ) -> None:
        super().__init__()
        self.inwards = nn.Linear(inputs, hidden)
        self.recurrent = nn.Linear(hidden, hidden, bias=False)
        self.readout = nn.Linear(hidden, outputs)
        self.spike = spike

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (N, outputs) for images (N, ..., steps, inputs)."""
        rows = images.flatten(1, -3) if images.dim() > 3 else images
        rows = rows.reshape(len(images), -1, self.inwards.in_features)
        potential = fired = rows.new_zeros(len(rows), self.recurrent.in_features)
        total = rows.new_zeros(len(rows), self.readout.out_features)
        for step in range(rows.shape[1]):
            potential = 0.8 * potential * (1 - fired)  # leaks, and starts anew after a spike
            potential = potential + self.inwards(rows[:, step]) + self.recurrent(fired)
            fired = self.spike(potential - 1.0)
            total = total + self.readout(fired)
        return total / rows.shape[1]


@dataclass(frozen=True)
class Kind:
    """A kind of network, its data and its loss."""

    name: str
    build: Callable[[], nn.Module]
    data: Data
    criterion: nn.Module
    surrogate: bool = False


def kinds() -> list[Kind]:
    """The four of the picture."""
    table, progression = load_diabetes(return_X_y=True)
    x = torch.tensor(table, dtype=torch.float32) * len(table) ** 0.5
    y = torch.tensor(progression, dtype=torch.float32)[:, None]
    y = (y - y.mean()) / y.std()
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels[:1400] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    digits = batches(images, torch.tensor(labels[:1400]))
    classes = nn.CrossEntropyLoss()
    return [
        Kind(
            "perceptron, table",
            lambda: mlp(width=32, classes=1, input_shape=(10,)),
            batches(x, y),
            nn.MSELoss(),
        ),
        Kind("convolutional", lambda: small_cnn(width=8), digits, classes),
        Kind(
            "transformer",
            lambda: vit(width=16, input_shape=(1, 8, 8), patch=2, depth=2, heads=2),
            digits,
            classes,
        ),
        Kind("recurrent, spiking", Spiking, digits, classes, surrogate=True),
    ]


def batches(x: Tensor, y: Tensor) -> Data:
    """Cut rows for the measurements."""
    return list(zip(x.split(200), y.split(200), strict=True))


def trained(kind: Kind, seed: int) -> nn.Module:
    """A network of this kind after training from ``seed``."""
    torch.manual_seed(seed)
    model = kind.build()
    x, y = (torch.cat(column) for column in zip(*kind.data, strict=True))
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            kind.criterion(model(x[rows]), y[rows]).backward()
            optimiser.step()
        schedule.step()
    return model.eval()


def curvature(kind: Kind, model: nn.Module) -> tuple[dict[str, Any], SpectralDensity]:
    """Largest eigenvalues, trace and spectrum; of a surrogate, of the formal Hessian."""
    loss: dict[str, Any] = {"criterion": kind.criterion}
    if not kind.surrogate:
        pairs = top_eigs(model, kind.data, k=3, tol=1e-2, **loss)
        total = trace(model, kind.data, rtol=0.02, **loss)
        density = spectral_density(model, kind.data, starts=6, steps=60, **loss)
        refused = None
    else:
        refused = refusal(lambda: top_eigs(model, kind.data, **loss))
        formal = HessianOperator(model, kind.data, engine="autograd", **loss)
        pairs = extreme_eigenpairs(formal, 3, tol=1e-2)
        total = xtrace(formal, rtol=0.02, max_products=200)
        density = lanczos_quadrature(formal, starts=6, steps=60)
    return {
        "refused": refused,
        "eigenvalues": pairs.values.tolist(),
        "residuals": pairs.residuals.tolist(),
        "trace": total.value,
        "trace error": total.stderr,
        "negative": density.functional("fraction_negative").value,
        "smallest": float(density.nodes.min()),
    }, density


def refusal(call: Callable[[], object]) -> str | None:
    """The message of the ValueError that ``call`` raises."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


def measured(kind: Kind) -> tuple[dict[str, Any], SpectralDensity]:
    """All numbers of one kind, and its spectrum."""
    one, other = (trained(kind, seed) for seed in (0, 1))
    loss: dict[str, Any] = {"criterion": kind.criterion}
    outputs = "logits" if isinstance(kind.criterion, nn.MSELoss) else "softmax"
    curved, density = curvature(kind, one)
    surface = loss_surface(one, kind.data, steps=15, **loss)
    barrier = linear_barrier(one, other, kind.data, points=15, **loss)
    quality_of = quality(one, kind.data, **loss)
    return {
        "parameters": density.dimension,
        "loss": quality_of.loss,
        "accuracy": None if np.isnan(quality_of.accuracy) else quality_of.accuracy,
        **curved,
        "surface at the model": surface.at_origin,
        "surface lowest": surface.lowest[0],
        "surface median": float(surface.values.median()),
        "surface by the plain model because": surface.note,
        "cka": cka(one, other, kind.data, outputs=outputs).value,
        "barrier of the loss": barrier.loss_value,
        "barrier of the error": None if np.isnan(barrier.value) else barrier.value,
    }, density


def picture(found: dict[str, tuple[dict[str, Any], SpectralDensity]]) -> Figure:
    """Spectra side by side, with the largest eigenvalue marked."""
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    for axes, (name, (numbers, density)) in zip(
        figure.subplots(2, 2).flat, found.items(), strict=True
    ):
        x, y = (part.numpy() for part in density.curve())
        least = y.max() * 1e-7
        axes.fill_between(x, np.maximum(y, least), least, color="#4477aa", alpha=0.6, linewidth=0)
        top = numbers["eigenvalues"][0]
        axes.plot(top, least * 2, "^", color="#cc3311", markersize=9, clip_on=False)
        axes.axvline(0, color="0.5", linewidth=0.8, linestyle="--")
        axes.set_yscale("log")
        axes.set_ylim(least, y.max() * 3)
        axes.tick_params(labelsize=10)
        formal = " (formal)" if numbers["refused"] else ""
        axes.set_title(
            f"{name}{formal}: largest {top:.3g}, trace {numbers['trace']:.3g}",
            fontsize=12,
            loc="left",
        )
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.supxlabel("Eigenvalue of the Hessian", fontsize=12)
    figure.supylabel("Share of eigenvalues per unit", fontsize=12)
    return figure


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    out = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    found = {kind.name: measured(kind) for kind in kinds()}
    numbers = {name: values for name, (values, _) in found.items()}
    (out / "any-network.json").write_text(json.dumps(numbers, indent=1) + "\n")
    picture(found).savefig(out / "any-network.png", dpi=110)


if __name__ == "__main__":
    main()
