"""The Python of every page runs as it is written, on small networks and tables.

Names that a page takes from its reader, such as ``model`` or ``recipe``, are given here.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from torch import Tensor, nn

from landscape_fast import HessianOperator
from landscape_fast.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
FENCED = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)
PAGES = sorted(page for page in ROOT.glob("docs/**/*.md") if FENCED.search(page.read_text()))

# Of a page that begins with a process group: tests/linearise/test_processes.py has two and three.
ELSEWHERE = {"several-processes.md"}
# What a reader without an accelerator, or with less time, writes.
SMALLER = {
    "cuda=True": "cuda=False",
    "steps=51": "steps=3",
    "lr=0.1, steps=2000": "lr=9.0, steps=20",
    "steps=[0, 88, 880]": "steps=[0, 8]",
}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


def trained(seed: int, loader: list[tuple[Tensor, Tensor]]) -> nn.Module:
    model = network(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for _ in range(30):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model


def names(folder: Path) -> dict[str, Any]:
    """What pages call what their reader has."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 8, generator=generator)
    y = (x[:, :3] + 0.3 * torch.randn(60, 3, generator=generator)).argmax(1)
    loader = list(zip(x[:40].split(16), y[:40].split(16), strict=True))
    models = [trained(seed, loader) for seed in range(4)]
    study = folder / "results" / "digits"
    study.mkdir(parents=True)
    shutil.copyfile(ROOT / "experiments" / "measured" / "digits.csv", study / "phases.csv")
    (study / "pairs.csv").write_text("width,batch_size,tr_err_t000,tr_err_t100\n4,8,1.0,2.0\n")
    shutil.copyfile(study / "phases.csv", folder / "table.csv")
    return {
        **dict(zip(("model_a", "model_b", "model_c", "model_d"), models, strict=True)),
        "model": models[0],
        "models": models[:3],
        "checkpoints": models[:3],
        "loader": loader,
        "test_loader": [(x[40:], y[40:])],
        "criterion": nn.CrossEntropyLoss(),
        "loss": nn.CrossEntropyLoss(),
        "their_operator": HessianOperator(models[0], loader).to_scipy(),
        "recipe": Recipe(model="mlp", width=4, data="digits", batch_size=256, epochs=2),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    if page.name in ELSEWHERE:
        pytest.skip("needs a process group")
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    given = names(tmp_path)
    for block in FENCED.findall(page.read_text()):
        for written, smaller in SMALLER.items():
            block = block.replace(written, smaller)
        exec(compile(block, str(page), "exec"), given)
