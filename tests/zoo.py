"""Tiny networks of the kinds that people bring: what each layer and loss of torch traces into."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Lambda(nn.Module):
    """A function of no parameters as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def images(*middle, channels=2, out=2, classes=3):
    """Convolution, the layers in question, mean over pixels, linear."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        *middle,
        Lambda(lambda x: x.flatten(2).mean(2)),
        nn.Linear(out, classes),
    )


def vectors(*middle, hidden=4, classes=3):
    """Linear, the layers in question, linear."""
    return nn.Sequential(nn.Linear(5, hidden), *middle, nn.Linear(hidden, classes))


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 1, 1), nn.Conv2d(1, channels, 1)

    def forward(self, x):
        gate = torch.sigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        return x * gate


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.norm(self.conv(x))
        out += x
        return self.relu(out)


class UNet(nn.Module):
    """Down, up by a transposed convolution and by interpolation, joined: a class per pixel."""

    def __init__(self, mode="bilinear"):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 2, 3, padding=1), nn.ConvTranspose2d(2, 2, 2, stride=2)
        self.out, self.mode = nn.Conv2d(5, 2, 1), mode

    def forward(self, x):
        low = F.max_pool2d(torch.tanh(self.down(x)), 2)
        corners = {} if self.mode == "nearest" else {"align_corners": False}
        wide = F.interpolate(low, scale_factor=2, mode=self.mode, **corners)
        return self.out(torch.cat([x, self.up(low), wide], 1))


class Attention(nn.Module):
    """Multi-head attention over three tokens; the last one of some rows is masked."""

    def __init__(self, masked=True):
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)
        self.masked = masked

    def forward(self, x):
        x = x.reshape(len(x), 3, 4)
        padding = torch.zeros(len(x), 3, dtype=torch.bool)
        padding[::2, 2] = True
        mixed, _ = self.attention(
            x, x, x, key_padding_mask=padding if self.masked else None, need_weights=self.masked
        )
        return self.out(mixed.mean(1))


class Encoder(nn.Module):
    def __init__(self, norm_first=False, activation="relu"):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            4, 2, 3, activation=activation, batch_first=True, norm_first=norm_first
        )
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.layer(x.reshape(len(x), 3, 4))[:, 0])


class PatchTransformer(nn.Module):
    """ViT: patches by a convolution, a class token, positions, one block, layer norms."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(1, 4, 3, stride=3)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(5, 4))
        self.norm, self.qkv, self.mix = nn.LayerNorm(4), nn.Linear(4, 12), nn.Linear(4, 4)
        self.wide, self.narrow, self.head = nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (2, 2)).transpose(1, 2) for part in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.mix(mixed)
        x = x + self.narrow(F.gelu(self.wide(x), approximate="tanh"))
        return self.head(x[:, 0])


class Decoder(nn.Module):
    """GPT: tied token embedding, learned positions, causal attention; scores per token."""

    def __init__(self, fused=True):
        super().__init__()
        self.table, self.place = nn.Embedding(6, 4), nn.Embedding(5, 4)
        self.first, self.last = nn.LayerNorm(4), nn.LayerNorm(4, bias=False)
        self.qkv, self.mix = nn.Linear(4, 12, bias=False), nn.Linear(4, 4)
        self.register_buffer("mask", torch.tril(torch.ones(5, 5)).view(1, 1, 5, 5))
        self.fused = fused

    def forward(self, tokens):
        rows, length = tokens.shape
        x = self.table(tokens) + self.place(torch.arange(length))
        q, k, v = self.qkv(self.first(x)).split(4, dim=2)
        q, k, v = (part.view(rows, length, 2, 2).transpose(1, 2) for part in (q, k, v))
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            scores = scores.masked_fill(self.mask[:, :, :length, :length] == 0, float("-inf"))
            mixed = F.softmax(scores, dim=-1) @ v
        x = x + self.mix(mixed.transpose(1, 2).contiguous().view(rows, length, 4))
        return F.linear(self.last(x), self.table.weight)


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.cell = kind(3, 2, batch_first=True, **options)
        self.out = nn.Linear(4 if options.get("bidirectional") else 2, 2)

    def forward(self, x):
        return self.out(self.cell(x.reshape(len(x), 2, 3))[0][:, -1])


class Cells(nn.Module):
    """A loop over time written by hand."""

    def __init__(self, kind=nn.LSTMCell):
        super().__init__()
        self.cell, self.out = kind(3, 2), nn.Linear(2, 2)

    def forward(self, x):
        state = None
        for step in x.reshape(len(x), 2, 3).unbind(1):
            state = self.cell(step, state)
        return self.out(state[0] if isinstance(state, tuple) else state)


class TextClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, 3, padding_idx=0)
        self.cell, self.out = nn.LSTM(3, 2, batch_first=True), nn.Linear(2, 2)

    def forward(self, tokens):
        _, (state, _) = self.cell(self.table(tokens))
        return self.out(state[-1])


class TiedTokens(nn.Module):
    """The embedding is the output layer too, and one of its rows is padding."""

    def __init__(self, padding=0):
        super().__init__()
        self.table, self.mix = nn.Embedding(5, 3, padding_idx=padding), nn.Linear(3, 3)

    def forward(self, tokens):
        return F.linear(torch.tanh(self.mix(self.table(tokens))), self.table.weight)


class LargestOfBags(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.out = nn.EmbeddingBag(6, 3, mode="max"), nn.Linear(3, 2)

    def forward(self, tokens):
        return self.out(torch.tanh(self.bag(tokens)))


class Fourier(nn.Module):
    """A spectral layer with real weights."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 6)
        self.real, self.imag = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))
        self.out = nn.Linear(6, 2)

    def forward(self, x):
        spectrum = torch.fft.rfft(torch.tanh(self.inner(x)))
        return self.out(torch.fft.irfft(spectrum * torch.complex(self.real, self.imag), n=6))


class Graph(nn.Module):
    """Two rounds of messages along the edges of a ring, by index_add and scatter_add."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 3), nn.Linear(3, 2)
        self.register_buffer("edges", torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]]))

    def forward(self, x):
        source, target = self.edges
        x = torch.tanh(self.first(x))
        x = x + torch.zeros_like(x).index_add(0, target, x[source])
        x = self.second(torch.tanh(x))
        place = target[:, None].expand(-1, 2)
        return x + torch.zeros_like(x).scatter_add(0, place, x[source] ** 2)


class Heads(nn.Module):
    """Several outputs in a dict."""

    def __init__(self):
        super().__init__()
        self.body, self.kind, self.size = nn.Linear(5, 3), nn.Linear(3, 2), nn.Linear(3, 1)

    def forward(self, x):
        x = F.silu(self.body(x))
        return {"kind": self.kind(x), "size": self.size(x).squeeze(-1)}


class GroupedQueries(nn.Module):
    """Rotary positions, RMS norm, SwiGLU, keys shared by heads: the parts of a recent decoder."""

    def __init__(self):
        super().__init__()
        self.norm, self.q, self.kv = nn.RMSNorm(4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.gate, self.up, self.down = (nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 4))
        angles = torch.outer(torch.arange(3.0), torch.tensor([1.0]))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.out = nn.Linear(4, 2)

    def turned(self, x):
        left, right = x.chunk(2, -1)
        return torch.cat(
            [left * self.cos - right * self.sin, right * self.cos + left * self.sin], -1
        )

    def forward(self, x):
        x = x.reshape(len(x), 3, 4)
        inner = self.norm(x)
        q = self.turned(self.q(inner).unflatten(-1, (2, 2)).transpose(1, 2))
        k, v = (part[:, None] for part in self.kv(inner).chunk(2, -1))
        k, v = self.turned(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        return self.out(x.mean(1))


@dataclasses.dataclass
class Sample:
    """A batch as a dataclass."""

    inputs: Tensor
    target: Tensor
