import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape_fast.training.early_stopping import settled

FLAT = [2.0 - 0.05 * i for i in range(24)] + [0.5] * 6


@pytest.mark.parametrize("epochs", range(31))
def test_nothing_is_settled_before_thirty_epochs(epochs):
    assert settled([0.5] * epochs) == (epochs >= 30)


def test_five_small_changes_in_a_row_settle_it_and_four_do_not():
    assert settled(FLAT)
    assert not settled([*FLAT[:24], 0.4, *FLAT[25:]])  # the first of the five changes is large
    assert settled([*FLAT[:23], 0.4, *FLAT[24:]])  # the one before them is not looked at


@given(change=st.floats(-3e-4, 3e-4), place=st.integers(-5, -1))
def test_a_change_counts_in_both_directions(change, place):
    losses = [0.0] * 30
    losses[place] = change
    assert settled(losses) == (abs(change) <= 1e-4)


def test_a_loss_that_is_no_number_is_not_settled():
    assert not settled([0.5] * 29 + [float("nan")])
