import pytest
import torch

from landscape_fast.training import graphed, run
from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import digits
from landscape_fast.training.fit import Fit, fit
from landscape_fast.training.graphed import GraphedStep
from landscape_fast.training.recipe import Recipe

SMALL = {"model": "small_cnn", "data": "digits", "width": 2, "batch_size": 32, "epochs": 2}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits().first(0.15)  # 215 samples: six batches of 32 and one of 23


class Rerun:
    """Stands in for CUDA: to record is to remember the work, to play is to do it again."""

    def __init__(self) -> None:
        self.recorded = self.played = self.aside = 0

    def record(self, work):
        self.recorded += 1

        def play():
            self.played += 1
            return work()

        return play

    def run_aside(self, work):
        self.aside += 1
        return work()


@pytest.fixture
def stand_in(monkeypatch) -> Rerun:
    found = Rerun()
    monkeypatch.setattr(graphed, "_recorded", found.record)
    monkeypatch.setattr(graphed, "_aside", found.run_aside)
    monkeypatch.setattr(run, "_check_recordable", lambda recipe, device: None)
    return found


def assert_equal_bits(one: Fit, two: Fit) -> None:
    assert one.train_loss == two.train_loss
    for name, value in one.state_dict.items():
        assert torch.equal(value, two.state_dict[name]), name


@pytest.mark.parametrize("drop_last", [True, False])
def test_played_steps_are_the_steps(data, stand_in, drop_last):
    """Rates are numbers of float32, so that what is copied to the device loses nothing."""
    exact = {"schedule": "constant", "lr": 0.125, "drop_last": drop_last}
    recipe = Recipe(**SMALL, **exact)
    assert_equal_bits(
        fit(recipe, dataset=data, cuda_graph=True), fit(recipe, dataset=data, cuda_graph=False)
    )
    assert (stand_in.aside, stand_in.recorded, stand_in.played) == (3, 1, 12 - 3)


def test_a_rate_that_changes_reaches_the_recorded_step(data, stand_in):
    recipe = Recipe(**SMALL, schedule="one_cycle")
    played, plain = (fit(recipe, dataset=data, cuda_graph=graph) for graph in (True, False))
    for name, value in plain.state_dict.items():
        assert torch.allclose(played.state_dict[name].double(), value.double(), atol=1e-5), name


def test_a_run_that_was_killed_records_anew_and_ends_with_the_same_bits(data, stand_in, tmp_path):
    recipe = Recipe(**{**SMALL, "epochs": 3}, schedule="constant", lr=0.125)

    def kill(done: int, epochs: int, loss: float) -> None:
        if done == 1:
            raise KeyboardInterrupt

    path = tmp_path / "c.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(
            recipe,
            dataset=data,
            checkpoint=path,
            save_every_s=0.0,
            cuda_graph=True,
            progress=kill,
        )
    continued = fit(recipe, dataset=data, checkpoint=path, cuda_graph=True)
    assert stand_in.recorded == 2
    assert_equal_bits(continued, fit(recipe, dataset=data))


def test_rows_and_rate_are_read_from_addresses_that_stay(stand_in):
    seen = []

    def update(rows: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
        seen.append((rows.data_ptr(), rate.data_ptr(), rows.tolist(), rate.item()))
        return rate.clone()

    step = GraphedStep(update, 2, torch.device("cpu"))
    for number in range(6):
        step(torch.tensor([number, number + 1]), 0.5 * number)
    assert [each[2:] for each in seen] == [([n, n + 1], 0.5 * n) for n in range(6)]
    assert len({each[:2] for each in seen[3:]}) == 1


@pytest.mark.parametrize(
    ("device", "fields", "message"),
    [
        ("cpu", {}, "cuda_graph needs a CUDA device, got 'cpu'"),
        (
            "cuda",
            {"optimizer": "adam", "lr": 1e-3},
            "cuda_graph is for optimizer 'sgd', got 'adam'",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused(device, fields, message):
    with pytest.raises(ValueError, match=message):
        run._check_recordable(Recipe(**SMALL, **fields), torch.device(device))


def test_a_graph_on_the_cpu_is_refused_by_name(data):
    with pytest.raises(ValueError, match="cuda_graph needs a CUDA device"):
        fit(Recipe(**SMALL), dataset=data, cuda_graph=True)


@pytest.mark.gpu
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_graph_on_a_device_trains_as_steps_do(cuda, data, drop_last):
    recipe = Recipe(**SMALL, schedule="constant", lr=0.125, drop_last=drop_last)
    played, plain = (
        fit(recipe, dataset=data, device=cuda, cuda_graph=graph) for graph in (True, False)
    )
    assert played.train_loss == pytest.approx(plain.train_loss, rel=1e-4)
    for name, value in plain.state_dict.items():
        assert torch.allclose(played.state_dict[name].double(), value.double(), atol=1e-3), name
