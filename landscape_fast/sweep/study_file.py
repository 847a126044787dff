"""Reads a study file: YAML, strictly, with every mistake named by its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from landscape_fast.sweep.config import Study, problems


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


def read_study(path: str | Path) -> Study:
    """Read a study file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not YAML, or says something that :class:`Study` refuses; the message
            names the file and, for each mistake, the key with its path and the nearest valid key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no study file {path}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold keys and values, got {type(content).__name__}")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(problems(error))) from None


def _reason(error: Exception) -> str:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None:
        return str(error)
    if mark is None or problem.startswith("line "):
        return str(problem)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
