"""The four signs against features whose simplex is known."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, snapshot
from torch import nn

from landscape_fast.metrics.neural_collapse import neural_collapse
from landscape_fast.store import Store

TWO = torch.tensor([0, 1, 0, 1])


def simplex(classes, width, radius=2.0, seed=0):
    """Class means (K, d): a simplex of the given radius, turned at random, off the origin."""
    generator = torch.Generator().manual_seed(seed)
    frame = torch.linalg.qr(torch.randn(width, classes, generator=generator).double())[0]
    corners = (torch.eye(classes).double() - 1 / classes) * math.sqrt(classes / (classes - 1))
    return radius * corners @ frame.T


def samples(means, sigma):
    """Features around class means with covariance exactly ``sigma^2 I``, and their classes."""
    classes, width = means.shape
    noise = sigma * math.sqrt(width) * torch.eye(width).double()
    noise = torch.cat([noise, -noise])
    features = (means[:, None] + noise).flatten(0, 1)
    return features, torch.arange(classes).repeat_interleave(len(noise))


def classifier(weight, bias=None):
    model = nn.Sequential(nn.Identity(), nn.Linear(weight.shape[1], len(weight))).double()
    model[1].weight.data = weight.clone()
    model[1].bias.data = torch.zeros(len(weight)).double() if bias is None else bias
    return model


def test_a_perfect_simplex_has_collapsed():
    means = simplex(4, 6)
    features, classes = samples(means, 1e-6)
    found = neural_collapse(classifier(3.0 * means), [(features, classes)])
    for value in (
        found.nc1,
        found.nc2_norms,
        found.nc2_angles,
        found.nc2_weights_norms,
        found.nc2_weights_angles,
        found.nc3,
        found.nc4,
        found.bias,
    ):
        assert value == pytest.approx(0.0, abs=1e-9)
    assert found.accuracy == 100.0


def test_spread_within_classes_is_that_of_the_formula():
    """A simplex of radius r has S_B = r^2 / (K - 1) on its span: NC1 = s^2 (K - 1)^2 / (K r^2)."""
    features, classes = samples(simplex(5, 7, radius=3.0) + 11.0, 0.4)
    batches = list(zip(features.split(17), classes.split(17), strict=True))
    found = neural_collapse(classifier(simplex(5, 7)), batches)
    assert found.nc1 == pytest.approx(0.16 * 16 / (5 * 9), rel=1e-10)
    assert found.nc2_angles == pytest.approx(0.0, abs=1e-10)


def test_unequal_norms_and_angles_are_seen():
    means = torch.diag(torch.tensor([1.0, 2.0, 3.0]).double())
    features, classes = samples(means, 0.01)
    found = neural_collapse(classifier(means), [(features, classes)])
    rays = means - means.mean(0)
    norms = rays.norm(dim=1)
    assert found.nc2_norms == pytest.approx(float(norms.std(unbiased=False) / norms.mean()))
    cosines = [
        float(rays[a] @ rays[b] / (norms[a] * norms[b])) for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert found.nc2_angles == pytest.approx(sum(abs(c + 0.5) for c in cosines) / 3)
    exact = (means / means.norm() - rays / rays.norm()).square().sum()
    assert found.nc3 == pytest.approx(float(exact))


def test_a_classifier_that_disagrees_with_the_nearest_mean_is_counted():
    means = simplex(3, 4)
    features, classes = samples(means, 1e-3)
    swapped = means[[1, 0, 2]]
    found = neural_collapse(classifier(swapped), [(features, classes)])
    assert found.nc4 == pytest.approx(2 / 3)
    assert found.accuracy == pytest.approx(100 / 3)


def test_a_bias_that_cancels_the_global_mean_has_collapsed():
    means = simplex(3, 4) + 5.0
    features, classes = samples(means, 1e-3)
    weight = simplex(3, 4)
    off = neural_collapse(classifier(weight), [(features, classes)])
    on = neural_collapse(classifier(weight, -weight @ means.mean(0)), [(features, classes)])
    assert on.bias == pytest.approx(0.0, abs=1e-10)
    assert off.bias > 0.1


def test_networks_come_back_untouched_and_results_from_the_store(tmp_path):
    model, (x, y) = conv_net().train(), classification(30, (1, 6, 6))
    before = snapshot(model)
    found = neural_collapse(model, [(x, y)])
    assert_same_state(model, before)
    assert found.means.shape == (3, 4)
    store = Store(tmp_path)
    store.save("model", "collapse", found)
    assert torch.equal(store.load("model", "collapse").means, found.means)


def test_errors_name_what_is_wrong():
    x, y = classification(9)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    assert neural_collapse(model, [(x, y)], head="2").nc1 == neural_collapse(model, [(x, y)]).nc1
    with pytest.raises(ValueError, match="head names 'last'"):
        neural_collapse(model, [(x, y)], head="last")
    with pytest.raises(ValueError, match="not part of the model"):
        neural_collapse(model, [(x, y)], head=nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"class 2 of 3 has no sample"):
        neural_collapse(model, [(x, y % 2)])
    with pytest.raises(ValueError, match="indices"):
        neural_collapse(model, [(x, y + 1)])
    with pytest.raises(ValueError, match="indices .* got -1"):
        neural_collapse(model, [(x, y - 1)])
    with pytest.raises(ValueError, match="features in front of head are not finite"):
        neural_collapse(model, [(x.index_fill(0, torch.tensor([4]), math.nan), y)])
    with pytest.raises(ValueError, match="two classes or more, got 1"):
        neural_collapse(nn.Linear(5, 1), [(x, 0 * y)])
    with pytest.raises(TypeError, match="tensor of scores, got tuple"):
        neural_collapse(nn.Sequential(nn.Linear(5, 5), nn.LSTM(5, 3)), [(x, y % 5)])
    with pytest.raises(ValueError, match=r"runs no nn\.Linear"):
        neural_collapse(nn.Tanh(), [(x, y)])


def test_rows_that_losses_leave_out_are_left_out():
    x, y = classification(12)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    some = torch.cat([y[:9], torch.full((3,), -100)])
    found, wanted = (neural_collapse(model, [data]) for data in ((x, some), (x[:9], y[:9])))
    assert (found.nc1, found.nc4, found.samples) == (wanted.nc1, wanted.nc4, 9)


def test_classes_with_one_mean_have_not_collapsed():
    found = neural_collapse(classifier(torch.eye(2).double()), [(torch.ones(4, 2).double(), TWO)])
    assert math.isnan(found.nc1)
