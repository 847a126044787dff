"""Permutations leave the function as it is, and find units that were hidden."""

from __future__ import annotations

import copy
import gzip
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from alignment.hidden import NETWORKS, double, network
from oracles import assert_same_state, snapshot
from torch import nn

from landscape_fast.alignment.align import align
from landscape_fast.alignment.groups import find_groups
from landscape_fast.alignment.repair import interpolated
from landscape_fast.metrics.line import linear_barrier
from landscape_fast.store import Store


def shuffled(model, inputs, *, seed=1):
    """Random permutations of the hidden units of ``model``."""
    found = align(model, model, [(inputs,)])
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(size, generator=generator) for size in found.sizes]
    return replace(found, order=torch.cat(orders))


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_of_every_architecture_are_found(name):
    model, inputs = network(name)
    assert sorted(find_groups(model, inputs).sizes) == NETWORKS[name][2]


@pytest.mark.parametrize("name", NETWORKS)
def test_permuted_networks_compute_the_same(name):
    model, inputs = network(name)
    change = shuffled(model, inputs)
    moved = change.applied_to(model)
    pairs = zip(model.parameters(), moved.parameters(), strict=True)
    assert sum(not torch.equal(a, b) for a, b in pairs) > 3
    with torch.no_grad():
        assert (moved(inputs) - model(inputs)).abs().max() <= 1e-5
        exact = double(model)(inputs.double())
        assert (double(moved)(inputs.double()) - exact).abs().max() <= 1e-10


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_alone_find_a_permuted_network_again(name):
    model, inputs = network(name)
    moved = shuffled(model, inputs).applied_to(model)
    found = align(model, moved, [(inputs,)])
    assert found.converged
    assert found.distance_before > 1.0
    assert found.distance_after == pytest.approx(0.0, abs=1e-6)
    for own, back in zip(model.parameters(), found.applied_to(moved).parameters(), strict=True):
        assert torch.equal(own, back)


@pytest.mark.parametrize("name", ["mlp", "vgg", "residual"])
def test_activations_alone_find_a_permuted_network_again(name):
    model, _ = network(name)
    data = [(torch.randn(n, *NETWORKS[name][1]),) for n in (40, 24)]
    moved = shuffled(model, data[0][0]).applied_to(model)
    assert align(model, moved, data, method="activations").distance_after == 0.0


def test_the_distance_never_grows_between_strangers():
    (one, inputs), (other, _) = network("residual"), network("residual", seed=5)
    found = align(one, other, [(inputs,)])
    assert found.distance_after < found.distance_before
    direct = sum(
        (a - b).square().sum()
        for a, b in zip(one.parameters(), found.applied_to(other).parameters(), strict=True)
    )
    assert found.distance_after == pytest.approx(float(direct.detach()) ** 0.5, rel=1e-5)


def test_units_that_keep_their_place_are_named():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 5), nn.Linear(7, 3)

        def forward(self, x):
            return self.second(F.pad(self.first(x).relu(), (1, 1)))

    found = align(Padded(), Padded(), [(torch.randn(6, 4),)])
    assert found.sizes == ()
    assert (
        "first.weight, axis 0",
        "an axis is padded (aten.constant_pad_nd.default)",
    ) in found.still


def test_what_is_not_understood_is_refused_by_name():
    class Sorts(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.second(self.first(x).sort(-1).values)

    with pytest.raises(ValueError, match=r"aten\.sort\.default"):
        align(Sorts(), Sorts(), [(torch.randn(6, 4),)])


@pytest.mark.parametrize(
    ("options", "words"), [({"method": "weight"}, "method"), ({"rounds": 0}, "rounds")]
)
def test_errors_name_the_argument(options, words):
    model, inputs = network("mlp")
    with pytest.raises(ValueError, match=words):
        align(model, model, [(inputs,)], **options)


def test_what_is_not_finite_is_named():
    model, inputs = network("mlp")
    spoilt = copy.deepcopy(model)
    next(spoilt.parameters()).data.view(-1)[0] = math.nan
    for pair, name in (((model, spoilt), "model_b"), ((spoilt, model), "model_a")):
        with pytest.raises(ValueError, match=f"{name} holds values that are not finite"):
            align(*pair, [(inputs,)])
    with pytest.raises(ValueError, match="activations on the data of loader are not finite"):
        align(model, model, [(inputs * math.nan,)], method="activations")


def test_models_come_back_untouched():
    (one, inputs), (other, _) = network("vgg"), network("vgg", seed=2)
    one.train()
    before = snapshot(one), snapshot(other)
    align(one, other, [(inputs,)], method="activations")
    interpolated(one, other, [(inputs,)])
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])


def test_permutations_come_back_from_the_store(tmp_path):
    model, inputs = network("vgg")
    found = shuffled(model, inputs)
    store = Store(tmp_path)
    store.save("pair", "permutations", found)
    again = store.load("pair", "permutations")
    for own, other in zip(
        found.applied_to(model).parameters(), again.applied_to(model).parameters(), strict=True
    ):
        assert torch.equal(own, other)


def trained(x, y, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(120):
        part = slice(step * 100 % len(x), step * 100 % len(x) + 100)
        optimiser.zero_grad()
        F.cross_entropy(model(x[part]), y[part]).backward()
        optimiser.step()
    return model


@pytest.mark.data
def test_alignment_and_repair_lower_the_barrier_between_digit_networks(shared_data):
    raw = gzip.decompress((shared_data / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((shared_data / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())
    x = torch.frombuffer(bytearray(raw[16:]), dtype=torch.uint8)[: 2000 * 784].view(-1, 784) / 255
    y = torch.frombuffer(bytearray(labels[8:]), dtype=torch.uint8)[:2000].long()
    one, other = trained(x, y, 0), trained(x, y, 1)
    data = list(zip(x.split(500), y.split(500), strict=True))
    before = linear_barrier(one, other, data, points=3).loss_value
    for method in ("weights", "activations"):
        near = align(one, other, data, method=method).applied_to(other)
        aligned = linear_barrier(one, near, data, points=3).loss_value
        assert aligned < 0.5 * before
        losses = [
            float(F.cross_entropy(interpolated(one, near, data, repair=repair)(x), y).detach())
            for repair in (False, True)
        ]
        assert losses[1] < losses[0]
