"""Problems for traces and diagonals, with their dense matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from oracles import classification, cut, dense_gauss_newton, dense_hessian, mlp
from torch import nn


def problem(make=mlp, shape=(5,), rows=30):
    """Model and three batches in float64; Hessian and Gauss-Newton matrix of all rows."""
    x, y = classification(rows, shape)
    return measured(make().double(), x.double(), y, [12, 12, rows - 24])


def measured(model, x, y, sizes):
    exact = dense_hessian(model, lambda m: F.cross_entropy(m(x), y))
    gauss = dense_gauss_newton(model, lambda m: m(x), lambda z: F.cross_entropy(z, y))
    return model, cut((x, y), sizes), exact, gauss


def fitted(rows=300, activation=nn.ReLU):
    """A small network that fits its data: few rows hold most of the curvature."""
    torch.manual_seed(0)
    x = torch.randn(rows, 5, dtype=torch.float64)
    y = (x @ torch.randn(5, 3, dtype=torch.float64)).argmax(1)
    model = nn.Sequential(nn.Linear(5, 8), activation(), nn.Linear(8, 3)).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=25)

    def closure():
        optimizer.zero_grad()
        penalty = sum(part.square().sum() for part in model.parameters())
        loss = F.cross_entropy(model(x), y) + 3e-4 * penalty
        loss.backward()
        return loss

    optimizer.step(closure)
    optimizer.zero_grad()
    return measured(model, x, y, [rows // 2, rows - rows // 2])
