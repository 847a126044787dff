"""Draws of the random model against dense matrices, its prediction against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from landscape_fast.local_geometry.random_model import LogitGradientModel
from landscape_fast.results import LogitClustering
from landscape_fast.store import Store


def uniform(samples=40, classes=4, dimension=200, **scales):
    """No logit differs from another: every probability is 1 / C."""
    scales = {"logit_scale": 0.0, "sample_scale": 0.0, **scales}
    return LogitGradientModel.drawn(
        samples=samples, classes=classes, dimension=dimension, logit_std=0.0, **scales
    )


@pytest.mark.parametrize("dimension", [7, 60])
def test_a_draw_has_the_spectrum_and_the_gradient_of_its_formulas(dimension):
    model = LogitGradientModel.drawn(
        samples=9,
        classes=3,
        dimension=dimension,
        logit_std=1.5,
        logit_scale=2.0,
        sample_scale=1.0,
        class_scale=0.7,
        margin=1.0,
    )
    rows, p = model.gradients(seed=4), model.probabilities
    matrix = torch.zeros(dimension, dimension, dtype=torch.float64)
    gradient = torch.zeros(dimension, dtype=torch.float64)
    for sample in range(9):
        bend = torch.diag(p[sample]) - torch.outer(p[sample], p[sample])
        matrix += rows[sample].T @ bend @ rows[sample] / 9
        slope = p[sample] - torch.nn.functional.one_hot(model.targets[sample], 3)
        gradient += slope @ rows[sample] / 9
    values, vectors = torch.linalg.eigh(matrix)
    found = model.simulate(seed=4)
    rank = min(dimension, 18)
    assert len(found.values) == rank
    torch.testing.assert_close(found.values, values.flip(0)[:rank], rtol=1e-8, atol=1e-12)
    shares = (vectors.T.flip(0)[:5] @ gradient).square() / gradient.square().sum()
    torch.testing.assert_close(found.shares[:5], shares, rtol=1e-6, atol=1e-9)
    assert found.gradient_norm == pytest.approx(float(gradient.norm()))


def test_lengths_of_the_parts_are_the_scales():
    model = uniform(samples=300, dimension=2000, logit_scale=3.0, class_scale=2.0, sample_scale=1.0)
    rows = model.gradients()
    total = float(rows.square().sum(2).mean())
    assert total == pytest.approx(9 + 4 + 1, rel=0.05)
    same = model.targets[:, None] == model.targets
    gram = rows[:, 0] @ rows[:, 0].T
    off = ~torch.eye(300, dtype=torch.bool)
    assert float(gram[same & off].mean()) == pytest.approx(13, rel=0.15)
    assert float(gram[~same].mean()) == pytest.approx(9, rel=0.1)


def test_gradients_that_logits_alone_tell_apart_have_c_minus_1_curved_directions():
    model = uniform(dimension=2000, logit_scale=3.0)
    expected = model.predict()
    assert expected.outliers.tolist() == pytest.approx([9 / 4] * 3)
    assert (expected.edge, expected.rank) == (0.0, 3)
    found = model.simulate().values
    assert int((found > 1e-9 * found[0]).sum()) == 3
    assert found[:3].tolist() == pytest.approx([9 / 4] * 3, rel=0.15)


def test_without_shared_parts_the_bulk_ends_where_marchenko_and_pastur_say():
    """t = s^2 / (N C), N (C - 1) times, D samples: edge t (1 + sqrt(N (C - 1) / D))^2."""
    model = uniform(sample_scale=2.0)
    expected = model.predict()
    edge = 4 / (40 * 4) * (1 + math.sqrt(40 * 3 / 200)) ** 2
    assert expected.edge == pytest.approx(edge)
    assert len(expected.outliers) == 0
    assert float(model.simulate().values[0]) == pytest.approx(
        edge, rel=0.1
    )  # Tracy and Widom: 3 % below


def test_outliers_detach_and_lie_where_baik_ben_arous_and_peche_say():
    """Population values a over a flat bulk t are seen at a (1 + y t / (a - t)) above t (1 + r)."""
    t, y = 4 / (40 * 4), 40 * 3 / 200
    for logit_scale in (0.2, 1.0):
        expected = uniform(sample_scale=2.0, logit_scale=logit_scale).predict()
        a = t + logit_scale**2 / 4
        assert expected.threshold == pytest.approx(t * (1 + math.sqrt(y)))
        detached = a > expected.threshold
        assert len(expected.outliers) == (3 if detached else 0)
        assert expected.population.tolist() == pytest.approx([a] * 3 * detached)
        assert expected.outliers.tolist() == pytest.approx(
            [a * (1 + y * t / (a - t))] * 3 * detached
        )


@pytest.mark.parametrize("class_scale", [0.0, 1.5])
def test_the_prediction_holds_for_unequal_probabilities(class_scale):
    model = LogitGradientModel.drawn(
        samples=100,
        classes=4,
        dimension=500,
        logit_std=1.0,
        logit_scale=2.0,
        sample_scale=2.0,
        class_scale=class_scale,
    )
    expected = model.predict()
    draws = torch.stack([model.simulate(seed).values for seed in range(4)])
    assert len(expected.outliers) >= 3
    # Values so close repel each other within a draw, by about sqrt(2 / D) of them: their mean.
    top = float(draws[:, :3].mean())
    assert top == pytest.approx(float(expected.outliers[:3].mean()), rel=0.05)
    beyond = (draws > 1.05 * expected.edge).sum(1).double().mean()
    assert abs(float(beyond) - int((expected.outliers > 1.05 * expected.edge).sum())) <= 2
    assert float(draws.sum(1).mean()) == pytest.approx(expected.trace, rel=0.03)
    assert expected.rank == min(500, 300)


def test_frozen_probabilities_take_all_curvature():
    soft, hard = (
        LogitGradientModel.drawn(
            samples=30,
            classes=4,
            dimension=100,
            logit_std=std,
            logit_scale=1.0,
            sample_scale=1.0,
        ).predict()
        for std in (1.0, 20.0)
    )
    assert hard.trace < 0.2 * soft.trace


def test_a_network_gives_the_model_its_lengths():
    clustering = LogitClustering(
        same_class=torch.ones(2, 2),
        same_logit=torch.ones(2),
        different_logits=torch.zeros(2, 2),
        squared_norms=torch.tensor([30.0, 20.0]).double(),
        products_same_class=torch.tensor([14.0, 12.0]).double(),
        products_other_class=torch.tensor([10.0, 8.0]).double(),
        counts=torch.tensor([3, 3]),
        dimension=77,
        samples=6,
    )
    p = torch.full((6, 2), 0.5)
    model = LogitGradientModel.fitted(clustering, p, torch.arange(6) % 2)
    assert (model.logit_scale, model.class_scale) == pytest.approx((3.0, 2.0))
    assert model.sample_scale == pytest.approx(math.sqrt(12))
    assert model.dimension == 77


def test_results_come_back_from_the_store(tmp_path):
    model = uniform(samples=5, dimension=20, logit_scale=2.0, sample_scale=1.0)
    store = Store(tmp_path)
    store.save("model", "draw", model.simulate())
    store.save("model", "prediction", model.predict())
    assert torch.equal(store.load("model", "draw").values, model.simulate().values)
    assert store.load("model", "prediction").edge == model.predict().edge


def test_errors_name_the_argument():
    p, y = torch.full((3, 2), 0.5), torch.tensor([0, 1, 0])
    scales = {"dimension": 5, "logit_scale": 1.0, "sample_scale": 1.0}
    with pytest.raises(ValueError, match="probabilities must be rows"):
        LogitGradientModel(probabilities=2 * p, targets=y, **scales)
    with pytest.raises(ValueError, match=r"probabilities must be \(N, C\)"):
        LogitGradientModel(probabilities=p, targets=y[:2], **scales)
    with pytest.raises(ValueError, match="targets must be indices of 2"):
        LogitGradientModel(probabilities=p, targets=y + 1, **scales)
    with pytest.raises(ValueError, match="class_scale"):
        LogitGradientModel(probabilities=p, targets=y, class_scale=-1.0, **scales)
    with pytest.raises(ValueError, match="logit_std"):
        LogitGradientModel.drawn(samples=3, classes=2, logit_std=-1.0, **scales)
