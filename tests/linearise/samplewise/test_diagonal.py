from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import zoo
from networks import LADDER
from oracles import assert_relative, classification, cut, dense_gauss_newton, mlp
from torch import nn

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.samplewise import diagonal, factors, norms
from landscape_fast.linearise.samplewise.diagonal import add_tables
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.samplewise.table import tables
from landscape_fast.linearise.second_derivative import twice_differentiable
from landscape_fast.linearise.state import evaluation

WEIGHT = torch.tensor([0.2, 3.0, 1.0], dtype=torch.float64)


def measured(model, batches, share=0.0, **loss):
    """Diagonal (n,) of the Gauss-Newton matrix of the summed loss, and what made it."""
    with evaluation(model):
        space = ParameterSpace(model)
        network = SampledNetwork(model, Objective(**loss), space, batches[0])
        parts = [torch.zeros(shape, dtype=torch.float64) for shape in space.shapes]
        found = add_tables(lambda _: network, tables(batches, 2**28), share, parts)
    return torch.cat([part.reshape(-1) for part in parts]), network, found


@pytest.mark.parametrize("name", LADDER)
def test_the_diagonal_is_that_of_the_dense_matrix_on_ragged_batches(name, monkeypatch):
    monkeypatch.setattr(norms, "FEWEST_POSITIONS", 1)
    # Passes of few rows and few cotangents, the last one filled up.
    monkeypatch.setattr(diagonal, "PASS_ELEMENTS", 1)
    monkeypatch.setattr(diagonal, "WIDEST_ELEMENTS", 1)
    make, shape = LADDER[name]
    x, y = classification(14, shape)
    with twice_differentiable(make()):
        exact = dense_gauss_newton(
            make(),
            lambda m: m(x.double()),
            lambda z: F.cross_entropy(z, y, reduction="sum"),
        )
    found, network, _ = measured(make().double(), cut((x.double(), y), [10, 4]))
    assert_relative(found, exact.diagonal(), 1e-12)
    rest = len(list(make().parameters())) - len(network.fast)
    assert rest == {"tied": 1, "recurrent": 2}.get(name, 0)


CRITERIA = {
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHT), "index"),
    "ignore_index": (nn.CrossEntropyLoss(ignore_index=1), "index"),
    "all": (nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=1, label_smoothing=0.1), "index"),
    "probability targets": (nn.CrossEntropyLoss(weight=WEIGHT), "probability"),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), "index"),
    "squared error": (nn.MSELoss(), "probability"),
    "huber": (nn.HuberLoss(delta=0.7), "probability"),
    "logits": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), "probability"),
}


@pytest.mark.parametrize("most_classes", [64, 2])
@pytest.mark.parametrize("name", CRITERIA)
def test_every_loss_has_its_own_output_curvature(name, most_classes, monkeypatch):
    monkeypatch.setattr(factors, "MOST_CLASSES", most_classes)
    criterion, kind = CRITERIA[name]
    x, y = classification(11)
    if kind == "probability":
        y = torch.randn(11, 3, generator=torch.Generator().manual_seed(1)).double().softmax(1)
    exact = dense_gauss_newton(mlp(), lambda m: m(x.double()), lambda z: criterion(z, y))
    batches = cut((x.double(), y), [4, 4, 3])
    found, _, _ = measured(mlp().double(), batches, criterion=criterion)
    counts = sum(Objective(criterion)(mlp().double(), batch)[1] for batch in batches)
    assert_relative(found / Objective(criterion).normaliser(counts), exact.diagonal(), 1e-12)


def test_a_loss_that_couples_outputs_and_bends_down_is_decomposed_row_by_row():
    x = classification(9)[0].double()

    def loss(z):
        return ((z[:, 0] * z[:, 1]).sin() + z[:, 2] ** 4).sum()

    exact = dense_gauss_newton(mlp(), lambda m: m(x), loss)
    assert exact.diagonal().min() < 0
    found, _, _ = measured(mlp().double(), [(x,)], loss_fn=lambda m, b: (loss(m(b[0])), len(b[0])))
    assert_relative(found, exact.diagonal(), 1e-12)


class Conv1d(nn.Module):
    """Positions before or behind the classes, grouped, strided and dilated filters."""

    def __init__(self, last):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv1d(2, 4, 3, stride=2, padding=1, groups=2)
        self.second = nn.Conv1d(4, 3, 2, dilation=2, padding=1)
        self.last = last

    def forward(self, x):
        z = self.second(torch.tanh(self.first(x)))
        return z.transpose(1, 2).reshape(-1, 3) if self.last else z


@pytest.mark.parametrize("last", [False, True])
def test_tokens_have_cotangents_of_their_own_and_add_up_before_squares(last):
    x = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0)).double()
    y = torch.randint(3, (5, 4), generator=torch.Generator().manual_seed(1))

    def loss(z, y):
        return F.cross_entropy(z, y.reshape(-1) if last else y, reduction="sum")

    exact = dense_gauss_newton(Conv1d(last), lambda m: m(x), lambda z: loss(z, y))
    model = Conv1d(last).double()
    found, network, _ = measured(
        model, [(x[:3], y[:3]), (x[3:], y[3:])], loss_fn=lambda m, b: (loss(m(b[0]), b[1]), 1)
    )
    assert_relative(found, exact.diagonal(), 1e-12)
    assert len(network.fast) == 4


class Sequence(nn.Module):
    """Time comes first, an embedding with padding, positions, layer normalisation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.place = nn.Embedding(6, 4, padding_idx=0), nn.Parameter(torch.randn(5, 4))
        self.mix, self.norm, self.out = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, tokens):
        x = (self.table(tokens) + self.place).transpose(0, 1)
        return self.out(self.norm(torch.tanh(self.mix(x))).mean(0))


def test_repeated_tokens_and_rows_inside_other_dimensions_are_found():
    tokens = torch.randint(6, (7, 5), generator=torch.Generator().manual_seed(2))
    y = torch.arange(7) % 3
    exact = dense_gauss_newton(
        Sequence(), lambda m: m(tokens), lambda z: F.cross_entropy(z, y, reduction="sum")
    )
    found, network, _ = measured(Sequence().double(), [(tokens, y)])
    assert_relative(found, exact.diagonal(), 1e-12)
    assert len(network.fast) == 8


class Frames(nn.Module):
    """Several images per row, folded into the batch of the layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.out = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3)
        self.line = nn.Conv1d(2, 2, 2)

    def forward(self, x):
        folded = torch.relu(self.norm(self.conv(x.flatten(0, 1)))).mean(3)
        return self.out(self.line(folded).mean(2).unflatten(0, x.shape[:2]).mean(1))


def test_rows_of_several_images_add_up_before_squares():
    x, y = classification(5, (3, 1, 5, 5))
    exact = dense_gauss_newton(
        Frames(), lambda m: m(x.double()), lambda z: F.cross_entropy(z, y, reduction="sum")
    )
    found, network, _ = measured(Frames().double(), [(x.double(), y)])
    assert_relative(found, exact.diagonal(), 1e-12)
    assert len(network.fast) == 8


@pytest.mark.parametrize("kind", ["unet", "group norm"])
def test_what_has_no_rule_goes_row_by_row(kind):
    torch.manual_seed(0)
    model = (
        zoo.images(zoo.UNet(), channels=1, out=2, classes=2)
        if kind == "unet"
        else zoo.images(nn.GroupNorm(1, 2), nn.ReLU())
    ).double()
    x, y = classification(5, (1, 6, 6), 2)
    exact = dense_gauss_newton(
        model, lambda m: m(x.double()), lambda z: F.cross_entropy(z, y, reduction="sum")
    )
    found, network, _ = measured(model, [(x.double(), y)])
    assert_relative(found, exact.diagonal(), 1e-12)
    assert len(network.fast) < len(list(model.parameters()))


def test_what_is_left_out_of_confident_rows_is_stated_and_bounds_the_error():
    model = mlp().double()
    with torch.no_grad():
        model[2].weight *= 20
    x, y = classification(40)
    batches = [(x.double(), y)]
    whole, _, all_of_it = measured(model, batches)
    part, _, found = measured(model, batches, 1e-4)
    assert 0 < found.left <= 1e-4 * found.whole
    assert found.cotangents < 0.8 * all_of_it.cotangents
    assert all_of_it.cotangents <= 2 * 40  # of rank C - 1
    assert all_of_it.left == 0
    error = float((whole - part).sum() / whole.sum())
    assert 0 < error < 1e-3


@pytest.mark.parametrize(
    "loss_fn",
    [
        lambda m, b: ((m(b[0]) @ m(b[0]).T).square().sum(), 1.0),  # pairs of rows
        lambda m, b: (F.cross_entropy(m(b[0] - b[0].mean(0)), b[1]) * len(b[0]), len(b[0])),
        lambda m, b: (m(b[0]).sum(), 1.0),  # no curvature
    ],
)
def test_coupled_rows_and_flat_losses_are_refused(loss_fn):
    x, y = classification(6)
    with pytest.raises(ValueError, match=r"couple|cut|rows"):
        measured(mlp().double(), [(x.double(), y)], loss_fn=loss_fn)


def test_a_stop_gradient_keeps_its_gradient_and_claims_nothing():
    class Stopped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.out = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.first(x).relu() * self.first(x).detach())

    torch.manual_seed(0)
    x, y = classification(6)
    _, network, _ = measured(Stopped().double(), [(x.double(), y)])
    assert network.exact == (2, 3)


def test_a_network_that_is_very_sure_is_measured_in_single_precision_too():
    x, y = classification(40, (5,))
    model = mlp()
    with torch.no_grad():
        list(model.parameters())[-2].mul_(400)  # probabilities of one up to rounding
        y = model(x.float()).argmax(1)
    found, _, _ = measured(model.float(), [(x.float(), y)])
    exact, _, _ = measured(model.double(), [(x.double(), y)])
    assert_relative(found, exact, 1e-3)
