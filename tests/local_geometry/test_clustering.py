"""Mean cosines against loops over all pairs, and against a linear model, where all is explicit."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import nn

from landscape_fast import logit_clustering
from landscape_fast.store import Store


def jacobian(model, inputs):
    """(N, C, n) in float64."""
    rows = []
    for row in model(inputs):
        for logit in row:
            parts = torch.autograd.grad(logit, list(model.parameters()), retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows).reshape(len(inputs), -1, len(rows[0])).double()


def mean(values):
    return sum(values) / len(values) if values else math.nan


def by_pairs(rows, y):
    """Mean cosines by loops over ordered pairs of different samples."""
    n, classes, _ = rows.shape
    unit = rows / rows.norm(dim=2, keepdim=True)
    gram = torch.einsum("nkd,mld->nkml", unit, unit)
    pairs = [(a, b) for a, b in itertools.permutations(range(n), 2)]
    logits = range(classes)
    same_class = [
        [mean([float(gram[a, k, b, k]) for a, b in pairs if y[a] == y[b] == c]) for c in logits]
        for k in logits
    ]
    same_logit = [mean([float(gram[a, k, b, k]) for a, b in pairs]) for k in logits]
    different = [
        [mean([float(gram[a, k, b, j]) for a, b in pairs if j != k]) for j in logits]
        for k in logits
    ]
    return [
        torch.tensor(table, dtype=torch.float64) for table in (same_class, same_logit, different)
    ]


@pytest.mark.parametrize(("make", "shape"), [(mlp, (5,)), (conv_net, (1, 6, 6))])
def test_cosines_are_those_of_all_pairs(make, shape):
    model = make().double().eval()
    x, y = classification(11, shape)
    x = x.double()
    same_class, same_logit, different = by_pairs(jacobian(model, x), y)
    found = logit_clustering(model, cut((x, y), [4, 7]))
    close = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(found.same_class, same_class, equal_nan=True, **close)
    torch.testing.assert_close(found.same_logit, same_logit, **close)
    torch.testing.assert_close(found.different_logits, different, equal_nan=True, **close)
    assert found.different_logit == pytest.approx(
        float(different[~torch.eye(3, dtype=torch.bool)].mean())
    )
    assert found.own_logit_own_class == pytest.approx(float(same_class.diagonal().nanmean()))
    assert torch.equal(found.counts, torch.bincount(y, minlength=3))


def test_a_linear_model_clusters_as_its_inputs_do():
    """J_k = e_k x (x, 1): one cosine for every logit, and none between two."""
    x, y = classification(12)
    model = nn.Linear(5, 3).double()
    found = logit_clustering(model, [(x.double(), y)])
    unit = nn.functional.normalize(torch.cat([x, torch.ones(12, 1)], 1).double(), dim=1)
    gram = unit @ unit.T
    off = ~torch.eye(12, dtype=torch.bool)
    assert found.same_logit.tolist() == pytest.approx([float(gram[off].mean())] * 3)
    alike = off & (y[:, None] == y)
    for label in range(3):
        inside = gram[alike & (y == label)[:, None]]
        assert found.same_class[:, label].tolist() == pytest.approx([float(inside.mean())] * 3)
    assert found.different_logit == pytest.approx(0.0, abs=1e-12)


def test_scales_are_those_of_the_parts_that_gradients_are_made_of():
    """Inputs a + b_class + e of orthogonal parts with signs e that cancel."""
    frame = torch.eye(12, dtype=torch.float64)
    rows, labels = [], []
    for label in range(3):
        for sign, axis in itertools.product((1, -1), (4, 5)):
            rows.append(3 * frame[0] + 2 * frame[1 + label] + sign * frame[axis + 2 * label])
            labels.append(label)
    model = nn.Linear(12, 3, bias=False).double()
    found = logit_clustering(model, [(torch.stack(rows), torch.tensor(labels))])
    shared, by_class, rest = found.scales
    assert shared == pytest.approx(3.0)
    # Two samples of a class with opposite signs on one axis: -1, once in three pairs.
    assert by_class == pytest.approx(math.sqrt(4 - 1 / 3))
    assert shared**2 + by_class**2 + rest**2 == pytest.approx(9 + 4 + 1)


def test_gradients_without_a_direction_are_left_out_of_cosines():
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [2.0, 0.0]])
    model = nn.Linear(2, 2, bias=False)
    found = logit_clustering(model, [(x, torch.tensor([0, 0, 1, 1]))])
    root = math.sqrt(0.5)
    assert found.same_logit.tolist() == pytest.approx([(2 * root + 1) / 3] * 2)
    assert found.same_class[:, 0].tolist() == pytest.approx([root] * 2)
    assert torch.isnan(found.same_class[:, 1]).all()
    assert found.same_logit_same_class == pytest.approx(root)
    assert found.squared_norms.tolist() == pytest.approx([7 / 4] * 2)


def test_models_come_back_untouched_and_results_from_the_store(tmp_path):
    model = conv_net().train()
    before = snapshot(model)
    found = logit_clustering(model, [classification(8, (1, 6, 6))])
    assert_same_state(model, before)
    store = Store(tmp_path)
    store.save("model", "clustering", found)
    loaded = store.load("model", "clustering")
    assert torch.equal(loaded.same_logit, found.same_logit)
    assert loaded.scales == found.scales


def test_one_sample_has_no_pair():
    x, y = classification(2)
    with pytest.raises(ValueError, match="at least 2 samples|one row"):
        logit_clustering(mlp(), [(x[:1], y[:1])])


def test_inference_mode_around_it_changes_nothing():
    model, data = mlp(), [classification(12)]
    with torch.inference_mode():
        inside = logit_clustering(model, data)
    assert inside.different_logit == logit_clustering(model, data).different_logit
