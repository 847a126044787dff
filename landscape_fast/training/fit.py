"""Trains the model of a recipe, repeatably, and continues where it was stopped."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from landscape_fast.clock import seconds
from landscape_fast.training.checkpoint import read_content, write_atomically
from landscape_fast.training.data import Dataset
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.run import Run, Weights, repeatable_training

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Outcome of one training run."""

    recipe: Recipe
    state_dict: Weights  # on the CPU, of the epoch that the recipe's checkpoint rule chose
    epoch: int  # that epoch, counted from 0
    train_loss: tuple[float, ...]  # per epoch, mean over its samples while the weights moved
    steps: int  # updates made in all
    diverged: bool  # the loss or the weights became infinite or NaN; training stopped there


def fit(
    recipe: Recipe,
    *,
    dataset: Dataset | None = None,
    device: torch.device | str = "cpu",
    checkpoint: str | Path | None = None,
    save_every_s: float = 60.0,
    cuda_graph: bool = False,
    progress: Progress | None = None,
) -> Fit:
    """Train the model of ``recipe`` by the optimizer that it names.

    The same recipe gives the same bits on the same machine, for a given number of threads, also
    when the run was killed and continued. Weight decay acts on every parameter, BatchNorm's and
    biases included. Divergence is an outcome, not an error: see :attr:`Fit.diverged`. With the
    checkpoint rule ``early_stopped`` training ends when the rule holds, since nothing after it
    could change the result; where it never holds the epoch of the lowest loss is kept.

    Args:
        recipe: What to train, on what, and how.
        dataset: The whole, clean data set of the recipe where it is loaded already; the recipe's
            ``label_noise`` and ``fraction`` are still applied to it. By default it is loaded.
        device: Where to train. Data and model live there in full.
        checkpoint: File for the result, readable by ``torch.load(..., weights_only=True)``. If it
            holds this recipe's result already, that is returned and nothing is trained. Beside it,
            a file that ends in ``.partial`` holds an unfinished run.
        save_every_s: Seconds between two saves of the unfinished run, at the ends of epochs; what a
            kill can lose.
        cuda_graph: On a CUDA device, record a step once and play it from then on. The same kernels
            run; a model whose steps wait for the device or change their shapes cannot be recorded.
        progress: Called after every epoch as ``progress(epochs_done, epochs, train_loss)``.

    Returns:
        Weights, training losses and whether the run diverged.

    Raises:
        ValueError: An epoch has no complete batch, ``cuda_graph`` is asked for another device or
            optimiser than CUDA and SGD, or ``checkpoint`` holds something else than this
            recipe's result. (A damaged file is moved aside with a warning, and the run made anew.)
        TypeError: The loss of the recipe returns something else than a scalar tensor.

    Example:
        >>> recipe = Recipe(model="small_cnn", data="digits", width=4, epochs=2, lr=0.05)
        >>> result = fit(recipe)
        >>> result.steps, result.diverged, result.train_loss[1] < result.train_loss[0]
        (22, False, True)
    """
    path = None if checkpoint is None else Path(checkpoint)
    if (finished := finished_fit(recipe, path)) is not None:
        return finished
    device = torch.device(device)
    with repeatable_training(device):
        data = recipe.load_dataset(dataset)
        run = begin(recipe, data, device, path, cuda_graph=cuda_graph)
        saved_at = seconds()
        while not run.complete:
            run.train_epoch()
            if path is not None and seconds() - saved_at >= save_every_s:
                save_unfinished(run, path)
                saved_at = seconds()
            if progress is not None:
                progress(len(run.losses), recipe.epochs, run.losses[-1])
        return conclude(run, path)


def load_fit(path: str | Path) -> Fit:
    """Read the result that :func:`fit` wrote to ``checkpoint``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or was not written by :func:`fit`.
    """
    return _fit(read_content(path), path)


def begin(
    recipe: Recipe,
    data: Dataset,
    device: torch.device,
    path: Path | None,
    *,
    cuda_graph: bool = False,
) -> Run:
    """Return the run of a recipe, continued from the unfinished one beside ``path`` if it is there.

    Args:
        recipe: Of the run.
        data: Of the recipe, noise and fraction applied.
        device: Where to train.
        path: File for the result, if any.
        cuda_graph: As for :func:`fit`.
    """
    run = Run(recipe, data, device, cuda_graph=cuda_graph)
    if path is not None and (content := _unfinished(_partial(path), recipe, device)) is not None:
        run.restore(content)
    return run


def save_unfinished(run: Run, path: Path) -> None:
    """Write the state of a run beside ``path``, the file for its result."""
    write_atomically(_partial(path), run.content())


def conclude(run: Run, path: Path | None) -> Fit:
    """Return the result of a complete run; write it to ``path``, if any, and tidy up."""
    result = _result(run)
    if path is not None:
        write_atomically(path, _content(result))
        _partial(path).unlink(missing_ok=True)
    return result


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _result(run: Run) -> Fit:
    chosen = run.weights if run.best is None else run.best
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in chosen.items()
    }
    return Fit(
        recipe=run.recipe,
        state_dict=weights,
        epoch=len(run.losses) - 1 if run.best is None else run.best_epoch,
        train_loss=tuple(run.losses),
        steps=run.steps,
        diverged=run.diverged or not all(bool(w.isfinite().all()) for w in weights.values()),
    )


def _content(result: Fit) -> dict[str, Any]:
    return {
        "recipe": result.recipe.model_dump_json(),
        "state_dict": result.state_dict,
        "epoch": result.epoch,
        "train_loss": list(result.train_loss),
        "steps": result.steps,
        "diverged": result.diverged,
    }


def _fit(content: dict[str, Any], path: str | Path) -> Fit:
    try:
        return Fit(
            recipe=Recipe.model_validate_json(content["recipe"]),
            state_dict=content["state_dict"],
            epoch=content["epoch"],
            train_loss=tuple(content["train_loss"]),
            steps=content["steps"],
            diverged=content["diverged"],
        )
    except KeyError as error:
        raise ValueError(
            f"checkpoint {str(path)!r} is no result of fit: it lacks {error}"
        ) from error


def finished_fit(recipe: Recipe, path: Path | None) -> Fit | None:
    """Return the result in ``path``, if there is one.

    Raises:
        ValueError: ``path`` holds something else than this recipe's result.
    """
    if path is None or not path.exists():
        return None
    try:
        content = read_content(path)
    except ValueError as error:
        aside = path.with_name(path.name + ".damaged")
        path.replace(aside)
        warnings.warn(f"{error}; moved to {aside.name}, training again", stacklevel=3)
        return None
    found = _fit(content, path)
    if found.recipe.id != recipe.id:
        raise ValueError(
            f"checkpoint {str(path)!r} holds the result of recipe {found.recipe.id}, not of "
            f"{recipe.id}; give another file"
        )
    return found


def _unfinished(partial: Path, recipe: Recipe, device: torch.device) -> dict[str, Any] | None:
    """The run that ``partial`` holds, if it is whole and of this recipe."""
    if not partial.exists():
        return None
    try:
        content = read_content(partial, device=device)
        same = Recipe.model_validate_json(content["recipe"]).id == recipe.id
    except (ValueError, KeyError) as error:
        warnings.warn(f"unfinished run not used: {error}; training from the start", stacklevel=3)
        return None
    if not same:
        warnings.warn(f"{partial} is of another recipe; training from the start", stacklevel=3)
        return None
    return content
