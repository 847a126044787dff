import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from landscape_fast.training.datasets import digits
from landscape_fast.training.recipe import Recipe

BASE = {"model": "small_cnn", "data": "digits", "width": 4}

# One other value for every field: whatever decides the run must decide the identifier.
OTHER = {
    "model": "resnet18",
    "model_options": {"extra": 1},
    "width": 5,
    "data": "builtins:dict",
    "data_options": {"seed": 1},
    "fraction": 0.5,
    "label_noise": 0.1,
    "pixel_noise": 8.0,
    "pixel_noise_wraps": True,
    "loss": "torch.nn.functional:mse_loss",
    "batch_size": 64,
    "drop_last": False,
    "epochs": 99,
    "lr": 0.05,
    "linear_lr_scaling": True,
    "schedule": "constant",
    "lr_decay": 1.0,
    "lr_decay_at": 0.5,
    "momentum": 0.0,
    "nesterov": True,
    "weight_decay": 0.0,
    "seed": 1,
    "checkpoint": "last",
    "dtype": "float64",
    "channels_last": True,
    "autocast": "bfloat16",
    "optimizer": "adam",
}
NEEDS = {"model_options": {"model": "builtins:dict"}, "pixel_noise_wraps": {"pixel_noise": 8.0}}


def test_defaults_are_setting_b():
    recipe = Recipe(**BASE)
    assert (recipe.lr, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 5e-4)
    assert (recipe.nesterov, recipe.drop_last, recipe.checkpoint) == (False, True, "lowest_loss")
    rates = [recipe.learning_rate(epoch) for epoch in range(recipe.epochs)]
    assert rates == pytest.approx([0.1] * 75 + [0.01] * 25)


@given(epochs=st.integers(1, 400))
def test_the_decay_scales_with_the_epochs(epochs):
    recipe = Recipe(**BASE, epochs=epochs)
    rates = [recipe.learning_rate(epoch) for epoch in range(epochs)]
    before = int(0.75 * epochs)
    assert rates == pytest.approx([0.1] * before + [0.01] * (epochs - before))


def test_a_decay_of_one_keeps_the_rate():
    recipe = Recipe(**BASE, lr_decay=1.0, epochs=4)
    assert [recipe.learning_rate(epoch) for epoch in range(4)] == [0.1] * 4


CIFAR = {"model": "resnet18", "data": "cifar10"}


@pytest.mark.parametrize(
    ("fields", "identifier"),
    [
        (BASE, "6f8f9af7f41d"),
        ({**BASE, "width": 8, "batch_size": 32, "epochs": 40, "seed": 2}, "9c1a9558ac67"),
        (
            {**CIFAR, "data_options": {"root": "x"}, "width": 16, "batch_size": 512, "seed": 4},
            "e5498b493523",
        ),
        (
            {
                **CIFAR,
                "data_options": {"root": "x", "batches": [1]},
                **{"lr": 0.05, "lr_decay": 1.0, "epochs": 150, "checkpoint": "last"},
                **{"label_noise": 0.1, "fraction": 0.2},
            },
            "10346171659b",
        ),
    ],
)
def test_the_identifier_is_the_same_on_every_machine_and_version(fields, identifier):
    """Changing it orphans every stored result: raise the recipe's schema when that is meant."""
    assert Recipe(**fields).id == identifier


def test_a_later_field_at_its_default_leaves_the_identifier_alone():
    later = {"schedule": "decay", "pixel_noise": 0.0, "autocast": "none", "channels_last": False}
    assert Recipe(**BASE, **later).id == Recipe(**BASE).id


def test_nesterov_is_of_sgd_alone():
    with pytest.raises(ValueError, match="nesterov is true, which optimizer 'adamw' ignores"):
        Recipe(**BASE, optimizer="adamw", nesterov=True)


def test_setting_a_keeps_its_rate():
    recipe = Recipe(**BASE, schedule="constant", lr=0.05, epochs=150, checkpoint="early_stopped")
    assert {recipe.learning_rate(epoch) for epoch in range(150)} == {0.05}


@pytest.mark.parametrize("size", [16, 128, 1024])
def test_linear_scaling_keeps_the_rate_per_sample(size):
    recipe = Recipe(**BASE, linear_lr_scaling=True, lr=0.1, batch_size=size)
    assert recipe.learning_rate(0) / size == pytest.approx(0.1 / 128)


def test_a_rate_within_an_epoch_follows_the_schedule():
    recipe = Recipe(**BASE, schedule="cosine", lr=0.2, epochs=10)
    assert recipe.learning_rate(2.5) == pytest.approx(0.1 * (1 + 0.5**0.5))


def test_the_identifier_does_not_depend_on_the_order_of_fields_or_options():
    one = {"model": "builtins:dict", "data": "digits", "model_options": {"a": 1, "b": 2}}
    two = {"model_options": {"b": 2, "a": 1}, "data": "digits", "model": "builtins:dict"}
    assert Recipe(**one).id == Recipe(**two).id


def test_every_field_is_covered_by_the_identifier():
    assert OTHER.keys() == Recipe.model_fields.keys()
    for field, value in OTHER.items():
        given = NEEDS.get(field, {})
        base = Recipe(**{**BASE, **given})
        assert Recipe(**{**BASE, **given, field: value}).id != base.id, field


def test_a_default_spelled_out_is_the_same_run():
    spelled = Recipe(model="small_cnn", data="digits", width=8, lr=0.1, epochs=100, seed=0)
    left_out = Recipe(model="small_cnn", data="digits")
    assert spelled == left_out
    assert spelled.id == left_out.id
    assert hash(spelled) == hash(left_out)


def test_where_the_files_lie_is_not_part_of_the_identity():
    here, there = (
        Recipe(model="resnet18", data="cifar10", data_options={"root": root}) for root in ("a", "b")
    )
    asked = {"root": "a", "download": True}
    fetched = Recipe(model="resnet18", data="cifar10", data_options=asked)
    part = Recipe(model="resnet18", data="cifar10", data_options={"root": "a", "batches": [1, 2]})
    assert here.id == there.id == fetched.id != part.id


@settings(max_examples=50)
@given(
    width=st.integers(1, 128),
    lr=st.floats(1e-5, 10.0),
    noise=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**40),
)
def test_json_keeps_the_recipe_and_its_identifier(width, lr, noise, seed):
    recipe = Recipe(**{**BASE, "width": width}, lr=lr, label_noise=noise, seed=seed)
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert again.id == recipe.id


def test_the_slug_is_a_file_name_that_says_what_it_is():
    recipe = Recipe(model="my.nets:Deep.make", data="digits", batch_size=32, seed=3)
    assert recipe.slug == f"Deep-make-digits-b32-s3-{recipe.id}"
    assert Recipe(**BASE).slug == f"small_cnn-w4-digits-b128-s0-{Recipe(**BASE).id}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0),
        ("batch_size", 0),
        ("epochs", 0),
        ("lr", 0.0),
        ("lr", float("inf")),
        ("lr_decay", 0.0),
        ("lr_decay_at", 1.5),
        ("schedule", "steps"),
        ("pixel_noise", 256.0),
        ("autocast", "float16"),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("label_noise", 1.5),
        ("fraction", 0.0),
        ("seed", -1),
        ("dtype", "float16"),
        ("checkpoint", "best"),
        ("model", "smallcnn"),
        ("data", "digit"),
        ("loss", "mse"),
    ],
)
def test_a_field_out_of_range_is_refused_with_its_name_and_value(field, value):
    with pytest.raises(ValidationError) as caught:
        Recipe(**{**BASE, field: value})
    assert field in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batchsize": 3}, "unknown key 'batchsize'; did you mean 'batch_size'"),
        ({"data_options": {"sed": 3}}, "data_options .*did you mean 'seed'"),
        ({"model_options": {"depth": 3}}, "model_options .*'depth'"),
        ({"schedule": "cosine", "lr_decay": 0.5}, "lr_decay is 0.5, which schedule 'cosine' ign"),
        ({"schedule": "three_step", "lr_decay_at": 0.5}, "lr_decay_at is 0.5, which schedule"),
        ({"pixel_noise_wraps": True}, "pixel_noise_wraps is true, which needs pixel_noise above 0"),
        ({"autocast": "bfloat16", "dtype": "float64"}, "autocast 'bfloat16' needs dtype 'float32'"),
        ({"nesterov": True, "momentum": 0}, "nesterov is true, which needs momentum above 0"),
    ],
)
def test_fields_that_make_no_sense_are_refused_with_the_reason(fields, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(**BASE, **fields)


def test_a_recipe_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Recipe(**BASE).lr = 1.0


def test_noise_and_fraction_act_on_a_data_set_that_is_given():
    whole = digits()
    data = Recipe(**BASE, label_noise=0.5, fraction=0.25, pixel_noise=9.0).load_dataset(whole)
    expected = whole.with_pixel_noise(9.0).with_label_noise(0.5).first(0.25)
    assert torch.equal(data.train_targets, expected.train_targets)
    assert torch.equal(data.train_inputs, expected.train_inputs)
    assert not torch.equal(data.train_inputs, whole.train_inputs[:359])
    assert len(data.train_targets) == 359


def test_initial_weights_depend_on_the_seed_alone():
    whole, reference = digits(), Recipe(**BASE).build_model(digits()).state_dict()
    torch.manual_seed(123)
    torch.set_default_dtype(torch.float64)
    try:
        before = torch.get_rng_state()
        again = Recipe(**BASE, lr=0.3).build_model(whole).state_dict()
        double = Recipe(**BASE, dtype="float64").build_model(whole).state_dict()
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(again[name], value) for name, value in reference.items())
    assert double["0.weight"].dtype == torch.float64
    assert torch.equal(double["0.weight"].float(), reference["0.weight"])
    other = Recipe(**BASE, seed=1).build_model(whole).state_dict()
    assert not torch.equal(other["0.weight"], reference["0.weight"])
