"""docs/findings.md says what the code computes from the published measurements."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.data
def test_the_page_says_what_the_code_computes(shared_data):
    script = runpy.run_path(str(ROOT / "tools" / "findings_page.py"))
    expected = script["computed"](shared_data / "yang2021" / "yang2021_cifar10_resnet18.csv")
    found = script["MARKED"].search(script["PAGE"].read_text())[0]
    assert expected in found, "run python tools/findings_page.py on the published table"
