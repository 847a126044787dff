"""What options change in a single step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from training.fits import MODULE, SMALL, Watched, order_of

from landscape_fast.training.fit import fit
from landscape_fast.training.recipe import Recipe


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


def test_autocast_computes_in_bfloat16_and_keeps_its_weights_in_float32(data):
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
