"""Running statistics of normalisation layers, measured for the parameters a model has now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.samplewise.table import Table
from landscape_fast.linearise.structure import rows


def average_statistics(moved: nn.Module, model_a: nn.Module, model_b: nn.Module, t: float) -> None:
    """Set running statistics of ``moved`` between those of two models, as one does parameters."""
    triples = zip(moved.modules(), model_a.modules(), model_b.modules(), strict=True)
    for layer, one, other in triples:
        if isinstance(layer, _NormBase) and layer.running_mean is not None:
            for name in ("running_mean", "running_var"):
                getattr(layer, name).copy_(torch.lerp(getattr(one, name), getattr(other, name), t))


def recalibrate(model: nn.Module, batches: Iterable[Any], objective: Objective) -> None:
    """Set running means and variances to their averages over ``batches``.

    One pass in training mode, in which ``model`` is left. Each batch counts by its rows (momentum
    ``b / (rows so far + b)``), so means are those of the data; variances are averages of the
    batches' own unbiased variances, for the first layer and, with batch statistics before it, for
    every later one. A single row has no variance: it joins the batch before it. Models without
    running statistics are spared the pass.

    References:
        Garipov, Izmailov, Podoprikhin, Vetrov and Wilson (2018), arXiv:1802.10026.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _NormBase) and layer.running_mean is not None
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
    model.train()
    seen = 0
    try:
        with torch.no_grad():
            for batch in _of_several_rows(batches):
                size = rows(batch) or 1
                seen += size
                for layer in layers:
                    layer.momentum = size / seen
                objective(model, batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _of_several_rows(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches, where a single row joins the one before it if that is of its kind."""
    held: Any = None
    for batch in batches:
        if held is None:
            held = batch
        elif rows(batch) == 1 and Table([held]).kind == Table([batch]).kind:
            table = Table([held, batch])
            held = table.take(torch.arange(table.rows))
        else:
            yield held
            held = batch
    if held is not None:
        yield held
