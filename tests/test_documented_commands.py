"""Every command that a page names is one that the program takes: parsed by it, and not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from landscape_fast.cli.app import app
from landscape_fast.sweep.study_file import read_study

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/*.md")])
PROGRAM = typer.main.get_command(app)


def commands(page: str) -> Iterator[list[str]]:
    """Arguments of every command line in a page's blocks and in its text."""
    page = page.replace("\\\n", " ")
    blocks = re.findall(r"```\w*\n(.*?)```", page, flags=re.DOTALL)
    text = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`]+)`", text)]:
        # In tables dots stand for what the rows above say.
        called = re.sub(r"^\.\.\. (?=--)", "landscape-fast study CONFIG ", line)
        if found := re.search(r"(?:^|\s)landscape-fast\s+(.*)", called, flags=re.DOTALL):
            said = re.split(r"\s{2,}(?=\S+ \S)", found[1])[0]  # a description stands apart
            yield shlex.split(re.sub(r"\$\w+", "4", said), comments=True)


def parse(words: list[str]) -> None:
    """Fail if the program would refuse the words; brackets mean optional, dots mean more."""
    words = [word.strip("[]") for word in words]
    with PROGRAM.make_context("landscape-fast", words[:1]) as context:
        command = PROGRAM.get_command(context, words[0])
        assert command is not None, f"there is no command {words[0]!r}"
        if words[1:]:  # else it is only spoken of
            further = words[-1] == "..."
            given = words[1:-1] if further else words[1:]
            try:
                command.make_context(words[0], given, parent=context)
            except Exception as error:
                if not (further and type(error).__name__ == "MissingParameter"):
                    raise AssertionError(f"{' '.join(words)}: {error}") from error


NAMED = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)}")
    for page in PAGES
    for words in commands(page.read_text())
]


@pytest.mark.parametrize("words", NAMED)
def test_a_named_command_is_one_that_the_program_takes(words):
    parse(words)


def test_the_pages_name_every_command_and_all_pages_are_read():
    assert {words.values[0][0] for words in NAMED} == set(PROGRAM.commands)
    assert len(NAMED) > 20


@pytest.mark.parametrize(
    "line",
    [
        "landscape-fast sudy CONFIG",
        "landscape-fast study CONFIG --sice full",
        "landscape-fast study CONFIG --workers many",
        "landscape-fast retry results/NAME failed",
        "landscape-fast measure CHECKPOINT",
    ],
)
def test_what_the_program_would_refuse_is_found(line):
    (words,) = commands(f"Text `{line}` and text.")
    with pytest.raises(AssertionError):
        parse(words)


@pytest.mark.parametrize(
    "words", [named for named in NAMED if named.values[0][1:2] and "experiments/" in named.id]
)
def test_a_named_study_is_there_in_the_named_size(words):
    size = words[words.index("--size") + 1] if "--size" in words else None
    read_study(ROOT / words[1], size)


def test_named_scripts_and_targets_are_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        for code in re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", page.read_text(), flags=re.DOTALL):
            said = "".join(code)
            for script in re.findall(r"(?:^|\s)python ((?:\w+/)+\w+(?:\.py)?)(?=\s|$)", said):
                found = ROOT / script
                run = found / "__main__.py" if found.is_dir() else found
                assert run.is_file(), f"{page.name} names {script}"
            for target in re.findall(r"^make ([a-z-]+)", said, flags=re.MULTILINE):
                assert target in targets, f"{page.name} names make {target}"
