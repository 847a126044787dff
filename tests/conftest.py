"""Fixtures and rules shared by all tests."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from _pytest.doctest import DoctestModule
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

# Workers share the cores, and the networks here are too small to gain from a second thread.
torch.set_num_threads(1)
# On a busy machine any test may take long; only a wrong answer is a failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the checkout: CIFAR-10, MNIST, a checkpoint, published tables."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data folder ../shared/data is not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def cuda() -> torch.device:
    """A CUDA device; a promised one that is missing fails instead of skipping."""
    if not torch.cuda.is_available():
        if os.environ.get("LANDSCAPE_REQUIRE_CUDA"):
            pytest.fail("LANDSCAPE_REQUIRE_CUDA is set and torch finds no CUDA device")
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def _nothing_global_leaks():
    """A test may not move a random state or a switch of torch under its neighbours."""
    before = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    switches = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    yield
    torch.set_rng_state(before[0])
    np.random.set_state(before[1])
    random.setstate(before[2])
    now = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    torch.set_default_dtype(switches[0])
    torch.set_grad_enabled(switches[1])
    torch.set_num_threads(switches[2])
    assert now == switches, f"a global switch was left changed: {switches} -> {now}"


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Look for no doctests in test files: where one cannot be imported that skips it, silently."""
    found = yield
    return [each for each in found if not isinstance(each, DoctestModule)]


def pytest_report_header() -> list[str]:
    """State the versions a failure was seen with."""
    found = "beside the checkout" if SHARED_DATA.is_dir() else "missing, its tests are skipped"
    return [
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"CUDA {torch.version.cuda if torch.cuda.is_available() else 'not available'}",
        f"real data: {found}",
    ]
