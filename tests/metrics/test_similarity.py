from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape_fast.metrics.similarity import cka, linear_cka

sizes = st.integers(1, 12)


def features(m, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, d, generator=generator, dtype=torch.float64)


def explicit_cka(x, y):
    """tr(X X^T J Y Y^T J) / sqrt(...), with the centring matrix written out."""
    m = len(x)
    J = torch.eye(m, dtype=torch.float64) - torch.full((m, m), 1 / m, dtype=torch.float64)

    def covariance(a, b):
        return torch.trace(a @ a.T @ J @ b @ b.T @ J) / (m - 1) ** 2

    return float(covariance(x, y) / (covariance(x, x) * covariance(y, y)).sqrt())


def explicit_unbiased_hsic(x, y):
    """U-statistic: the mean over all ordered quadruples of different samples."""
    K, L = x @ x.T, y @ y.T
    terms = [
        K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q])
        for i, j, q, r in itertools.permutations(range(len(x)), 4)
    ]
    return float(torch.stack(terms).mean())


@given(st.integers(2, 15), sizes, sizes, st.booleans())
def test_value_is_the_published_formula(m, d1, d2, shifted):
    x, y = features(m, d1, 1) + 10 * shifted, features(m, d2, 2)
    assert linear_cka(x, y) == pytest.approx(explicit_cka(x, y), abs=1e-9)


@given(st.integers(4, 20), sizes, sizes, st.booleans(), st.integers(0, 1000))
def test_rotation_scale_shift_and_order_do_not_change_it(m, d1, d2, debiased, seed):
    x, y = features(m, d1, seed), features(m, d2, seed + 1)
    rotation, _ = torch.linalg.qr(features(d1, d1, seed + 2))
    value = linear_cka(x, y, debiased=debiased)
    changed = linear_cka(3.7 * x @ rotation + features(1, d1, 5), y, debiased=debiased)
    swapped = linear_cka(y, x, debiased=debiased)
    assert changed == pytest.approx(value, abs=1e-8, nan_ok=True)
    assert swapped == pytest.approx(value, abs=1e-8, nan_ok=True)


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_very_small_and_large_features_align_as_usual(scale):
    x, y = features(20, 3, 1), features(20, 2, 2)
    assert linear_cka(scale * x, scale * y) == pytest.approx(linear_cka(x, y), rel=1e-12)


def test_a_general_linear_map_does_change_it():
    x = features(30, 4)
    stretched = x * torch.tensor([10.0, 1.0, 1.0, 1.0])
    assert linear_cka(x, stretched) < 0.9


@pytest.mark.parametrize("d", [3, 9])  # narrower and wider than the rows
def test_debiased_value_is_the_mean_over_quadruples(d):
    x, y = features(6, d, 1) + 2.0, features(6, 2, 2) + features(6, d, 1)[:, :2]
    scale = explicit_unbiased_hsic(x, x) * explicit_unbiased_hsic(y, y)
    wanted = explicit_unbiased_hsic(x, y) / math.sqrt(scale)
    assert linear_cka(x, y, debiased=True) == pytest.approx(wanted, abs=1e-10)


def test_unrelated_wide_features_look_alike_to_the_plain_estimate_only():
    x, y = features(40, 400, 1), features(40, 400, 2)
    assert linear_cka(x, y) > 0.85
    assert abs(linear_cka(x, y, debiased=True)) < 0.05


def test_features_that_vary_by_rounding_alone_have_no_alignment():
    x = features(50, 3).float()
    constant = torch.full((50, 3), 0.1)
    noisy = constant * (1 + 1e-7 * torch.sign(features(50, 3).float()))
    for dead in (constant, noisy, constant.double() * 3):
        assert math.isnan(linear_cka(x, dead))
        assert math.isnan(linear_cka(dead, x))
    partly = torch.cat([noisy, x], dim=1)
    assert linear_cka(x, partly) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_no_numbers_have_no_alignment(bad):
    x, broken = features(10, 3), features(10, 3)
    broken[2, 1] = bad
    assert math.isnan(linear_cka(x, broken))


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(4, 2), {}, "equally many rows"),
        (torch.zeros(3), torch.zeros(3), {}, "must be matrices"),
        (torch.zeros(3, 2), torch.zeros(3, 2), {"debiased": True}, "at least 4 rows"),
    ],
)
def test_mistakes_in_features_are_named(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        linear_cka(x, y, **options)


# ---- models ----------------------------------------------------------------------------------

DATA = classification(300)


def test_identical_models_have_similarity_one_and_others_less():
    values = [cka(mlp(seed=seed), mlp(seed=seed), [DATA]).value for seed in range(10)]
    assert values == pytest.approx([1.0] * 10, abs=1e-12)
    assert max(values) <= 1.0
    assert 0.0 < cka(mlp(seed=0), mlp(seed=1), [DATA]).value < 0.99


@pytest.mark.parametrize("outputs", ["softmax", "logits"])
def test_without_interpolation_the_value_is_that_of_the_outputs_on_all_rows(outputs):
    one, other = conv_net(seed=0).train(), conv_net(seed=1)
    inputs, targets = classification(50, (1, 6, 6))
    data = cut((inputs, targets), [20, 30])
    result = cka(one, other, data, outputs=outputs, mixup_alpha=None, batch_size=7)
    with torch.no_grad():
        x, y = conv_net(seed=0).eval()(inputs), conv_net(seed=1).eval()(inputs)
    if outputs == "softmax":
        x, y = x.softmax(1), y.softmax(1)
    assert result.value == pytest.approx(explicit_cka(x.double(), y.double()), abs=1e-6)
    assert (result.samples, result.outputs) == (50, outputs)
    unbiased = cka(one, other, data, outputs=outputs, mixup_alpha=None, debiased=True)
    assert unbiased.value == pytest.approx(linear_cka(x, y, debiased=True), abs=1e-6)


@pytest.mark.parametrize("seed", [0, 7])
def test_swapping_the_models_changes_nothing_but_rounding(seed):
    one, other = mlp(seed=0), mlp(seed=1)
    loader = DataLoader(TensorDataset(*DATA), batch_size=64, shuffle=True)
    forward = cka(one, other, loader, seed=seed)
    torch.rand(1)
    backward = cka(other, one, loader, seed=seed)
    assert forward.value == pytest.approx(backward.value, rel=1e-13)
    assert cka(one, other, loader, seed=seed) == forward


class Shuffling:
    """A loader that shuffles with the global states of numpy and Python."""

    def __iter__(self):
        order = np.random.permutation(300)
        random.shuffle(order)
        yield tuple(tensor[order] for tensor in DATA)


def test_a_seed_covers_loaders_that_shuffle_with_numpy_or_python():
    one, other = mlp(seed=0), mlp(seed=1)
    values = set()
    for _ in range(3):
        values.add(cka(one, other, Shuffling(), samples=50).value)
        np.random.rand()
        random.random()
    assert len(values) == 1
    before = np.random.get_state()[1].tolist(), random.getstate()
    cka(one, other, Shuffling())
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before


def test_the_cut_of_the_loader_does_not_change_the_value_but_the_seed_does():
    one, other = mlp(seed=0), mlp(seed=1)
    values = {
        cka(one, other, cut(DATA, sizes), samples=100).value
        for sizes in ([300], [128, 128, 44], [1, 299])
    }
    assert len(values) == 1
    assert values != {cka(one, other, [DATA], samples=100, seed=1).value}


def recorded(rows, **options):
    """Inputs that both models see, for data whose rows are unit vectors."""
    seen = ([], [])
    models = [nn.Linear(rows, 2), nn.Linear(rows, 2)]
    for model, inputs in zip(models, seen, strict=True):
        model.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0]))
    result = cka(*models, [(torch.eye(rows), torch.zeros(rows))], **options)
    return *seen, result


def test_both_models_see_the_same_interpolations_of_two_rows_with_one_share_per_batch():
    first, second, result = recorded(60, samples=40, batch_size=16)
    assert [len(inputs) for inputs in first] == [16, 16, 8]
    assert result.samples == 40
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
        assert torch.allclose(one.sum(1), torch.ones(len(one)))
        assert ((one > 0).sum(1) <= 2).all()
        shares = one[(one > 0) & (one < 1)].unique()
        assert len(shares.round(decimals=5).unique()) <= 2  # lambda and 1 - lambda
        assert torch.allclose(one.sum(0)[one.sum(0) > 0], torch.tensor(1.0), atol=1e-5)
    drawn = torch.cat(first).sum(0) > 0
    assert drawn.sum() == 40


@pytest.mark.parametrize("alpha", [16.0, 0.5])
def test_shares_follow_the_beta_distribution(alpha):
    shares = []
    for seed in range(200):
        first, _, _ = recorded(2, samples=2, mixup_alpha=alpha, seed=seed)
        shares.append(float(first[0][0].max()))
    # Two rows are swapped with probability 1/2; else the interpolation is the row itself.
    mixed = torch.tensor([share for share in shares if share < 1.0], dtype=torch.float64)
    assert 70 < len(mixed) < 130
    variance = float((mixed - 0.5).square().mean())
    assert variance == pytest.approx(0.25 / (2 * alpha + 1), rel=0.5)


def test_fewer_rows_than_asked_for_are_all_used():
    assert cka(mlp(), mlp(seed=1), [classification(30)], samples=640).samples == 30


def test_a_dead_network_has_no_similarity():
    dead = mlp(activation=nn.ReLU)
    dead[0].weight.data.zero_()
    dead[0].bias.data.fill_(-1.0)
    assert math.isnan(cka(dead, mlp(), [DATA]).value)
    assert math.isnan(cka(mlp(), dead, [DATA], outputs="logits").value)


def test_models_of_different_architecture_and_output_shape_compare():
    wide = nn.Sequential(nn.Linear(5, 8), nn.Unflatten(1, (4, 2)))
    assert 0.0 < cka(mlp(), wide, [DATA]).value < 1.0


def test_models_come_back_as_they_were_also_after_an_exception():
    one, other = conv_net().train(), conv_net(seed=1)
    other[0].weight.grad = torch.ones_like(other[0].weight)
    data = [classification(20, (1, 6, 6))]
    before = snapshot(one), snapshot(other)
    cka(one, other, data)
    handle = other[8].register_forward_pre_hook(lambda *_: torch.rand(1) / 0 + [])
    with pytest.raises(TypeError):
        cka(one, other, data)
    handle.remove()
    assert_same_state(one, before[0])
    assert_same_state(other, before[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": "hidden"}, "outputs must be 'softmax' or 'logits', got 'hidden'"),
        ({"mixup_alpha": 0.0}, "mixup_alpha must be positive"),
        ({"samples": 0}, "samples must be a whole number of at least 2, got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_mistakes_in_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        cka(mlp(), mlp(), [DATA], **options)


@pytest.mark.parametrize(
    ("model", "loader", "error", "message"),
    [
        (mlp().to("meta"), [DATA], ValueError, "model_a is on cpu and model_b on meta"),
        (mlp(), [], ValueError, "loader is empty"),
        (mlp(), [{"x": DATA[0]}], ValueError, r"batches \(inputs, ...\)"),
        (mlp(), [(DATA[1], DATA[1])], ValueError, "int64 and cannot be interpolated; pass mixup"),
        (nn.LSTM(5, 3), [DATA], TypeError, "must return a tensor of outputs, got tuple"),
    ],
)
def test_models_and_loaders_that_do_not_fit_are_named(model, loader, error, message):
    with pytest.raises(error, match=message):
        cka(mlp(), model, loader)


class Scores(nn.Module):
    """Scores of four classes at every position: (N, 3, T) -> (N, 4, T)."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.mix = nn.Conv1d(3, 4, 1)

    def forward(self, x):
        return self.mix(x)


@pytest.mark.parametrize("debiased", [False, True])
def test_positions_with_a_target_are_the_rows_that_are_compared(debiased):
    inputs, targets = features(9, 3 * 5).view(9, 3, 5).float(), torch.zeros(9, 5, dtype=torch.long)
    targets[::2, 3:] = -100
    one, other = Scores(0), Scores(1)
    batches = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
    options = {"mixup_alpha": None, "debiased": debiased}
    found = cka(one, other, batches, rows="positions", **options)
    rows = inputs.movedim(1, 2)[targets != -100]
    x, y = (model(rows[:, :, None])[..., 0].softmax(1).detach() for model in (one, other))
    assert found.samples == len(rows) == 35
    assert found.value == pytest.approx(linear_cka(x, y, debiased=debiased), abs=1e-6)
    assert found.value != pytest.approx(cka(one, other, batches, **options).value, abs=1e-3)


def test_positions_without_fitting_targets_are_refused():
    inputs = features(4, 15).view(4, 3, 5).float()
    with pytest.raises(ValueError, match=r"needs targets \(4, 5\) for outputs \(4, 4, 5\)"):
        cka(Scores(0), Scores(1), [(inputs, torch.zeros(4))], rows="positions")
    with pytest.raises(ValueError, match="batches \\(inputs, targets\\) of two tensors"):
        cka(Scores(0), Scores(1), [(inputs,)], rows="positions")
    with pytest.raises(ValueError, match="rows must be 'samples' or 'positions', got 'tokens'"):
        cka(Scores(0), Scores(1), [inputs], rows="tokens")
