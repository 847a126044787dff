"""Which measurements a study asks of which of its models, with which options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from landscape_fast.sweep.options import Measure
from landscape_fast.sweep.subjects import Subject, pairs_of

Asked = tuple[str, tuple[Subject, ...], dict[str, Any]]


def questions(measure: Measure, subjects: Sequence[Subject]) -> Iterator[Asked]:
    """Yield every measurement with its models and options: first of one model, then of several."""
    for subject in subjects:
        for metric, options in _of_one(measure):
            yield metric, (subject,), options
    for pair in pairs_of(subjects):
        for metric, options in _of_two(measure):
            yield metric, pair, options


def _of_one(measure: Measure) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "quality_train", {}
    yield "quality_test", {}
    if measure.hessian is not None:
        yield "top_eigs", measure.hessian.of_top_eigs()
        yield "trace", measure.hessian.of_trace()


def _of_two(measure: Measure) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "l2_distance", {}
    if measure.connectivity is not None:
        yield "connectivity", measure.connectivity.model_dump(mode="json")
    if measure.cka is not None:
        options = measure.cka.model_dump(mode="json")
        for outputs in measure.cka.outputs:
            yield f"cka_{outputs}", {**options, "outputs": outputs}
