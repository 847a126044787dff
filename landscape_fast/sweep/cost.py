"""What the rest of a study will cost, from the tasks whose time is known."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from landscape_fast.sweep.subjects import Subject
from landscape_fast.sweep.tasks import TRAIN, Work, clean_data

Features = tuple[float, float, float]

_ROWS_AT_ONCE = 512.0  # of measurements that name no batch size
_MOST = 2000  # timings behind one fit
_FEWEST_CELLS = 3  # that show how far a prediction may be off


@dataclass(frozen=True, slots=True)
class Timing:
    """Finished work."""

    work: Work
    stage: str
    seconds: float
    written: str  # time of day, UTC


@dataclass(frozen=True, slots=True)
class Cost:
    """Predicted time of some tasks: the sum over tasks, whoever performs them."""

    tasks: int
    seconds: float
    low: float  # nan where too few cells were timed to say
    high: float
    unknown: int = 0  # tasks that are not in the sums: of a kind never timed, or of no known size

    def __add__(self, other: Cost) -> Cost:
        """Cost of both."""
        return Cost(
            self.tasks + other.tasks,
            self.seconds + other.seconds,
            self.low + other.low,
            self.high + other.high,
            self.unknown + other.unknown,
        )


NOTHING = Cost(0, 0.0, 0.0, 0.0)


def predict(timings: Iterable[Timing], works: Iterable[Work]) -> dict[str, Cost]:
    """Predict how long work takes, by metric.

    The time of a task is taken to be ``a + b * steps + c * parameters * rows * epochs``, with
    coefficients of its metric that are not negative and fit the timings best in relative terms
    (Lawson and Hanson 1974, chapter 23). The range multiplies the sum by the 10% and 90% quantiles
    of actual over predicted time of timed cells, each predicted from the others.

    Args:
        timings: Finished work.
        works: Work to predict.

    Returns:
        Cost of ``works`` by metric, in the order of appearance. Where a model cannot be built,
        its tasks are counted as unknown; they say why when they run.

    References:
        Lawson and Hanson (1974), Solving Least Squares Problems, doi:10.1137/1.9781611971217.
    """
    size = _Sizes()
    known: dict[str, list[Timing]] = defaultdict(list)
    for timing in timings:
        known[timing.work.metric].append(timing)
    asked: dict[str, list[Work]] = defaultdict(list)
    for work in works:
        asked[work.metric].append(work)
    return {metric: _cost(_some(known[metric]), group, size) for metric, group in asked.items()}


def _some(timings: Sequence[Timing]) -> Sequence[Timing]:
    """At most so many as a fit needs, from the whole length of the list."""
    return timings[:: -(-len(timings) // _MOST) or 1]


def _cost(timings: Sequence[Timing], works: Sequence[Work], size: _Sizes) -> Cost:
    timings = [timing for timing in timings if size.known(timing.work)]
    sized = [size.features(work) for work in works if size.known(work)]
    if not timings or not sized:
        return Cost(len(works), 0.0, 0.0, 0.0, unknown=len(works))
    features = np.array([size.features(timing.work) for timing in timings])
    seconds = np.maximum([timing.seconds for timing in timings], 1e-6)
    total = float((np.array(sized) @ _fit(features, seconds)).sum())
    low, high = _range([timing.work.subjects[0].cell for timing in timings], features, seconds)
    return Cost(len(works), total, low * total, high * total, unknown=len(works) - len(sized))


def _fit(features: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Coefficients (3,) of the smallest relative errors."""
    scale = features.max(axis=0)
    scale[scale == 0] = 1.0
    relative = features / scale / seconds[:, None]
    return nnls(relative, np.ones(len(seconds)))[0] / scale


def _range(
    cells: Sequence[object], features: np.ndarray, seconds: np.ndarray
) -> tuple[float, float]:
    """Factors around a prediction, from predicting each cell by the others."""
    names = list(dict.fromkeys(cells))
    if len(names) < _FEWEST_CELLS:
        return np.nan, np.nan
    at = {name: np.array([cell == name for cell in cells]) for name in names}
    ratios = []
    for here in at.values():
        predicted = features[here] @ _fit(features[~here], seconds[~here])
        ratios.append(seconds[here].sum() / max(predicted.sum(), 1e-9))
    low, high = np.quantile(ratios, [0.1, 0.9])
    return min(float(low), 1.0), max(float(high), 1.0)


class _Sizes:
    """Parameters of models and rows of data, each found out once."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int] | None] = {}

    def known(self, work: Work) -> bool:
        """Whether the model of the work can be built."""
        return self._of(work.subjects[0]) is not None

    def features(self, work: Work) -> Features:
        """One, steps, and parameters times rows times epochs."""
        subject = work.subjects[0]
        recipe, options = subject.recipe, work.options
        size = self._of(subject)
        assert size is not None
        parameters, rows = size
        if work.metric == TRAIN:
            epochs, batch = float(recipe.epochs), float(recipe.batch_size)
        else:
            rows = min(rows, options.get("samples") or rows)
            epochs = float(options.get("epochs", 1))
            batch = float(options.get("batch_size", _ROWS_AT_ONCE))
        return 1.0, epochs * max(1.0, rows / batch), parameters * rows * epochs

    def _of(self, subject: Subject) -> tuple[int, int] | None:
        recipe = subject.recipe
        which = [recipe.model, recipe.model_options, recipe.width, recipe.fraction]
        text = json.dumps([*which, recipe.data, recipe.data_options], sort_keys=True)
        if text not in self._found:
            try:
                data = recipe.load_dataset(clean_data(subject))
                parameters = sum(p.numel() for p in recipe.build_model(data).parameters())
                self._found[text] = parameters, len(data.train_targets)
            except Exception:  # whatever it is, it is not for a forecast to stop a study
                self._found[text] = None
        return self._found[text]
