from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from landscape_fast.linearise.state import untouched
from landscape_fast.randomness import start_from_seed


def draws(seed):
    generator = start_from_seed(seed, torch.device("cpu"))
    return generator.random(), np.random.rand(), random.random(), float(torch.rand(1))


def test_a_seed_sets_every_source_of_random_numbers():
    with untouched():
        first = draws(3)
        for one, again, other in zip(first, draws(3), draws(4), strict=True):
            assert one == again
            assert one != other


def test_the_generator_does_not_follow_the_global_states():
    with untouched():
        wanted = start_from_seed(0, torch.device("cpu")).random(3).tolist()
        generator = start_from_seed(0, torch.device("cpu"))
        np.random.rand(100)
        assert generator.random(3).tolist() == wanted


@pytest.mark.parametrize("seed", [-1, 0.5, None, 2**64])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises((TypeError, ValueError), match="seed must be a whole number of at least 0"):
        start_from_seed(seed, torch.device("cpu"))
