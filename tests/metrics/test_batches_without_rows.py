"""A batch without rows, as a filter of the data leaves behind, changes no answer."""

from __future__ import annotations

import pytest
import torch
from oracles import classification, cut, mlp

import landscape_fast as lf

X, Y = classification(12)
FULL = cut((X, Y), [5, 7])
HOLED = [(X[:0], Y[:0]), FULL[0], (X[:0], Y[:0]), FULL[1]]
CALLS = {
    "quality": lambda data: lf.quality(mlp(), data).loss,
    "trace": lambda data: lf.trace(mlp(), data).value,
    "top_eigs": lambda data: float(lf.top_eigs(mlp(), data).values[0]),
    "ggn_spectrum": lambda data: float(lf.ggn_spectrum(mlp(), data).values[0]),
    "fisher": lambda data: float(
        lf.EmpiricalFisherOperator(mlp(), data).quadratic(torch.ones(1, 57))
    ),
    "loss_surface": lambda data: float(lf.loss_surface(mlp(), data, steps=3).values.sum()),
    "neural_collapse": lambda data: lf.neural_collapse(mlp(), data).nc1,
    "worst_case_sharpness": lambda data: lf.worst_case_sharpness(mlp(), data, steps=2).value,
    "agreement": lambda data: lf.agreement(mlp(), mlp(seed=1), data).js_divergence,
    "cka": lambda data: lf.cka(mlp(), mlp(seed=1), data).value,
    "linear_barrier": lambda data: lf.linear_barrier(mlp(), mlp(seed=1), data, points=3).loss_value,
}


@pytest.mark.parametrize("name", CALLS)
def test_batches_without_rows_count_nothing(name):
    assert CALLS[name](HOLED) == pytest.approx(CALLS[name](FULL), rel=1e-6)
