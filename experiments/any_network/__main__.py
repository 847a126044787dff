"""One set of measures on four kinds of networks, as a picture and numbers.

    python experiments/any_network docs/images
    python experiments/pages.py

Spectra, traces, surfaces, CKA and barriers of a perceptron on a table, a convolutional network, a
vision transformer and a recurrent spiking network. A few minutes of one core. Of the numbers the
second command makes the table of docs/studies/any-network.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from networks import Kind, kinds, trained
from torch import nn

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
