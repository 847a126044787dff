"""Surfaces equal a plain float64 loop, hold the model exactly, and survive a kill."""

from __future__ import annotations

import copy
import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import LADDER
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import nn
from torch.nn.utils import parametrizations

from landscape_fast import quality, top_eigs
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.metrics.batchnorm import recalibrate
from landscape_fast.store import Store
from landscape_fast.surfaces import surface as module
from landscape_fast.surfaces.directions import plane_through, random_directions
from landscape_fast.surfaces.surface import loss_surface


def plain_loop(model, data, vectors, axes, loss=F.cross_entropy, between=lambda model: None):
    """The loss at every grid point by the model itself, in float64."""
    found = []
    space = ParameterSpace(model)
    for place in itertools.product(*axes):
        there = copy.deepcopy(model).double().eval()
        shift = sum(a * v.double() for a, v in zip(place, vectors, strict=True))
        offsets = zip(space.names, space.offsets[:-1], space.offsets[1:], strict=True)
        for name, start, stop in offsets:
            own = there.get_parameter(name)
            own.data += shift[start:stop].view_as(own)
        with torch.no_grad():
            between(there)
            there.eval()
            outputs = torch.cat([there(x.double()) for x, _ in data])
        found.append(float(loss(outputs, torch.cat([y for _, y in data]))))
    return torch.tensor(found, dtype=torch.float64).reshape([len(axis) for axis in axes])


@pytest.mark.parametrize("name", ["relu", "conv-bn", "attention", "pooled"])
def test_a_surface_equals_a_plain_loop_in_float64(name):
    make, shape = LADDER[name]
    model = make().double()
    x, y = classification(13, shape)
    data = cut((x.double(), y), [8, 5])
    plane = random_directions(model, 2)
    found = loss_surface(model, data, directions=plane, steps=(3, 2), span=((-1, 1), (0, 0.7)))
    assert found.note is None
    exact = plain_loop(model, data, plane.vectors, found.coordinates)
    assert (found.values - exact).abs().max() <= 1e-10 * exact.abs().max()


def test_the_model_is_exactly_on_the_grid():
    model = conv_net()
    data = cut(classification(11, (1, 6, 6)), [11])
    found = loss_surface(model, data, steps=3, span=0.3)
    assert found.coordinates == ((-0.3, 0.0, 0.3),) * 2
    assert found.at_origin == pytest.approx(quality(model, data).loss, rel=1e-6)
    assert found.at_origin == float(found.values[1, 1])
    still = loss_surface(model, data, directions=torch.zeros(1, 164), steps=3)
    assert len(set(still.values.tolist())) == 1


def test_three_axes_and_a_quadratic_bowl():
    """Least squares is quadratic, and along eigenvectors its surface is known."""
    model = nn.Linear(3, 1, bias=False).double()
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
    data = [(x, model(x).detach())]
    pairs = top_eigs(model, data, k=3, criterion=nn.MSELoss(), tol=1e-10)
    found = loss_surface(model, data, directions=pairs, steps=3, criterion=nn.MSELoss())
    axis = torch.tensor([-1.0, 0.0, 1.0]).double()
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    exact = 0.5 * (grid.square() * pairs.values).sum(-1)
    torch.testing.assert_close(found.values, exact, atol=1e-10, rtol=1e-8)


def test_nan_and_infinity_stay():
    class Edge(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return (x * 0 + self.w).sqrt() + 1 / (1 - self.w)

    data = [(torch.ones(3, 1), torch.zeros(3, 1))]
    line = torch.ones(1, 1)
    values = loss_surface(
        Edge(), data, directions=line, steps=5, span=2.0, criterion=nn.MSELoss()
    ).values.tolist()
    assert math.isnan(values[0])
    assert values[2] == 1.0
    assert values[3] == math.inf


def test_statistics_measured_anew_are_those_of_each_point():
    model = conv_net().double()
    x, y = classification(24, (1, 6, 6))
    data = cut((x.double(), y), [12, 12])
    plane = random_directions(model, 1)
    found = loss_surface(model, data, directions=plane, steps=3, batchnorm="recalibrate")
    exact = plain_loop(
        model,
        data,
        plane.vectors,
        found.coordinates,
        between=lambda there: recalibrate(there, data, Objective()),
    )
    torch.testing.assert_close(found.values, exact, atol=1e-12, rtol=1e-10)
    assert "running statistics" in found.note


def test_how_many_points_share_a_pass_changes_nothing():
    model = conv_net()
    data = cut(classification(40, (1, 6, 6)), [24, 16])
    one, other = (loss_surface(model, data, steps=3, points_at_once=k) for k in (1, 4))
    assert torch.equal(one.values, other.values)


def test_a_model_that_cannot_be_captured_runs_itself():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(5, 3)

        def forward(self, x):
            return self.inner(x) if float(x.sum()) > -1e9 else x

    model, data = Asks(), cut(classification(9), [9])
    found = loss_surface(model, data, steps=3)
    same = loss_surface(model.inner, data, steps=3)
    assert "not captured" in found.note
    torch.testing.assert_close(found.values, same.values, atol=1e-6, rtol=1e-6)


def test_rows_that_are_coupled_stay_together():
    class Coupled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 40, 3, padding=1)

        def forward(self, x):
            out = self.conv(x).relu()
            return (out - out.mean(0, keepdim=True)).mean((2, 3))[:, :3]

    model = Coupled().double()
    x, y = classification(40, (1, 30, 30))
    data = cut((x.double(), y), [40])
    plane = random_directions(model, 1)
    found = loss_surface(model, data, directions=plane, steps=3)
    exact = plain_loop(model, data, plane.vectors, found.coordinates)
    assert found.note is None
    torch.testing.assert_close(found.values, exact, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: parametrizations.weight_norm(nn.Linear(6, 6)),
        lambda: nn.BatchNorm1d(6, track_running_stats=False),
    ],
    ids=["weight normalisation", "statistics of the batch, which one row has not"],
)
def test_points_share_a_program_whatever_normalises(layer, capfd):
    model = nn.Sequential(nn.Linear(5, 6), layer(), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = classification(13)
    data = cut((x.double(), y), [13])
    plane = random_directions(model, 1)
    found = loss_surface(model, data, directions=plane, steps=3)
    assert found.note is None
    assert "performance drop" not in capfd.readouterr().err  # of points one by one, says torch
    exact = plain_loop(model, data, plane.vectors, found.coordinates)
    torch.testing.assert_close(found.values, exact, atol=1e-12, rtol=1e-10)


def test_the_model_comes_back_untouched_also_after_an_error():
    model = conv_net().train()
    data = cut(classification(12, (1, 6, 6)), [12])
    before = snapshot(model)
    loss_surface(model, data, steps=3)
    loss_surface(model, data, steps=3, batchnorm="recalibrate")
    assert_same_state(model, before)

    def fails(model, batch):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        loss_surface(model, data, steps=3, loss_fn=fails)
    assert_same_state(model, before)


def test_an_interrupted_surface_resumes_where_it_was(tmp_path, monkeypatch):
    model, data = mlp(), cut(classification(9), [9])
    whole = loss_surface(model, data, steps=5)
    evaluated = []
    plain = module.LossAt.__call__

    def watched(self, points):
        evaluated.append(len(points))
        if len(evaluated) == 3:
            raise KeyboardInterrupt
        return plain(self, points)

    monkeypatch.setattr(module.LossAt, "__call__", watched)
    with pytest.raises(KeyboardInterrupt):
        loss_surface(model, data, steps=5, path=tmp_path / "surface.npz")
    resumed = loss_surface(model, data, steps=5, path=tmp_path / "surface.npz")
    assert evaluated == [8, 8, 8, 8, 1]  # two blocks were kept, the third came again
    assert torch.equal(resumed.values, whole.values)
    again = loss_surface(model, data, steps=5, path=tmp_path / "surface.npz")
    assert len(evaluated) == 5
    assert torch.equal(again.values, whole.values)


@pytest.mark.slow
def test_a_killed_surface_loses_no_finished_point(tmp_path, monkeypatch):
    """A process killed mid-way leaves a whole file; only what is not in it is computed again."""
    script = textwrap.dedent(
        """
        import sys, time
        import torch
        from landscape_fast.surfaces import cells, surface
        cells.PAUSE = 0.0
        plain = surface.LossAt.__call__
        surface.LossAt.__call__ = lambda self, points: time.sleep(0.1) or plain(self, points)
        torch.set_num_threads(1)
        model, data = torch.load(sys.argv[1], weights_only=False)
        surface.loss_surface(model, data, steps=21, path=sys.argv[2])
        """
    )
    model, data = nn.Linear(4, 3), [(torch.randn(6, 4), torch.arange(6) % 3)]
    torch.save((model, data), tmp_path / "problem.pt")
    path = tmp_path / "surface.npz"
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "problem.pt", path])
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with np.load(path) as file:
        kept = int(file["done"].sum())
    assert 0 < kept < 441
    evaluated = []
    plain = module.LossAt.__call__
    monkeypatch.setattr(
        module.LossAt,
        "__call__",
        lambda self, points: evaluated.append(len(points)) or plain(self, points),
    )
    resumed = loss_surface(model, data, steps=21, path=path)
    assert sum(evaluated) == 441 - kept
    assert torch.equal(resumed.values, loss_surface(model, data, steps=21).values)


def test_a_file_of_another_surface_is_refused(tmp_path):
    model, data = mlp(), cut(classification(9), [9])
    path = tmp_path / "surface.npz"
    loss_surface(model, data, steps=3, path=path)
    with pytest.raises(ValueError, match="another model, grid, direction or loss"):
        loss_surface(model, data, steps=3, seed=1, path=path)
    with pytest.raises(ValueError, match="data differ"):
        loss_surface(model, cut(classification(9, seed=1), [9]), steps=3, path=path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="no whole surface"):
        loss_surface(model, data, steps=3, path=path)


def test_a_surface_comes_back_from_the_store(tmp_path):
    found = loss_surface(mlp(), cut(classification(4), [4]), steps=3)
    store = Store(tmp_path)
    store.save("model", "surface", found)
    again = store.load("model", "surface")
    assert torch.equal(again.values, found.values)
    assert again.coordinates == found.coordinates


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 4}, "steps=5 would hold it"),
        ({"steps": 21, "span": (-0.2, 1.2)}, "steps=22 would hold it"),
        ({"steps": 1}, "steps"),
        ({"span": (0.5, 1.0)}, "span"),
        ({"steps": (3, 3, 3)}, "steps has 3 entries for 2"),
        ({"directions": torch.zeros(2, 5)}, "57 parameters"),
        ({"directions": torch.full((1, 57), math.nan)}, "finite"),
        ({"batchnorm": "train"}, "batchnorm"),
        ({"points_at_once": 0}, "points_at_once"),
    ],
)
def test_errors_name_the_argument(options, words):
    with pytest.raises(ValueError, match=words):
        loss_surface(mlp(), cut(classification(4), [4]), **options)


def test_a_plane_through_three_networks_passes_through_their_losses():
    torch.manual_seed(0)
    models = [mlp(seed=seed).double() for seed in range(3)]
    x, y = classification(20)
    data = [(x.double(), y)]
    plane = plane_through(*models)
    found = loss_surface(models[0], data, directions=plane, steps=(3, 3), span=((0, 2), (0, 2)))
    assert float(found.values[1, 0]) == pytest.approx(quality(models[1], data).loss, rel=1e-10)


@pytest.mark.data
def test_a_trained_network_lies_in_a_basin(shared_data):
    """On MNIST digits the trained loss is the lowest of its own random plane."""
    import gzip

    raw = gzip.decompress((shared_data / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((shared_data / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())
    x = torch.frombuffer(bytearray(raw[16:]), dtype=torch.uint8)[: 300 * 784].view(-1, 784) / 255
    y = torch.frombuffer(bytearray(labels[8:]), dtype=torch.uint8)[:300].long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    found = loss_surface(model, [(x, y)], steps=7)
    assert found.lowest == (found.at_origin, (0.0, 0.0))
    assert float(found.values[0].min()) > 5 * found.at_origin
