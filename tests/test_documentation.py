"""The pages tell the truth: links lead somewhere, the README's code runs, its commands exist."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_readmes_python_runs():
    blocks = python_blocks(ROOT / "README.md")
    assert blocks
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_readmes_numbers_are_those_of_the_demo_it_shows():
    tool = runpy.run_path(str(ROOT / "tools" / "readme_demo.py"))
    demo = json.loads((ROOT / "docs" / "images" / "digits.json").read_text())
    written = tool["MARKED"].search((ROOT / "README.md").read_text()).group()
    assert tool["caption"](demo) in written


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_every_experiment_file_is_listed():
    page = (ROOT / "experiments" / "README.md").read_text()
    for file in ROOT.glob("experiments/*.yaml"):
        assert file.name in page


def test_no_page_or_source_names_a_path_of_one_machine():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".md", ".py", ".yaml", ".toml", ".cpp", ".cu", ".h", ".json"}:
            found = re.search(r"(?<![\w.])/(home|root|work|Users)/", path.read_text())
            assert not found, f"{name} names {found.group() if found else ''}"
