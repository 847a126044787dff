"""Real images, trained in a minute: every knob does to them what it should."""

import subprocess
import sys

import pytest
import torch

from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import load_data
from landscape_fast.training.fit import Fit, fit
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.together import fit_together

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.fixture(scope="module")
def mnist(shared_data) -> Dataset:
    return load_data("mnist", {"root": str(shared_data / "mnist")})


def accuracy(result: Fit, data: Dataset) -> float:
    """Share of the test images that are classified right."""
    model = result.recipe.build_model(data).eval()
    model.load_state_dict(result.state_dict)
    with torch.no_grad():
        predicted = torch.cat([model(part).argmax(1) for part in data.test_inputs.split(1000)])
    return float((predicted == data.test_targets).float().mean())


def mnist_recipe(shared_data, **fields: object) -> Recipe:
    options = {"data": "mnist", "data_options": {"root": str(shared_data / "mnist")}}
    common = {"model": "mlp", "width": 32, "batch_size": 64, "epochs": 2, "fraction": 0.1}
    return Recipe(**options, **{**common, **fields})


@pytest.mark.parametrize("schedule", ["decay", "three_step", "cosine", "one_cycle", "constant"])
def test_every_schedule_learns_mnist(mnist, shared_data, schedule):
    result = fit(mnist_recipe(shared_data, schedule=schedule, lr=0.05), dataset=mnist)
    assert accuracy(result, mnist) > 0.85
    assert not result.diverged


@pytest.mark.parametrize(
    ("model", "fields", "least"),
    [
        ("small_cnn", {"width": 8}, 0.35),  # means over the image see little of it
        ("vit", {"width": 16, "model_options": {"depth": 2}, "optimizer": "adam", "lr": 3e-3}, 0.3),
    ],
)
def test_networks_of_other_kinds_learn_mnist(mnist, shared_data, model, fields, least):
    recipe = mnist_recipe(shared_data, model=model, **fields)
    assert accuracy(fit(recipe, dataset=mnist), mnist) > least


def test_noise_on_pixels_costs_accuracy_on_clean_images(mnist, shared_data):
    clean, noisy = (
        accuracy(fit(mnist_recipe(shared_data, pixel_noise=noise), dataset=mnist), mnist)
        for noise in (0.0, 255.0)
    )
    assert noisy < clean - 0.05


def test_a_group_of_seeds_learns_mnist_as_its_members_do(mnist, shared_data):
    recipes = [
        mnist_recipe(shared_data, model="small_cnn", width=4, epochs=1, seed=seed)
        for seed in range(3)
    ]
    group = fit_together(recipes, dataset=mnist)
    for recipe, result in zip(recipes, group, strict=True):
        alone = fit(recipe, dataset=mnist)
        assert result.train_loss == pytest.approx(alone.train_loss, rel=0.02)
        assert accuracy(result, mnist) == pytest.approx(accuracy(alone, mnist), abs=0.03)


def test_a_narrow_residual_network_learns_cifar10(shared_data, tmp_path):
    script = [sys.executable, shared_data / "unpack_cifar10.py", tmp_path]
    subprocess.run([*script, "--chunks", "0,test"], check=True, capture_output=True)
    options = {"root": str(tmp_path), "batches": [1]}
    recipe = Recipe(
        **{"model": "resnet18", "width": 2, "data": "cifar10", "data_options": options},
        **{"batch_size": 64, "epochs": 3, "lr": 0.05, "linear_lr_scaling": True},
        **{"schedule": "one_cycle", "fraction": 0.25},
    )
    data = recipe.load_dataset()
    result = fit(recipe)
    assert result.train_loss[-1] < result.train_loss[0] < 2.4
    assert accuracy(result, data) > 0.2  # by chance 0.1
