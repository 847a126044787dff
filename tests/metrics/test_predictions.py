"""Agreement and ensembles of predictors whose probabilities are known."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, mlp, snapshot
from torch import nn

from landscape_fast.metrics.predictions import agreement, ensemble_quality
from landscape_fast.metrics.quality import quality

IMAGES = classification(40, (1, 6, 6))
ROWS = [(torch.zeros(4, 1), torch.tensor([0, 0, 1, 2]))]


def constant(*probabilities: float) -> nn.Module:
    """Predicts these probabilities for every input."""
    layer = nn.Linear(1, len(probabilities))
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(probabilities, dtype=torch.float64).log())
    return layer.double()


class AsFloat64(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.double())


def entropy(*probabilities: float) -> float:
    return -sum(p * math.log(p) for p in probabilities if p)


def predictor(*probabilities: float) -> nn.Module:
    return AsFloat64(constant(*probabilities))


@pytest.mark.parametrize(
    ("p", "q", "unequal"),
    [((0.5, 0.3, 0.2), (0.2, 0.7, 0.1), 100.0), ((0.5, 0.3, 0.2), (0.6, 0.2, 0.2), 0.0)],
)
def test_constant_predictors_differ_by_the_formula(p, q, unequal):
    found = agreement(predictor(*p), predictor(*q), ROWS)
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    wanted = entropy(*middle) - (entropy(*p) + entropy(*q)) / 2
    assert found.js_divergence == pytest.approx(wanted, abs=1e-7)  # biases are float32
    assert found.disagreement == unequal
    assert found.predictions == 4
    assert agreement(predictor(*q), predictor(*p), ROWS) == found


def test_disjoint_predictions_are_log_two_apart_and_equal_ones_zero():
    sure, other = predictor(1.0, 0.0), predictor(0.0, 1.0)
    assert agreement(sure, other, ROWS).js_divergence == pytest.approx(math.log(2))
    assert agreement(sure, sure, ROWS).js_divergence == 0.0
    close = predictor(0.5, 0.5), predictor(0.5 + 1e-6, 0.5 - 1e-6)
    assert 0.0 <= agreement(*close, ROWS).js_divergence < 1e-9


def test_the_cut_into_batches_does_not_matter_and_positions_count_each():
    one, other = conv_net(seed=0), conv_net(seed=1)
    whole = agreement(one, other, [IMAGES])
    parts = agreement(one, other, [(x, None) for x in IMAGES[0].split([7, 33])])
    assert parts.js_divergence == pytest.approx(whole.js_divergence, rel=1e-5)
    assert parts.disagreement == whole.disagreement
    outputs = [model.eval()(IMAGES[0]).argmax(1) for model in (one, other)]
    assert whole.disagreement == 100 * float((outputs[0] != outputs[1]).double().mean())
    tokens = [(torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)),)]
    assert agreement(nn.Identity(), nn.Tanh(), tokens).predictions == 10


def test_positions_where_a_sequence_is_filled_up_do_not_count():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 5, generator=generator)
    targets = torch.tensor([[0, 1, 2, -100, -100], [1, -100, -100, -100, -100]])
    models = nn.Identity(), nn.Softsign()
    found = agreement(*models, [(scores, targets)])
    cut = [(scores[:1, :, :3], None), (scores[1:, :, :1], None)]
    assert found.predictions == 4
    assert found.js_divergence == pytest.approx(agreement(*models, cut).js_divergence)
    with pytest.raises(ValueError, match="no prediction that counts"):
        agreement(*models, [(scores, torch.full((2, 5), -100))])


def test_outputs_that_are_not_finite_give_nan():
    found = agreement(nn.Identity(), nn.Identity(), [(torch.tensor([[math.nan, 0.0]]),)])
    assert math.isnan(found.disagreement)
    assert math.isnan(found.js_divergence)


def test_an_ensemble_averages_probabilities():
    # (0.9, 0.1, 0) and (0.2, 0.5, 0.3) average to (0.55, 0.3, 0.15).
    found = ensemble_quality([predictor(0.9, 0.1, 1e-30), predictor(0.2, 0.5, 0.3)], ROWS)
    wanted = -(2 * math.log(0.55) + math.log(0.3) + math.log(0.15)) / 4
    assert found.loss == pytest.approx(wanted, rel=1e-6)
    assert (found.accuracy, found.samples) == (50.0, 4)


def test_an_ensemble_of_one_is_the_model_and_of_many_no_worse_than_their_mean():
    models = [conv_net(seed=seed) for seed in range(3)]
    own = [quality(model, [IMAGES]) for model in models]
    alone = ensemble_quality(models[:1], [IMAGES])
    assert alone.loss == pytest.approx(own[0].loss, rel=1e-6)
    assert alone.accuracy == own[0].accuracy
    assert ensemble_quality(models, [IMAGES]).loss <= sum(each.loss for each in own) / 3
    same = ensemble_quality([models[0], models[0]], [IMAGES])
    assert same.loss == pytest.approx(own[0].loss, rel=1e-6)


@pytest.mark.parametrize(
    "measure",
    [lambda a, b, data: agreement(a, b, data), lambda a, b, data: ensemble_quality([a, b], data)],
    ids=["agreement", "ensemble"],
)
@pytest.mark.parametrize("fails", [False, True])
def test_models_come_back_as_they_went_in(measure, fails):
    one, other = conv_net(seed=0), conv_net(seed=1)
    before = snapshot(one), snapshot(other)
    batches = [IMAGES, (torch.ones(3, 5), torch.zeros(3).long())] if fails else [IMAGES]
    if fails:
        with pytest.raises(RuntimeError):
            measure(one, other, batches)
    else:
        measure(one, other, batches)
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])


@pytest.mark.parametrize(
    ("models", "data", "error", "said"),
    [
        ((nn.Identity(), nn.Linear(2, 3)), torch.eye(2), ValueError, r"\(2, 2\) and model_b"),
        ((nn.Linear(2, 1), nn.Linear(2, 1)), torch.eye(2), ValueError, "two classes or more"),
        ((nn.Identity(), nn.Flatten(0)), torch.eye(2), ValueError, "two classes or more"),
        ((nn.LSTM(2, 2), nn.LSTM(2, 2)), torch.eye(2), TypeError, "tensor of outputs, got tuple"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(models, data, error, said):
    with pytest.raises(error, match=said):
        agreement(*models, [(data, None)])


def test_empty_data_and_no_models_are_refused():
    with pytest.raises(ValueError, match="loader"):
        agreement(mlp(), mlp(), [])
    with pytest.raises(ValueError, match="models is empty"):
        ensemble_quality([], ROWS)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_agreement_and_ensemble(cuda):
    models = [conv_net(seed=seed) for seed in range(2)]
    here = agreement(*models, [IMAGES]), ensemble_quality(models, [IMAGES])
    models = [model.to(cuda) for model in models]
    there = agreement(*models, [IMAGES]), ensemble_quality(models, [IMAGES])
    assert there[0].js_divergence == pytest.approx(here[0].js_divergence, rel=1e-4)
    assert there[0].predictions == here[0].predictions
    assert there[1].loss == pytest.approx(here[1].loss, rel=1e-4)


def test_one_model_is_no_ensemble_and_members_must_fit():
    x, y = torch.randn(5, 4), torch.arange(5) % 3
    with pytest.raises(TypeError, match="models must be a sequence of modules, got one Sequential"):
        ensemble_quality(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), [(x, y)])
    with pytest.raises(ValueError, match="different shapes"):
        ensemble_quality([nn.Linear(4, 3), nn.Linear(4, 5)], [(x, y)])
