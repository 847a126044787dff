from __future__ import annotations

import copy
import dataclasses
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape_fast.metrics.connectivity import connectivity
from landscape_fast.metrics.distance import l2_distance
from landscape_fast.metrics.quality import quality

IMAGES = classification(40, (1, 6, 6))
FLAT = classification(60)


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def same(one, other):
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in (
            (getattr(one, field.name), getattr(other, field.name))
            for field in dataclasses.fields(one)
        )
    )


def train(model, data, *, epochs, lr=0.1):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for _ in range(epochs):
        for rows in torch.randperm(len(data[1])).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
            optimizer.step()
    return model


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images[:1000] / 16, dtype=torch.float32), torch.tensor(labels[:1000])


@pytest.fixture(scope="module")
def trained_mlp(digits):
    torch.manual_seed(0)
    return train(nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10)), digits, epochs=25)


def permuted(model, order):
    """The same function with its hidden units in another order."""
    other = copy.deepcopy(model)
    other[0].weight.data = model[0].weight.data[order]
    other[0].bias.data = model[0].bias.data[order]
    other[2].weight.data = model[2].weight.data[:, order]
    return other


def test_permuted_copies_have_a_barrier_on_the_line_and_none_on_the_curve(trained_mlp, digits):
    other = permuted(trained_mlp, torch.randperm(20, generator=torch.Generator().manual_seed(0)))
    assert quality(other, [digits]).loss == pytest.approx(
        quality(trained_mlp, [digits]).loss, rel=1e-5
    )
    line = connectivity(trained_mlp, other, [digits], epochs=0)
    curve = connectivity(trained_mlp, other, [digits], lr=0.1)
    assert line.value < -15.0
    assert line.t_star == 0.5
    assert line.loss_value < -0.4
    assert abs(curve.value) < 2.0
    assert abs(curve.loss_value) < 0.1
    assert curve.steps == 50 * 8


def test_a_convex_problem_has_no_barrier(digits):
    torch.manual_seed(1)
    one, other = (train(nn.Linear(64, 10), digits, epochs=epochs) for epochs in (40, 60))
    line = connectivity(one, other, [digits], epochs=0, points=9)
    chord = torch.lerp(line.losses[0], line.losses[-1], line.t)
    assert (line.losses <= chord + 1e-6).all()
    assert line.loss_value > -abs(float(line.losses[0] - line.losses[-1])) / 2 - 1e-6
    assert line.errors.max() <= line.errors[[0, -1]].max() + 0.2
    trained = connectivity(one, other, [digits], epochs=10)
    assert abs(trained.value) <= 0.3


def test_a_chain_goes_through_its_bends_and_starts_as_the_straight_line():
    one, other = mlp(seed=0), mlp(seed=1)
    options = {"curve": "polychain", "bends": 2, "points": 4, "lr": 0.1}
    start = connectivity(one, other, [classification(60)], epochs=0, **options)
    line = connectivity(one, other, [classification(60)], epochs=0, points=4)
    assert torch.allclose(start.losses, line.losses, rtol=1e-5)
    trained = connectivity(one, other, [classification(60)], epochs=5, **options)
    moved = copy.deepcopy(one)
    nn.utils.vector_to_parameters(trained.bend[0], moved.parameters())
    assert float(trained.losses[1]) == pytest.approx(quality(moved, [classification(60)]).loss)
    assert not torch.allclose(trained.bend, start.bend)


@pytest.mark.parametrize("other", ["itself", "a copy"])
@pytest.mark.parametrize("bend", ["linear", "random"])
def test_identical_models_are_connected_exactly(other, bend):
    model = conv_net()  # not trained: its error is far from 0
    partner = model if other == "itself" else copy.deepcopy(model)
    result = connectivity(model, partner, [IMAGES], bend=bend)
    assert (result.value, result.loss_value, result.steps) == (0.0, 0.0, 0)
    assert len(set(result.losses.tolist())) == 1
    assert result.errors[0] > 30
    assert torch.equal(result.bend, flat(model))
    assert result.lengths.tolist() == [0.0] * 5


def test_statistics_at_a_point_are_those_of_the_data_there():
    one, other = conv_net(seed=0), conv_net(seed=1)
    result = connectivity(one, other, cut(IMAGES, [15, 25]), epochs=0, batch_size=40)
    for t, loss, error in zip(result.t.tolist(), result.losses, result.errors, strict=True):
        model = copy.deepcopy(one)
        nn.utils.vector_to_parameters(torch.lerp(flat(one), flat(other), t), model.parameters())
        for layer in (model[1], model[5]):
            layer.momentum = 1.0  # one batch sets the statistics
        with torch.no_grad():
            model.train()(IMAGES[0])
            outputs = model.eval()(IMAGES[0])
        assert float(loss) == pytest.approx(float(F.cross_entropy(outputs, IMAGES[1])), rel=1e-4)
        wrong = (outputs.argmax(1) != IMAGES[1]).double().mean()
        assert float(error) == pytest.approx(100 * float(wrong), abs=2.6)  # one sample


def test_statistics_that_the_models_bring_do_not_matter_even_at_the_ends():
    one, other = conv_net(seed=0), conv_net(seed=1)
    before = connectivity(one, other, [IMAGES], epochs=2)
    for model in (one, other):
        model[1].running_mean.fill_(1e4)
    assert same(connectivity(one, other, [IMAGES], epochs=2), before)
    assert quality(one, [IMAGES]).loss != pytest.approx(float(before.losses[0]), rel=0.01)


def test_ends_without_batch_statistics_are_the_models():
    one, other = mlp(seed=0), mlp(seed=1)
    result = connectivity(one, other, [FLAT], epochs=3, points=4)
    for end, model in ((0, one), (-1, other)):
        own = quality(model, [FLAT])
        assert float(result.losses[end]) == pytest.approx(own.loss, rel=1e-6)
        assert float(result.errors[end]) == pytest.approx(100 - own.accuracy)
    assert result.t.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert (result.steps, result.samples) == (3, 60)


def test_lengths_are_those_of_the_curve_through_the_returned_bend():
    one, other = mlp(seed=0), mlp(seed=1)
    result = connectivity(one, other, [FLAT], epochs=5, lr=0.5)
    a, c, b = (vector.double() for vector in (flat(one), result.bend, flat(other)))
    points = [(1 - t) ** 2 * a + 2 * t * (1 - t) * c + t**2 * b for t in result.t.tolist()]
    wanted = [float((after - before).norm()) for before, after in pairwise(points)]
    assert result.lengths[0] == 0.0
    assert result.lengths[1:].tolist() == pytest.approx(wanted, rel=1e-5)
    assert float(result.lengths.sum()) > l2_distance(one, other) * 1.001


def test_training_lowers_the_loss_along_the_curve():
    one, other = (train(mlp(seed=seed), FLAT, epochs=100) for seed in (0, 1))
    line = connectivity(one, other, [FLAT], epochs=0)
    for bends, bend in ((1, "linear"), (2, "linear"), (1, "random")):
        curve = connectivity(one, other, [FLAT], bends=bends, bend=bend, epochs=150, lr=0.1)
        assert curve.losses[1:-1].max() < line.losses[1:-1].max() - 0.05
        assert torch.allclose(curve.losses[[0, -1]], line.losses[[0, -1]])
        assert curve.bend.shape == ((57,) if bends == 1 else (bends, 57))


class Noisy(nn.Module):
    """Dropout, normalisation and a tied weight in one network."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm, self.drop = nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Dropout(0.3)
        self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 3)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.last(torch.relu(self.second(self.drop(self.norm(self.first(inputs))))))


@pytest.mark.parametrize("bend", ["linear", "random"])
def test_a_seed_repeats_every_bit_and_another_one_does_not(bend):
    loader = DataLoader(TensorDataset(*FLAT), batch_size=25, shuffle=True)
    options = {"epochs": 3, "batch_size": 16, "bend": bend}
    first = connectivity(Noisy(0), Noisy(1), loader, **options)
    torch.rand(1)
    again = connectivity(Noisy(0), Noisy(1), loader, **options)
    other = connectivity(Noisy(0), Noisy(1), loader, seed=1, **options)
    assert same(first, again)
    assert first.steps == 3 * 4
    assert not torch.equal(first.bend, other.bend)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 14), min_size=1, max_size=4))
def test_the_cut_of_the_loader_does_not_change_a_bit(sizes):
    data, one, other = classification(60), mlp(seed=0), mlp(seed=1)
    whole = connectivity(one, other, [data], epochs=2, batch_size=16)
    parts = connectivity(one, other, cut(data, [*sizes, 60 - sum(sizes)]), epochs=2, batch_size=16)
    assert same(whole, parts)


class Encoder(nn.Module):
    """Recurrence and attention: modules without curve layers of their own in other tools."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.rnn = nn.LSTM(3, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def encode(self, tokens):
        hidden, _ = self.rnn(tokens)
        return self.attention(hidden, hidden, hidden, need_weights=False)[0].mean(1)


@pytest.mark.parametrize("bend", ["linear", "random"])
def test_any_network_and_any_batch_go_through_a_loss_function(bend):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(24, 5, 3, generator=generator)
    loader = [{"tokens": t, "label": (t.sum((1, 2)) > 0).long()} for t in tokens.split([10, 14])]

    def loss_fn(model, batch):
        return F.cross_entropy(model.head(model.encode(batch["tokens"])), batch["label"])

    one, other = Encoder(0), Encoder(1)
    result = connectivity(
        one, other, loader, loss_fn=loss_fn, bend=bend, epochs=40, lr=0.1, batch_size=8
    )
    for end, model in ((0, one), (-1, other)):
        wanted = quality(model, loader, loss_fn=loss_fn).loss
        assert float(result.losses[end]) == pytest.approx(wanted, rel=1e-5)
    assert result.losses[2] < result.losses[[0, -1]].min()
    assert result.loss_value > 0
    assert math.isnan(result.value)  # no class indices beside one output
    assert math.isnan(result.t_star)


def test_a_curve_that_diverges_is_reported_and_its_ends_are_kept():
    one, other = conv_net(seed=0), conv_net(seed=1)
    result = connectivity(one, other, [IMAGES], lr=1e30, weight_decay=1.0)
    assert math.isnan(result.value)
    assert math.isnan(result.loss_value)
    assert math.isnan(result.t_star)
    for series in (result.errors, result.losses):
        assert series[[0, -1]].isfinite().all()
        assert series[1:-1].isnan().all()
    assert result.steps < 50


def test_no_network_is_run_where_the_bend_is_not_finite():
    def strict(outputs, targets):
        if not outputs.isfinite().all():
            raise FloatingPointError
        return F.cross_entropy(outputs, targets)

    options = {"lr": 1e30, "weight_decay": 1e20, "batch_size": 60, "criterion": strict}
    result = connectivity(mlp(seed=0), mlp(seed=1), [FLAT], **options)
    assert result.losses.isnan().tolist() == [False, True, True, True, False]
    assert result.steps == 1


@pytest.mark.parametrize("interrupted", [False, True])
def test_models_come_back_as_they_were_also_after_an_exception(interrupted):
    one, other = conv_net(seed=0).train(), conv_net(seed=1).eval()
    one[0].weight.grad = torch.ones_like(one[0].weight)
    for model in (one, other):
        model[4].weight.requires_grad_(False)
    other[4].weight.data.copy_(one[4].weight)
    before = snapshot(one), snapshot(other)
    calls = []

    def loss_fn(model, batch):
        calls.append(torch.rand(1))
        if interrupted and len(calls) == 5:
            raise KeyboardInterrupt
        return F.cross_entropy(model(batch[0]), batch[1])

    try:
        connectivity(one, other, [IMAGES], loss_fn=loss_fn, epochs=4, batch_size=16, bend="random")
    except KeyboardInterrupt:
        assert interrupted
    assert len(calls) == 5 or not interrupted
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])


@pytest.mark.parametrize("outer", [torch.no_grad, torch.inference_mode])
def test_training_works_where_the_caller_has_gradients_off(outer):
    one, other = mlp(seed=0), mlp(seed=1)
    wanted = connectivity(one, other, [FLAT], epochs=2)
    with outer():
        assert same(connectivity(one, other, [FLAT], epochs=2), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, "epochs must be a whole number of at least 0, got -1"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"points": 1}, "points must be a whole number of at least 2"),
        ({"bends": 0}, "bends must be a whole number of at least 1"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"lr": math.nan}, "lr must be positive"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"weight_decay": -1e-4}, "weight_decay must be at least 0"),
        ({"bend": "midpoint"}, "bend must be 'linear', 'random' or 'released', got 'midpoint'"),
        ({"curve": "spline"}, "curve must be 'bezier' or 'polychain', got 'spline'"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"criterion": nn.MSELoss(), "loss_fn": max}, "criterion and loss_fn"),
    ],
)
def test_mistakes_in_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        connectivity(mlp(seed=0), mlp(seed=1), [FLAT], **options)


@pytest.mark.parametrize(
    ("other", "loader", "message"),
    [
        (nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)), [FLAT], "'0.weight' has sha"),
        (nn.Sequential(nn.Linear(5, 6), nn.Tanh()), [FLAT], "'2.weight', model_b has not"),
        (mlp(activation=nn.ReLU), [FLAT], r"layer '1' \(Tanh\)"),
        (mlp().to("meta"), [FLAT], "model_a is on cpu and model_b on meta"),
        (mlp(seed=1), [], "loader is empty"),
        (mlp(seed=1).requires_grad_(False), [FLAT], "no trainable parameter"),
    ],
)
def test_models_and_loaders_that_do_not_fit_are_named(other, loader, message):
    with pytest.raises(ValueError, match=message):
        connectivity(mlp(seed=0), other, loader)


@pytest.mark.gpu
def test_a_gpu_finds_the_same_curve(cuda):
    data, options = classification(200, (1, 6, 6)), {"epochs": 5, "batch_size": 64}
    one, other = conv_net(seed=0), conv_net(seed=1)
    wanted = connectivity(one, other, [data], **options)
    found = connectivity(one.to(cuda), other.to(cuda), [data], **options)
    assert torch.allclose(found.bend.cpu(), wanted.bend, atol=1e-4)
    assert torch.allclose(found.losses, wanted.losses, rtol=1e-3)
    assert torch.allclose(found.lengths, wanted.lengths, rtol=1e-4)
