"""The measurements of a study: each a question to one model or several, on the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.metrics.connectivity import connectivity
from landscape_fast.metrics.density import spectral_density
from landscape_fast.metrics.distance import l2_distance
from landscape_fast.metrics.line import linear_barrier
from landscape_fast.metrics.predictions import agreement, ensemble_quality
from landscape_fast.metrics.quality import quality
from landscape_fast.metrics.sharpness import top_eigs
from landscape_fast.metrics.similarity import cka
from landscape_fast.metrics.trace import trace
from landscape_fast.metrics.yang2021 import power_iteration, settling_trace
from landscape_fast.results import Similarity
from landscape_fast.sweep.options import MOST_REPEATS
from landscape_fast.training.data import Dataset
from landscape_fast.training.losses import Loss

_EVALUATION_BATCH = 512  # predictions; changes the last digits only


@dataclass(frozen=True, slots=True)
class Question:
    """What a measurement is asked."""

    models: tuple[nn.Module, ...]  # one, the two of a pair, or all of a cell
    data: Dataset
    loss: Loss
    options: Mapping[str, Any] = field(default_factory=dict)

    def batches(self, part: Literal["train", "test"] = "train") -> list[tuple[Tensor, Tensor]]:
        """All of one part of the data."""
        positions = self.data.train_targets[0].numel()
        return self.data.batches(part, max(1, _EVALUATION_BATCH // positions))

    @property
    def compared(self) -> Literal["samples", "positions"]:
        """Rows of a comparison of outputs: every token where the targets are sequences."""
        return "samples" if self.data.train_targets.dim() == 1 else "positions"


def _quality(part: Literal["train", "test"]) -> Callable[[Question], Any]:
    return lambda q: quality(q.models[0], q.batches(part), criterion=q.loss)


def _top_eigs(q: Question) -> Any:
    if _published(q):
        limits = {name: q.options[name] for name in ("tol", "max_products", "seed")}
        return power_iteration(q.models[0], _mini_batch(q), criterion=q.loss, **limits)
    batches, options = _first_rows(q)
    return top_eigs(q.models[0], batches, criterion=q.loss, **options)


def _trace(q: Question) -> Any:
    if _published(q):
        limits = {name: q.options[name] for name in ("max_products", "seed")}
        tol = q.options["rtol"]
        return settling_trace(q.models[0], _mini_batch(q), criterion=q.loss, tol=tol, **limits)
    batches, options = _first_rows(q)
    return trace(q.models[0], batches, criterion=q.loss, **options)


def _density(q: Question) -> Any:
    batches, options = _first_rows(q)
    return spectral_density(q.models[0], batches, criterion=q.loss, **options)


def _connectivity(q: Question) -> Any:
    return connectivity(q.models[0], q.models[1], q.batches(), criterion=q.loss, **q.options)


def _cka(q: Question) -> Any:
    if _published(q):
        return _cka_of_both_orders(q)
    return cka(q.models[0], q.models[1], q.batches(), rows=q.compared, **q.options)


def _cka_of_both_orders(q: Question) -> Similarity:
    """Mean over both orders of a pair, each on inputs of its own."""
    options = {
        name: value for name, value in q.options.items() if name not in ("seeds", "protocol")
    }
    one, other = q.models
    found = [
        cka(first, second, q.batches(), rows=q.compared, **options, seed=seed)
        for (first, second), seed in zip(
            ((one, other), (other, one)), q.options["seeds"], strict=True
        )
    ]
    return replace(found[0], value=sum(each.value for each in found) / 2)


def _barrier(q: Question) -> Any:
    return linear_barrier(q.models[0], q.models[1], q.batches(), criterion=q.loss, **q.options)


def _agreement(q: Question) -> Any:
    return agreement(q.models[0], q.models[1], q.batches(q.options["part"]))


def _ensemble_test(q: Question) -> Any:
    return ensemble_quality(q.models, q.batches("test"))


def _l2_distance(q: Question) -> Any:
    return l2_distance(q.models[0], q.models[1])


#: Measurements of one model.
OF_ONE: Mapping[str, Callable[[Question], Any]] = {
    "quality_train": _quality("train"),
    "quality_test": _quality("test"),
    "top_eigs": _top_eigs,
    "trace": _trace,
    "density": _density,
}

#: Measurements of two models, or of all of a cell.
OF_TWO: Mapping[str, Callable[[Question], Any]] = {
    "connectivity": _connectivity,
    "connectivity_longer": _connectivity,
    **{f"connectivity_{repeat}": _connectivity for repeat in range(2, MOST_REPEATS + 1)},
    "cka_softmax": _cka,
    "cka_logits": _cka,
    "l2_distance": _l2_distance,
    "barrier": _barrier,
    "agreement": _agreement,
    "ensemble_test": _ensemble_test,
}


def _published(q: Question) -> bool:
    return q.options.get("protocol") == "yang2021"


def _mini_batch(q: Question) -> list[tuple[Tensor, Tensor]]:
    """One random mini-batch of training samples."""
    rows = q.options["samples"]
    order = np.random.default_rng(q.options["seed"]).permutation(len(q.data.train_targets))
    chosen = torch.from_numpy(order[:rows]).to(q.data.train_targets.device)
    return [(q.data.train_inputs[chosen], q.data.train_targets[chosen])]


def _first_rows(q: Question) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Any]]:
    """Batches of the first training samples, and the options that are not about the data."""
    options = dict(q.options)
    rows, size = options.pop("samples"), options.pop("batch_size")
    inputs, targets = q.data.train_inputs[:rows], q.data.train_targets[:rows]
    return list(zip(inputs.split(size), targets.split(size), strict=True)), options
