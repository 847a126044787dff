import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.training.randomness import derived_seed, seeded

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_the_same_seed_draws_the_same_and_the_callers_state_goes_on_as_if_nothing_was():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    expected = draw()
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    with seeded(7, CPU):
        inside = draw()
    with seeded(8, CPU):
        assert draw() != inside
    with pytest.raises(KeyError), seeded(7, CPU):
        raise KeyError(draw())
    assert draw() == expected


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_streams_of_a_run_differ_from_each_other_and_from_the_next_run(seed, epoch):
    seeds = [
        derived_seed(seed + run, purpose, epoch + later)
        for run in (0, 1)
        for purpose in ("weights", "order", "layers")
        for later in (0, 1)
    ]
    assert len(set(seeds)) == len(seeds)


def test_derived_seeds_are_the_same_with_every_numpy():
    assert derived_seed(0, "weights") == 15793235383387715774
