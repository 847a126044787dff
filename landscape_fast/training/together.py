"""Several seeds of one recipe trained in one process, a step of all of them in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from landscape_fast.clock import seconds
from landscape_fast.functional import called_with
from landscape_fast.training.data import Dataset
from landscape_fast.training.fit import Fit, begin, conclude, finished_fit, save_unfinished
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.run import Run, Weights, new_optimizer, repeatable_training


def fit_together(
    recipes: Sequence[Recipe],
    *,
    dataset: Dataset | None = None,
    device: torch.device | str = "cpu",
    checkpoints: Sequence[str | Path] | None = None,
    save_every_s: float = 60.0,
) -> list[Fit]:
    """Train recipes that differ in their seed alone, a step of all of them in one call.

    Every network has its own weights, batches and BatchNorm statistics; only the calls are shared.
    So results are those of separate calls of :func:`~landscape_fast.training.fit.fit` but for
    rounding, and files are too: what one of the two functions began the other continues. A run that
    diverges, or is stopped early, leaves the group; the others go on.

    Args:
        recipes: What to train; equal but for ``seed``.
        dataset: The whole, clean data set of the recipes where it is loaded already.
        device: Where to train. Data live there once, all models at the same time.
        checkpoints: A file for each result, as for ``fit``.
        save_every_s: Seconds between two saves of the unfinished runs, at the ends of epochs.

    Returns:
        One result for each recipe, in their order.

    Raises:
        ValueError: Recipes differ in more than their seed, or not even in that; the numbers of
            recipes and checkpoints differ; or the model cannot be trained together with others,
            such as one with dropout, whose draws would be those of no separate run.

    Example:
        >>> recipe = Recipe(model="small_cnn", data="digits", width=2, epochs=1, lr=0.05)
        >>> seeds = [recipe.model_copy(update={"seed": seed}) for seed in (0, 1)]
        >>> [result.recipe.seed for result in fit_together(seeds)]
        [0, 1]
    """
    _check(recipes, checkpoints)
    paths: list[Path | None] = [None] * len(recipes)
    if checkpoints is not None:
        paths = [Path(path) for path in checkpoints]
    results = [finished_fit(*each) for each in zip(recipes, paths, strict=True)]
    left = [position for position, result in enumerate(results) if result is None]
    if left:
        device = torch.device(device)
        with repeatable_training(device):
            data = recipes[0].load_dataset(dataset).cast(getattr(torch, recipes[0].dtype))
            data = replace(  # on the device once, not once for each run
                data,
                train_inputs=data.train_inputs.to(device),
                train_targets=data.train_targets.to(device),
            )
            runs = {at: begin(recipes[at], data, device, paths[at]) for at in left}
            _train([(run, paths[at]) for at, run in runs.items()], save_every_s)
            for at, run in runs.items():
                results[at] = conclude(run, paths[at])
    return [result for result in results if result is not None]


def _train(runs: Sequence[tuple[Run, Path | None]], save_every_s: float) -> None:
    """Train until all are complete; those that are behind after a kill catch up first."""
    saved_at = seconds()
    while left := [run for run, _ in runs if not run.complete]:
        epoch = min(len(run.losses) for run in left)
        train_epoch([run for run in left if len(run.losses) == epoch])
        if seconds() - saved_at >= save_every_s:
            for run, path in runs:
                if path is not None:
                    save_unfinished(run, path)
            saved_at = seconds()


def train_epoch(runs: Sequence[Run]) -> None:
    """Make one epoch of runs that have done equally many.

    Raises:
        ValueError: The model cannot be trained together with others.
    """
    epoch = len(runs[0].losses)
    group = _Group(runs)
    batches = zip(*(run.batches(epoch) for run in runs), strict=True)
    losses = [
        group.step(torch.stack(rows), rate)
        for rows, rate in zip(batches, runs[0].rates(epoch), strict=True)
    ]
    group.hand_back()
    for run, of_run in zip(runs, torch.stack(losses, 1).cpu(), strict=True):
        run.finish_epoch(of_run)


class _Group:
    """Weights, buffers and optimiser of several runs, each stacked along a new first axis."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._network = runs[0].model.train()  # its own tensors are not used
        models = [run.model for run in runs]
        self._parameters = {
            name: torch.stack([model.get_parameter(name).detach() for model in models])
            for name, _ in self._network.named_parameters()
        }
        self._buffers = {
            name: torch.stack([model.get_buffer(name) for model in models])
            for name, _ in self._network.named_buffers()
        }
        for stacked in self._parameters.values():
            stacked.requires_grad_()
        self._optimizer = new_optimizer(runs[0].recipe, self._parameters.values())
        for name, stacked in self._parameters.items():
            states = [run.optimizer.state.get(run.model.get_parameter(name), {}) for run in runs]
            self._optimizer.state[stacked] = {
                key: torch.stack([state[key] for state in states]) if _own(key) else value.clone()
                for key, value in states[0].items()
                if isinstance(value, Tensor)  # None stands for what is not there yet
            }
        self._losses = torch.vmap(self._loss)

    def step(self, rows: Tensor, rate: float) -> Tensor:
        """Update every network by its own batch.

        Args:
            rows: (runs, batch size).
            rate: The learning rate.

        Returns:
            (runs,) losses.
        """
        run = self._runs[0]
        inputs, targets = (
            values.index_select(0, rows.flatten()).unflatten(0, rows.shape)
            for values in (run.inputs, run.targets)
        )
        try:
            losses, self._buffers = self._losses(self._parameters, self._buffers, inputs, targets)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise ValueError(
                f"model {run.recipe.model!r} cannot be trained together with others, use fit: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        losses.sum().backward()  # no network has a part in the loss of another
        self._optimizer.step()
        return losses.detach()

    def hand_back(self) -> None:
        """Write what belongs to each run into its own model and optimiser."""
        for position, run in enumerate(self._runs):
            with torch.no_grad():
                for name, value in run.model.named_buffers():
                    value.copy_(self._buffers[name][position])
                for name, value in run.model.named_parameters():
                    value.copy_(self._parameters[name][position])
            for name, parameter in run.model.named_parameters():
                run.optimizer.state[parameter] = {
                    key: (value[position] if _own(key) else value).clone()
                    for key, value in self._optimizer.state[self._parameters[name]].items()
                    if isinstance(value, Tensor)
                }

    def _loss(
        self, parameters: Weights, buffers: Weights, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Weights]:
        """Loss of one network, and its buffers after the batch."""
        state = {**parameters, **buffers}
        loss = self._runs[0].loss(
            lambda batch: called_with(self._network, state, (batch,)), inputs, targets
        )
        return loss, {name: state[name].detach() for name in buffers}


def _own(key: str) -> bool:
    """Whether an entry of an optimiser's state has one number for each weight."""
    return key != "step"


def _check(recipes: Sequence[Recipe], checkpoints: Sequence[str | Path] | None) -> None:
    if not recipes:
        raise ValueError("recipes is empty")
    if checkpoints is not None and len(checkpoints) != len(recipes):
        raise ValueError(f"got {len(checkpoints)} checkpoints for {len(recipes)} recipes")
    if len({recipe.seed for recipe in recipes}) < len(recipes):
        raise ValueError("recipes must have different seeds")
    first = recipes[0].model_dump()
    for recipe in recipes[1:]:
        for field, value in recipe.model_dump().items():
            if field != "seed" and value != first[field]:
                raise ValueError(
                    f"recipes may differ in their seed alone, got {field} {first[field]!r} and "
                    f"{value!r}"
                )
    if recipes[0].channels_last:
        raise ValueError("channels_last is for separate runs: stacked images have another layout")
