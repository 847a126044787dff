"""Fused layers give what their parts give, and are found where networks have them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_relative, classification, cut, dense_hessian
from torch import nn

from landscape_fast.linearise import cuts
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.rules import cross_entropy, layers


def settled(norm: nn.Module) -> nn.Module:
    """Statistics and parameters as after training: nothing is 0 or 1."""
    with torch.no_grad():
        for tensor in (norm.running_mean, norm.bias):
            if tensor is not None:
                tensor.copy_(0.3 * torch.randn_like(tensor))
        for tensor in (norm.running_var, norm.weight):
            if tensor is not None:
                tensor.copy_(0.5 + torch.rand_like(tensor))
    return norm


class Net(nn.Module):
    """Three convolutions and norms, joined by ``forward`` of a subclass."""

    def __init__(self, bias=False, affine=True):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.ModuleList(
            nn.Conv2d(i, 3, size, padding=size // 2, bias=bias)
            for i, size in ((1, 3), (3, 3), (3, 1))
        )
        self.bn = nn.ModuleList(settled(nn.BatchNorm2d(3, affine=affine)) for _ in range(3))
        self.head = nn.Linear(3, 3)

    def end(self, x):
        return self.head(x.mean((2, 3)))


class Chain(Net):
    def forward(self, x):
        for conv, bn in zip(self.conv, self.bn, strict=True):
            x = F.relu(bn(conv(x)))
        return self.end(x)


class Residual(Net):
    def forward(self, x):
        x = F.relu(self.bn[0](self.conv[0](x)))
        x = F.relu(self.bn[1](self.conv[1](x)) + x)
        return self.end(F.relu(x + self.bn[2](self.conv[2](x))))


class Shortcut(Net):
    def forward(self, x):
        x = F.relu(self.bn[0](self.conv[0](x)))
        return self.end(F.relu(self.bn[1](self.conv[1](x)) + self.bn[2](self.conv[2](x))))


class Preactivated(Net):
    def forward(self, x):
        x = self.conv[0](x)
        x = x + self.conv[1](F.relu(self.bn[0](x)))
        x = x + self.conv[2](F.relu(self.bn[1](x)))
        return self.end(F.relu(self.bn[2](x)))


class Reused(Net):
    def forward(self, x):
        a = self.conv[0](x)
        b = F.relu(self.bn[0](a))
        c = self.bn[1](self.conv[1](b)) * torch.sigmoid(a) + b
        return self.end(F.relu(self.bn[2](self.conv[2](c + b.flip(3)))) + c)


class Doubled(Net):
    def forward(self, x):
        x = self.bn[0](self.conv[0](x))
        x = F.relu(x + x)
        x = F.relu(self.bn[1](self.conv[1](x)) + x[:, :, :1])
        return self.end(torch.cat([F.relu(self.bn[2](self.conv[2](x)))] * 2))[: len(x)]


NETWORKS = {
    "chain": Chain,
    "biases": lambda: Chain(bias=True),
    "without affine parameters": lambda: Chain(affine=False),
    "residual": Residual,
    "shortcut": Shortcut,
    "pre-activated": Preactivated,
    "values read twice": Reused,
    "sums that are no residual": Doubled,
}


def whole(loader):
    x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
    return lambda model: F.cross_entropy(model(x.double()), y)


def steps(op, kind):
    programs = op._engine._programs._own
    return [step.target for key, p in programs.items() if key[0] == kind for step in p.steps]


@pytest.mark.parametrize("name", NETWORKS)
def test_fused_layers_equal_the_dense_hessian(name, monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 2000)
    model = NETWORKS[name]().double().eval()
    loader = [(x.double(), y) for x, y in cut(classification(11, (1, 5, 5)), [9, 2])]
    exact = dense_hessian(model, whole(loader))
    op = HessianOperator(model, loader, engine="captured")
    v = torch.randn(6, op.shape[0], dtype=torch.float64)
    for _ in range(2):  # the second time from kept values
        assert_relative(op(v), v @ exact, 1e-11)
    assert_relative(op.quadratic(v), ((v @ exact) * v).sum(1), 1e-11)
    assert layers.norm in steps(op, "value")
    assert layers.norm_backward in steps(op, "gradient")


@pytest.mark.parametrize("params", ["conv", "bn", "conv.1", "bn.0.weight", "bn.2.bias", "head"])
def test_a_part_of_the_parameters_may_be_selected(params):
    model = Residual().double().eval()
    loader = [(x.double(), y) for x, y in [classification(6, (1, 5, 5))]]
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]
    chosen = torch.cat(
        [
            torch.full((size,), name == params or name.startswith(params + "."))
            for name, size in zip(names, sizes, strict=True)
        ]
    )
    exact = dense_hessian(model, whole(loader))[chosen][:, chosen]
    op = HessianOperator(model, loader, engine="captured", params=params)
    v = torch.randn(3, op.shape[0], dtype=torch.float64)
    assert_relative(op(v), v @ exact, 1e-11)
    assert_relative(op.quadratic(v), ((v @ exact) * v).sum(1), 1e-11)


def test_every_layer_of_a_residual_network_is_fused():
    op = HessianOperator(Shortcut().eval(), [classification(4, (1, 5, 5))], engine="captured")
    v = torch.randn(2, op.shape[0])
    op(v), op.quadratic(v)
    for kind in ("gradient", "value"):
        left = {str(target) for target in steps(op, kind)}
        assert not any("batch_norm" in name or "relu" in name for name in left)
    assert "aten.convolution.default" not in {str(t) for t in steps(op, "gradient")}


def test_products_repeat_to_the_bit_and_leave_the_vectors_alone():
    op = HessianOperator(Residual().eval(), [classification(8, (1, 5, 5))], engine="captured")
    v = torch.randn(4, op.shape[0])
    before = v.clone()
    first = op(v)
    assert torch.equal(first, op(v))
    assert torch.equal(op.quadratic(v), op.quadratic(v))
    assert torch.equal(v, before)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0])),
        nn.CrossEntropyLoss(ignore_index=1, reduction="sum"),
        nn.CrossEntropyLoss(label_smoothing=0.2),
    ],
)
def test_the_gradient_of_softmax_cross_entropy_is_one_step(criterion):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    criterion = criterion.double()
    x, y = classification(7, (4,))
    op = HessianOperator(model, [(x.double(), y)], criterion=criterion, engine="captured")
    exact = dense_hessian(model, lambda m: criterion(m(x.double()), y))
    v = torch.randn(3, op.shape[0], dtype=torch.float64)
    assert_relative(op(v), v @ exact, 1e-11)
    assert_relative(op.quadratic(v), ((v @ exact) * v).sum(1), 1e-11)
    assert cross_entropy.softmax_gradient in steps(op, "gradient")
    left = {str(target) for target in steps(op, "gradient")}
    assert not any("softmax_backward" in name for name in left)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_layers_in_half_precision_are_served_by_the_general_rule(dtype):
    x, y = classification(6, (1, 6, 6))
    exact = HessianOperator(Chain(), [(x, y)])
    op = HessianOperator(Chain().to(dtype), [(x.to(dtype), y)], engine="captured")
    v = torch.randn(2, exact.shape[0])
    assert_relative(op(v), exact(v), 0.05)
