"""Which epoch of a run becomes its result."""

from __future__ import annotations

import torch
from training.fits import MODULE, SMALL, same_bits

from landscape_fast.training import run
from landscape_fast.training.fit import fit
from landscape_fast.training.recipe import Recipe


def test_the_checkpoint_rule_decides_the_epoch(data):
    restless = {**SMALL, "lr": 3.0, "lr_decay": 1.0, "epochs": 12}
    lowest = fit(Recipe(**restless), dataset=data)
    last = fit(Recipe(**restless, checkpoint="last"), dataset=data)
    assert lowest.train_loss == last.train_loss
    assert lowest.epoch == lowest.train_loss.index(min(lowest.train_loss)) < 11
    assert last.epoch == 11
    shorter = fit(
        Recipe(**{**restless, "epochs": lowest.epoch + 1}, checkpoint="last"), dataset=data
    )
    assert torch.equal(shorter.state_dict["0.weight"], lowest.state_dict["0.weight"])


def test_a_run_that_diverges_late_keeps_its_best_epoch(data, monkeypatch):
    recipe = Recipe(**{**SMALL, "model": f"{MODULE}:Flat", "width": None})
    monkeypatch.setattr(Recipe, "learning_rate", lambda _, epoch: 0.01 if epoch < 2 else 1e30)
    result = fit(recipe, dataset=data)
    assert result.diverged
    assert result.epoch == 1
    assert all(value.isfinite().all() for value in result.state_dict.values())


def test_early_stopping_keeps_the_epoch_in_which_the_loss_came_to_rest(data):
    """Steps this small move the loss by less than 1e-4 from the first epoch on."""
    still = {**SMALL, "model": f"{MODULE}:Flat", "width": None, "lr": 1e-7, "epochs": 40}
    still |= {
        "schedule": "constant",
        "batch_size": 143,
    }  # all of them, so that no sample is left out of the loss
    part = data.first(0.1)
    result = fit(Recipe(**still, checkpoint="early_stopped"), dataset=part)
    last = fit(Recipe(**{**still, "epochs": 30}, checkpoint="last"), dataset=part)
    assert (result.epoch, len(result.train_loss)) == (29, 30)
    assert torch.equal(result.state_dict["linear.weight"], last.state_dict["linear.weight"])


def test_the_early_stopped_epoch_comes_before_one_of_lower_loss(data, monkeypatch):
    monkeypatch.setattr(Recipe, "learning_rate", lambda _, epoch: 0.05 if epoch < 2 else 20.0)
    monkeypatch.setattr(run, "settled", lambda losses: len(losses) == 3)
    result = fit(Recipe(**SMALL, checkpoint="early_stopped"), dataset=data)
    last = fit(Recipe(**{**SMALL, "epochs": 3}, checkpoint="last"), dataset=data)
    assert result.train_loss[2] > result.train_loss[1]
    assert same_bits(result, last)


def test_early_stopping_that_never_holds_keeps_the_lowest_loss(data):
    restless = {**SMALL, "lr": 3.0, "lr_decay": 1.0}
    stopped = fit(Recipe(**restless, checkpoint="early_stopped"), dataset=data)
    assert same_bits(stopped, fit(Recipe(**restless), dataset=data))
