"""The command ``measure``: one checkpoint, one table of numbers."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from rich.table import Table

from landscape_fast.cli.screen import console
from landscape_fast.provenance import provenance
from landscape_fast.store import write_atomically
from landscape_fast.sweep.config import problems
from landscape_fast.sweep.measurements import OF_ONE, Question
from landscape_fast.sweep.options import HessianOptions
from landscape_fast.training.checkpoint import load_checkpoint
from landscape_fast.training.losses import build_loss
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.resolve import nearest

# What the user calls a metric, and the measurements it stands for.
_METRICS = {
    "quality": ("quality_train", "quality_test"),
    "top_eigs": ("top_eigs",),
    "trace": ("trace",),
}
_LONGEST_LIST = 1000  # entries of an array that the JSON file holds


def run(
    checkpoint: Path,
    *,
    model: str,
    model_options: list[str],
    data: str,
    data_options: list[str],
    loss: str,
    width: int | None,
    metrics: list[str],
    samples: int | None,
    k: int,
    json_file: Path | None,
) -> None:
    """Load a checkpoint, measure it and show the numbers.

    Raises:
        ValueError: An argument is unknown or does not fit; the checkpoint is damaged or of another
            architecture.
        FileNotFoundError: The checkpoint or the data is not there.
    """
    for metric in metrics:
        if metric not in _METRICS:
            raise ValueError(
                f"metrics must be among {', '.join(_METRICS)}, got {metric!r}"
                f"{nearest(metric, _METRICS)}"
            )
    try:
        recipe = Recipe(
            model=model,
            model_options=_options(model_options, "--model-option"),
            data=data,
            data_options=_options(data_options, "--data-option"),
            loss=loss,
            width=width,
        )
    except ValidationError as error:
        raise ValueError("; ".join(problems(error))) from None
    dataset = recipe.load_dataset()
    network = recipe.build_model(dataset)
    load_checkpoint(checkpoint, network)
    hessian = HessianOptions(samples=samples, k=k)
    options = {"top_eigs": hessian.of_top_eigs(), "trace": hessian.of_trace()}
    results = {}
    for name in (name for metric in metrics for name in _METRICS[metric]):
        question = Question((network,), dataset, build_loss(loss), options.get(name, {}))
        results[name] = OF_ONE[name](question)
    console().print(_table(checkpoint, results))
    if json_file is not None:
        content: dict[str, Any] = {name: _plain(result) for name, result in results.items()}
        content |= {"checkpoint": str(checkpoint), "provenance": provenance()}
        write_atomically(json_file, json.dumps(content, indent=1, allow_nan=False).encode())


def _options(pairs: list[str], argument: str) -> dict[str, Any]:
    """``KEY=VALUE`` strings as a dict; values are read as in a study file."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"{argument} must look like KEY=VALUE, got {pair!r}")
        found[key] = yaml.safe_load(value)
    return found


def _table(checkpoint: Path, results: dict[str, Any]) -> Table:
    table = Table(title=str(checkpoint), title_justify="left", box=None, show_header=False)
    for name in ("measurement", "value", "evidence"):
        table.add_column(name)
    for name, result in results.items():
        for row in _rows(name, result):
            table.add_row(*row)
    return table


def _rows(name: str, result: Any) -> list[tuple[str, str, str]]:
    """Lines of the table: what, how much, and how sure."""
    if name.startswith("quality_"):
        part = {"quality_train": "training", "quality_test": "test"}[name]
        return [
            (f"{part} loss", f"{result.loss:.6g}", f"{result.samples} samples"),
            (f"{part} accuracy", f"{result.accuracy:.2f} %", ""),
        ]
    state = "" if result.converged else ", NOT CONVERGED"
    cost = f"{result.products} products over {result.samples} samples{state}"
    if name == "trace":
        return [("Hessian trace", f"{result.value:.6g}", f"+- {result.stderr:.2g}, {cost}")]
    return [
        (f"Hessian eigenvalue {i + 1}", f"{value:.6g}", f"residual {residual:.2g}, {cost}")
        for i, (value, residual) in enumerate(
            zip(result.values.tolist(), result.residuals.tolist(), strict=True)
        )
    ]


def _plain(result: Any) -> dict[str, Any]:
    """Fields of a result for JSON: long arrays left out, null for numbers that are not finite."""
    found = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, torch.Tensor):
            if value.dim() > 1 or value.numel() > _LONGEST_LIST:
                continue
            value = [_finite(entry) for entry in value.tolist()]
        found[field.name] = _finite(value)
    return found


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
