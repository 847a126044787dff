"""Intervals of findings hold the planted effect as often as they say, or more often."""

from __future__ import annotations

import grids
import numpy as np
import pytest

from landscape_fast.study.evidence import Evidence
from landscape_fast.study.knob_claims import width_connects
from landscape_fast.study.phase_claims import (
    accuracy_at_equal_sharpness,
    best_accuracy,
    dip_at_transition,
)

TRIALS = 200
NOISY = {"label_noise": 0.1}


def share(intervals, truth):
    return np.mean([low <= truth <= high for low, high in intervals])


def evidence(table, seed):
    return Evidence(table, "width", "batch_size", NOISY, replicates=300, seed=seed)


def smooth(table):
    """Accuracies with one best cell in phase IV-B and one best in IV-A, 1.2 points apart."""
    width, batch = np.log2(table["width"]), np.log2(table["batch_size"])
    return 90.0 - 0.5 * np.abs(width - 7) - 0.4 * np.abs(batch - 7) - 0.1 * (width < 6)


@pytest.mark.slow
def test_the_lead_of_the_best_cell_is_covered_over_seeds():
    table = grids.knobs()
    phase, truth = grids.phases(table), smooth(table)
    lead = truth[phase == "IV-B"].max() - truth[phase != "IV-B"].max()
    found = [
        best_accuracy(evidence(grids.grid(smooth, seed=seed), seed)).interval
        for seed in range(TRIALS)
    ]
    assert 0.9 <= share(found, lead) <= 0.995
    assert np.mean([high - low for low, high in found]) < 2.0  # and not by being wide


def dipping(table):
    rising = 70.0 + np.log2(table["width"]) + np.log2(table["batch_size"])
    return rising - 4.0 * (table["batch_size"] == 32)


@pytest.mark.slow
def test_the_depth_of_a_dip_is_covered_over_seeds():
    found = [
        dip_at_transition(evidence(grids.grid(dipping, seed=seed), seed)).interval
        for seed in range(TRIALS)
    ]
    assert share(found, 3.0) >= 0.9
    assert np.mean([low > 0.5 for low, _ in found]) == 1.0


@pytest.mark.slow
def test_a_difference_at_equal_sharpness_is_covered_over_seeds():
    def accuracy(table):
        return 80.0 + 0.4 * np.isin(table["phase"], ("IV-A", "IV-B"))

    found = [
        accuracy_at_equal_sharpness(evidence(grids.grid(accuracy, seed=seed), seed)).interval
        for seed in range(TRIALS)
    ]
    assert 0.9 <= share(found, 0.4) <= 0.995


@pytest.mark.slow
def test_the_effect_of_a_knob_is_covered_over_the_values_of_the_other():
    table = grids.knobs()
    low = table["width"] <= 16
    place = np.unique(table["batch_size"], return_inverse=True)[1]
    found = []
    for seed in range(TRIALS):
        random = np.random.default_rng(seed)
        slope = 6.0 + 1.5 * random.normal(size=8)[place]  # the knob matters more in some rows
        barrier = 20.0 + slope * low + random.normal(size=64) + random.normal(size=8)[place]
        columns = {**table, "phase": grids.phases(table), "mc_train_err": -barrier}
        found.append(width_connects(evidence(columns, seed)).interval)
    assert 0.9 <= share(found, 6.0) <= 0.99
    assert np.mean([interval[0] > 0 for interval in found]) > 0.95
