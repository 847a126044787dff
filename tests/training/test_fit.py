"""What a training run computes, and from what."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from training.fits import MODULE, SMALL, Drawing, order_of, same_bits

from landscape_fast.training.fit import fit
from landscape_fast.training.recipe import Recipe


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
