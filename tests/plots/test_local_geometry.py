"""Pictures of local geometry say in their titles what is seen."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import classification, mlp

from landscape_fast import ggn_spectrum, logit_clustering
from landscape_fast.local_geometry.random_model import LogitGradientModel
from landscape_fast.results import GoldilocksZone, IntrinsicDimension


def test_bars_carry_their_values(tmp_path):
    found = logit_clustering(mlp(), [classification(12)])
    figure = found.plot()
    figure.savefig(tmp_path / "bars.png")
    axes = figure.axes[0]
    assert f"{found.same_logit_any_class:.2f}" in axes.get_title()
    assert len(axes.patches) == 4
    assert axes.patches[3].get_width() == pytest.approx(found.different_logit)


def test_the_peak_of_the_zone_is_marked(tmp_path):
    column = torch.tensor([1.0, 3.0, 2.0]).double()
    found = GoldilocksZone(
        scales=(0.5, 1.0, 2.0),
        traces=2 * column,
        trace_stderr=0.1 * column,
        norms=torch.full((3,), 2.0).double(),
        norm_stderr=0.1 * column,
        losses=column,
        converged=torch.ones(3).bool(),
        dimension=99,
        radius=1.0,
        samples=5,
    )
    figure = found.plot()
    figure.savefig(tmp_path / "zone.png")
    assert "at 1 times" in figure.axes[0].get_title()


@pytest.mark.parametrize("best", [99.0, 50.0])
def test_the_dimension_that_is_found_is_in_the_title(best, tmp_path):
    found = IntrinsicDimension(
        dimensions=(2, 8),
        accuracies=torch.tensor([[20.0, math.nan], [best, best]]).double(),
        baseline=100.0,
        threshold=0.9,
        space=1234,
        basis="sparse",
    )
    figure = found.plot()
    figure.savefig(tmp_path / "dimension.png")
    wanted = "8 of 1,234 dimensions" if best > 90 else "None of these"
    assert figure.axes[0].get_title().startswith(wanted)


@pytest.mark.parametrize("sample_scale", [0.0, 1.0])
def test_spectra_lie_beside_what_is_foretold(sample_scale, tmp_path):
    model = LogitGradientModel.drawn(
        samples=10,
        classes=3,
        dimension=40,
        logit_std=0.5,
        logit_scale=4.0,
        sample_scale=sample_scale,
    )
    found = model.predict()
    assert "2 eigenvalues" in found.plot().axes[0].get_title()
    network = ggn_spectrum(mlp(), [classification(12)])
    figure = found.plot(drawn=model.simulate(), network=network)
    figure.savefig(tmp_path / "spectra.png")
    assert len(figure.axes[0].get_legend().get_texts()) == 3
