"""Thresholds from the data: found where two groups exist, refused where they do not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from landscape_fast.study.taxonomy import classify
from landscape_fast.study.thresholds import (
    connectivity_split,
    sharpness_split,
    similarity_split,
)


def profiles(columns):
    """Values, loads and temperatures of columns of log sharpness, in shuffled order."""
    values = np.array([v for column in columns for v in column])
    load = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
    temperature = np.concatenate([np.arange(len(column)) for column in columns])
    order = np.random.default_rng(3).permutation(len(values))
    return values[order], load[order], temperature[order]


def brute_force(columns):
    """The midpoint of the two levels with the least squares over all choices of cuts."""
    best = (np.inf, 0.0)
    for flip in (1, -1):
        flipped = [column[::flip] for column in columns]
        for cuts in itertools.product(*(range(len(column) + 1) for column in flipped)):
            high = [v for column, k in zip(flipped, cuts, strict=True) for v in column[:k]]
            low = [v for column, k in zip(flipped, cuts, strict=True) for v in column[k:]]
            if high and low and np.mean(high) > np.mean(low):
                cost = len(high) * np.var(high) + len(low) * np.var(low)
                best = min(best, (cost, (np.mean(high) + np.mean(low)) / 2.0))
    return best[1]


STEPS = [
    [6.9, 7.1, 7.0, 6.8],
    [7.2, 6.9, 7.1, 4.0],
    [6.8, 7.0, 4.1, 3.9],
    [7.1, 4.2, 4.0, 3.8],
]


def test_the_sharpness_threshold_is_the_best_of_all_cuts():
    found = sharpness_split(*profiles(STEPS))
    assert found.threshold == pytest.approx(brute_force(STEPS))
    assert (found.below, found.above) == (6, 10)
    assert found.p_value < 0.05


def test_a_single_noisy_cell_does_not_move_the_change_point():
    # 5.2 is below the midpoint of 5.5, yet it stands between sharp neighbours.
    noisy = [[6.9, 5.2, 7.0, 6.8], *STEPS[1:]]
    found = sharpness_split(*profiles(noisy))
    assert found.threshold == pytest.approx(brute_force(noisy))


def test_which_end_is_sharp_does_not_matter():
    noisy = [[6.9, 5.2, 7.0, 6.8], *STEPS[1:]]
    forward = sharpness_split(*profiles(noisy))
    backward = sharpness_split(*profiles([column[::-1] for column in noisy]))
    assert backward.threshold == pytest.approx(forward.threshold)


def test_a_transition_along_the_load_alone_is_found():
    levels = [[7.0 + 0.01 * i] * 4 for i in range(3)] + [[4.0 + 0.01 * i] * 4 for i in range(3)]
    assert sharpness_split(*profiles(levels)).threshold == pytest.approx(5.5, abs=0.02)


def test_a_drift_between_loads_does_not_hide_an_abrupt_change_at_each():
    drifting = [[10.0 - i] * 6 for i in range(3)] + [
        [7.0 - i / 4] * 3 + [4.0] * 3 for i in range(4)
    ]
    assert sharpness_split(*profiles(drifting)).p_value < 0.05
    values = np.concatenate(drifting)
    with pytest.raises(ValueError, match="no two groups"):  # the same values as one profile
        sharpness_split(values, np.zeros(len(values)), np.argsort(np.argsort(-values)))


@pytest.mark.parametrize("seed", range(5))
def test_one_group_is_refused(seed):
    random = np.random.default_rng(seed)
    load, temperature = (knob.ravel() for knob in np.meshgrid(range(6), range(6)))
    with pytest.raises(ValueError, match='sharpness_threshold="data".*no two groups'):
        sharpness_split(random.normal(5.0, 1.0, 36), load, temperature)
    with pytest.raises(ValueError, match='connectivity_threshold="data".*no two groups'):
        connectivity_split(random.normal(0.0, 0.3, 36))


def test_a_slope_is_not_a_transition():
    slopes = [np.linspace(7.0, 4.0, 6) + shift for shift in (0.0, 0.2, 0.4)]
    with pytest.raises(ValueError, match="no two groups"):
        sharpness_split(*profiles(slopes))


def test_groups_closer_than_training_noise_are_refused():
    with pytest.raises(ValueError, match="no two groups"):
        sharpness_split(*profiles([[5.1, 5.1, 5.0, 5.0]] * 4))
    with pytest.raises(ValueError, match="similarity_threshold"):
        similarity_split(np.array([0.70] * 5 + [0.72] * 5))
    with pytest.raises(ValueError, match="no two groups"):
        connectivity_split(np.array([0.0] * 8 + [-1.0] * 8))


def test_constant_values_are_refused_without_a_warning():
    with pytest.raises(ValueError, match="no two groups"):
        sharpness_split(np.ones(6), np.arange(6) % 2, np.arange(6))
    with pytest.raises(ValueError, match="no two groups"):
        connectivity_split(np.zeros(6))


@pytest.mark.parametrize("split", [similarity_split, connectivity_split])
def test_fewer_than_four_cells_are_refused(split):
    with pytest.raises(ValueError, match="at least 4 measured cells, got 3"):
        split(np.array([0.1, 0.2, -9.0]))


def test_barriers_of_all_sizes_are_one_group():
    values = np.array([0.3, 0.0, -0.01, -0.2, -0.5, -6.0, -9.0, -14.0, -30.0, 2.0, -0.1, -20.0])
    found = connectivity_split(values)
    assert -6.0 < found.threshold < -0.5
    assert (found.below, found.above) == (5, 7)


def test_repeats_give_a_tolerance_of_two_standard_deviations():
    values = np.array([0.0, -0.5, -2.0])
    found = connectivity_split(values, spread=np.array([0.2, 0.4, np.nan]))
    assert found.threshold == pytest.approx(-0.6)
    assert (found.below, found.above) == (1, 2)


@pytest.mark.parametrize("spread", [[0.0, 0.0, 1.0], [np.nan] * 3])
def test_repeats_without_spread_are_refused(spread):
    with pytest.raises(ValueError, match="connectivity_spread"):
        connectivity_split(np.zeros(3), spread=np.array(spread))


def test_similarity_is_split_between_its_two_levels():
    found = similarity_split(np.array([0.5, 0.52, 0.55, 0.74, 0.78, 0.80]))
    assert found.threshold == pytest.approx((0.523 + 0.773) / 2.0, abs=1e-3)  # of their means
    assert found.gain > 0.0


def test_a_smooth_crossover_of_similarity_is_one_group_cut_by_convention():
    found = similarity_split(np.linspace(0.5, 0.8, 31))
    assert found.gain < 0.0
    assert found.threshold == pytest.approx(0.65, abs=0.011)


def test_classify_takes_all_three_from_the_data_and_leaves_out_what_is_undecided():
    random = np.random.default_rng(0)
    width, batch = (knob.ravel() for knob in np.meshgrid([2, 4, 8, 16, 32], [8, 16, 32, 64, 128]))
    sharp, poor = batch < 32, width < 8
    similar = (width > 8) & (batch > 32)
    table = {
        "width": width,
        "batch_size": batch,
        "log_hessian_trace": np.where(sharp, 7.0, 3.0) + random.normal(0, 0.2, 25),
        "mc_train_err": np.where(poor, -10.0, 0.0) + random.normal(0, 0.3, 25),
        "cka_softmax_mean": np.select([sharp | poor, similar], [0.2, 0.9], 0.6)
        + random.normal(0, 0.02, 25),
        "converged": np.arange(25) != 24,
        "repeat_std": np.full(25, 0.3),
    }
    table["log_hessian_trace"][24] = 400.0
    names = ("sharpness_threshold", "connectivity_threshold", "similarity_threshold")
    found = classify(table, **dict.fromkeys(names, "data"))
    expected = np.select(
        [sharp & poor, sharp, poor, similar], ["I", "II", "III", "IV-B"], "IV-A"
    ).tolist()
    assert found["phase"].tolist() == [*expected[:24], "undecided"]
    spread = classify(table, connectivity_threshold="data", connectivity_spread="repeat_std")
    assert spread["connectivity_threshold"][0] == pytest.approx(-0.6)
