"""The measurements of a study: each a question to one model, or to two, on the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from landscape_fast.metrics.connectivity import connectivity
from landscape_fast.metrics.distance import l2_distance
from landscape_fast.metrics.quality import quality
from landscape_fast.metrics.sharpness import top_eigs
from landscape_fast.metrics.similarity import cka
from landscape_fast.metrics.trace import trace
from landscape_fast.training.data import Dataset
from landscape_fast.training.losses import Loss

_EVALUATION_BATCH = 512  # rows; changes the last digits only


@dataclass(frozen=True, slots=True)
class Question:
    """What a measurement is asked."""

    models: tuple[nn.Module, ...]  # one, or the two of a pair
    data: Dataset
    loss: Loss
    options: Mapping[str, Any] = field(default_factory=dict)

    def batches(self, part: Literal["train", "test"] = "train") -> list[tuple[Tensor, Tensor]]:
        """All of one part of the data."""
        return self.data.batches(part, _EVALUATION_BATCH)


def _quality(part: Literal["train", "test"]) -> Callable[[Question], Any]:
    return lambda q: quality(q.models[0], q.batches(part), criterion=q.loss)


def _top_eigs(q: Question) -> Any:
    batches, options = _first_rows(q)
    return top_eigs(q.models[0], batches, criterion=q.loss, **options)


def _trace(q: Question) -> Any:
    batches, options = _first_rows(q)
    return trace(q.models[0], batches, criterion=q.loss, **options)


def _connectivity(q: Question) -> Any:
    return connectivity(q.models[0], q.models[1], q.batches(), criterion=q.loss, **q.options)


def _cka(q: Question) -> Any:
    return cka(q.models[0], q.models[1], q.batches(), **q.options)


def _l2_distance(q: Question) -> Any:
    return l2_distance(q.models[0], q.models[1])


#: Measurements of one model.
OF_ONE: Mapping[str, Callable[[Question], Any]] = {
    "quality_train": _quality("train"),
    "quality_test": _quality("test"),
    "top_eigs": _top_eigs,
    "trace": _trace,
}

#: Measurements of two models.
OF_TWO: Mapping[str, Callable[[Question], Any]] = {
    "connectivity": _connectivity,
    "cka_softmax": _cka,
    "cka_logits": _cka,
    "l2_distance": _l2_distance,
}


def _first_rows(q: Question) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Any]]:
    """Batches of the first training samples, and the options that are not about the data."""
    options = dict(q.options)
    rows, size = options.pop("samples"), options.pop("batch_size")
    inputs, targets = q.data.train_inputs[:rows], q.data.train_targets[:rows]
    return list(zip(inputs.split(size), targets.split(size), strict=True)), options
