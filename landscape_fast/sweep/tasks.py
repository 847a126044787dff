"""What a worker does: train models, or measure one model or pair, and store the result.

Each piece of work is a pure function of its recipe and options, which also make its address in the
store; so an option that changes recomputes what depends on it and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from landscape_fast.clock import seconds
from landscape_fast.results import Training
from landscape_fast.store import Store
from landscape_fast.sweep.graph import UnusableError
from landscape_fast.sweep.measurements import OF_ONE, OF_TWO, Question
from landscape_fast.sweep.memory import Memory, metered
from landscape_fast.sweep.subjects import Subject, file_sha256
from landscape_fast.sweep.weights import fetch_weights, send_weights
from landscape_fast.training.checkpoint import load_checkpoint
from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import load_data
from landscape_fast.training.fit import Fit, fit
from landscape_fast.training.losses import build_loss
from landscape_fast.training.together import fit_together

TRAIN = "train"
TOGETHER = "together"  # trains several seeds, and stores what TRAIN of each would

# Fields of a recipe on which the memory of a task depends, and those of a training beside them.
_SHAPE = (
    *("model", "model_options", "width", "data", "data_options", "fraction", "loss", "dtype"),
    *("channels_last", "autocast"),
)
_STEP = ("batch_size", "optimizer")
_SCHEMA = 1  # raise it when the same options come to mean another result


@dataclass(frozen=True, slots=True)
class Work:
    """One result to compute, and where it goes."""

    metric: str  # TRAIN, TOGETHER, or a measurement's name
    subjects: tuple[Subject, ...]  # one model, the two of a pair, or all of a cell
    options: Mapping[str, Any]
    store: Path | str  # root of the store

    @property
    def key(self) -> str:
        """First half of the address: the model, the pair, or the first of a cell and a digest."""
        first, *others = self.subjects
        names = [f"s{other.seed}-{other.key[-12:]}" for other in others]
        if len(names) > 1:  # a folder's name holds no more than 255 bytes
            digest = hashlib.sha256("+".join(names).encode()).hexdigest()
            names = [f"{len(names)}-{digest[:12]}"]
        return "+".join([first.key, *names])

    @property
    def name(self) -> str:
        """Second half of the address: the measurement with its options."""
        content = json.dumps({"schema": _SCHEMA, **self.options}, sort_keys=True)
        return f"{self.metric}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    @property
    def kind(self) -> Hashable:
        """What decides how much memory it takes: networks, data and options, but no seed."""
        recipe = self.subjects[0].recipe
        fields = _SHAPE + (_STEP if self.metric in (TRAIN, TOGETHER) else ())
        options = {name: value for name, value in self.options.items() if "seed" not in name}
        of_recipe = (str(getattr(recipe, field)) for field in fields)
        # Of this process only: the words would be a kilobyte for each of many tasks.
        return hash((self.metric, len(self.subjects), str(options), *of_recipe))

    @property
    def address(self) -> tuple[str, str]:
        """Key and name in the store."""
        return self.key, self.name


def perform(work: Work, *, device: str = "cpu") -> Memory | None:
    """Compute one result and store it.

    Torch uses one thread meanwhile, so the bits depend neither on the number of workers nor on the
    cores of the machine.

    Args:
        work: What to compute.
        device: Where models and data live. Results of different devices differ in rounding.

    Returns:
        The memory that it took of a GPU, which is stored too; nothing on a CPU.

    Raises:
        UnusableError: The training diverged. This is stored; there is nothing to measure.
        ValueError: A checkpoint does not fit the model, or the data do not fit the measurement.
        OSError: A file cannot be read or written.
    """
    if work.metric == TRAIN and (trained := _trained_with_others(work)) is not None:
        _refuse_divergence(trained)
        return None
    start, peak = seconds(), metered(device)
    with _one_thread():
        if work.metric == TOGETHER:
            results = _train_together(work, device)
        else:
            results = [(work, (_train if work.metric == TRAIN else _measure)(work, device))]
    memory, took = peak(), seconds() - start
    for each, result in results:
        _save(each, result, took / len(results), memory, performed=work)
    if work.metric == TRAIN:
        _refuse_divergence(results[0][1])
    return memory


def _save(work: Work, result: Any, took: float, memory: Memory | None, *, performed: Work) -> None:
    """Store a result; of one from a group say so, and leave out the memory, which was for all."""
    recipe: dict[str, Any] = {
        "metric": work.metric,
        "options": dict(work.options),
        "models": [subject.recipe.model_dump(mode="json") for subject in work.subjects],
    }
    if performed is not work:
        recipe["together"] = [subject.seed for subject in performed.subjects]
        memory = None
    found = None if memory is None else asdict(memory)
    store = Store(work.store)
    store.save(work.key, work.name, result, seconds=took, memory=found, recipe=recipe)


def _refuse_divergence(result: Training) -> None:
    if result.diverged:
        raise UnusableError(f"training diverged in epoch {len(result.losses)}")


def rehearse(subject: Subject) -> None:
    """Read the data and build the model of a subject, without training or measuring.

    A wrong path or name then is one error before any work begins, not one for each task.
    """
    subject.recipe.build_model(subject.recipe.load_dataset(clean_data(subject)))
    build_loss(subject.recipe.loss)


def _train(work: Work, device: str) -> Training:
    """Train a model into its checkpoint, or continue where that stopped."""
    (subject,) = work.subjects
    with _named(subject.checkpoint):
        fitted = fit(
            subject.recipe,
            dataset=clean_data(subject),
            device=device,
            checkpoint=subject.checkpoint,
        )
    return _training(work, fitted)


def _train_together(work: Work, device: str) -> list[tuple[Work, Training]]:
    """Train models into their checkpoints, a step of all in one call, or continue likewise.

    Networks for which this is not possible are left to their own trainings.
    """
    try:
        with _named(work.subjects[0].checkpoint.parent):
            fits = fit_together(
                [subject.recipe for subject in work.subjects],
                dataset=clean_data(work.subjects[0]),
                device=device,
                checkpoints=[subject.checkpoint for subject in work.subjects],
            )
    except ValueError as error:
        warnings.warn(f"trained one by one: {error}", stacklevel=2)
        return []
    alone = [replace(work, metric=TRAIN, subjects=(subject,)) for subject in work.subjects]
    return [(each, _training(each, fitted)) for each, fitted in zip(alone, fits, strict=True)]


def _trained_with_others(work: Work) -> Training | None:
    """Result of a training that is stored with its checkpoint, as a group does just before."""
    store, (subject,) = Store(work.store), work.subjects
    found = store.load(*work.address)
    if found is None:
        return None
    with suppress(FileNotFoundError):
        fetch_weights(store, subject)
    there = subject.checkpoint.is_file()
    return found if there and file_sha256(subject.checkpoint) == found.sha256 else None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say what was being written when a disk was full, which the error itself does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _training(work: Work, fitted: Fit) -> Training:
    """What is stored of a training, whose weights go with it."""
    (subject,) = work.subjects
    send_weights(Store(work.store), subject)
    return Training(
        losses=torch.tensor(fitted.train_loss, dtype=torch.float64),
        epoch=fitted.epoch,
        steps=fitted.steps,
        diverged=fitted.diverged,
        sha256=file_sha256(subject.checkpoint),
    )


def _measure(work: Work, device: str) -> Any:
    """Load the models and put the question to them."""
    recipe = work.subjects[0].recipe
    data = recipe.load_dataset(clean_data(work.subjects[0]))
    models = []
    for subject in work.subjects:
        fetch_weights(Store(work.store), subject)
        model = subject.recipe.build_model(data)
        load_checkpoint(subject.checkpoint, model)
        models.append(model.to(device))
    data = _on(device, data.cast(getattr(torch, recipe.dtype)))
    question = Question(tuple(models), data, build_loss(recipe.loss), work.options)
    return {**OF_ONE, **OF_TWO}[work.metric](question)


def _on(device: str, data: Dataset) -> Dataset:
    if device == "cpu":
        return data
    parts = ("train_inputs", "train_targets", "test_inputs", "test_targets")
    return replace(data, **{name: getattr(data, name).to(device) for name in parts})


def clean_data(subject: Subject) -> Dataset:
    """Return the whole data set of a subject, read once per process."""
    return _read_data(subject.recipe.data, json.dumps(subject.recipe.data_options, sort_keys=True))


@lru_cache(maxsize=1)
def _read_data(name: str, options: str) -> Dataset:
    return load_data(name, json.loads(options))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
