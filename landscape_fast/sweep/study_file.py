"""Reads a study file: YAML, strictly, with every mistake named by its place.

A file may come in several sizes, one of which is chosen when it is read:

    sizes:
      preview: {grid: {seeds: [0, 1]}, training: {epochs: 10}}
      full: {}

The chosen entry is laid over the rest of the file: mappings are merged key by key, anything else is
replaced. The study is then called ``NAME-SIZE``, so sizes do not share a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from landscape_fast.sweep.config import Study, problems
from landscape_fast.training.resolve import nearest


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML that refuses a key written twice; the later one would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(
                    None, None, f"line {line}: key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_study(path: str | Path, size: str | None = None) -> Study:
    """Read a study file.

    Args:
        path: The file.
        size: Which of its sizes; needed if, and only if, the file has any.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not YAML, or says something that :class:`Study` refuses; the message
            names the file and, for each mistake, the key with its path and the nearest valid key.
            Or the file has no such size, or has sizes and none was chosen.
    """
    path = Path(path)
    content = _content(path)
    sizes = _sizes(path, content)
    if size is None and sizes:
        raise ValueError(f"{path} comes in sizes {', '.join(sizes)}; choose one with --size")
    if size is not None:
        if size not in sizes:
            known = f"it has {', '.join(sizes)}" if sizes else "it has none"
            raise ValueError(f"{path} has no size {size!r}, {known}{nearest(size, sizes)}")
        content = _laid_over(content, sizes[size])
        if isinstance(content.get("name"), str):
            content["name"] += f"-{size}"
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(problems(error))) from None


def sizes_of(path: str | Path) -> tuple[str, ...]:
    """Names of the sizes in which a study file comes; empty for a file of one size.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not YAML, or its ``sizes`` are not mappings by name.
    """
    path = Path(path)
    return tuple(_sizes(path, _content(path)))


def study_text(study: Study) -> str:
    """A study as YAML that :func:`read_study` reads back; what is a default is left out.

    Example:
        >>> study = Study.model_validate({
        ...     "name": "two", "model": "small_cnn", "data": "digits", "grid": {
        ...         "load": {"knob": "width", "values": [1, 2]},
        ...         "temperature": {"knob": "batch_size", "values": [8]}, "seeds": [0]}})
        >>> study_text(study).splitlines()[:3]
        ['name: two', 'model: small_cnn', 'data: digits']
    """
    content = study.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)


def _content(path: Path) -> dict[str, Any]:
    """What the file says, before anything in it is judged."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no study file {path}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold keys and values, got {type(content).__name__}")
    return content


def _sizes(path: Path, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Take the sizes out of the content of a file."""
    sizes = content.pop("sizes", {})
    if not isinstance(sizes, dict) or not all(
        isinstance(name, str) and isinstance(changes, dict) for name, changes in sizes.items()
    ):
        raise ValueError(f"{path}: sizes must map names to what they change, got {sizes!r}")
    return sizes


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with what ``above`` says instead, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        merged[key] = _laid_over(below[key], value) if both else value
    return merged


def _reason(error: Exception) -> str:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None:
        return str(error)
    if mark is None or problem.startswith("line "):
        return str(problem)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
