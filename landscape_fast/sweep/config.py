"""What a study file may say, and the recipes it stands for."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from landscape_fast.sweep.options import Classify, Measure, Plot, Section, Seed
from landscape_fast.training.datasets import TOKENS, training_rows
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.resolve import nearest


def _number(value: object) -> object:
    """Refuse what is no number with one message, where the union would give one for each type."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, got {value!r}")
    return value


Number = Annotated[int | float, BeforeValidator(_number)]

_TOGETHER = "together"  # how a study trains, beside the fields of its recipes
_DECIDED_ELSEWHERE = ("model", "model_options", "data", "data_options", "loss", "seed")


class Axis(Section):
    """One knob of the grid."""

    knob: str = Field(pattern=r"^[A-Za-z_]\w*$")
    values: tuple[Number, ...] = ()

    @field_validator("values")
    @classmethod
    def _different(cls, values: tuple[Number, ...]) -> tuple[Number, ...]:
        return _unique(values)


class Grid(Section):
    """Cells are all pairs of load and temperature; each has one model for every seed."""

    load: Axis
    temperature: Axis
    seeds: tuple[Seed, ...] = ()

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return _unique(seeds)

    @property
    def knobs(self) -> tuple[str, str]:
        """Names of the load and of the temperature."""
        return self.load.knob, self.temperature.knob


class CheckpointFile(BaseModel):
    """One entry of an explicit list of checkpoints: its path, its two knobs and its seed."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Number]

    path: str
    seed: Seed

    @property
    def knobs(self) -> dict[str, int | float]:
        """Value of each knob by its name."""
        return dict(self.__pydantic_extra__)


class Paper(Section):
    """Which published result a study repeats."""

    figure: str  # as the paper calls it
    finding: str  # what it shows there, in one sentence


class Study(Section):
    """A whole study file.

    ``training`` holds fields of :class:`~landscape_fast.training.recipe.Recipe`; the knobs of the
    grid are such fields too. Beside them ``together`` says whether seeds share a task. With
    ``checkpoints`` nothing is trained: it is a pattern such as
    ``runs/w{width}_b{batch_size}_s{seed}.pt`` over the values of the grid, or a list of
    ``{path: ..., width: ..., batch_size: ..., seed: ...}``.

    Raises:
        pydantic.ValidationError: (a ``ValueError``) Anything in it is unknown or out of range.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    paper: Paper | None = None
    model: str
    model_options: dict[str, JsonValue] = Field(default_factory=dict)
    data: str
    data_options: dict[str, JsonValue] = Field(default_factory=dict)
    loss: str = "cross_entropy"
    grid: Grid
    training: dict[str, JsonValue] = Field(default_factory=dict)
    checkpoints: str | tuple[CheckpointFile, ...] | None = None
    measure: Measure = Measure()
    classify: Classify = Classify()
    plot: Plot = Plot()

    def recipe(self, load: Number, temperature: Number, seed: int) -> Recipe:
        """Return the recipe of one model of the grid.

        Raises:
            pydantic.ValidationError: A value is out of range for its knob.
        """
        fields: dict[str, Any] = {name: getattr(self, name) for name in _DECIDED_ELSEWHERE[:-1]}
        knobs = dict(zip(self.grid.knobs, (load, temperature), strict=True))
        if self.checkpoints is not None:  # there, a knob may be a mere label
            knobs = {name: value for name, value in knobs.items() if name in Recipe.model_fields}
        fields |= {key: value for key, value in self.training.items() if key != _TOGETHER}
        return Recipe.model_validate({**fields, **knobs, "seed": seed})

    @property
    def together(self) -> bool | Literal["auto"]:
        """Whether seeds of a cell are trained in one task; ``auto``: where that is known to pay."""
        return cast("bool | Literal['auto']", self.training.get(_TOGETHER, False))

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        knobs = self.grid.knobs
        if knobs[0] == knobs[1]:
            raise ValueError(f"grid: load and temperature are the same knob {knobs[0]!r}")
        self._check_together()
        for key in self.training:
            if key == _TOGETHER:
                continue
            if key not in Recipe.model_fields:
                raise ValueError(
                    f"training: unknown key {key!r}{nearest(key, Recipe.model_fields)}"
                )
            if key in knobs:
                raise ValueError(f"training.{key} is decided by the grid, whose knob it is")
            if key in _DECIDED_ELSEWHERE:
                where = "grid.seeds" if key == "seed" else f"{key} at the top level"
                raise ValueError(f"training.{key} is decided by {where}")
        if self.checkpoints is None:
            self._check_knobs()
        if isinstance(self.checkpoints, tuple):
            self._check_list(self.checkpoints)
        else:
            self._check_values()
        if isinstance(self.checkpoints, str):
            self._check_pattern(self.checkpoints)
        self._check_similarity()
        return self

    def _check_knobs(self) -> None:
        for axis, knob in zip(("load", "temperature"), self.grid.knobs, strict=True):
            if knob not in Recipe.model_fields or knob in _DECIDED_ELSEWHERE:
                valid = [name for name in Recipe.model_fields if name not in _DECIDED_ELSEWHERE]
                raise ValueError(
                    f"grid.{axis}.knob must be a field of the training recipe, got {knob!r}"
                    f"{nearest(knob, valid)}"
                )

    def _check_together(self) -> None:
        how = self.training.get(_TOGETHER, False)
        if not isinstance(how, bool) and how != "auto":
            raise ValueError(f'training.together must be true, false or "auto", got {how!r}')
        if how is True and self.training.get("channels_last"):
            raise ValueError("training.together is true, which channels_last excludes")

    def _check_values(self) -> None:
        grid = self.grid
        for path, values in (
            ("grid.load.values", grid.load.values),
            ("grid.temperature.values", grid.temperature.values),
            ("grid.seeds", grid.seeds),
        ):
            if not values:
                raise ValueError(f"{path} must list at least one value")
        first = grid.load.values[0], grid.temperature.values[0]
        for load in grid.load.values:
            self._check_recipe(load, first[1])
        for temperature in grid.temperature.values:
            self._check_recipe(first[0], temperature)

    def _check_similarity(self) -> None:
        """Inputs that are compared must be there, and be numbers that can be interpolated."""
        cka = self.measure.cka
        if cka is None:
            return
        if self.data in TOKENS and cka.mixup_alpha is not None:
            raise ValueError(
                f"measure.cka.mixup_alpha: data {self.data!r} are tokens, which cannot be "
                f"interpolated, got {cka.mixup_alpha}; set it to null, or measure.cka to null"
            )
        rows = training_rows(self.data, self.data_options)
        if rows is None or "samples" not in cka.model_fields_set:
            return
        axes = {axis.knob: axis.values for axis in (self.grid.load, self.grid.temperature)}
        given: Any = axes.get("fraction") or (self.training.get("fraction", 1.0),)
        least = min(given)
        rows = int(rows * least)
        if cka.samples > rows:
            raise ValueError(
                f"measure.cka.samples: {cka.samples} exceed the {rows} training samples of "
                f"{self.data!r}" + (f" at fraction {least}" if least != 1.0 else "")
            )

    def _check_recipe(self, load: Number, temperature: Number) -> None:
        try:
            self.recipe(load, temperature, self.grid.seeds[0])
        except ValidationError as error:
            raise ValueError("; ".join(problems(error, self._path_of))) from None

    def _path_of(self, field: str) -> str:
        """Where in the study file a field of the recipe is decided."""
        if field in self.grid.knobs:
            return f"grid.{('load', 'temperature')[self.grid.knobs.index(field)]}.values"
        if field in _DECIDED_ELSEWHERE:
            return field
        return f"training.{field}" if field else ""

    def _check_pattern(self, pattern: str) -> None:
        try:
            parts = list(string.Formatter().parse(pattern))
        except ValueError as error:
            raise ValueError(f"checkpoints: {error}, got {pattern!r}") from None
        found = {field for _, field, _, _ in parts if field is not None}
        wanted = [*self.grid.knobs, "seed"]
        if found != set(wanted):
            braces = ", ".join(f"{{{field}}}" for field in wanted)
            raise ValueError(f"checkpoints: the pattern must hold {braces}, got {pattern!r}")

    def _check_list(self, files: tuple[CheckpointFile, ...]) -> None:
        grid = self.grid
        if grid.load.values or grid.temperature.values or grid.seeds:
            raise ValueError(
                "grid: values and seeds follow from the list of checkpoints; omit them"
            )
        if not files:
            raise ValueError("checkpoints: the list is empty")
        places = set()
        for position, file in enumerate(files):
            knobs = file.knobs
            if set(knobs) != set(grid.knobs):
                raise ValueError(
                    f"checkpoints.{position} must have the keys path, seed, "
                    f"{' and '.join(grid.knobs)}, got {sorted({'path', 'seed', *knobs})}"
                )
            places.add((*(knobs[knob] for knob in grid.knobs), file.seed))
        if len(places) < len(files):
            raise ValueError("checkpoints: two files have the same knobs and seed")


def problems(error: ValidationError, path_of: Callable[[str], str] = str) -> list[str]:
    """Say in one line each what is wrong and where.

    Args:
        error: From a section of a study, or from a recipe.
        path_of: Maps the first part of a path to how the reader's file calls it.
    """
    lines = []
    for each in error.errors():
        first, *rest = each["loc"] or ("",)
        path = ".".join([path_of(str(first)), *(str(part) for part in rest)])
        reason = each["msg"].removeprefix("Value error, ")
        given = "" if each["type"] in ("value_error", "missing") else f", got {each['input']!r}"
        named = not path or reason.startswith(path)
        lines.append(f"{reason}{given}" if named else f"{path}: {reason}{given}")
    return lines


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} appears twice")
    return values
