"""Training in planes stays in them, and reaches the minimum that each plane has."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import nn

from landscape_fast import hyperplane_training, intrinsic_dimension
from landscape_fast.local_geometry.planes import OrthonormalPlane, SparsePlane
from landscape_fast.results import IntrinsicDimension
from landscape_fast.store import Store

BLOCKS, WIDE = 4, 8


def block_sums():
    """Li et al.'s toy problem: sums over blocks of weights are to be 1, 2, ...: dimension 4."""
    n = BLOCKS * WIDE
    model = nn.Linear(n, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    x = torch.eye(BLOCKS).repeat_interleave(WIDE, 1).double()
    return model, [(x, torch.arange(1.0, BLOCKS + 1)[:, None].double())]


def trained(dimension, **options):
    model, data = block_sums()
    settings = {"criterion": nn.MSELoss(), "epochs": 150, "lr": 0.1, **options}
    return hyperplane_training(model, data, dimension, **settings)


@pytest.mark.parametrize("basis", ["orthonormal", "sparse"])
def test_the_toy_problem_is_solved_from_its_dimension_on(basis):
    assert trained(8, basis=basis).loss < 1e-4
    assert trained(BLOCKS - 1, basis=basis).loss > 1e-2
    assert trained(None).loss < 1e-4


def test_a_plane_is_trained_to_its_own_minimum():
    """Least squares in the plane has a closed form."""
    run = trained(2, seed=3)
    model, ((x, y),) = block_sums()
    plane = OrthonormalPlane(BLOCKS * WIDE, 2, torch.Generator().manual_seed(3), model.weight)
    frame = torch.stack([plane.move(e) for e in torch.eye(2).double()], 1)
    best = torch.linalg.lstsq(x @ frame, y).solution
    exact = float((x @ frame @ best - y).square().mean())
    assert run.loss == pytest.approx(exact, rel=1e-5)
    torch.testing.assert_close(run.weights, (frame @ best)[:, 0], rtol=1e-3, atol=1e-3)
    assert run.distance == pytest.approx(float(run.weights.norm()))


@pytest.mark.parametrize("basis", ["orthonormal", "sparse"])
def test_weights_stay_in_the_plane(basis):
    model, data = mlp().double(), cut(tuple(classification(20)), [20])
    data = [(x.double(), y) for x, y in data]
    run = hyperplane_training(model, data, 5, basis=basis, epochs=3, seed=1)
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    kind = OrthonormalPlane if basis == "orthonormal" else SparsePlane
    plane = kind(57, 5, torch.Generator().manual_seed(1), start)
    frame = torch.stack([plane.move(e) for e in torch.eye(5).double()], 1)
    move = run.weights - start
    inside = frame @ torch.linalg.lstsq(frame, move[:, None]).solution[:, 0]
    torch.testing.assert_close(inside, move, rtol=1e-8, atol=1e-10)
    assert move.norm() > 0
    assert (run.dimension, run.space, run.steps) == (5, 57, 3)


def test_batch_normalisation_and_dropout_train_and_the_model_comes_back():
    model = nn.Sequential(conv_net(), nn.Dropout(0.2)).train()
    data = cut(classification(24, (1, 6, 6)), [10, 14])
    before = snapshot(model)
    one = hyperplane_training(model, data, 20, epochs=10, batch_size=8, lr=0.01)
    assert_same_state(model, before)
    other = hyperplane_training(model, data, 20, epochs=10, batch_size=8, lr=0.01)
    assert torch.equal(one.weights, other.weights)
    assert one.loss == other.loss
    assert one.train_losses[-1] < one.train_losses[0]


def test_divergence_is_an_outcome():
    run = trained(4, lr=1e200, epochs=5)
    assert run.diverged
    assert math.isnan(run.accuracy)
    assert len(run.train_losses) < 5


def test_the_intrinsic_dimension_is_the_first_that_reaches_the_threshold(tmp_path):
    def found(threshold):
        return IntrinsicDimension(
            dimensions=(1, 2, 4, 8),
            accuracies=torch.tensor([[20, 30], [60, 50], [92, 88], [99, math.nan]]).double(),
            baseline=100.0,
            threshold=threshold,
            space=16,
            basis="orthonormal",
        )

    assert found(0.9).means.tolist() == [25.0, 55.0, 90.0, 49.5]  # a run that diverged as 0
    assert (found(0.9).value, found(0.9).bracket) == (4, (2, 4))
    assert found(0.9).margins.tolist() == pytest.approx([-65 / 5, -35 / 5, 0.0, -40.5 / 49.5])
    assert (found(0.95).value, found(0.95).bracket) == (None, (8, None))
    assert (found(0.2).value, found(0.2).bracket) == (1, (0, 1))
    store = Store(tmp_path)
    store.save("model", "intrinsic", found(0.9))
    assert store.load("model", "intrinsic").value == 4


def test_two_clouds_need_few_dimensions_and_held_out_rows_judge():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.randn(60, 4, generator=generator) + 6.0 * y[:, None] - 3.0
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    options = {"epochs": 40, "lr": 0.05, "planes": 2, "judged_by": [(x[40:], y[40:])]}
    found = intrinsic_dimension(model, [(x[:40], y[:40])], [1, 10], **options)
    assert found.accuracies.shape == (2, 2)
    assert found.baseline == 100.0
    assert found.value in (1, 10)
    assert found.means[-1] == 100.0
    given = intrinsic_dimension(model, [(x, y)], [1], baseline=50.0, epochs=1)
    assert given.baseline == 50.0
    assert given.margins.isnan().all()  # of one plane there is no error


def test_runs_come_back_from_the_store(tmp_path):
    run = trained(2, epochs=2)
    store = Store(tmp_path)
    store.save("model", "run", run)
    assert torch.equal(store.load("model", "run").weights, run.weights)


def test_errors_name_the_argument():
    data = [classification(6)]
    with pytest.raises(ValueError, match="dimension must be .* at most 57"):
        hyperplane_training(mlp(), data, 58)
    with pytest.raises(ValueError, match="basis must be"):
        hyperplane_training(mlp(), data, 3, basis="fastfood")
    with pytest.raises(ValueError, match="density goes with"):
        hyperplane_training(mlp(), data, 3, density=0.5)
    with pytest.raises(ValueError, match="density must be"):
        hyperplane_training(mlp(), data, 3, basis="sparse", density=2.0)
    with pytest.raises(ValueError, match="density must be at least 0.0175"):  # an entry of 57
        hyperplane_training(mlp(), data, 3, basis="sparse", density=0.01)
    with pytest.raises(ValueError, match="epochs must be"):
        hyperplane_training(mlp(), data, 3, epochs=0)
    with pytest.raises(ValueError, match="lr must be"):
        hyperplane_training(mlp(), data, 3, lr=-1.0)
    with pytest.raises(ValueError, match="memory_budget"):
        hyperplane_training(mlp(), data, 3, memory_budget=0)
    with pytest.raises(ValueError, match="dimensions must ascend"):
        intrinsic_dimension(mlp(), data, [4, 2])
    with pytest.raises(ValueError, match="57 parameters"):
        intrinsic_dimension(mlp(), data, [4, 58])
    with pytest.raises(ValueError, match="threshold must be"):
        intrinsic_dimension(mlp(), data, [4], threshold=1.5)
    model, regression = block_sums()
    with pytest.raises(ValueError, match="baseline must be an accuracy"):
        intrinsic_dimension(model, regression, [2], criterion=nn.MSELoss(), epochs=1)


def test_dimensions_may_be_a_tensor_or_come_once():
    data = [classification(6)]
    for dimensions in (torch.tensor([1, 2]), iter([1, 2])):
        found = intrinsic_dimension(mlp(), data, dimensions, planes=1, epochs=1)
        assert found.dimensions == (1, 2)


def test_autocast_around_a_training_in_a_plane_is_off_inside_it():
    torch.manual_seed(0)
    model, data = mlp(), [classification(30)]
    plain = hyperplane_training(model, data, 3, epochs=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = hyperplane_training(model, data, 3, epochs=1)
    assert torch.equal(inside.train_losses, plain.train_losses)
