"""The questions of a study to models whose targets are tokens."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from landscape_fast.metrics.similarity import linear_cka
from landscape_fast.sweep.measurements import OF_ONE, OF_TWO, Question
from landscape_fast.training.data import Dataset
from landscape_fast.training.sequences.transformer import transformer

VOCABULARY = 9


def made(seed):
    torch.manual_seed(seed)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "feed_forward": 1}
    return transformer(4, classes=VOCABULARY, **sizes).eval()


def data(samples=70, length=6) -> Dataset:
    """More samples than an evaluation batch, of lengths 1 to 6."""
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randint(3, VOCABULARY, (samples, 2, length), generator=draws)
    targets = torch.randint(3, VOCABULARY, (samples, length), generator=draws)
    filled = torch.arange(length) > torch.arange(samples)[:, None] % length
    targets[filled], inputs[filled[:, None].expand_as(inputs)] = -100, 0
    return Dataset(inputs, targets, inputs[:8], targets[:8], classes=VOCABULARY)


TOKENS, MODELS = data(), (made(0), made(1))


def asked(metric, **options):
    return {**OF_ONE, **OF_TWO}[metric](Question(MODELS, TOKENS, cross_entropy, options))


def test_loss_and_accuracy_are_those_per_token():
    found = asked("quality_train")
    targets = TOKENS.train_targets
    with torch.no_grad():
        outputs = MODELS[0](TOKENS.train_inputs)
    right = (outputs.argmax(1) == targets)[targets != -100].double().mean()
    assert found.loss == pytest.approx(float(cross_entropy(outputs, targets)), rel=1e-6)
    assert found.accuracy == pytest.approx(100 * float(right))


@pytest.mark.parametrize("outputs", ["softmax", "logits"])
def test_similarity_is_that_of_the_outputs_at_every_token(outputs):
    options = {"mixup_alpha": None, "samples": 640, "batch_size": 16, "seed": 0}
    found = asked(f"cka_{outputs}", outputs=outputs, **options)
    valid = TOKENS.train_targets != -100
    with torch.no_grad():
        rows = [model(TOKENS.train_inputs).movedim(1, 2)[valid] for model in MODELS]
    if outputs == "softmax":
        rows = [each.softmax(1) for each in rows]
    assert found.samples == int(valid.sum())
    assert found.value == pytest.approx(linear_cka(*rows), abs=1e-6)


def test_tokens_are_not_interpolated():
    with pytest.raises(ValueError, match="cannot be interpolated; pass mixup_alpha=None"):
        asked("cka_softmax", mixup_alpha=16.0)


def test_a_curve_joins_two_models_in_the_loss_and_the_error_per_token():
    found = asked("connectivity", epochs=1, lr=0.05, batch_size=32)
    ends = [
        asked("quality_train"),
        OF_ONE["quality_train"](Question(MODELS[1:], TOKENS, cross_entropy)),
    ]
    assert [float(found.losses[0]), float(found.losses[-1])] == pytest.approx(
        [each.loss for each in ends], rel=1e-6
    )
    assert [float(found.errors[0]), float(found.errors[-1])] == pytest.approx(
        [100 - each.accuracy for each in ends]
    )
    assert found.bend.shape == (sum(p.numel() for p in MODELS[0].parameters()),)


def test_predictions_are_compared_at_every_token_and_averaged():
    assert asked("agreement", part="train").predictions == int((TOKENS.train_targets != -100).sum())
    own = [
        OF_ONE["quality_test"](Question((model,), TOKENS, cross_entropy)).loss for model in MODELS
    ]
    assert asked("ensemble_test").loss <= sum(own) / 2
