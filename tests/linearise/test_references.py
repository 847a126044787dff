from __future__ import annotations

import functools
from argparse import Namespace

import torch
from torch import nn

from landscape_fast.linearise.references import MANY, references

RATE = 0.25
MODEL = nn.Linear(2, 2)


def helper(x):
    return RATE * x


def by_globals(x):
    return [helper(item) for item in MODEL(x)]


def found(function, besides=()):
    return {path: value for path, value in references(function, besides)}


def test_globals_are_followed_through_functions_of_the_same_file():
    values = found(by_globals)
    assert values[".helper.RATE"] == 0.25
    assert values[".MODEL"] is MODEL


def test_what_is_left_out_is_not_met():
    assert ".MODEL" not in found(by_globals, besides=[MODEL])


def test_closures_defaults_partials_and_containers_are_opened():
    inner = {"a": [1.0, torch.ones(2)], "args": Namespace(rate=0.5)}

    def function(x, y=3, *, z=4):
        return x, y, z, inner

    values = found(functools.partial(function, 7, z=5))
    assert values[".func.inner.a.0"] == 1.0
    assert torch.equal(values[".func.inner.a.1"], torch.ones(2))
    assert values[".func.inner.args.rate"] == 0.5
    assert (values[".func.defaults.0"], values[".func.kwdefaults.z"]) == (3, 4)
    assert (values[".args.0"], values[".keywords.z"]) == (7, 5)


def test_functions_of_torch_modules_of_python_and_classes_are_not_opened():
    values = found(lambda x: nn.functional.cross_entropy(x, x) + torch.ones(1))
    assert values == {}


def test_long_containers_are_single_values():
    data = list(range(MANY + 1))
    assert found(lambda: data) == {".data": data}


def test_what_refers_to_itself_ends():
    def first(n):
        return second(n)

    def second(n):
        return first(n) if n else late

    assert found(first) == {}
    late = 1
    assert found(first) == {".second.late": late}
