"""The picture of a spectrum shows where it lies and what stands apart."""

from __future__ import annotations

import pytest
import torch
from matplotlib import pyplot
from oracles import symmetric_matrix

from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.operator import DenseOperator


@pytest.fixture
def density():
    values = torch.cat([torch.linspace(-0.2, 1.0, 95), torch.tensor([10.0, 10, 10, 20, -5])])
    return lanczos_quadrature(DenseOperator(symmetric_matrix(values)), starts=60, steps=12)


def test_outliers_are_marked_with_value_and_multiplicity(density):
    before = pyplot.get_fignums()
    figure = density.plot()
    figure.canvas.draw()
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert "10 (x3)" in texts
    assert {"20", "-5"} <= set(texts)
    assert any("3 eigenvalues apart" in text for text in texts)
    assert "100 eigenvalues" in axes.get_title(loc="left")
    assert axes.get_yscale() == "log"
    assert pyplot.get_fignums() == before


def test_one_start_is_drawn():
    single = lanczos_quadrature(DenseOperator(torch.diag(torch.arange(9.0))), starts=1, steps=4)
    figure = single.plot()
    figure.canvas.draw()
    assert figure.axes[0].lines
