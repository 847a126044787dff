from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch

from landscape_fast.linearise.structure import map_tensors, rows, tensors

Pair = namedtuple("Pair", "x y")


@dataclass
class Graph:
    nodes: torch.Tensor
    name: str


X, Y = torch.ones(3, 2), torch.zeros(3)


@pytest.mark.parametrize(
    "batch",
    [
        (X, Y),
        [X, Y],
        {"x": X, "y": Y},
        OrderedDict(x=X, y=Y),
        UserDict(x=X, y=Y),
        Pair(X, Y),
        (Graph(X, "g"), {"deep": [Y]}),
    ],
)
def test_every_container_keeps_its_type_and_maps_its_tensors(batch):
    doubled = map_tensors(lambda tensor: tensor + 1, batch)
    assert type(doubled) is type(batch)
    assert [leaf.unique().tolist() for leaf in tensors(doubled)] == [[2.0], [1.0]]
    assert [leaf.unique().tolist() for leaf in tensors(batch)] == [[1.0], [0.0]]


def test_what_is_not_a_tensor_passes_through():
    assert map_tensors(lambda tensor: tensor, (X, "text", 3))[1:] == ("text", 3)


def test_rows_are_the_common_leading_size_or_unknown():
    assert rows((X, Y)) == 3
    assert rows((X, torch.tensor(1.0))) == 3
    assert rows((X, torch.zeros(4))) is None
