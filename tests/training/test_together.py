import copy
import math
import sys
import types
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from landscape_fast.training import together
from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import digits
from landscape_fast.training.fit import Fit, fit
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.run import Run
from landscape_fast.training.together import fit_together, train_epoch

MODULE = "test_together_support"
SMALL = {
    **{"model": "small_cnn", "data": "digits", "width": 3, "batch_size": 32},
    **{"epochs": 2, "fraction": 0.1, "dtype": "float64"},
}


class Flat(nn.Module):
    """A linear layer, with a buffer that is replaced and not written into."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.linear(inputs.flatten(1))
        self.largest = torch.maximum(self.largest, outputs.max())
        return outputs


class Dropped(Flat):
    """Draws random numbers."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.dropout(inputs, 0.5, training=self.training))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    module = types.ModuleType(MODULE)
    module.Flat, module.Dropped = Flat, Dropped
    monkeypatch.setitem(sys.modules, MODULE, module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeds(count: int = 3, **fields: object) -> list[Recipe]:
    return [Recipe(**{**SMALL, **fields}, seed=seed) for seed in range(count)]


def assert_same(one: Fit, two: Fit, atol: float = 1e-11) -> None:
    """Equal but for rounding, in everything that a result has."""
    assert one.recipe == two.recipe
    assert (one.epoch, one.steps, one.diverged) == (two.epoch, two.steps, two.diverged)
    assert one.train_loss == pytest.approx(two.train_loss, rel=1e-11, nan_ok=True)
    assert one.state_dict.keys() == two.state_dict.keys()
    for name, value in one.state_dict.items():
        assert value.dtype == two.state_dict[name].dtype
        assert torch.allclose(value, two.state_dict[name], rtol=0, atol=atol), name


def content_of(run: Run) -> list[tuple[str, torch.Tensor]]:
    """All tensors of a run's state by their place in it."""
    found = list(run.weights.items())
    for number, state in run.content()["optimizer"]["state"].items():
        found += [(f"{number} {key}", value) for key, value in state.items() if value is not None]
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},  # BatchNorm
        {"model": "vit", "width": 4, "model_options": {"depth": 1}},
        {"model": f"{MODULE}:Flat", "width": None, "momentum": 0.0},
        {"model": f"{MODULE}:Flat", "width": None, "nesterov": True, "schedule": "one_cycle"},
        {"model": "mlp", "optimizer": "adam", "lr": 1e-3},
    ],
)
def test_a_step_together_is_that_of_separate_runs(data, fields):
    """Per step: weights, BatchNorm's statistics and the optimiser's state, in float64."""
    recipes = seeds(**fields, batch_size=143)  # an epoch is one step
    part = recipes[0].load_dataset(data)
    apart, group = ([Run(r, part, torch.device("cpu")) for r in recipes] for _ in range(2))
    for _ in range(2):
        train_epoch(group)
        for run in apart:
            run.train_epoch()
        for one, two in zip(apart, group, strict=True):
            expected, found = content_of(one), content_of(two)
            assert [name for name, _ in expected] == [name for name, _ in found]
            for (name, value), (_, other) in zip(expected, found, strict=True):
                assert torch.allclose(value.double(), other.double(), rtol=0, atol=1e-12), name
            assert one.losses == pytest.approx(two.losses, rel=1e-12)
        for run, other in zip(group, apart, strict=True):
            run.restore(
                copy.deepcopy(other.content())
            )  # so that what is compared is the deviation of one step


def test_a_group_gives_the_results_of_separate_runs(data):
    recipes = seeds(label_noise=0.3, drop_last=False)
    for recipe, result in zip(recipes, fit_together(recipes, dataset=data), strict=True):
        assert_same(result, fit(recipe, dataset=data))


def test_each_run_keeps_the_epoch_of_its_own_lowest_loss(data):
    recipes = seeds(model="mlp", width=4, lr=1.0, lr_decay=1.0, epochs=6)
    results = fit_together(recipes, dataset=data)
    expected = [min(range(6), key=result.train_loss.__getitem__) for result in results]
    assert [result.epoch for result in results] == expected
    assert len(set(expected)) > 1


def test_a_run_that_diverges_leaves_the_others_alone(data, monkeypatch):
    recipes = seeds(epochs=3)
    broken = Run.finish_epoch

    def finish_epoch(run: Run, losses: torch.Tensor) -> None:
        spoiled = run.recipe.seed == 1 and len(run.losses) == 1
        if spoiled:
            with torch.no_grad():
                next(run.model.parameters()).fill_(math.nan)
        broken(run, losses * math.nan if spoiled else losses)

    monkeypatch.setattr(Run, "finish_epoch", finish_epoch)
    results = fit_together(recipes, dataset=data)
    assert [result.diverged for result in results] == [False, True, False]
    assert [len(result.train_loss) for result in results] == [3, 2, 3]
    monkeypatch.setattr(Run, "finish_epoch", broken)
    assert_same(results[2], fit(recipes[2], dataset=data))


def test_a_network_of_numbers_that_are_none_does_not_reach_its_neighbours(data):
    """The calls are shared: an infinite weight of one network may not become a NaN of another."""
    recipes = seeds()
    part = recipes[0].load_dataset(data)
    group, apart = ([Run(r, part, torch.device("cpu")) for r in recipes] for _ in range(2))
    with torch.no_grad():
        next(group[1].model.parameters()).fill_(math.inf)
    train_epoch(group)
    assert not math.isfinite(group[1].losses[0])
    for position in (0, 2):
        apart[position].train_epoch()
        assert group[position].losses == pytest.approx(apart[position].losses, rel=1e-11)


def test_files_are_those_of_separate_runs_and_what_is_done_is_not_repeated(data, tmp_path):
    recipes = seeds(dtype="float32")
    paths = [tmp_path / f"{recipe.seed}.pt" for recipe in recipes]
    one = fit(recipes[1], dataset=data, checkpoint=paths[1])
    results = fit_together(recipes, dataset=data, checkpoints=paths)
    assert_same(results[1], one, atol=0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.pt", "1.pt", "2.pt"]
    for recipe, path, result in zip(recipes, paths, results, strict=True):
        assert_same(fit(recipe, checkpoint=path), result, atol=0.0)
    again = fit_together(recipes, checkpoints=paths)
    assert [result.train_loss for result in again] == [result.train_loss for result in results]


@pytest.mark.parametrize("saves", [4, 5, 6])
def test_a_killed_group_continues_to_the_same_bits(data, tmp_path, monkeypatch, saves):
    """Killed between two files: one run is an epoch ahead of the others."""
    recipes = seeds(epochs=4)
    names = [f"{recipe.seed}.pt" for recipe in recipes]
    whole = fit_together(recipes, dataset=data)
    calls, save = [], together.save_unfinished

    def dying(*arguments: object) -> None:
        if len(calls) == saves:
            raise KeyboardInterrupt
        calls.append(arguments)
        save(*arguments)

    monkeypatch.setattr(together, "save_unfinished", dying)
    paths = [tmp_path / name for name in names]
    with pytest.raises(KeyboardInterrupt):
        fit_together(recipes, dataset=data, checkpoints=paths, save_every_s=0.0)
    monkeypatch.setattr(together, "save_unfinished", save)
    epochs: list[int] = []
    monkeypatch.setattr(
        together, "train_epoch", lambda runs: (epochs.append(len(runs)), train_epoch(runs))
    )
    results = fit_together(recipes, dataset=data, checkpoints=paths)
    assert epochs[0] == {4: 2, 5: 1, 6: 3}[saves]
    for result, expected in zip(results, whole, strict=True):
        assert_same(result, expected)


def test_a_single_run_takes_over_what_a_group_began(data, tmp_path, monkeypatch):
    recipes = seeds(epochs=3)
    paths = [tmp_path / f"{recipe.seed}.pt" for recipe in recipes]

    def dying(run: Run, path: object) -> None:
        save(run, path)
        if run.recipe.seed == 2:
            raise KeyboardInterrupt

    save = together.save_unfinished
    monkeypatch.setattr(together, "save_unfinished", dying)
    with pytest.raises(KeyboardInterrupt):
        fit_together(recipes, dataset=data, checkpoints=paths, save_every_s=0.0)
    seen: list[int] = []
    result = fit(
        recipes[0], dataset=data, checkpoint=paths[0], progress=lambda done, *_: seen.append(done)
    )
    assert seen == [2, 3]
    assert_same(result, fit(recipes[0], dataset=data))


def test_the_callers_state_is_not_touched(data):
    before, grads = torch.get_rng_state(), torch.is_grad_enabled()
    with torch.inference_mode():
        fit_together(seeds(2, epochs=1), dataset=data)
        assert torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled() == grads


def test_one_recipe_is_a_group_of_one(data):
    (recipe,) = seeds(1)
    assert_same(fit_together([recipe], dataset=data)[0], fit(recipe, dataset=data))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [], "recipes is empty"),
        (lambda: [*seeds(2), *seeds(1)], "recipes must have different seeds"),
        (
            lambda: [*seeds(1), Recipe(**SMALL, lr=0.2, seed=5)],
            "may differ in their seed alone, got lr 0.1 and 0.2",
        ),
        (lambda: seeds(channels_last=True), "channels_last is for separate runs"),
        (
            lambda: seeds(model=f"{MODULE}:Dropped", width=None),
            "Dropped' cannot be trained together with others, use fit: .*random",
        ),
    ],
)
def test_what_cannot_be_trained_together_is_refused_with_the_reason(
    data, make: Callable[[], list[Recipe]], message
):
    with pytest.raises(ValueError, match=message):
        fit_together(make(), dataset=data)


def test_a_file_is_needed_for_each_recipe_or_for_none(data):
    with pytest.raises(ValueError, match="got 1 checkpoints for 3 recipes"):
        fit_together(seeds(), dataset=data, checkpoints=["a"])
