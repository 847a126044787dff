"""Copies of a run part where they are told to, and are what separate runs would be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from landscape_fast.metrics.quality import quality
from landscape_fast.paths.instability import instability
from landscape_fast.results import Instability
from landscape_fast.store import Store
from landscape_fast.training.data import Dataset
from landscape_fast.training.fit import fit
from landscape_fast.training.recipe import Recipe


def blobs(rows: int = 40) -> Dataset:
    """Three noisy classes of 1x2x2 images."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 3
    centres = torch.randn(3, 1, 2, 2, generator=draws)
    images = centres[labels] + torch.randn(rows, 1, 2, 2, generator=draws)
    return Dataset(images, labels, images[:9], labels[:9], classes=3)


DATA = blobs()
RECIPE = Recipe(
    model="mlp",
    model_options={"depth": 1},
    width=6,
    data="digits",  # its place is taken by DATA
    batch_size=8,
    epochs=4,
    lr=0.1,
    checkpoint="last",
)


def of(model: nn.Module, weights) -> nn.Module:
    model.load_state_dict(weights)
    return model


@pytest.mark.parametrize("step", [0, 5, 7, 12])
def test_a_copy_with_the_runs_own_order_ends_where_the_run_ends(step):
    found = instability(RECIPE, [step], orders=(RECIPE.seed, 5), dataset=DATA, points=3)
    run = of(RECIPE.build_model(DATA), fit(RECIPE, dataset=DATA).state_dict)
    own = quality(run, DATA.batches("train", 128))
    assert found.losses[0, 0, 0] == own.loss
    assert found.losses[0, 0, -1] != own.loss
    assert found.run_steps == 20


def test_copies_that_part_at_the_end_are_equal():
    found = instability(RECIPE, [19, 20], dataset=DATA, points=3)
    assert found.barriers[1].tolist() == [0.0]
    assert found.losses[1, 0].unique().numel() == 1
    assert found.losses[0, 0].unique().numel() == 3  # one step apart


def test_every_pair_of_copies_is_measured_and_a_convex_loss_has_no_barrier():
    recipe = RECIPE.model_copy(
        update={"model": "torch.nn:Linear", "width": None,
                "model_options": {"in_features": 4, "out_features": 3}}
    )  # fmt: skip
    flat = Dataset(
        DATA.train_inputs.flatten(1), DATA.train_targets,
        DATA.test_inputs.flatten(1), DATA.test_targets, classes=3,
    )  # fmt: skip
    found = instability(recipe, [0, 10], orders=(3, 4, 5), dataset=flat, points=9, part="test")
    assert found.errors.shape == (2, 3, 9)
    assert found.samples == 9
    ends = found.losses[..., [0, -1]]
    assert (found.losses.amax(-1) <= ends.amax(-1) + 1e-6).all()


def test_the_callers_random_state_and_the_data_stay():
    before, inputs = torch.get_rng_state(), DATA.train_inputs.clone()
    instability(RECIPE, [0], dataset=DATA, points=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(DATA.train_inputs, inputs)


def test_the_same_call_gives_the_same_bits():
    one, other = (instability(RECIPE, [3, 9], dataset=DATA, points=3) for _ in range(2))
    assert torch.equal(one.losses, other.losses)


def test_a_copy_that_diverges_gives_nan():
    found = instability(RECIPE.model_copy(update={"lr": 1e30}), [0], dataset=DATA, points=3)
    assert found.barriers.isnan().all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": [5, 5]}, "steps must ascend"),
        ({"steps": []}, "steps must ascend"),
        ({"steps": [21]}, "steps must lie within the 20 of the run, got 21"),
        ({"steps": [-1]}, "steps must be .* got -1"),
        ({"orders": (1,)}, "orders must be two or more different seeds"),
        ({"orders": (1, 1)}, "orders must be two or more different seeds"),
        ({"orders": (1, 2**64)}, "orders must be .* at most 18446744073709551615"),
        ({"part": "all"}, "part must be 'train' or 'test', got 'all'"),
        ({"points": 2}, "points must be"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_wrong_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        instability(RECIPE, **{"steps": [0], "dataset": DATA, **options})


def shown(*heights: float) -> Instability:
    """Barriers of these heights between perfect copies, at steps 0, 1, 2, ..."""
    errors = torch.zeros(len(heights), 1, 3, dtype=torch.float64)
    errors[:, 0, 1] = torch.tensor(heights)
    return Instability(
        steps=tuple(range(len(heights))),
        run_steps=100,
        orders=(1, 2),
        errors=errors,
        losses=errors / 10,
        t=torch.linspace(0, 1, 3).double(),
        part="train",
        samples=9,
    )


def test_a_run_is_stable_from_the_step_after_its_last_barrier():
    assert shown(9.0, 1.0, 5.0, 1.9, 0.0).stable_from() == 3
    assert shown(9.0, 1.0, 5.0, 1.9, 0.0).stable_from(threshold=6.0) == 1
    assert shown(0.0, 3.0).stable_from() is None
    assert shown(0.0, math.nan).stable_from() is None
    assert shown(4.0).barriers.tolist() == [[4.0]]
    assert shown(4.0).loss_barriers.tolist() == [[pytest.approx(0.4)]]


def test_the_result_is_kept_and_drawn(tmp_path):
    saved = shown(9.0, 4.0, 0.5)
    Store(tmp_path).save("key", "instability", saved)
    found = Store(tmp_path).load("key", "instability")
    assert torch.equal(found.barriers, saved.barriers)
    figure = found.plot()
    figure.savefig(tmp_path / "instability.png")
    assert figure.axes[0].get_title(loc="left") == "Copies that part from step 2 on end connected"
    assert shown(9.0).plot().axes[0].get_title(loc="left") == "Copies never end connected"
