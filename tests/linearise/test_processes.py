"""Several processes give one answer, or one error in all of them; see process_checks.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from oracles import classification, mlp
from torch import distributed

from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.processes import Processes, _checksum

CHECKS = Path(__file__).with_name("process_checks.py")
NAMES = re.findall(r"^def (check_\w+)", CHECKS.read_text(), flags=re.MULTILINE)

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="torch has no distributed")


def test_groups_of_three_and_of_two_processes_answer_as_one(tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, str(CHECKS), str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    try:
        said = [process.communicate(timeout=200) for process in started]
    finally:
        for process in started:
            process.kill()
    for rank, (out, err) in enumerate(said):
        sizes = (3, 2) if rank < 2 else (3,)
        assert out.splitlines() == [f"{size} {name}" for size in sizes for name in NAMES], err


def test_one_process_exchanges_nothing():
    alone = Processes(None)
    assert (alone.size, alone.rank) == (1, 0)
    assert alone.sums(2.0, 0.5) == (2.0, 0.5)
    assert alone.before(7, 3) == (0, 0)
    with pytest.raises(KeyError), alone.together():
        raise KeyError
    with pytest.raises(ZeroDivisionError):
        alone.agree(ZeroDivisionError())
    alone.agree(None)


def test_a_group_of_another_kind_is_named():
    with pytest.raises(TypeError, match="process_group must be a torch.distributed.ProcessGroup"):
        HessianOperator(mlp(), [classification(4)], process_group="gloo")


def test_checksums_see_every_bit_and_place():
    x = torch.tensor([1.0, 2.0, 3.0])
    sums = {
        _checksum(y)
        for y in (x, x.flip(0), -x, x + torch.tensor([0, 0, 2e-7]), x.double(), x.half())
    }
    assert len(sums) == 6
    assert _checksum(x) == _checksum(x.clone())
