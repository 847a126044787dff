"""Small networks of every kind, for whatever must work on any model: make(), input shape."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from oracles import conv_net, mlp
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.qkv(x.reshape(len(x), 3, 4)).split(4, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.out = nn.GRU(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.out(self.cell(x.reshape(len(x), 3, 4))[0][:, -1])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def linear():
    torch.manual_seed(0)
    return nn.Linear(5, 3)


def layer_norm_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.SiLU(), nn.Linear(4, 3))


class Pooled(nn.Module):
    """Strided and overlapping max pooling, a bias, a residual sum and a product of branches."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.gate, self.out = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        x = F.max_pool2d(F.leaky_relu(self.first(x)), 3, stride=2, padding=1)
        x = (x + F.elu(self.second(x))).mean((2, 3))
        return self.out(x * torch.sigmoid(self.gate(x)))


class Tokens(nn.Module):
    """Embedding, positions, attention mask, concatenation: integer inputs from a float batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.Embedding(7, 4), nn.Linear(8, 3)

    def forward(self, x):
        tokens = (x.abs() * 3).long() % 7
        first = self.table(tokens)
        scores = (first @ first.transpose(1, 2)).masked_fill(tokens[:, None, :] == 0, -1e9)
        mixed = torch.softmax(scores, -1) @ first
        return self.out(torch.cat([first, mixed], -1)).mean(1)


LADDER = {
    "linear": (linear, (5,)),
    "tanh": (mlp, (5,)),
    "relu": (lambda: mlp(activation=nn.ReLU), (5,)),
    "gelu": (lambda: mlp(activation=nn.GELU), (5,)),
    "softplus": (lambda: mlp(activation=nn.Softplus), (5,)),
    "conv-bn": (conv_net, (1, 6, 6)),
    "layer norm": (layer_norm_net, (5,)),
    "attention": (Attention, (12,)),
    "recurrent": (Recurrent, (12,)),
    "tied": (Tied, (3,)),
    "pooled": (Pooled, (1, 6, 6)),
    "tokens": (Tokens, (4,)),
}
