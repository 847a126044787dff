"""Which measurements a study asks of which of its models, with which options."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from landscape_fast.sweep.options import Measure
from landscape_fast.sweep.subjects import Subject, cells_of, pairs_of

Asked = tuple[str, tuple[Subject, ...], dict[str, Any]]
Options = Iterator[tuple[str, dict[str, Any]]]


def questions(measure: Measure, subjects: Sequence[Subject]) -> Iterator[Asked]:
    """Yield every measurement with its models and options: of one model, of pairs, of cells.

    Options hold all that decides an answer besides the models and their data, the protocol's
    choices included: what draws anew for each run or pair has a seed of its own.
    """
    for subject in subjects:
        for metric, options in _of_one(measure, subject):
            yield metric, (subject,), options
    first = {members[:2] for members in map(tuple, cells_of(subjects).values())}
    for pair in pairs_of(subjects):
        for metric, options in _of_two(measure, pair, first=pair in first):
            yield metric, pair, options
    for members in cells_of(subjects).values():
        if measure.ensemble and len(members) > 1:
            yield "ensemble_test", tuple(members), {}


def _of_one(measure: Measure, subject: Subject) -> Options:
    yield "quality_train", {}
    yield "quality_test", {}
    if measure.density is not None:
        yield "density", measure.density.model_dump()
    if measure.hessian is None:
        return
    of_top_eigs, of_trace = measure.hessian.of_top_eigs(), measure.hessian.of_trace()
    if measure.protocol == "yang2021":
        own = {"protocol": "yang2021", "seed": _seed_of(measure.hessian.seed, subject)}
        of_top_eigs, of_trace = {**of_top_eigs, **own}, {**of_trace, **own}
    yield "top_eigs", of_top_eigs
    yield "trace", of_trace


def _of_two(measure: Measure, pair: tuple[Subject, ...], *, first: bool) -> Options:
    yield "l2_distance", {}
    if measure.connectivity is not None and (first or measure.connectivity.pairs == "all"):
        yield from _curves(measure, pair[0])
    if measure.cka is not None:
        options = measure.cka.model_dump(mode="json")
        if measure.protocol == "yang2021":
            seed = options.pop("seed")
            options["protocol"] = "yang2021"
            options["seeds"] = [_seed_of(seed, *order) for order in (pair, pair[::-1])]
        for outputs in measure.cka.outputs:
            yield f"cka_{outputs}", {**options, "outputs": outputs}
    if measure.line is not None:
        yield "barrier", measure.line.model_dump(mode="json")
    if measure.agreement is not None:
        yield "agreement", measure.agreement.model_dump(mode="json")


def _curves(measure: Measure, subject: Subject) -> Options:
    assert measure.connectivity is not None
    options = measure.connectivity.model_dump(
        mode="json", exclude={"pairs", "repeats", "settled_within"}
    )
    if measure.protocol == "yang2021":  # as many steps for a part of the training set
        options["epochs"] = round(options["epochs"] / subject.recipe.fraction)
    yield "connectivity", options
    if measure.connectivity.settled_within is not None:
        yield "connectivity_longer", {**options, "epochs": 2 * options["epochs"]}
    for repeat in range(2, measure.connectivity.repeats + 1):
        yield f"connectivity_{repeat}", {**options, "seed": options["seed"] + repeat - 1}


def _seed_of(seed: int, *subjects: Subject) -> int:
    """A seed below 2**32 that depends on ``seed`` and on the models in their order."""
    text = "+".join([str(seed), *(subject.key for subject in subjects)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
