"""Networks with hidden units in every arrangement, and copies with these in another order."""

from __future__ import annotations

import copy

import torch
from torch import nn


def mlp():
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.BatchNorm1d(7), nn.GELU(), nn.Linear(7, 3)
    )


def vgg():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(20, 9),
        nn.Tanh(),
        nn.Linear(9, 3),
    )


class Residual(nn.Module):
    """Two blocks, one with the identity and one with a convolution as its shortcut."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.first = nn.ModuleList([nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)])
        self.second = nn.ModuleList([nn.Conv2d(5, 7, 3, 2, 1), nn.Conv2d(7, 7, 3, padding=1)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(n) for n in (5, 5, 7, 7)])
        self.shortcut, self.out = nn.Conv2d(5, 7, 1, 2), nn.Linear(7, 3)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        one, two, three, four = self.norms
        x = (x + two(self.first[1](one(self.first[0](x)).relu()))).relu()
        deep = four(self.second[1](three(self.second[0](x)).relu()))
        return self.out((self.shortcut(x) + deep).relu().mean((2, 3)))


class Transformer(nn.Module):
    """Positions, layer normalisation, two heads, a feed-forward part, the mean over positions."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Linear(6, 8), nn.Parameter(torch.randn(4, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 10, 0.0, batch_first=True, norm_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.layer(self.tokens(x) + self.places).mean(1))


class Split(nn.Module):
    """Heads from one projection cut in three, as in many language models."""

    def __init__(self):
        super().__init__()
        self.qkv, self.mix, self.out = nn.Linear(6, 24), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (p.view(b, t, 2, 4).transpose(1, 2) for p in self.qkv(x).chunk(3, -1))
        heads = torch.softmax(q @ k.transpose(-2, -1), -1) @ v
        return self.out(self.mix(heads.transpose(1, 2).reshape(b, t, 8)).relu().sum(1))


def grouped():
    return nn.Sequential(
        nn.Conv2d(2, 8, 1),
        nn.Hardswish(),
        nn.Conv2d(8, 8, 3, groups=8, padding=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, groups=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


# Network, shape of an input, sizes of its groups in ascending order.
NETWORKS = {
    "mlp": (mlp, (6,), [7, 8]),
    "vgg": (vgg, (2, 8, 8), [5, 6, 9]),
    "residual": (Residual, (2, 6, 6), [5, 5, 7, 7]),
    "transformer": (Transformer, (4, 6), [2, 4, 8, 10]),
    "split": (Split, (4, 6), [2, 4, 8]),
    "grouped": (grouped, (2, 6, 6), [2, 3, 4, 4]),
}


def network(name, *, seed=0):
    """A network in evaluation mode with statistics of its own, and nine inputs for it."""
    torch.manual_seed(seed)
    make, shape, _ = NETWORKS[name]
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 1.0, 0.3)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    return model, torch.randn(9, *shape)


def double(model):
    return copy.deepcopy(model).double()
