from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import nn

from landscape_fast.metrics.quality import quality

DATA = classification(23)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_the_cut_into_batches_does_not_change_loss_and_accuracy(sizes):
    sizes = [*sizes, 50 - sum(sizes)]
    data = classification(50)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]), ignore_index=1)
    whole = quality(mlp(), [data], criterion=criterion)
    parts = quality(mlp(), cut(data, sizes), criterion=criterion)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert (parts.accuracy, parts.samples) == (whole.accuracy, 50)


def test_loss_and_accuracy_are_those_of_one_pass_in_evaluation_mode():
    model, (inputs, targets) = conv_net().train(), classification(30, (1, 6, 6))
    result = quality(model, cut((inputs, targets), [16, 14]))
    with torch.no_grad():
        outputs = conv_net().eval()(inputs)
    assert result.loss == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-6)
    right = sum(int(row.argmax()) == int(t) for row, t in zip(outputs, targets, strict=True))
    assert result.accuracy == pytest.approx(100 * right / 30)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(ignore_index=2),
        functools.partial(F.cross_entropy, ignore_index=2),
    ],
)
def test_ignored_targets_do_not_count(criterion):
    outputs = torch.eye(3)[[0, 1, 2, 2]]
    targets = torch.tensor([0, 0, 2, 2])
    result = quality(nn.Identity(), [(outputs, targets)], criterion=criterion)
    assert result.accuracy == 50.0  # 0 right, 0 wrong; the two others are ignored
    assert result.loss == pytest.approx(float(F.cross_entropy(outputs[:2], targets[:2])))


def test_pixels_count_as_targets_of_a_segmentation():
    outputs = torch.zeros(2, 3, 4, 4)
    outputs[:, 1] = 1.0
    targets = torch.ones(2, 4, 4, dtype=torch.long)
    targets[0, 0] = torch.tensor([0, 2, -100, -100])
    assert quality(nn.Identity(), [(outputs, targets)]).accuracy == pytest.approx(100 * 28 / 30)


@pytest.mark.parametrize(
    ("outputs", "targets", "criterion"),
    [
        (torch.randn(4, 2), torch.randn(4, 2), nn.MSELoss()),
        (torch.randn(4, 3), torch.full((4, 3), 1 / 3), None),  # class probabilities
        (torch.randn(4, 2), torch.tensor([0.0, 1.0, 0.0, 1.0]), lambda o, t: (o[:, 0] * t).sum()),
        (torch.randn(4, 1), torch.tensor([0, 0, 0, 0]), lambda o, t: F.mse_loss(o[:, 0], t * 1.0)),
        (torch.randn(4, 2), torch.tensor([0, 5, 0, 1]), lambda o, t: o.sum() * t.sum()),  # counts
    ],
)
def test_accuracy_is_nan_without_class_indices_in_every_batch(outputs, targets, criterion):
    data = cut((outputs, targets), [2, 2])
    result = quality(nn.Identity(), data, criterion=criterion)
    assert math.isnan(result.accuracy)
    assert math.isfinite(result.loss)


def test_a_loss_function_has_an_accuracy_if_it_calls_the_model_once():
    def once(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    def twice(model, batch):
        return F.cross_entropy(model(batch[0]) + model(-batch[0]), batch[1])

    model = mlp()
    assert quality(model, [DATA], loss_fn=once) == quality(model, [DATA])
    assert math.isnan(quality(model, [DATA], loss_fn=twice).accuracy)


def test_outputs_that_are_not_numbers_have_neither_loss_nor_accuracy():
    model = mlp()
    model[0].weight.data[0, 0] = math.nan
    result = quality(model, cut(DATA, [20, 3]))
    assert math.isnan(result.loss)
    assert math.isnan(result.accuracy)


def test_a_sum_stays_a_sum():
    model = mlp()
    summed = quality(model, cut(DATA, [20, 3]), criterion=nn.CrossEntropyLoss(reduction="sum"))
    assert summed.loss == pytest.approx(23 * quality(model, [DATA]).loss, rel=1e-6)


def test_the_model_comes_back_as_it_was_also_after_an_exception():
    model = conv_net().train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[8].bias.requires_grad_(False)
    data = cut(classification(8, (1, 6, 6)), [4, 4])
    before = snapshot(model)

    def failing(model, batch):
        model.train()
        model(batch[0])
        torch.rand(1)
        raise KeyboardInterrupt

    quality(model, data)
    assert_same_state(model, before)
    with pytest.raises(KeyboardInterrupt):
        quality(model, data, loss_fn=failing)
    assert_same_state(model, before)
    assert not model._forward_hooks


@pytest.mark.parametrize(
    ("loader", "options", "message"),
    [
        ([], {}, "loader is empty"),
        ([(torch.eye(2), torch.tensor([-100, -100]))], {}, "no valid target"),
        ([DATA], {"criterion": nn.MSELoss(), "loss_fn": max}, "criterion and loss_fn"),
    ],
)
def test_mistakes_are_named(loader, options, message):
    with pytest.raises(ValueError, match=message):
        quality(nn.Identity(), loader, **options)


def test_perplexity_of_a_uniform_prediction_is_the_number_of_tokens():
    scores, targets = torch.zeros(2, 7, 3), torch.tensor([[1, 2, -100], [4, -100, -100]])
    result = quality(nn.Identity(), [(scores, targets)])
    assert result.perplexity == pytest.approx(7.0)
    assert (
        quality(nn.Identity(), [(1000 * F.one_hot(targets.clamp(0), 7).mT.float(), targets)]).loss
        == 0
    )
    far = quality(nn.Identity(), [(-1000 * F.one_hot(targets.clamp(0), 7).mT.float(), targets)])
    assert far.perplexity == math.inf
