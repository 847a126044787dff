"""The CUDA kernels as host code, built once per session, and torch blocks to feed them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from native.abi import Block, Pieces, address, array, as_block, as_pieces, as_rows

from landscape_fast import _native

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = Path(__file__).resolve().parent / "emulator"


# In the order of landscape::Activation.
KINDS = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softplus")


class Emulated:
    """The operations of ``_native`` as the CUDA kernels compute them, under a chosen schedule."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def schedule(self, *, greedy: bool, seed: int = 0) -> None:
        self.library.set_schedule(int(greedy), ctypes.c_uint64(seed))

    def call(self, name: str, *arguments: object) -> None:
        function = getattr(self.library, name)
        function.restype = ctypes.c_char_p
        error = function(*arguments)
        if error is not None:
            raise RuntimeError(error.decode())

    def signs_(self, out, seed, *, first_row=0, first_entry=0):
        position = map(ctypes.c_uint64, (seed, first_row, first_entry))
        self.call("emulated_signs", as_block(out), *position)
        return out

    def normals_(self, out, seed, *, first_row=0, first_entry=0):
        position = map(ctypes.c_uint64, (seed, first_row, first_entry))
        self.call("emulated_normals", as_block(out), *position)
        return out

    def row_dots(self, x, y):
        dots = torch.full((x.shape[0],), torch.nan, dtype=torch.float64)
        self.call("emulated_row_dots", as_block(x), as_block(y), ctypes.c_void_p(dots.data_ptr()))
        return dots

    def block_dots(self, x, y):
        dots = torch.full((x.shape[0], y.shape[0]), torch.nan, dtype=torch.float64)
        self.call("emulated_block_dots", as_block(x), as_block(y), ctypes.c_void_p(dots.data_ptr()))
        return dots

    def block_update_(self, y, coefficients, basis):
        self.call("emulated_block_update", *map(as_block, (y, coefficients, basis)))
        return y

    def orthogonalise_(self, block, basis):
        total = torch.full((block.shape[0], basis.shape[0]), torch.nan, dtype=torch.float64)
        self.call(
            "emulated_orthogonalise",
            as_block(block),
            as_block(basis),
            ctypes.c_void_p(total.data_ptr()),
        )
        return total

    def affine_norm_tangent_(
        self, first, second, result, x, mean, scale, gain, weight_dot, bias_dot, residual, output
    ):
        self.call(
            "emulated_affine_norm_tangent",
            array(Pieces, *map(as_pieces, (first, second, result, residual))),
            array(Block, *map(as_rows, (x, output))),
            array(Block, *map(as_rows, (mean, scale, gain, weight_dot, bias_dot))),
            *map(ctypes.c_int64, x.shape[1:]),
        )
        return result

    def affine_norm_gradient_tangent_(
        self, first, second, result, delta, x, x_dot, mean, scale, gain, weight_dot, output
    ):
        rows = torch.full((2, len(first), x.shape[1]), torch.nan, dtype=torch.float64)
        self.call(
            "emulated_affine_norm_gradient_tangent",
            array(Pieces, *map(as_pieces, (first, second, result, x_dot))),
            array(Block, *map(as_rows, (delta, x, output))),
            array(Block, *map(as_rows, (mean, scale, gain, weight_dot, None))),
            *map(ctypes.c_int64, x.shape[1:]),
            *map(address, rows),
        )
        return tuple(rows)

    def pointwise_tangent_(self, kind, z, dot, out):
        return self.pointwise_gradient_tangent_(kind, z, None, None, dot, out)

    def pointwise_gradient_tangent_(self, kind, z, delta, z_dot, delta_dot, out):
        self.call(
            "emulated_pointwise_tangent",
            KINDS.index(kind),
            array(Pieces, *map(as_pieces, (z_dot, delta_dot, out))),
            array(Block, *map(as_rows, (z, delta))),
        )
        return out

    def pointwise_quadratic(self, kind, z, adjoint, z_dot):
        forms = torch.full((len(z_dot),), torch.nan, dtype=torch.float64)
        self.call(
            "emulated_pointwise_quadratic",
            KINDS.index(kind),
            array(Pieces, as_pieces(z_dot)),
            array(Block, *map(as_rows, (z, adjoint))),
            address(forms),
        )
        return forms

    def softmax_tangent_(self, p, dot, row_weight, out):
        self.call(
            "emulated_softmax_tangent",
            array(Pieces, as_pieces(dot), as_pieces(out)),
            array(Block, as_rows(p), as_rows(row_weight)),
        )
        return out

    def softmax_quadratic(self, p, dot, row_weight):
        forms = torch.full((len(dot),), torch.nan, dtype=torch.float64)
        self.call(
            "emulated_softmax_quadratic",
            array(Pieces, as_pieces(dot)),
            array(Block, as_rows(p), as_rows(row_weight)),
            address(forms),
        )
        return forms

    def layer_norm_tangent_(self, dot, x, mean, inverse, weight, weight_dot, bias_dot, out):
        self.call(
            "emulated_layer_norm_tangent",
            array(Pieces, *map(as_pieces, (dot, out))),
            array(Block, *map(as_rows, (x, mean, inverse, weight, weight_dot, bias_dot))),
        )
        return out

    def layer_norm_gradient_tangent_(
        self, delta_dot, x_dot, delta, x, mean, inverse, weight, weight_dot, out
    ):
        rows = torch.full((2, len(out), x.shape[1]), torch.nan, dtype=torch.float64)
        self.call(
            "emulated_layer_norm_gradient_tangent",
            array(Pieces, *map(as_pieces, (delta_dot, x_dot, out))),
            array(Block, *map(as_rows, (x, mean, inverse, weight, weight_dot, delta))),
            *map(address, rows),
        )
        return tuple(rows)

    def layer_norm_quadratic(self, dot, x, mean, inverse, weight, weight_dot, adjoint):
        forms = torch.full((len(dot),), torch.nan, dtype=torch.float64)
        self.call(
            "emulated_layer_norm_quadratic",
            array(Pieces, as_pieces(dot)),
            array(Block, *map(as_rows, (x, mean, inverse, weight, weight_dot, adjoint))),
            address(forms),
        )
        return forms

    def batch_norm_tangent_(self, dot, x, mean, inverse, weight, weight_dot, bias_dot, out):
        self.call(
            "emulated_batch_norm_tangent",
            array(Pieces, *map(as_pieces, (dot, out))),
            array(Block, *map(as_rows, (x, mean, inverse, weight, weight_dot, bias_dot))),
            *map(ctypes.c_int64, x.shape[1:]),
        )
        return out

    def batch_norm_gradient_tangent_(
        self, delta_dot, x_dot, delta, x, mean, inverse, weight, weight_dot, out
    ):
        rows = torch.full((2, len(out), x.shape[1]), torch.nan, dtype=torch.float64)
        self.call(
            "emulated_batch_norm_gradient_tangent",
            array(Pieces, *map(as_pieces, (delta_dot, x_dot, out))),
            array(Block, *map(as_rows, (x, mean, inverse, weight, weight_dot, delta))),
            *map(ctypes.c_int64, x.shape[1:]),
            *map(address, rows),
        )
        return tuple(rows)

    def batch_norm_quadratic(self, dot, x, mean, inverse, weight, weight_dot, adjoint):
        forms = torch.full((len(dot),), torch.nan, dtype=torch.float64)
        self.call(
            "emulated_batch_norm_quadratic",
            array(Pieces, as_pieces(dot)),
            array(Block, *map(as_rows, (x, mean, inverse, weight, weight_dot, adjoint))),
            *map(ctypes.c_int64, x.shape[1:]),
            address(forms),
        )
        return forms

    def square_sums(self, block):
        sums = torch.full(block.shape[2:], torch.nan, dtype=torch.float64)
        self.call("emulated_square_sums", array(Pieces, as_pieces(block)), address(sums))
        return sums


# The C functions around the launchers.
_ENTRIES = ("entry", "entry_tangents", "entry_norms", "entry_squares")
ENTRIES = tuple(EMULATOR / f"{name}.cpp" for name in _ENTRIES)


def build(folder: Path, kernels: Path, *sources: Path) -> Path:
    """Compile ``sources`` as host C++ against the emulator, with the headers of ``kernels``."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler to build the emulated kernels with")
    # -ffp-contract=off is what -fmad=false is to nvcc.
    flags = ["-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-w", "-x", "c++"]
    flags += [f"-I{EMULATOR}", f"-I{kernels}"]
    jobs = []
    for source in (EMULATOR / "emulator.cpp", *sources):
        target = folder / f"{source.name}.o"
        command = [compiler, *flags, "-c", str(source), "-o", str(target)]
        jobs.append((target, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)))
    for target, job in jobs:
        _, errors = job.communicate()
        assert job.returncode == 0, f"{target.name} did not compile:\n{errors}"
    library = folder / "kernels.so"
    objects = [str(target) for target, _ in jobs]
    subprocess.run([compiler, "-shared", *objects, "-o", str(library)], check=True)
    return library


@pytest.fixture(scope="session")
def emulated(tmp_path_factory) -> Emulated:
    """The kernels of csrc/ as they stand."""
    kernels = ROOT / "csrc"
    sources = (*ENTRIES, *sorted(kernels.glob("*.cu")))
    return Emulated(build(tmp_path_factory.mktemp("emulated"), kernels, *sources))


@pytest.fixture(scope="session")
def build_emulated():
    """The builder itself, for tests that spoil a kernel first."""
    return build


@pytest.fixture(scope="session")
def entries() -> tuple[Path, ...]:
    """The sources that make the launchers callable, for the same tests."""
    return ENTRIES


# Thread orders: the fair one, and the greedy one under several seeds.
SCHEDULES = [(False, 0), (True, 0), (True, 1), (True, 2)]


@pytest.fixture
def schedules() -> list[tuple[bool, int]]:
    """All thread orders, for one test that compares them."""
    return SCHEDULES


@pytest.fixture(params=SCHEDULES, ids=lambda s: f"greedy {s[1]}" if s[0] else "fair")
def kernels(request, emulated):
    """The emulated kernels under one thread order."""
    greedy, seed = request.param
    emulated.schedule(greedy=greedy, seed=seed)
    return emulated


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    """Each device an operation runs on; CUDA where a device is present and was built for."""
    if request.param == "cpu":
        return torch.device("cpu")
    cuda = request.getfixturevalue("cuda")
    if not _native.has_cuda():
        # A device is there and tests/conftest.py has already judged whether one was promised.
        pytest.fail("landscape_fast was built without CUDA kernels on a machine with a GPU")
    return cuda


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request) -> torch.dtype:
    return request.param
