import math
import sys
import types
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional

from landscape_fast.training import run
from landscape_fast.training.checkpoint import load_checkpoint, write_atomically
from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import digits
from landscape_fast.training.fit import Fit, fit, load_fit
from landscape_fast.training.recipe import Recipe

SMALL = {"model": "small_cnn", "data": "digits", "width": 2, "batch_size": 64, "epochs": 4}
MODULE = "test_fit_support"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits()


class Dropped(nn.Module):
    """A linear layer behind dropout: its training draws random numbers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(functional.dropout(inputs.flatten(1), 0.5, training=self.training))


class Flat(nn.Module):
    """A linear layer alone: training can be repeated by hand."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(inputs.flatten(1))


class Killed(Flat):
    """Is interrupted in one of its steps, as if the process had been killed."""

    steps_left = math.inf

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        type(self).steps_left -= 1
        if type(self).steps_left < 0:
            raise KeyboardInterrupt
        return super().forward(inputs)


class Drawing(Flat):
    """Keeps one random number for each batch."""

    drawn: ClassVar[list[float]] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.drawn.append(torch.rand(()).item())
        return super().forward(inputs)


def per_sample(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


@pytest.fixture(autouse=True)
def one_thread():
    """Bits are promised for a number of threads; networks this small are fastest on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Offer this file's callables under an importable name."""
    module = types.ModuleType(MODULE)
    module.Dropped, module.Flat, module.Drawing = Dropped, Flat, Drawing
    module.per_sample, module.Killed = per_sample, Killed
    monkeypatch.setitem(sys.modules, MODULE, module)


def same_bits(one: Fit, two: Fit) -> bool:
    weights = one.state_dict.keys() == two.state_dict.keys() and all(
        torch.equal(value, two.state_dict[name]) for name, value in one.state_dict.items()
    )
    return weights and one.train_loss == two.train_loss and one.epoch == two.epoch


def test_the_same_recipe_gives_the_same_bits_and_another_seed_others(data):
    one = fit(Recipe(**SMALL), dataset=data)
    torch.manual_seed(99)
    assert same_bits(one, fit(Recipe(**SMALL)))
    assert not same_bits(one, fit(Recipe(**SMALL, seed=1), dataset=data))


def test_training_ignores_and_keeps_the_callers_state(data):
    expected = fit(Recipe(**SMALL), dataset=data)
    before = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = fit(Recipe(**SMALL), dataset=data)
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_default_dtype(torch.float64)
    try:
        assert same_bits(expected, fit(Recipe(**SMALL), dataset=data))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert same_bits(expected, found)


def test_the_steps_are_those_of_textbook_sgd(data):
    """By hand: v <- m v + (g + wd w), w <- w - lr v, on all parameters, in float64."""
    recipe = Recipe(
        model=f"{MODULE}:Flat",
        data="digits",
        batch_size=100,
        epochs=4,
        lr=0.1,
        momentum=0.8,
        weight_decay=0.1,
        dtype="float64",
        checkpoint="last",
    )
    result = fit(recipe, dataset=data)
    initial = recipe.build_model(data).linear
    weight, bias = initial.weight.detach(), initial.bias.detach()
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    inputs, losses = data.train_inputs.double().flatten(1), []
    for epoch in range(4):
        lr = 0.1 if epoch < 3 else 0.01
        batch_losses = []
        for rows in order_of(recipe, epoch, len(inputs))[:1400].split(100):
            logits = inputs[rows] @ weight.T + bias
            truth = functional.one_hot(data.train_targets[rows], 10)
            batch_losses.append(float(-(logits.log_softmax(1) * truth).sum(1).mean()))
            error = (logits.softmax(1) - truth) / 100
            speed[0] = 0.8 * speed[0] + error.T @ inputs[rows] + 0.1 * weight
            speed[1] = 0.8 * speed[1] + error.sum(0) + 0.1 * bias
            weight, bias = weight - lr * speed[0], bias - lr * speed[1]
        losses.append(sum(batch_losses) / 14)
    assert torch.allclose(result.state_dict["linear.weight"], weight, rtol=1e-10, atol=1e-13)
    assert torch.allclose(result.state_dict["linear.bias"], bias, rtol=1e-10, atol=1e-13)
    assert result.train_loss == pytest.approx(losses, rel=1e-12)
    assert (result.steps, result.epoch) == (56, 3)


def order_of(recipe: Recipe, epoch: int, samples: int) -> torch.Tensor:
    from landscape_fast.training.randomness import derived_seed

    generator = torch.Generator().manual_seed(derived_seed(recipe.seed, "order", epoch))
    return torch.randperm(samples, generator=generator)


def test_an_incomplete_last_batch_counts_by_its_samples_when_it_is_kept(data):
    """With a rate too small to move the weights the epoch's loss is that of the whole set."""
    part = replace(
        data, train_inputs=data.train_inputs[:150], train_targets=data.train_targets[:150]
    )
    still = {"model": f"{MODULE}:Flat", "data": "digits", "epochs": 1, "lr": 1e-30}
    kept = Recipe(**still, batch_size=100, drop_last=False)
    result = fit(kept, dataset=part)
    logits = kept.build_model(part)(part.train_inputs)
    exact = functional.cross_entropy(logits, part.train_targets).item()
    assert result.steps == 2
    assert result.train_loss[0] == pytest.approx(exact, rel=1e-5)
    assert fit(Recipe(**still, batch_size=100), dataset=part).steps == 1


def test_random_layers_draw_anew_in_every_step_of_every_epoch(data):
    Drawing.drawn.clear()
    recipe = Recipe(**{**SMALL, "model": f"{MODULE}:Drawing", "width": None})
    steps = fit(recipe, dataset=data).steps
    assert len(set(Drawing.drawn)) == steps == 88


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


def test_a_small_network_learns_real_digits(data):
    recipe = Recipe(model="small_cnn", data="digits", width=8, batch_size=32, epochs=8)
    result = fit(recipe, dataset=data)
    model = recipe.build_model(data)
    model.load_state_dict(result.state_dict)
    with torch.no_grad():
        predicted = model.eval()(data.test_inputs).argmax(1)
    assert float((predicted == data.test_targets).float().mean()) > 0.95
    assert result.train_loss[-1] < 0.1 < 1.0 < result.train_loss[0] + 0.6


def test_divergence_is_an_outcome(data):
    recipe = Recipe(**{**SMALL, "model": f"{MODULE}:Flat", "width": None, "lr": 1e30})
    result = fit(recipe, dataset=data)
    assert result.diverged
    assert not math.isfinite(result.train_loss[-1])
    assert len(result.train_loss) < recipe.epochs
    assert not fit(Recipe(**SMALL), dataset=data).diverged


def test_a_run_that_diverges_late_keeps_its_best_epoch(data, monkeypatch):
    recipe = Recipe(**{**SMALL, "model": f"{MODULE}:Flat", "width": None})
    monkeypatch.setattr(Recipe, "learning_rate", lambda _, epoch: 0.01 if epoch < 2 else 1e30)
    result = fit(recipe, dataset=data)
    assert result.diverged
    assert result.epoch == 1
    assert all(value.isfinite().all() for value in result.state_dict.values())


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


def test_a_rate_that_changes_in_every_step_reaches_every_step(data):
    """One plain SGD step of rate r moves the weights by r times the gradient."""
    recipe = Recipe(
        **{**SMALL, "model": f"{MODULE}:Flat", "width": None, "batch_size": 719, "epochs": 1},
        **{"schedule": "cosine", "momentum": 0.0, "weight_decay": 0.0, "checkpoint": "last"},
        dtype="float64",
    )
    model, rates = recipe.build_model(data), [0.1, 0.05]
    for rows, rate in zip(order_of(recipe, 0, 1438).split(719), rates, strict=True):
        model.zero_grad()
        loss = functional.cross_entropy(
            model(data.train_inputs[rows].double()), data.train_targets[rows]
        )
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= rate * parameter.grad
    found = fit(recipe, dataset=data).state_dict["linear.weight"]
    assert torch.allclose(found, model.linear.weight, rtol=1e-12, atol=1e-14)


def test_channels_last_changes_rounding_only_and_leaves_no_trace_in_the_file(data):
    plain, other = (
        fit(Recipe(**{**SMALL, "epochs": 1}, channels_last=each, dtype="float64"), dataset=data)
        for each in (False, True)
    )
    for name, value in plain.state_dict.items():
        assert torch.allclose(other.state_dict[name], value, rtol=1e-9, atol=1e-11), name
        assert other.state_dict[name].is_contiguous()
    flat = replace(
        data,
        **{
            f"{part}_inputs": getattr(data, f"{part}_inputs").flatten(1)
            for part in ("train", "test")
        },
        pixels=None,
    )
    with pytest.raises(ValueError, match=r"channels_last needs images, got .* \(1438, 64\)"):
        fit(Recipe(**SMALL, channels_last=True), dataset=flat)


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


class Watched(Flat):
    """Remembers in which precision it computed."""

    seen: ClassVar[set[torch.dtype]] = set()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(inputs)
        self.seen.add(outputs.dtype)
        return outputs


def test_autocast_computes_in_bfloat16_and_keeps_its_weights_in_float32(data, monkeypatch):
    monkeypatch.setattr(sys.modules[MODULE], "Watched", Watched, raising=False)
    fields = {**SMALL, "model": f"{MODULE}:Watched", "width": None, "lr": 0.01, "epochs": 3}
    losses = {}
    for autocast, dtype in (("none", torch.float32), ("bfloat16", torch.bfloat16)):
        Watched.seen.clear()
        result = fit(Recipe(**fields, autocast=autocast), dataset=data)
        losses[autocast] = result.train_loss
        assert Watched.seen == {dtype}
        assert result.state_dict["linear.weight"].dtype == torch.float32
    # A stale copy of the weights would keep the loss where it was in the first steps.
    assert losses["bfloat16"] == pytest.approx(losses["none"], rel=0.01)
    assert losses["bfloat16"] != losses["none"]
    assert losses["none"][2] < 0.5 * losses["none"][0]


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


def test_batches_larger_than_the_data_are_refused(data):
    with pytest.raises(ValueError, match="batch_size 5000 exceeds the 1438 training samples"):
        fit(Recipe(**{**SMALL, "batch_size": 5000}), dataset=data)


def test_a_loss_that_is_no_mean_is_refused(data):
    with pytest.raises(TypeError, match="must return the scalar mean over a batch"):
        fit(Recipe(**SMALL, loss=f"{MODULE}:per_sample"), dataset=data)


@pytest.mark.gpu
def test_a_gpu_repeats_its_bits_and_starts_from_the_same_weights(cuda, data):
    recipe = Recipe(**{**SMALL, "epochs": 2})
    one, two = (fit(recipe, dataset=data, device=cuda) for _ in range(2))
    assert same_bits(one, two)
    assert one.train_loss == pytest.approx(fit(recipe, dataset=data).train_loss, rel=0.05)
