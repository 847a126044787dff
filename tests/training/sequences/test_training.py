"""Recipes train sequence models."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from landscape_fast.training.data import Dataset
from landscape_fast.training.fit import fit
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.run import Run

SIZES = {"encoder_layers": 1, "decoder_layers": 1, "feed_forward": 1}
TEXT = {"model": "transformer", "width": 4, "model_options": SIZES, "data": "builtins:dict"}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def copying(samples=40, length=5, vocabulary=8) -> Dataset:
    """The translation is the source; lengths 1 to 4, then the end."""
    draws = torch.Generator().manual_seed(0)
    words = torch.randint(3, vocabulary, (samples, length), generator=draws)
    places = torch.arange(length)
    ends = (1 + torch.arange(samples) % (length - 1))[:, None]
    ended = words.masked_fill(places == ends, 2).masked_fill(places > ends, 0)
    started = torch.cat([torch.ones(samples, 1, dtype=torch.long), words[:, :-1]], 1)
    inputs = torch.stack([ended, started.masked_fill(places > ends, 0)], 1)
    targets = ended.masked_fill(places > ends, -100)
    return Dataset(inputs, targets, inputs[:5], targets[:5], classes=vocabulary)


def recipe(**fields) -> Recipe:
    return Recipe(**{**TEXT, "batch_size": 16, "optimizer": "adam", "weight_decay": 0.0, **fields})


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_first_step_of_adam_moves_every_weight_by_the_rate(optimizer):
    run = Run(
        recipe(optimizer=optimizer, lr=0.01, batch_size=40, dtype="float64"),
        copying(),
        torch.device("cpu"),
    )
    before = {name: value.clone() for name, value in run.weights.items()}
    run.train_epoch()
    moved = torch.cat([(run.weights[name] - before[name]).abs().flatten() for name in before])
    assert moved.max() <= 0.01 * (1 + 1e-9)
    assert (moved > 0.0099).double().mean() > 0.8  # the others have a gradient near zero


def test_the_decay_of_adamw_is_decoupled_and_that_of_adam_is_not():
    after = {}
    for optimizer in ("adam", "adamw"):
        for decay in (0.0, 0.1):
            fields = {"optimizer": optimizer, "lr": 0.01, "weight_decay": decay}
            run = Run(recipe(**fields, batch_size=40), copying(), torch.device("cpu"))
            start = run.weights["encoder_norm.weight"].clone()
            run.train_epoch()
            after[optimizer, decay] = run.weights["encoder_norm.weight"] - start
    # The norm's scale starts at 1: decoupled, its decay is lr * 0.1 whatever the gradient.
    shrunk = after["adamw", 0.1] - after["adamw", 0.0]
    torch.testing.assert_close(shrunk, torch.full_like(shrunk, -0.001), rtol=1e-3, atol=1e-7)
    assert not torch.allclose(after["adam", 0.1] - after["adam", 0.0], shrunk, atol=1e-4)


def test_a_recorded_loss_is_the_mean_over_tokens():
    data = copying()
    found = fit(recipe(lr=1e-9, epochs=1, batch_size=15, drop_last=False), dataset=data)
    model = recipe().build_model(data)
    model.load_state_dict(found.state_dict)
    with torch.no_grad():
        loss = float(cross_entropy(model(data.train_inputs), data.train_targets))
    assert found.train_loss[0] == pytest.approx(loss, rel=1e-5)


def test_a_killed_run_of_adam_continues_to_the_same_bits(tmp_path):
    data, long = copying(), recipe(epochs=4, lr=0.01, schedule="one_cycle")
    whole = fit(long, dataset=data)

    def kill(epoch, epochs, loss):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(long, dataset=data, checkpoint=tmp_path / "c.pt", save_every_s=0.0, progress=kill)
    resumed = fit(long, dataset=data, checkpoint=tmp_path / "c.pt")
    assert resumed.train_loss == whole.train_loss
    assert all(
        torch.equal(resumed.state_dict[name], whole.state_dict[name]) for name in whole.state_dict
    )


def test_a_small_network_learns_to_copy():
    learning = recipe(width=16, epochs=40, lr=0.02, schedule="one_cycle")
    found = fit(learning, dataset=copying(samples=80))
    assert found.train_loss[-1] < 0.5 < 1.5 < found.train_loss[0]


@pytest.mark.data
@pytest.mark.slow
def test_a_small_network_starts_to_learn_real_pairs(shared_data):
    pytest.importorskip("tokenizers", reason="pip install 'landscape_fast[text]'")
    options = {"root": str(shared_data / "iwslt16"), "pairs": 200, "vocabulary": 400, "length": 16}
    fields = {"model": "transformer", "data": "iwslt16", "data_options": options, "width": 32}
    adam = {"optimizer": "adam", "weight_decay": 0.0, "schedule": "one_cycle", "batch_size": 16}
    found = fit(Recipe(**fields, **adam, lr=0.003, epochs=20))
    assert found.train_loss[-1] < 3.0 < 5.0 < found.train_loss[0]
