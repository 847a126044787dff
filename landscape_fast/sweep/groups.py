"""Seeds of one cell that are trained in one task, where that is asked for or known to pay."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from landscape_fast.sweep.config import Study
from landscape_fast.sweep.graph import Task
from landscape_fast.sweep.tasks import TOGETHER, TRAIN, Work
from landscape_fast.training.recipe import Recipe

# docs/training.md, one thread: in these cases a step of five seeds took 0.49 to 0.73 of the time of
# five steps. Three seeds and larger batches gain little or lose; wider networks were not measured.
_MEASURED = ("resnet18", "small_cnn")
_WIDEST, _LARGEST_BATCH, _FEWEST_SEEDS = 4, 32, 5


def pays(recipe: Recipe, seeds: int) -> bool:
    """Whether training so many seeds together was measured to be faster, on one CPU thread.

    Example:
        >>> recipe = Recipe(model="small_cnn", data="digits", width=4, batch_size=8)
        >>> pays(recipe, 5), pays(recipe, 3), pays(recipe.model_copy(update={"width": 32}), 5)
        (True, False, False)
    """
    narrow = recipe.width is not None and recipe.width <= _WIDEST
    small = narrow and recipe.batch_size <= _LARGEST_BATCH and not recipe.channels_last
    return recipe.model in _MEASURED and small and seeds >= _FEWEST_SEEDS


def grouped(
    study: Study, tasks: Sequence[Task], failed: Container[tuple[str, str]]
) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """Make a task for the trainings of one cell, where the study wants them together.

    Args:
        study: Says whether; see :attr:`~landscape_fast.sweep.config.Study.together`.
        tasks: What is left.
        failed: Addresses of what failed before; a group among them is not tried again.

    Returns:
        The groups, and ``tasks``, of which the trainings wait for the end of theirs: they find what
        it stored, or train one by one where it could not.
    """
    cells: dict[tuple[int | float, int | float], list[Task]] = {}
    for task in tasks if study.together else ():
        work = cast(Work, task.work)
        if work.metric == TRAIN:
            cells.setdefault(work.subjects[0].cell, []).append(task)
    groups: list[Task] = []
    waiting: dict[str, Task] = {}
    for members in filter(partial(_wanted, study), cells.values()):
        group = _group(members)
        if cast(Work, group.work).address not in failed:
            groups.append(group)
            waiting |= {member.id: replace(member, after=(group.id,)) for member in members}
    return tuple(groups), tuple(waiting.get(task.id, task) for task in tasks)


def _wanted(study: Study, members: Sequence[Task]) -> bool:
    recipe = cast(Work, members[0].work).subjects[0].recipe
    return len(members) > 1 and (study.together is True or pays(recipe, len(members)))


def _group(members: Sequence[Task]) -> Task:
    works = [cast(Work, task.work) for task in members]
    subjects = tuple(work.subjects[0] for work in works)
    work = replace(works[0], metric=TOGETHER, subjects=subjects)
    cost = sum(task.cost for task in members)
    return Task(f"{work.key}/{TOGETHER}", TOGETHER, work, cost=cost, kind=work.kind)
