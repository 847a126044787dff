"""The models of a study: which recipe, which file of weights, which place in the grid."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from landscape_fast.sweep.config import CheckpointFile, Study
from landscape_fast.training.recipe import Recipe

_OF_A_CHECKPOINT = (
    *("model", "model_options", "width", "data", "data_options", "fraction", "label_noise"),
    *("loss", "dtype"),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One model of the grid."""

    key: str  # stands for the weights and everything that is measured on them
    load: int | float
    temperature: int | float
    seed: int
    recipe: Recipe
    checkpoint: Path
    trained: bool  # by this study; else the checkpoint was there before

    @property
    def cell(self) -> tuple[int | float, int | float]:
        """Load and temperature."""
        return self.load, self.temperature


def subjects_of(study: Study, output: Path) -> list[Subject]:
    """List the models of a study, cell by cell.

    Args:
        study: The study.
        output: Folder under which the study keeps the checkpoints that it trains.

    Raises:
        FileNotFoundError: A checkpoint that should be there already is not; the first are named.
        ValueError: A recipe of the grid is out of range.
    """
    if study.checkpoints is None:
        return [_to_train(study.recipe(*place), place, output) for place in _places(study)]
    if isinstance(study.checkpoints, str):
        files = [_matching(study, place) for place in _places(study)]
    else:
        files = list(study.checkpoints)
    missing = [file.path for file in files if not Path(file.path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"checkpoints: {len(missing)} of {len(files)} files do not exist: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
        )
    return [_existing(study, file) for file in files]


def cells_of(
    subjects: Sequence[Subject],
) -> dict[tuple[int | float, int | float], list[Subject]]:
    """Models of each cell; cells and models in the order in which they come."""
    cells: dict[tuple[int | float, int | float], list[Subject]] = {}
    for subject in subjects:
        cells.setdefault(subject.cell, []).append(subject)
    return cells


def pairs_of(subjects: Sequence[Subject]) -> list[tuple[Subject, Subject]]:
    """All pairs of models of one cell, cell by cell, in the order of the models."""
    return [pair for members in cells_of(subjects).values() for pair in combinations(members, 2)]


def file_sha256(path: Path) -> str:
    """Checksum of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _places(study: Study) -> list[tuple[int | float, int | float, int]]:
    grid = study.grid
    return [
        (load, temperature, seed)
        for load in grid.load.values
        for temperature in grid.temperature.values
        for seed in grid.seeds
    ]


def _to_train(recipe: Recipe, place: tuple[int | float, int | float, int], output: Path) -> Subject:
    checkpoint = output / "checkpoints" / f"{recipe.slug}.pt"
    return Subject(recipe.slug, *place, recipe=recipe, checkpoint=checkpoint, trained=True)


def _matching(study: Study, place: tuple[int | float, int | float, int]) -> CheckpointFile:
    assert isinstance(study.checkpoints, str)
    names = [*study.grid.knobs, "seed"]
    values = dict(zip(names, place, strict=True))
    return CheckpointFile(path=study.checkpoints.format_map(values), **values)  # type: ignore[arg-type]


def _existing(study: Study, file: CheckpointFile) -> Subject:
    load, temperature = (file.knobs[knob] for knob in study.grid.knobs)
    recipe = study.recipe(load, temperature, file.seed)
    content = {name: recipe.model_dump(mode="json")[name] for name in _OF_A_CHECKPOINT}
    if recipe.pixel_noise:  # without it keys are those from before there was such a knob
        content |= {"pixel_noise": recipe.pixel_noise, "wraps": recipe.pixel_noise_wraps}
    content["sha256"] = file_sha256(Path(file.path))
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(file.path).stem).lstrip(".-")
    return Subject(
        key=f"{stem}-{digest}" if stem else digest,
        load=load,
        temperature=temperature,
        seed=file.seed,
        recipe=recipe,
        checkpoint=Path(file.path),
        trained=False,
    )
