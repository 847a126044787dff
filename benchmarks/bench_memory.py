"""Peak memory of eight quadratic forms and of eight products, in that of one plain gradient.

A process of its own per case, whose resident set the kernel watches (Linux); on a GPU the peak of
the allocator. The block of vectors itself is taken off. A product of PyHessian stands beside.

    pytest benchmarks/bench_memory.py --benchmark-only
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

BATCH, VECTORS = 128, 8
CASES = ["resnet18 width 8", "resnet18 width 16", "mlp", "encoder", "decoder"]


def peak(function: Callable[[], object]) -> int:
    """Bytes that a call adds at its highest."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory held back would hide what a call needs
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    function()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def measured(name: str) -> dict[str, int]:
    """Bytes of a gradient, of our block of forms and of products, and of a rebuilt product."""
    from bench_hvp import make_problem

    device = "cuda" if torch.cuda.is_available() else "cpu"
    op, rivals, block = make_problem(name, device, VECTORS)
    parts = list(op.space.split(block[0]))
    rivals.graph = ()  # not kept here
    calls = {
        "gradient": rivals.plain,
        "forms": lambda: op.quadratic(block),
        "products": lambda: op(block),
        "rebuilt": lambda: rivals.rebuilt(parts),
    }
    for call in calls.values():
        call()
    found = {kind: peak(call) for kind, call in calls.items()}
    found["forms"] = max(0, found["forms"] - block.nbytes)
    found["products"] = max(0, found["products"] - 2 * block.nbytes)  # they are a block too
    return found


@pytest.mark.skipif(
    not (Path("/proc/self/clear_refs").exists() or torch.cuda.is_available()), reason="needs /proc"
)
@pytest.mark.parametrize("name", CASES)
def test_peak_memory(benchmark, name):
    def run() -> dict[str, int]:
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    found = benchmark.pedantic(run, rounds=1)
    whole = found["gradient"]
    benchmark.extra_info.update(
        peaks={kind: size / whole for kind, size in found.items() if kind != "gradient"},
        gradient_megabytes=whole / 1e6,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured(sys.argv[1])) + "\n")
