"""What a product costs in convolutions, the figures of docs/eigenvalues.md."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from landscape_fast import HessianOperator
from landscape_fast.linearise import residency

aten = torch.ops.aten


class Convolutions(TorchDispatchMode):
    """Counts convolutions; one call for a backward pass makes up to two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is aten.convolution.default:
            self.made += 1
        elif func is aten.convolution_backward.default:
            self.made += sum(args[10][:2])
        return func(*args, **(kwargs or {}))


def problem(layers: int) -> tuple[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]]:
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for channels in (3, *[16] * (layers - 1)):
        parts += [nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return model.eval(), [(torch.randn(8, 3, 8, 8), torch.randint(10, (8,)))]


def rebuilt(model, data):
    """Double backward through a graph that is made anew."""
    ((x, y),) = data
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters, create_graph=True)
    torch.autograd.grad(gradients, parameters, [torch.ones_like(each) for each in gradients])


def convolutions(product) -> int:
    with Convolutions() as counted:
        product()
    return counted.made


def of_an_inner_layer(product) -> int:
    """What one layer more takes; the first one's input has no derivative."""
    deeper, shallow = (convolutions(product(*problem(layers))) for layers in (4, 3))
    return deeper - shallow


def test_an_inner_layer_takes_six_convolutions_and_eight_where_nothing_is_kept(monkeypatch):
    monkeypatch.setitem(residency.PASSES_BEFORE, "cpu", 0)

    def of(**options):
        def product(model, data):
            op = HessianOperator(model, data, engine="captured", **options)
            v = torch.ones(op.shape[0])
            op(v)  # keeps what may be kept
            return partial(op, v)

        return of_an_inner_layer(product)

    assert of() == 6
    assert of(values_budget=0) == 8


def test_double_backward_through_a_new_graph_takes_nine():
    assert of_an_inner_layer(lambda model, data: partial(rebuilt, model, data)) == 9
