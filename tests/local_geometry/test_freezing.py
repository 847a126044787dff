"""Spread, entropy and slope of logits that are known."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, cut, snapshot
from torch import nn

from landscape_fast import probability_freezing
from landscape_fast.store import Store


def of(logits):
    return probability_freezing(nn.Identity(), [(logits, torch.zeros(len(logits)).long())])


def test_equal_logits_are_not_frozen_at_all():
    found = of(torch.full((4, 5), 7.0))
    assert found.logit_std == 0.0
    assert found.entropy == pytest.approx(math.log(5))
    assert found.confidence == pytest.approx(1 / 5)
    assert found.slope == pytest.approx(1 / 5 * 4 / 5)


def test_one_large_logit_freezes_the_sample():
    found = of(torch.tensor([[200.0, 0.0, 0.0]]))
    assert found.confidence == 1.0
    assert found.entropy == pytest.approx(0.0, abs=1e-80)
    assert found.slope == pytest.approx(0.0, abs=1e-80)


def test_two_classes_are_the_logistic_function():
    gap = torch.tensor([0.3, -2.0], dtype=torch.float64)
    found = of(torch.stack([gap, torch.zeros_like(gap)], 1))
    p = gap.sigmoid()
    assert found.slope == pytest.approx(float((p * (1 - p)).mean()))
    assert found.logit_std == pytest.approx(float((gap / 2).square().mean().sqrt()))
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    assert found.entropy == pytest.approx(float(entropy.mean()))


def test_a_shift_of_all_logits_of_a_sample_changes_nothing():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    shifted = of(logits + torch.arange(6)[:, None])
    torch.testing.assert_close(shifted.logits, of(logits).logits)
    assert shifted.critical_std == pytest.approx(math.sqrt(2 * math.log(4)))


def test_models_come_back_untouched_and_results_from_the_store(tmp_path):
    model = conv_net().train()
    before = snapshot(model)
    found = probability_freezing(model, cut(classification(9, (1, 6, 6)), [4, 5]))
    assert_same_state(model, before)
    assert found.samples == 9
    store = Store(tmp_path)
    store.save("model", "freezing", found)
    assert store.load("model", "freezing").entropy == found.entropy


def test_errors_name_what_is_wrong():
    x, y = classification(6)
    with pytest.raises(ValueError, match=r"logits \(b, C\)"):
        probability_freezing(nn.Flatten(0), [(x, y)])
    with pytest.raises(ValueError, match="inputs, classes"):
        probability_freezing(nn.Identity(), [[x]])
