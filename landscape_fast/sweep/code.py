"""Whether the caller's own code is what the results of a study were computed with."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from landscape_fast.store import write_atomically
from landscape_fast.training.recipe import Recipe

_FILE = "code.json"


def require_same_code(output: Path, recipes: Iterable[Recipe]) -> None:
    """Refuse to add to results whose models, data or losses were another code's.

    Results are kept by what a study asks for, where a callable counts by its name. A digest of the
    file that defines each ``package.module:callable`` is kept beside them; what that file imports
    is not looked at.

    Args:
        output: Folder of the study.
        recipes: Of all its models.

    Raises:
        ValueError: A file is not what it was when results of ``output`` were computed.
    """
    names = {name for recipe in recipes for name in _names(recipe.model_dump())}
    now = {name: digest for name in sorted(names) if (digest := _digest(name))}
    file = output / _FILE
    before: dict[str, str] = json.loads(file.read_text()) if file.is_file() else {}
    changed = [name for name, digest in now.items() if before.get(name, digest) != digest]
    if changed:
        raise ValueError(
            f"the code of {', '.join(changed)} has changed since results in {output} were "
            "computed, and new ones would be of another network or other data: compute into a new "
            f"folder, or delete {file} if the change makes no difference"
        )
    if now.items() - before.items():
        write_atomically(file, json.dumps(before | now, indent=1).encode())


def _names(value: Any) -> Iterator[str]:
    """All that looks like ``package.module:callable`` in the fields of a recipe."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _names(part)
    elif isinstance(value, str) and value.count(":") == 1:
        module, _, attribute = value.partition(":")
        if all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")]):
            yield value


def _digest(name: str) -> str | None:
    """Of the file that defines it; None if there is none to read."""
    found: Any = import_module(name.partition(":")[0])
    try:
        for part in name.partition(":")[2].split("."):
            found = getattr(found, part)
        source = inspect.getsourcefile(inspect.unwrap(found))
    except (AttributeError, TypeError):
        return None
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()[:16] if source else None
