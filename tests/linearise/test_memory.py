"""Peak memory of quadratic forms, measured by the kernel in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import ctypes, json, sys
from pathlib import Path
import torch
import torch.nn.functional as F
from landscape_fast import HessianOperator
from landscape_fast.training.models import resnet18
from torch import nn

def peak(function):
    # Memory that malloc holds back would hide what a pass needs.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    function()
    return status("VmHWM") - before

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

def encoder():
    layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
    body = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return nn.Sequential(body, nn.Flatten(), nn.Linear(64 * 16, 10))

make, shape = {
    "resnet": (lambda: resnet18(8), (3, 32, 32)),
    "mlp": (lambda: nn.Sequential(nn.Linear(784, 256), nn.Tanh(), nn.Linear(256, 10)), (784,)),
    "encoder": (encoder, (16, 64)),
}[sys.argv[1]]
torch.manual_seed(0)
torch.set_num_threads(1)
model, batch = make().eval(), (torch.randn(128, *shape), torch.randint(10, (128,)))
op = HessianOperator(model, [batch], engine="captured")
block = torch.randn(8, op.shape[0])

def gradient():
    torch.autograd.grad(F.cross_entropy(model(batch[0]), batch[1]), list(model.parameters()))

gradient(), op.quadratic(block)
found = {"gradient": peak(gradient), "quadratic": peak(lambda: op.quadratic(block))}
print(json.dumps({**found, "block": block.nbytes}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", ["resnet", "mlp", "encoder"])
def test_eight_quadratic_forms_need_little_more_than_one_gradient(name):
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, name], check=True, capture_output=True, text=True
    )
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["gradient"] > 0
    assert found["quadratic"] <= 1.5 * found["gradient"] + found["block"]
