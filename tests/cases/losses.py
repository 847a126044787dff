"""Losses of every kind on one small network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from cases.case import ROWS, function, labels, loss, noise
from torch import nn

WEIGHTS = torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64)


def some_ignored():
    targets = labels(3)
    targets[1] = -100
    return targets


def probabilities():
    return torch.softmax(noise(3), 1)


def positive():
    return noise(3).abs() + 0.1


def on_probabilities(kind, **options):
    criterion = kind(**options)
    return lambda out, y: criterion(F.log_softmax(out, 1), y)


def tokens_loss(model, batch):
    scores = model(batch[0][:, :-1])
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), batch[0][:, 1:].reshape(-1))


LOSSES = {
    "cross-entropy": loss(None),
    "cross-entropy weighted": loss(nn.CrossEntropyLoss(weight=WEIGHTS)),
    "cross-entropy smoothed": loss(nn.CrossEntropyLoss(label_smoothing=0.1)),
    "cross-entropy weighted and smoothed": loss(
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), some_ignored
    ),
    "cross-entropy ignoring": loss(nn.CrossEntropyLoss(), some_ignored),
    "cross-entropy sum": loss(nn.CrossEntropyLoss(reduction="sum")),
    "cross-entropy of probabilities": loss(nn.CrossEntropyLoss(), probabilities),
    "cross-entropy of weighted probabilities": loss(
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), probabilities
    ),
    "squared error": loss(nn.MSELoss(), lambda: noise(3)),
    "squared error sum": loss(nn.MSELoss(reduction="sum"), lambda: noise(3)),
    "squared error function": loss(F.mse_loss, lambda: noise(3)),
    "absolute error": loss(nn.L1Loss(), lambda: noise(3)),
    "smooth absolute error": loss(nn.SmoothL1Loss(beta=0.5), lambda: noise(3)),
    "huber": loss(nn.HuberLoss(delta=0.7), lambda: noise(3)),
    "binary with logits": loss(nn.BCEWithLogitsLoss(), lambda: torch.rand(ROWS, 3)),
    "binary with logits, weighted": loss(
        nn.BCEWithLogitsLoss(weight=WEIGHTS, pos_weight=WEIGHTS.flip(0)),
        lambda: (noise(3) > 0).double(),
    ),
    "binary": loss(
        lambda out, y: F.binary_cross_entropy(torch.sigmoid(out), y), lambda: torch.rand(ROWS, 3)
    ),
    "likelihood": loss(on_probabilities(nn.NLLLoss)),
    "divergence": loss(on_probabilities(nn.KLDivLoss, reduction="batchmean"), probabilities),
    "divergence of logs": loss(
        on_probabilities(nn.KLDivLoss, reduction="batchmean", log_target=True),
        lambda: probabilities().log(),
    ),
    "poisson": loss(nn.PoissonNLLLoss(), positive),
    "gaussian": loss(
        lambda out, y: F.gaussian_nll_loss(out, y, F.softplus(out.flip(1))),
        lambda: noise(3),
    ),
    "soft margin": loss(F.soft_margin_loss, lambda: noise(3).sign()),
    "log-sum-exp by hand": function(
        lambda m, b: (m(b[0]).logsumexp(1) - m(b[0])[torch.arange(ROWS), b[1]]).mean()
    ),
    "cosine": loss(lambda out, y: 1 - F.cosine_similarity(out, y, dim=1).mean(), lambda: noise(3)),
    "triplet": function(
        lambda m, b: F.triplet_margin_loss(m(b[0]), m(b[0].flip(0)), m(b[0].roll(1, 0)))
    ),
    "consistency": function(lambda m, b: F.mse_loss(m(b[0]), 2 * m(b[0].flip(0)))),
    "distillation": function(
        lambda m, b: F.kl_div(
            F.log_softmax(m(b[0]), 1), torch.softmax(m(b[0].flip(0)), 1), reduction="batchmean"
        )
    ),
    "norm of weights": function(
        lambda m, b: (
            F.cross_entropy(m(b[0]), b[1]) + 0.1 * sum(p.square().sum() for p in m.parameters())
        )
    ),
    "weights in a closure": function(lambda m, b: F.cross_entropy(m(b[0]), b[1], weight=WEIGHTS)),
    "contrastive": function(
        lambda m, b: F.cross_entropy(
            F.normalize(m(b[0]), dim=1) @ F.normalize(m(b[0].flip(0)), dim=1).T / 0.5,
            torch.arange(ROWS),
        )
    ),
}
