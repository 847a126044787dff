"""Ways to make a step of training cheaper, each against the plain step.

``together``: an epoch of several seeds in one call, over one of each seed after the other.
``option``: an epoch with a field of the recipe, over one without. ``fused``: a step of the fused
SGD over the other implementations that torch has. Losses are held together before the clock starts.

    pytest benchmarks/bench_steps.py --benchmark-only
"""

from __future__ import annotations

import pytest
import torch
from pairing import ratios

from landscape_fast.training.data import Dataset
from landscape_fast.training.datasets import digits
from landscape_fast.training.models import build_model
from landscape_fast.training.recipe import Recipe
from landscape_fast.training.run import Run, repeatable_training
from landscape_fast.training.together import train_epoch

STEPS, ROUNDS = 4, 5
CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def recipe_of(model: str, width: int, batch: int, **fields: object) -> Recipe:
    common = {"data": "digits", "lr": 1e-3, "schedule": "constant", "epochs": 10_000}
    return Recipe(model=model, width=width, batch_size=batch, checkpoint="last", **common, **fields)


def data_for(model: str, batch: int) -> Dataset:
    """Real digits for the network made for them, else images of noise: only their size matters."""
    samples = STEPS * batch
    if model == "small_cnn":
        return digits().first(samples / 1438)
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(samples, 3, 32, 32, generator=draws)
    labels = torch.randint(10, (samples,), generator=draws)
    return Dataset(images, labels, images[:1], labels[:1], classes=10)


def describe(benchmark, found: dict, threads: int) -> None:
    benchmark.extra_info.update(ratios=found, threads=threads, torch=torch.__version__)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("model", "width", "batch"),
    [
        *(("small_cnn", 4, batch) for batch in (8, 32, 128)),
        *(("resnet18", width, batch) for width in (2, 4) for batch in (16, 128)),
        ("resnet18", 16, 16),
    ],
)
def test_together(benchmark, model, width, batch, seeds, threads):
    data = data_for(model, batch)
    apart, group = (
        [Run(recipe_of(model, width, batch, seed=seed), data, CPU) for seed in range(seeds)]
        for _ in range(2)
    )

    def separately() -> None:
        for run in apart:
            run.train_epoch()

    with repeatable_training(CPU):
        found = ratios(lambda: train_epoch(group), {"without": separately}, rounds=ROUNDS)
        for one, two in zip(apart, group, strict=True):
            assert two.losses == pytest.approx(one.losses, rel=1e-2)
        describe(benchmark, found, threads)
        benchmark.pedantic(lambda: train_epoch(group), rounds=1)


@pytest.mark.parametrize("field", ["channels_last", "autocast"])
@pytest.mark.parametrize(
    ("model", "width", "batch"),
    [
        *(("small_cnn", 4, 32), ("resnet18", 2, 16), ("resnet18", 4, 128)),
        *(("resnet18", 16, 128), ("vgg11", 16, 128), ("vit", 64, 128)),
    ],
)
def test_option(benchmark, model, width, batch, field, threads):
    data = data_for(model, batch)
    value = {"channels_last": True, "autocast": "bfloat16"}[field]
    plain = Run(recipe_of(model, width, batch), data, CPU)
    other = Run(recipe_of(model, width, batch, **{field: value}), data, CPU)
    with repeatable_training(CPU):
        found = ratios(other.train_epoch, {"without": plain.train_epoch}, rounds=ROUNDS)
        assert other.losses == pytest.approx(plain.losses, rel=0.05)
        describe(benchmark, found, threads)
        benchmark.pedantic(other.train_epoch, rounds=1)


@pytest.mark.parametrize("rival", ["foreach", "loop"])
@pytest.mark.parametrize(("model", "width"), [("small_cnn", 4), ("resnet18", 4), ("resnet18", 16)])
def test_fused(benchmark, model, width, rival, threads):
    def steps_of(**kind: bool):
        torch.manual_seed(0)
        network = build_model(model, width=width, classes=10, channels=3)
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, **kind
        )
        return lambda: [optimizer.step() for _ in range(20)]

    kind = {"foreach": {"foreach": True}, "loop": {"foreach": False}}[rival]
    fused = steps_of(fused=True)
    describe(benchmark, ratios(fused, {"without": steps_of(**kind)}, rounds=ROUNDS), threads)
    benchmark.pedantic(fused, rounds=1)
