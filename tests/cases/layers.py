"""Layers of every kind: of vectors, of images, of sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import zoo
from cases.case import Case, function, image, labels, noise, rows, vector
from cases.losses import tokens_loss
from torch import nn
from torch.nn.utils import parametrizations

VECTORS = {
    name: vector(make)
    for name, make in {
        "relu": nn.ReLU,
        "relu in place": lambda: nn.ReLU(inplace=True),
        "relu6": nn.ReLU6,
        "prelu": nn.PReLU,
        "prelu per channel": lambda: nn.PReLU(4),
        "elu": nn.ELU,
        "celu": nn.CELU,
        "gelu": nn.GELU,
        "gelu tanh": lambda: nn.GELU("tanh"),
        "silu": nn.SiLU,
        "mish": nn.Mish,
        "softplus": nn.Softplus,
        "hardswish": nn.Hardswish,
        "logsigmoid": nn.LogSigmoid,
        "softsign": nn.Softsign,
        "glu": lambda: nn.Sequential(nn.Linear(4, 8), nn.GLU()),
        "batch norm": lambda: nn.BatchNorm1d(4),
        "layer norm": lambda: nn.LayerNorm(4),
        "rms norm": lambda: nn.RMSNorm(4),
        "bilinear": lambda: nn.Sequential(
            zoo.Lambda(lambda x: torch.einsum("bi,bj->bij", x, x).flatten(1)), nn.Linear(16, 4)
        ),
        "cumulative sum": lambda: zoo.Lambda(lambda x: torch.tanh(x).cumsum(1)),
        "sorted": lambda: zoo.Lambda(lambda x: x.square().sort(1).values),
        "top": lambda: zoo.Lambda(lambda x: x * x.square().topk(2, dim=1).values.sum(1, True)),
        "largest": lambda: zoo.Lambda(lambda x: x * x.max(1, keepdim=True).values + x.amax(0)),
        "norms": lambda: zoo.Lambda(lambda x: x / (1 + x.norm(dim=1, keepdim=True) + x.std())),
        "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
        "written in place": lambda: zoo.Lambda(written),
    }.items()
}
VECTORS |= {
    "products": vector(
        lambda: zoo.Lambda(lambda x: x + x.prod(1, keepdim=True)),
        slow=("aten.cumprod.default", "aten.prod.dim_int"),
    ),
    # The factors of a linear system are constants to forward mode, and not to double backward.
    "orthogonal": vector(
        lambda: parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley"),
        autograd="differs from double backward",
    ),
}


def written(x):
    out = torch.zeros_like(x)
    out[:, :2] = x[:, 2:].square()
    out[:, 2:] += x[:, :2]
    return out.clamp_(max=2.0)


IMAGES = {
    "group norm": image(lambda: nn.GroupNorm(1, 2), nn.SiLU),
    "instance norm": image(lambda: nn.InstanceNorm2d(2, affine=True), nn.Tanh),
    "batch norm 2d": image(lambda: nn.BatchNorm2d(2), nn.ReLU),
    "residual in place": image(lambda: zoo.Residual(2)),
    "squeeze and excite": image(nn.SiLU, lambda: zoo.SqueezeExcite(2)),
    "circular": image(lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), nn.Tanh),
    "reflected": image(lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), nn.Tanh),
    "replicated": image(lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate"), nn.Tanh),
    "depthwise": image(nn.SiLU, lambda: nn.Conv2d(2, 2, 3, groups=2), nn.Tanh),
    "grouped": image(nn.SiLU, lambda: nn.Conv2d(2, 4, 3, groups=2), nn.Tanh, out=4),
    "dilated": image(nn.SiLU, lambda: nn.Conv2d(2, 2, 3, dilation=2), nn.Tanh),
    "strided": image(nn.SiLU, lambda: nn.Conv2d(2, 2, 3, stride=2), nn.Tanh),
    "transposed": image(nn.SiLU, lambda: nn.ConvTranspose2d(2, 2, 2, stride=2), nn.Tanh),
    "max pool": image(nn.SiLU, lambda: nn.MaxPool2d(2), lambda: nn.Conv2d(2, 2, 2), nn.Tanh),
    "average pool": image(nn.SiLU, lambda: nn.AvgPool2d(3, 2, 1), lambda: nn.Conv2d(2, 2, 2)),
    "adaptive pool": image(nn.SiLU, lambda: nn.AdaptiveAvgPool2d(4), lambda: nn.Conv2d(2, 2, 2)),
    "adaptive uneven pool": image(nn.SiLU, lambda: nn.AdaptiveAvgPool2d((4, 5)), nn.Tanh),
    "adaptive max pool": image(nn.SiLU, lambda: nn.AdaptiveMaxPool2d(2), nn.Tanh),
    "global pool": image(nn.SiLU, lambda: nn.AdaptiveAvgPool2d(1)),
    "pixel shuffle": image(
        lambda: nn.Conv2d(2, 4, 1), nn.SiLU, lambda: nn.PixelShuffle(2), nn.Tanh, out=1
    ),
    "local response": image(nn.SiLU, lambda: nn.LocalResponseNorm(2)),
    "u-net": Case(zoo.UNet, lambda: (noise(1, 4, 4), labels(2, 4, 4))),
    "u-net nearest": Case(lambda: zoo.UNet("nearest"), lambda: (noise(1, 4, 4), labels(2, 4, 4))),
    "u-net bicubic": Case(lambda: zoo.UNet("bicubic"), lambda: (noise(1, 4, 4), labels(2, 4, 4))),
    "one dimension": rows(
        lambda: nn.Sequential(
            nn.Conv1d(1, 2, 3),
            nn.BatchNorm1d(2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.AvgPool1d(2),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        (1, 10),
    ),
    "three dimensions": rows(
        lambda: nn.Sequential(
            nn.Conv3d(1, 2, 2),
            nn.SiLU(),
            nn.MaxPool3d(2, 1),
            nn.AvgPool3d(2, 1),
            nn.Flatten(),
            nn.Linear(2, 3),
        ),
        (1, 4, 4, 4),
    ),
    "vision transformer": rows(zoo.PatchTransformer, (1, 6, 6), 2),
}

TOKENS = {
    "attention": rows(lambda: zoo.Attention(masked=False), (12,), 2),
    "masked attention": rows(zoo.Attention, (12,), 2),
    "encoder": rows(zoo.Encoder, (12,), 2),
    "grouped queries": rows(zoo.GroupedQueries, (12,), 2),
    "decoder": function(tokens_loss, zoo.Decoder, lambda: (labels(6, 6),)),
    "decoder by hand": function(tokens_loss, lambda: zoo.Decoder(False), lambda: (labels(6, 6),)),
    "gru": rows(lambda: zoo.Recurrent(nn.GRU), (6,), 2),
    "lstm": rows(lambda: zoo.Recurrent(nn.LSTM), (6,), 2),
    "rnn of two layers": rows(lambda: zoo.Recurrent(nn.RNN, num_layers=2), (6,), 2),
    "rnn both ways": rows(lambda: zoo.Recurrent(nn.RNN, bidirectional=True), (6,), 2),
    "lstm cell": rows(zoo.Cells, (6,), 2),
    "gru cell": rows(lambda: zoo.Cells(nn.GRUCell), (6,), 2),
    "text": Case(
        zoo.TextClassifier,
        lambda: (labels(6, 2), labels(2)),
        warning="the loss stops gradients",  # at the padding row
    ),
    "tied tokens": function(tokens_loss, lambda: zoo.TiedTokens(None), lambda: (labels(5, 4),)),
    "tied tokens with padding": function(
        tokens_loss, zoo.TiedTokens, lambda: (labels(5, 4),), warning="the loss stops gradients"
    ),
    "largest of bags": Case(
        zoo.LargestOfBags,
        lambda: (labels(6, 4), labels(2)),
        error="'_embedding_bag_backward' is not implemented",
    ),
    "graph": function(
        lambda m, b: F.cross_entropy(m(b[0]), b[1]), zoo.Graph, lambda: (noise(5), labels(2))
    ),
    "fourier": rows(zoo.Fourier, (5,), 2),
}
