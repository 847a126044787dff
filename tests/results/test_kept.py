"""Spectra come back from the store as they went in, with everything that is read off them."""

from __future__ import annotations

import torch
from oracles import classification, mlp, symmetric_matrix

from landscape_fast import ggn_spectrum
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.store import Store


def test_a_density_comes_back_with_its_outliers(tmp_path):
    values = torch.cat([torch.linspace(-1, 1, 60), torch.tensor([9.0])])
    density = lanczos_quadrature(DenseOperator(symmetric_matrix(values)), starts=3, steps=12)
    store = Store(tmp_path)
    store.save("key", "density", density)
    found = store.load("key", "density")
    assert torch.equal(found.nodes, density.nodes)
    assert torch.equal(found.outliers().values, density.outliers().values)
    assert found.mass_at_zero().value == density.mass_at_zero().value


def test_a_gauss_newton_spectrum_comes_back_with_its_bounds(tmp_path):
    spectrum = ggn_spectrum(mlp(), [classification(6)], vectors=2, max_rows=5)
    store = Store(tmp_path)
    store.save("key", "spectrum", spectrum)
    found = store.load("key", "spectrum")
    assert torch.equal(found.values, spectrum.values)
    assert torch.equal(found.vectors, spectrum.vectors)
    assert found.logdet(0.1) == spectrum.logdet(0.1)
    assert found.logdet(0.1)[0] < found.logdet(0.1)[1]
