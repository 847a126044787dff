"""Runs that were killed, finished before, or damaged on disk."""

from __future__ import annotations

import math

import pytest
import torch
from training.fits import MODULE, SMALL, Killed, same_bits

from landscape_fast.training.checkpoint import load_checkpoint, write_atomically
from landscape_fast.training.fit import fit, load_fit
from landscape_fast.training.recipe import Recipe


@pytest.mark.parametrize("model", ["small_cnn", f"{MODULE}:Dropped"])
@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_a_killed_run_continues_to_the_same_bits(data, tmp_path, monkeypatch, model, killed_after):
    # The best epoch is the second, so the weights to keep are not the current ones.
    monkeypatch.setattr(Recipe, "learning_rate", lambda _, epoch: 0.05 if epoch < 2 else 20.0)
    recipe = Recipe(**{**SMALL, "model": model, "width": None})
    whole = fit(recipe, dataset=data, checkpoint=tmp_path / "whole.pt")
    assert whole.epoch == 1
    seen = []

    def kill(epoch: int, epochs: int, loss: float) -> None:
        seen.append((epoch, epochs, loss))
        if epoch == killed_after:
            raise KeyboardInterrupt

    path = tmp_path / "killed.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, dataset=data, checkpoint=path, save_every_s=0.0, progress=kill)
    assert not path.exists()
    later = []
    result = fit(recipe, dataset=data, checkpoint=path, progress=lambda *now: later.append(now))
    assert [epoch for epoch, _, _ in later] == list(range(killed_after + 1, 5))
    assert [loss for _, _, loss in seen + later] == list(whole.train_loss)
    assert same_bits(result, whole)
    assert path.read_bytes() == (tmp_path / "whole.pt").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed.pt", "whole.pt"]


@pytest.mark.parametrize("steps", [0, 5, 22, 30, 87])
def test_a_run_killed_inside_an_epoch_continues_to_the_same_bits(
    data, tmp_path, monkeypatch, steps
):
    """The step that was begun, and those of its epoch before it, are made again."""
    recipe = Recipe(**{**SMALL, "model": f"{MODULE}:Killed", "width": None, "momentum": 0.9})
    whole = fit(recipe, dataset=data, checkpoint=tmp_path / "whole.pt")
    assert whole.steps == 88
    monkeypatch.setattr(Killed, "steps_left", steps)
    path = tmp_path / "killed.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, dataset=data, checkpoint=path, save_every_s=0.0)
    monkeypatch.setattr(Killed, "steps_left", math.inf)
    result = fit(recipe, dataset=data, checkpoint=path)
    assert same_bits(result, whole)
    assert path.read_bytes() == (tmp_path / "whole.pt").read_bytes()


@pytest.mark.parametrize(
    "fields",
    [
        {"channels_last": True},
        {"autocast": "bfloat16"},
        {"schedule": "one_cycle", "nesterov": True},
        {"checkpoint": "early_stopped", "pixel_noise": 20.0, "linear_lr_scaling": True},
    ],
)
def test_a_killed_run_continues_to_the_same_bits_with_every_option(data, tmp_path, fields):
    recipe = Recipe(**{**SMALL, "epochs": 2, "fraction": 0.2, **fields})

    def kill(epoch: int, epochs: int, loss: float) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "killed.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, dataset=data, checkpoint=path, save_every_s=0.0, progress=kill)
    whole = fit(recipe, dataset=data, checkpoint=tmp_path / "whole.pt")
    assert same_bits(fit(recipe, dataset=data, checkpoint=path), whole)
    assert path.read_bytes() == (tmp_path / "whole.pt").read_bytes()


def test_a_finished_run_is_read_back_and_not_repeated(data, tmp_path):
    path, calls = tmp_path / "deep" / "c.pt", []
    one = fit(Recipe(**SMALL), dataset=data, checkpoint=path)
    two = fit(Recipe(**SMALL), checkpoint=path, progress=lambda *now: calls.append(now))
    assert calls == []
    assert same_bits(one, two)
    assert same_bits(one, load_fit(path))
    assert two.recipe == Recipe(**SMALL)
    model = Recipe(**SMALL).build_model(data)
    load_checkpoint(path, model)
    assert torch.equal(model.state_dict()["0.weight"], one.state_dict["0.weight"])


def test_a_result_of_another_recipe_is_neither_used_nor_overwritten(data, tmp_path):
    path = tmp_path / "c.pt"
    fit(Recipe(**SMALL), dataset=data, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"holds the result of recipe {Recipe(**SMALL).id}, not"):
        fit(Recipe(**SMALL, seed=1), dataset=data, checkpoint=path)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "mine.pt")
    with pytest.raises(ValueError, match="is no result of fit: it lacks 'recipe'"):
        fit(Recipe(**SMALL), dataset=data, checkpoint=tmp_path / "mine.pt")
    assert path.read_bytes() == before


def test_a_damaged_result_is_reported_kept_aside_and_made_anew(data, tmp_path):
    path = tmp_path / "c.pt"
    one = fit(Recipe(**SMALL), dataset=data, checkpoint=path)
    damaged = path.read_bytes()[:-100]
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"damaged.*moved to c\.pt\.damaged, training again"):
        two = fit(Recipe(**SMALL), dataset=data, checkpoint=path)
    assert same_bits(one, two)
    assert same_bits(one, load_fit(path))
    assert (tmp_path / "c.pt.damaged").read_bytes() == damaged


@pytest.mark.parametrize("content", [b"half", None, {}])
def test_an_unfinished_run_that_cannot_be_used_is_reported(data, tmp_path, content):
    partial = tmp_path / "c.pt.partial"
    if isinstance(content, bytes):
        partial.write_bytes(content)
    else:
        other = {"recipe": Recipe(**SMALL, seed=1).model_dump_json()} if content is None else {}
        write_atomically(partial, other)
    with pytest.warns(UserWarning, match="training from the start"):
        result = fit(Recipe(**SMALL), dataset=data, checkpoint=tmp_path / "c.pt")
    assert same_bits(result, fit(Recipe(**SMALL), dataset=data))
    assert not partial.exists()
