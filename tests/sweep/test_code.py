"""Results of two versions of a caller's model do not end up in one study."""

from __future__ import annotations

import sys

import blobs
import pytest
from serial import Silent, run_serially

from landscape_fast.sweep.config import Study
from landscape_fast.sweep.run import run_study

MODEL = """
from torch import nn


def net(width, *, classes):
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, classes))
"""


def study(widths):
    return Study.model_validate(
        blobs.study(
            model="code_of_a_caller:net",
            training={"epochs": 1},
            measure={"hessian": None, "connectivity": None, "cka": None},
            grid={
                "load": {"knob": "width", "values": widths},
                "temperature": {"knob": "batch_size", "values": [24]},
                "seeds": [0],
            },
        )
    )


@pytest.fixture
def source(tmp_path, monkeypatch):
    file = tmp_path / "code_of_a_caller.py"
    file.write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    yield file
    sys.modules.pop("code_of_a_caller", None)


def run(folder, widths):
    return run_study(study(widths), folder, lambda plan: Silent(), execute=run_serially)


def test_a_grid_is_not_filled_up_with_another_network_of_the_same_name(source, tmp_path):
    folder = tmp_path / "out"
    assert len(run(folder, [2, 4]).plan.subjects) == 2
    source.write_text(MODEL.replace("ReLU", "Tanh"))
    assert not run(folder, [2, 4]).plan.tasks, "what is there is read, whatever the code"
    with pytest.raises(ValueError, match=r"code of code_of_a_caller:net has changed .*code\.json"):
        run(folder, [2, 3, 4])
    assert run(tmp_path / "new", [2, 3]).plan.tasks
    source.write_text(MODEL)
    assert run(folder, [2, 3, 4]).plan.tasks


def test_a_caller_who_knows_better_deletes_the_note(source, tmp_path):
    folder = tmp_path / "out"
    run(folder, [2])
    source.write_text(MODEL + "# a remark\n")
    (folder / "code.json").unlink()
    assert run(folder, [2, 4]).plan.tasks
