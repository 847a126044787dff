"""Real data for the tests of training."""

from __future__ import annotations

import pytest

from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import digits


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits()
