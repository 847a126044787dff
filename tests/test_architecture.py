"""The layout holds: who imports whom, how long a file may get, what the public names carry."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import landscape_fast

PACKAGE = Path(landscape_fast.__file__).parent

# Room -> the rooms of this package it may import. A room is a folder or a file of the package.
ALLOWED: dict[str, set[str]] = {
    "_native": {"_C"},
    "arguments": set(),
    "results": {"plots"},  # what a result draws of itself
    "clock": set(),
    "randomness": set(),
    "functional": set(),
    "provenance": {"clock"},
    "store": {"results", "clock", "provenance"},
    "plots": {"results"},
    "linearise": {"_native", "results", "clock", "functional", "randomness"},
    "compat": {"metrics", "krylov", "linearise", "randomness", "results"},
    "krylov": {"_native", "results"},
    "metrics": {"_native", "functional", "results", "linearise", "krylov", "randomness"},
    "alignment": {"functional", "results", "linearise", "metrics", "randomness"},
    "paths": {"results", "linearise", "metrics", "training", "arguments"},
    "regularisers": {"krylov", "linearise"},
    "local_geometry": {"results", "linearise", "metrics", "randomness", "training"},
    "surfaces": {"results", "linearise", "metrics", "store", "clock", "randomness"},
    "multiscale": {"results", "linearise", "metrics", "surfaces"},
    "large_scale": {"results", "linearise", "metrics", "surfaces", "randomness"},
    "training": {"clock", "functional", "randomness"},
    "sweep": {"training", "metrics", "results", "store", "plots", "clock", "provenance"},
    "study": {"results", "store", "plots", "clock"},
    "report": {"sweep", "study", "training", "plots", "results", "store", "clock", "provenance"},
    "cli": {"*"},
    "__init__": {"*"},
}
EVERYWHERE = {"arguments"}  # what every room may import
FOREIGN = {
    "krylov": {"torch.nn", "torch.utils"},
    "study": {"torch"},
}
LONGEST = 300


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of every module that ``path`` imports, at any depth of the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively, line {node.lineno}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def violations(name: str, imported: set[str]) -> list[str]:
    """Imports that the table forbids to the room ``name``."""
    inside = {item.split(".")[1] for item in imported if item.startswith("landscape_fast.")}
    allowed = ALLOWED[name]
    wrong = [] if "*" in allowed else sorted(inside - allowed - EVERYWHERE - {name})
    banned = FOREIGN.get(name, set())
    wrong += [i for i in sorted(imported) if any((i + ".").startswith(b + ".") for b in banned)]
    return wrong


def test_every_room_imports_only_what_the_table_allows():
    for path in sources():
        name = room(path)
        assert name in ALLOWED, f"{name} is a room without a line in the table"
        assert not violations(name, imports(path)), f"{path}: {violations(name, imports(path))}"


def test_the_table_bites_on_a_planted_import():
    assert violations("study", {"landscape_fast.krylov.eigen"}) == ["krylov"]
    assert violations("krylov", {"torch.nn.functional"}) == ["torch.nn.functional"]
    assert violations("metrics", {"landscape_fast.linearise.params.ParameterSpace"}) == []


def test_files_stay_short_enough_to_have_one_job():
    for path in sources():
        length = len(path.read_text().splitlines())
        assert length <= LONGEST, f"{path} has {length} lines, more than {LONGEST}"


@pytest.mark.parametrize(
    ("word", "homes"),
    [("print(", {"cli"}), ("import time", {"clock"}), ("import random", {"randomness"})],
)
def test_a_word_stays_in_its_room(word, homes):
    for path in sources():
        lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
        here = [n for n, line in enumerate(lines, 1) if line.startswith(word)]
        assert not here or room(path) in homes, f"{word!r} in {path}, line {here}"


def test_no_file_has_a_name_that_says_nothing():
    for path in sources():
        assert path.stem not in {"utils", "util", "helpers", "common", "misc"}, path


def test_public_names_are_listed_documented_and_real():
    listed = landscape_fast.__all__
    assert listed == sorted(listed)
    for name in listed:
        public = getattr(landscape_fast, name)
        assert inspect.getdoc(public), f"{name} has no docstring"


def test_public_functions_document_every_argument():
    for name in landscape_fast.__all__:
        public = getattr(landscape_fast, name)
        if not inspect.isfunction(public):
            continue
        text = inspect.getdoc(public) or ""
        for argument in inspect.signature(public).parameters:
            assert f"{argument}:" in text, f"{name} does not document {argument}"
        for section in ("Args:", "Returns:", "Raises:", "Example:"):
            assert section in text, f"{name} has no section {section}"
