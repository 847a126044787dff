"""A study of a hundred thousand tasks is planned, recognised and summarised in a minute."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from landscape_fast.clock import seconds
from landscape_fast.provenance import provenance
from landscape_fast.results import (
    Connectivity,
    Eigenpairs,
    Quality,
    Similarity,
    Trace,
    Training,
)
from landscape_fast.store import Store
from landscape_fast.store.format import pack
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.plan import Plan, plan

pytestmark = pytest.mark.slow

WEIGHTS = bytes(20_000)


def study(cells: int) -> Study:
    """Of the digits; ``cells`` squared cells with 65 tasks each."""
    grid = {
        "load": {"knob": "width", "values": list(range(1, cells + 1))},
        "temperature": {"knob": "batch_size", "values": list(range(8, cells + 8))},
        "seeds": list(range(5)),
    }
    content = {"name": "large", "model": "small_cnn", "data": "digits", "grid": grid}
    return Study.model_validate({**content, "measure": MEASURE})


# 5 trainings, 20 measurements and 40 comparisons in a cell
MEASURE = {"hessian": {}, "connectivity": {}, "cka": {"outputs": ["softmax", "logits"]}}


def result(metric: str) -> object:
    """Of the right kind and of usual size."""
    if metric == "train":
        digest = hashlib.sha256(WEIGHTS).hexdigest()
        losses = torch.rand(100, dtype=torch.float64)
        return Training(losses=losses, epoch=99, steps=1100, diverged=False, sha256=digest)
    if metric.startswith("quality"):
        return Quality(loss=0.5, accuracy=90.0, samples=1438)
    if metric == "top_eigs":
        one = torch.ones(1, dtype=torch.float64)
        vectors = torch.rand(1, 2000)
        return Eigenpairs(
            values=one,
            vectors=vectors,
            residuals=one,
            tolerance=1e-3,
            converged=True,
            products=17,
            samples=1438,
        )
    if metric == "trace":
        draws = torch.rand(100, dtype=torch.float64)
        return Trace(value=1.0, stderr=0.1, draws=draws, converged=True, products=100, samples=1438)
    if metric == "connectivity":
        t = torch.rand(5, dtype=torch.float64)
        curve = {"t": t, "errors": t, "losses": t, "lengths": t, "bend": torch.rand(2000)}
        numbers = {"value": -1.0, "loss_value": -0.1, "t_star": 0.5, "steps": 10, "samples": 1438}
        return Connectivity(**numbers, **curve)
    if metric.startswith("cka"):
        return Similarity(value=0.9, outputs="softmax", samples=640)
    return 1.0


def fill(found: Plan, root: Path) -> None:
    """Store a result for every work, as ``save`` would but without waiting for the disk."""
    origin = {**provenance(), "seconds": 1.5, "recipe": {"metric": "x" * 900}}
    packed = {}
    for work in found.works:
        if work.metric not in packed:
            packed[work.metric] = pack(result(work.metric), origin)
        header, archive = packed[work.metric]
        key, name = work.address
        folder = root / key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
        (folder / f"{name}.json").write_bytes(header)
        if archive is not None:
            (folder / f"{name}.npz").write_bytes(archive)
    for subject in found.subjects:
        subject.checkpoint.parent.mkdir(exist_ok=True)
        subject.checkpoint.write_bytes(WEIGHTS)


def test_ten_thousand_finished_tasks_are_recognised_in_ten_seconds(tmp_path):
    wanted = study(cells=13)
    root = tmp_path / "results"
    fill(plan(wanted, tmp_path, Store(root)), root)
    start = seconds()
    found = plan(wanted, tmp_path, Store(root))
    took = seconds() - start
    assert sum(found.totals.values()) >= 10_000
    assert found.tasks == ()
    assert took < 10.0, f"{took:.1f} s"


PLANNER = """
import sys
from pathlib import Path
import test_scale
from landscape_fast.store import Store
from landscape_fast.sweep.plan import plan
from landscape_fast.sweep.status import status
folder, wanted = Path(sys.argv[1]), test_scale.study(cells=40)
store = Store(folder / "results")
found = plan(wanted, folder, store)
if sys.argv[2] == "empty":
    assert len(found.tasks) >= 100_000
else:
    assert found.tasks == ()
    assert len(list(store)) == sum(found.totals.values())
    del found
    summary = status(wanted, folder, store)
    assert sum(counts.finished for counts in summary.stages.values()) >= 100_000
"""


@pytest.mark.parametrize("state", ["empty", "finished"])
def test_a_hundred_thousand_tasks_take_a_minute_and_two_gibibytes(tmp_path, state):
    wanted = study(cells=40)
    if state == "finished":
        fill(plan(wanted, tmp_path, Store(tmp_path / "results")), tmp_path / "results")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = seconds()
    subprocess.run(
        [sys.executable, "-c", PLANNER, str(tmp_path), state],
        cwd=Path(__file__).parent,
        check=True,
    )
    took, peak = seconds() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert took < 60.0, f"{took:.1f} s"
    assert peak == before or peak < 2 * 1024**2, f"{peak / 1024**2:.2f} GiB"
