"""The emulator reports what it exists to find."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest
import torch

from landscape_fast import _native

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = Path(__file__).resolve().parent / "emulator"


@pytest.fixture(scope="module")
def faults(build_emulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    library = ctypes.CDLL(str(build_emulated(folder, ROOT / "csrc", EMULATOR / "faults.cpp")))
    library.planted.restype = ctypes.c_char_p
    out = (ctypes.c_float * 64)()
    return lambda fault: (library.planted(fault, out), list(out))


def test_a_sound_kernel_passes(faults):
    error, out = faults(0)
    assert error is None
    assert out == [5 + (t ^ 1) for t in range(64)]


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        (1, b"block 0, thread 7: returned while others wait at a barrier"),
        (2, b"block 0, thread 0: shuffle waits for lane 16, which is elsewhere"),
        (3, b"mismatched shuffle masks"),
        (4, b"shuffle source outside the mask"),
    ],
)
def test_a_planted_fault_is_reported(faults, fault, report):
    error, _ = faults(fault)
    assert error is not None
    assert report in error


@pytest.fixture(scope="module")
def without_barriers(build_emulated, entries, emulated, tmp_path_factory):
    """The kernels of csrc/ with every barrier taken out."""
    folder = tmp_path_factory.mktemp("spoiled")
    source = folder / "csrc"
    shutil.copytree(ROOT / "csrc", source)
    taken = 0
    for file in (*source.glob("*.cu"), *source.glob("*.cuh")):
        text = file.read_text()
        taken += text.count("__syncthreads();")
        file.write_text(text.replace("__syncthreads();", ""))
    assert taken >= 3
    sources = (*entries, *sorted(source.glob("*.cu")))
    return type(emulated)(build_emulated(folder, source, *sources))


@pytest.mark.parametrize("seed", range(4))
def test_the_greedy_schedule_catches_missing_barriers(without_barriers, seed):
    without_barriers.schedule(greedy=True, seed=seed)
    x, basis = torch.randn(3, 9001), torch.randn(200, 9001)
    c = torch.randn(3, 200, dtype=torch.float64)
    assert not torch.allclose(without_barriers.row_dots(x, x), _native.row_dots(x, x))
    updated = without_barriers.block_update_(x.clone(), c, basis)
    assert not torch.allclose(updated, _native.block_update_(x.clone(), c, basis))
