"""The kernels compile for each architecture, without spills and within their register budgets."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"

# Registers per thread. 256 threads of 64 fill a multiprocessor to its 2048 threads by half, of 128
# by a quarter; a kernel that outgrows its number has changed its occupancy.
BUDGET = {
    "fill_signs": 32,
    "fill_normals": 40,
    "chunk_dots": 32,
    "join_chunks": 32,
    "tile_dots": 96,
    "slice_update": 80,
    "add": 16,
    "norm_elements": 64,
    "norm_columns": 128,
    "norm_rows": 40,
    "activation_elements": 40,
    "activation_forms": 72,
    "softmax_rows": 56,
    "softmax_forms": 96,
    "chunk_squares": 40,
    "layer_norm_rows": 64,
    "layer_norm_gradient_rows": 80,
    "layer_norm_columns": 128,
    "layer_norm_forms": 128,
    "join_groups": 32,
    "batch_norm_channels": 56,
    "batch_norm_gradient_channels": 64,
    "batch_norm_forms": 64,
}


def registers(kernel: Path, architecture: str, folder: Path) -> dict[str, int]:
    """Largest register count per kernel name, from ptxas; asserts that nothing spills."""
    # The options of CMakeLists.txt that shape the machine code.
    command = ["nvcc", "-std=c++17", "-O3", "-fmad=false", f"-arch={architecture}", "-cubin"]
    command += ["-Xptxas", "-v", str(kernel), "-o", str(folder / f"{kernel.stem}.{architecture}")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill", done.stderr)
    assert spills
    assert set(spills) == {"0"}, done.stderr
    found: dict[str, int] = {}
    for entry, used in re.findall(r"entry function '(\w+)'.*?Used (\d+) reg", done.stderr, re.S):
        name = next(name for name in BUDGET if f"{len(name)}{name}" in entry)
        found[name] = max(found.get(name, 0), int(used))
    return found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc on PATH")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_kernels_stay_within_their_budgets(architecture, tmp_path):
    sources = sorted(CSRC.glob("*.cu"))
    with ThreadPoolExecutor(2) as pool:
        each = list(pool.map(lambda kernel: registers(kernel, architecture, tmp_path), sources))
    used: dict[str, int] = {}
    for found in each:
        used |= found
    assert used.keys() == BUDGET.keys()
    over = {name: count for name, count in used.items() if count > BUDGET[name]}
    assert not over, f"registers per thread above budget: {over}"
