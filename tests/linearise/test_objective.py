from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from oracles import classification, cut, mlp
from torch import nn

from landscape_fast import HessianOperator, trace
from landscape_fast.linearise.objective import Objective

WEIGHT = torch.tensor([0.2, 3.0, 1.0])


def dataset_loss(objective, model, batches):
    pairs = [objective(model, batch) for batch in batches]
    return sum(value.detach() for value, _ in pairs) / objective.normaliser(
        sum(n for _, n in pairs)
    )


def probabilities(rows):
    return torch.softmax(torch.randn(rows, 3, generator=torch.Generator().manual_seed(1)), 1)


CRITERIA = {
    "cross-entropy": (nn.CrossEntropyLoss(), "index"),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), "index"),
    "ignored": (nn.CrossEntropyLoss(ignore_index=1), "index"),
    "smoothing": (nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.2), "index"),
    "probability targets": (nn.CrossEntropyLoss(weight=WEIGHT), "probability"),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), "index"),
    "nll": (nn.NLLLoss(weight=WEIGHT, ignore_index=2), "index"),
    "mse": (nn.MSELoss(), "probability"),
    "mse sum": (nn.MSELoss(reduction="sum"), "probability"),
    "huber": (nn.HuberLoss(), "probability"),
    "bce": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), "probability"),
    "kl batchmean": (nn.KLDivLoss(reduction="batchmean"), "probability"),
    "function": (F.cross_entropy, "index"),
    "partial": (partial(F.cross_entropy, weight=WEIGHT, ignore_index=0), "index"),
    "mean over rows": (lambda out, y: (out.logsumexp(1) - out[:, 0]).mean(), "index"),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_the_loss_of_any_cut_into_batches_is_the_loss_of_all_data_at_once(name):
    criterion, kind = CRITERIA[name]
    x, y = classification(23)
    y = probabilities(23) if kind == "probability" else y
    model = mlp().double()
    data = x.double(), y.double() if kind == "probability" else y
    if isinstance(criterion, nn.Module):
        criterion = criterion.double()
    elif isinstance(criterion, partial):
        criterion = partial(criterion.func, **criterion.keywords | {"weight": WEIGHT.double()})
    whole = criterion(model(data[0]), data[1]).detach()
    for sizes in ([23], [10, 10, 3], [1] * 23):
        ours = dataset_loss(Objective(criterion), model, cut(data, sizes))
        assert float(ours) == pytest.approx(float(whole), rel=1e-13)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_the_cut_does_not_matter_with_class_weights(sizes):
    criterion = nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1)
    x, y = classification(sum(sizes))
    y[0] = 0  # at least one valid target
    model = mlp()
    whole = criterion(model(x), y).detach()
    ours = dataset_loss(Objective(criterion), model, cut((x, y), sizes))
    assert float(ours) == pytest.approx(float(whole), rel=1e-5)


def test_token_losses_count_valid_tokens():
    logits = torch.randn(2, 3, 4)
    targets = torch.tensor([[0, 1, -100, 2], [-100, -100, -100, 1]])
    value, count = Objective()(nn.Identity(), (logits, targets))
    assert count == 4.0
    assert float(value / count) == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-6)


def test_a_loss_function_gives_a_mean_over_rows_or_sum_and_count():
    x, y = classification(9)
    batches = cut((x, y), [5, 4])
    model = mlp()
    whole = F.cross_entropy(model(x), y).detach()

    def mean(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    def counted(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="sum"), len(batch[1])

    for loss_fn in (mean, counted):
        ours = dataset_loss(Objective(loss_fn=loss_fn), model, batches)
        assert float(ours) == pytest.approx(float(whole), rel=1e-6)


def test_the_callers_criterion_keeps_its_reduction():
    criterion = nn.CrossEntropyLoss()
    Objective(criterion)(mlp(), classification(3))
    assert criterion.reduction == "mean"


def call(objective, batch):
    return objective(mlp(), batch)


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        (lambda: Objective(F.mse_loss, lambda m, b: 0), ValueError, "both given"),
        (lambda: Objective(3), TypeError, "criterion must be callable, got int"),
        (lambda: Objective(loss_fn=3), TypeError, "loss_fn must be callable, got int"),
        (lambda: Objective(nn.MSELoss(reduction="none")), ValueError, "reduction='none'"),
        (lambda: call(Objective(), {"x": torch.ones(1)}), ValueError, "a dict of 1, but a crit"),
        (
            lambda: call(Objective(lambda o, y: o), classification(3)),
            ValueError,
            r"criterion must return a scalar tensor, got \(3, 3\)",
        ),
        (
            lambda: call(
                Objective(loss_fn=lambda m, b: b[0].mean()), (torch.ones(2, 5), torch.ones(3))
            ),
            ValueError,
            "different leading sizes",
        ),
        (
            lambda: call(Objective(loss_fn=lambda m, b: (1, 2, 3)), classification(3)),
            ValueError,
            "got 3 values",
        ),
    ],
)
def test_a_contradictory_loss_is_named(act, error, text):
    with pytest.raises(error, match=text):
        act()


def summing(z, y):
    return F.cross_entropy(z, y, reduction="sum")


@pytest.mark.parametrize(
    "loss",
    [{"criterion": summing}, {"loss_fn": lambda m, batch: summing(m(batch[0]), batch[1])}],
    ids=["criterion", "loss_fn"],
)
def test_a_function_that_sums_over_rows_where_it_should_average_is_refused(loss):
    batches = cut(classification(11), [5, 6])
    with pytest.raises(ValueError, match="sum over the rows"):
        HessianOperator(mlp(), batches, **loss)


def test_functions_that_average_count_or_take_one_size_only_are_accepted():
    def one_size(z, y):
        assert len(z) in (5, 6), "one size"
        return F.cross_entropy(z.reshape(len(z), 3), y)

    def focal(z, y):
        return ((1 - z.softmax(1)[:, 0]) ** 2 * F.cross_entropy(z, y, reduction="none")).mean()

    def counted(m, batch):
        return summing(m(batch[0]), batch[1]), len(batch[1])

    batches = cut(classification(11), [5, 6])
    mean = HessianOperator(mlp(), batches).loss
    assert HessianOperator(mlp(), batches, loss_fn=counted).loss == pytest.approx(mean)
    HessianOperator(mlp(), batches, criterion=focal)


@pytest.mark.parametrize("count", [7, 7.0, np.int64(7), np.float32(7), torch.tensor(7)])
def test_a_count_may_be_any_number(count):
    def loss_fn(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="sum"), count

    batch = classification(7)
    _, found = Objective(loss_fn=loss_fn)(mlp(), batch)
    assert found == 7.0
    assert trace(mlp(), [batch], loss_fn=loss_fn).value == trace(mlp(), [batch]).value


@pytest.mark.parametrize("count", [None, "7", -1, float("nan")])
def test_what_is_no_count_is_named(count):
    batch = classification(7)
    with pytest.raises((TypeError, ValueError), match="the count that loss_fn returns must be"):
        Objective(loss_fn=lambda model, batch: (model(batch[0]).sum(), count))(mlp(), batch)


def test_what_is_no_tensor_is_named():
    x, y = classification(7)
    with pytest.raises(TypeError, match="model must return a tensor for CrossEntropyLoss, got tup"):
        Objective()(nn.LSTM(5, 3), (x, y))
    with pytest.raises(TypeError, match="loader must yield a tensor for CrossEntropyLoss, got Non"):
        Objective()(mlp(), (x, None))


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.SmoothL1Loss(), nn.L1Loss(reduction="sum")])
def test_outputs_of_one_column_and_targets_of_none_are_refused_not_compared_each_with_each(
    criterion,
):
    data = [(torch.randn(6, 4), torch.randn(6))]
    with pytest.raises(ValueError, match=r"\(6, 1\) with targets of shape \(6,\)"):
        HessianOperator(nn.Sequential(nn.Linear(4, 1)), data, criterion=criterion)


@pytest.mark.parametrize(
    ("second", "shape"), [(lambda z: z, r"\(7, 3\)"), (lambda _: torch.ones(7), r"\(7,\)")]
)
def test_a_loss_and_its_logits_are_not_taken_for_a_sum_and_its_count(second, shape):
    with pytest.raises(ValueError, match=f"shape {shape} for the count: return the loss alone"):
        Objective(loss_fn=lambda m, b: (m(b[0]).sum(), second(m(b[0]))))(mlp(), classification(7))
