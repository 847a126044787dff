from __future__ import annotations

import pytest
import torch
from oracles import conv_net, mlp
from torch import nn

from landscape_fast.linearise.params import ParameterSpace


def test_dict_and_vector_are_inverse():
    space = ParameterSpace(conv_net())
    block = torch.randn(3, space.size)
    assert torch.equal(space.to_vector(space.to_dict(block)), block)
    vector = torch.randn(space.size)
    assert torch.equal(space.flatten(space.split(vector)), vector)


def test_a_parameter_without_dimensions_is_cut_out_of_one_vector_and_of_many():
    model = torch.nn.PReLU()
    model.scale = torch.nn.Parameter(torch.tensor(3.0))
    space = ParameterSpace(model)
    assert [part.shape for part in space.split(torch.zeros(2))] == [(1,), ()]
    assert [part.shape for part in space.split(torch.zeros(4, 2))] == [(4, 1), (4,)]
    assert [part.shape for part in space.views(torch.zeros(4, 2))] == [(4, 1), (4,)]


def test_tied_parameters_count_once_and_answer_to_both_names():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    assert ParameterSpace(model).names == ("a.weight",)
    assert ParameterSpace(model, "b.weight").names == ("a.weight",)


def test_frozen_parameters_are_left_out_and_refused_by_name():
    model = mlp()
    model[0].requires_grad_(False)
    assert ParameterSpace(model).names == ("2.weight", "2.bias")
    with pytest.raises(ValueError, match="params selects 0.bias, which is frozen"):
        ParameterSpace(model, "0")
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        ParameterSpace(model)


def test_names_modules_and_lists_select_the_same_block():
    model = mlp()
    wanted = ("2.weight", "2.bias")
    for selection in ("2", model[2], ["2.bias", "2.weight"], [model[2]]):
        assert ParameterSpace(model, selection).names == wanted


@pytest.mark.parametrize(
    ("selection", "error", "text"),
    [
        ("2.weigh", ValueError, "did you mean '2.weight'"),
        (nn.Linear(2, 2), ValueError, "Linear that is not part of the model"),
        ([], ValueError, "params selects no parameter"),
        ([3], TypeError, "params takes names and modules, got int"),
    ],
)
def test_a_selection_that_finds_nothing_is_named(selection, error, text):
    with pytest.raises(error, match=text):
        ParameterSpace(mlp(), selection)


def test_half_precision_parameters_have_float32_vectors():
    assert ParameterSpace(mlp().to(torch.bfloat16)).dtype == torch.float32
    model = mlp()
    model[2].double()
    assert ParameterSpace(model).dtype == torch.float64


def test_complex_parameters_are_refused_by_name():
    model = nn.ParameterDict({"z": nn.Parameter(torch.zeros(2, dtype=torch.complex64))})
    with pytest.raises(ValueError, match="not real: z, torch.complex64"):
        ParameterSpace(model)


def test_a_module_whose_parameters_are_tied_may_be_selected_by_its_own_name():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight, second.bias = first.weight, first.bias
    model = nn.Sequential(first, second)
    assert ParameterSpace(model, ["0", "1"]).names == ("0.weight", "0.bias")
    assert ParameterSpace(model, "1").names == ("0.weight", "0.bias")
