"""Tracing a loss changes nothing of the process that it runs in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from oracles import classification
from torch import nn

from landscape_fast import HessianOperator

FIRST_USE = """
import os, warnings, torch
from landscape_fast import trace
model, data = torch.nn.Linear(2, 2), [(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))]
before = dict(os.environ), list(warnings.filters)
trace(model, data)
assert dict(os.environ) == before[0], set(os.environ) ^ set(before[0])
assert list(warnings.filters) == before[1], [f for f in warnings.filters if f not in before[1]]
"""


@pytest.mark.parametrize("folder", [None, "relative"])
def test_the_folder_of_torchs_compiler_stays_the_callers(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    if folder is not None:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", folder)
    model = nn.Sequential(nn.Linear(5, 7), nn.Hardswish(), nn.Linear(7, 3))
    HessianOperator(model, [classification(4)])(torch.ones(1, 66))
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == folder


@pytest.mark.slow
def test_the_first_use_changes_neither_environment_nor_filters():
    subprocess.run([sys.executable, "-c", FIRST_USE], check=True)
