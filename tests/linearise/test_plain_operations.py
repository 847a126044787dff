"""Operations that torch cannot differentiate twice, or trace, are served all the same."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from oracles import assert_relative, dense_hessian, mlp
from torch import nn

from landscape_fast import HessianOperator, diagonal
from landscape_fast.linearise.plain_operations import PlainOperations

ROWS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.randn(6, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network():
    return mlp(activation=nn.Tanh).double()


def normal(model, batch):
    mean, deviation, _ = model(batch[0]).T
    drawn = torch.distributions.Normal(mean, F.softplus(deviation))
    return -drawn.log_prob(batch[1][:, 0]).mean()


def normal_by_hand(model, batch):
    mean, deviation, _ = model(batch[0]).T
    variance = F.softplus(deviation) ** 2
    return (0.5 * (batch[1][:, 0] - mean) ** 2 / variance + 0.5 * variance.log()).mean()


def known_variance(model, batch):
    mean, deviation, _ = model(batch[0]).T
    return F.gaussian_nll_loss(mean, batch[1][:, 0], F.softplus(deviation) ** 2, full=True)


def kernel(model, batch):
    out = model(batch[0])
    return torch.exp(-torch.cdist(out, out)).mean()


def kernel_by_hand(model, batch):
    out = model(batch[0])
    apart = ~torch.eye(len(out), dtype=torch.bool)
    differences = (out[:, None] - out[None])[apart]
    return (torch.exp(-differences.norm(dim=-1)).sum() + len(out)) / len(out) ** 2


CLASSES = torch.arange(6) % 3


def hinge(model, batch):
    return F.multi_margin_loss(model(batch[0]).square(), CLASSES[: len(batch[0])], p=2)


def hinge_by_hand(model, batch):
    out = model(batch[0]).square()
    rows, own = torch.arange(len(out)), CLASSES[: len(out)]
    others = torch.ones_like(out).index_put((rows, own), torch.zeros(()).double())
    return ((1 - out[rows, own, None] + out).relu().square() * others).sum() / 3 / len(out)


LABELS = torch.tensor([[0, 2, -1], [1, -1, 0], [2, 1, 0], [-1, 1, 2], [0, -1, -1], [1, 0, -1]])


def labels_above(model, batch):
    return F.multilabel_margin_loss(model(batch[0]).square(), LABELS[: len(batch[0])])


def labels_above_by_hand(model, batch):
    out, total = model(batch[0]).square(), 0.0
    for row, listed in zip(out, LABELS.tolist(), strict=False):
        own = listed[: listed.index(-1)] if -1 in listed else listed
        for one in own:
            total = total + sum((1 - row[one] + row[i]).relu() for i in range(3) if i not in own)
    return total / 3 / len(out)


PAIRS = {
    "hinge": (hinge, hinge_by_hand),
    "hinge of several labels": (labels_above, labels_above_by_hand),
    "distribution": (normal, normal_by_hand),
    "gaussian": (known_variance, normal_by_hand),
    "distances": (kernel, kernel_by_hand),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_matrix_is_that_of_the_same_loss_by_hand(name):
    loss_fn, by_hand = PAIRS[name]
    model = network()
    op = HessianOperator(model, [(ROWS, TARGETS)], loss_fn=loss_fn)
    assert op.engine == "captured"
    exact = dense_hessian(model, lambda m: by_hand(m, (ROWS, TARGETS)))
    assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, 1e-9)


@pytest.mark.parametrize("engine", ["captured", "autograd"])
def test_a_hard_sigmoid_is_that_of_a_clamp(engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Hardsigmoid(), nn.Linear(7, 3)).double()
    y = torch.arange(6) % 3
    op = HessianOperator(model, [(ROWS, y)], engine=engine)

    def loss(m):
        return F.cross_entropy(m[2]((m[0](ROWS) / 6 + 0.5).clamp(0, 1)), y)

    exact = dense_hessian(model, loss)
    assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, 1e-9)
    assert_relative(diagonal(model, [(ROWS, y)]).values, exact.diagonal(), 1e-9)


def test_a_hard_sigmoid_in_place_is_no_other():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Hardsigmoid(), nn.Linear(7, 3)).double()
    data = [(ROWS, torch.arange(6) % 3)]
    plain = HessianOperator(model, data)
    v = torch.randn(2, plain.shape[0], dtype=torch.float64)
    exact = plain(v)
    model[1].inplace = True
    for engine in ("captured", "autograd"):
        assert_relative(HessianOperator(model, data, engine=engine)(v), exact, 1e-10)


def test_variances_below_the_least_one_keep_their_gradient_as_torch_has_it():
    def loss_fn(model, batch):
        mean, deviation, _ = model(batch[0]).T
        variance = F.softplus(deviation)
        return F.gaussian_nll_loss(mean, batch[1][:, 0], variance, eps=0.5)

    data, model = [(ROWS, TARGETS)], network()
    assert F.softplus(model(ROWS)[:, 1]).min() < 0.5 < F.softplus(model(ROWS)[:, 1]).max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the gradient is not that of the value
        captured = HessianOperator(model, data, loss_fn=loss_fn, engine="captured")
    plain = HessianOperator(model, data, loss_fn=loss_fn, engine="autograd")
    v = torch.randn(2, plain.shape[0], dtype=torch.float64)
    assert_relative(captured(v), plain(v), 1e-10)


def test_a_negative_variance_is_still_an_error():
    def loss_fn(model, batch):
        return F.gaussian_nll_loss(model(batch[0]), batch[1], -batch[1].square())

    with pytest.raises(ValueError, match="var has negative entry"):
        HessianOperator(network(), [(ROWS, TARGETS)], loss_fn=loss_fn)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 1), (4,)])
def test_a_traced_gaussian_loss_is_torchs(full, reduction, shape):
    one, other = ROWS[:4, :3], ROWS[:4, 2:]
    variance = (ROWS[:4, :3].square() - 0.1).clamp_min(0).reshape(-1)[: torch.Size(shape).numel()]

    def loss(x, y, v):
        return F.gaussian_nll_loss(x, y, v, full=full, eps=1e-3, reduction=reduction)

    given = one, other, variance.reshape(shape)
    with PlainOperations():
        traced = torch.fx.experimental.proxy_tensor.make_fx(loss, tracing_mode="fake")(*given)
    torch.testing.assert_close(traced(*given), loss(*given))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 1.0]).double()])
def test_margins_are_torchs(p, weight, reduction):
    given = ROWS[:, :3], CLASSES
    options = {"p": p, "margin": 0.7, "weight": weight, "reduction": reduction}
    with PlainOperations():
        found = F.multi_margin_loss(*given, **options)
    torch.testing.assert_close(found, F.multi_margin_loss(*given, **options))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("rows", [slice(None), 0, 3])
def test_margins_of_several_labels_are_torchs(rows, reduction):
    given = ROWS[rows, :3], LABELS[rows]
    with PlainOperations():
        found = F.multilabel_margin_loss(*given, reduction=reduction)
    torch.testing.assert_close(found, F.multilabel_margin_loss(*given, reduction=reduction))


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_distances_are_torchs(p):
    moving = ROWS.clone().requires_grad_()
    with PlainOperations():
        found = torch.cdist(moving, ROWS[:3], p=p).detach()
    torch.testing.assert_close(found, torch.cdist(ROWS, ROWS[:3], p=p))


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_samples_of_images_are_torchs(padding, align):
    images = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    grid = 1.3 * torch.randn(2, 4, 6, 2, generator=torch.Generator().manual_seed(1)).double()
    grid[0, 0, 0] = torch.tensor([1.0, -1.0])
    options = {"padding_mode": padding, "align_corners": align}
    with PlainOperations():
        found = F.grid_sample(images, grid, **options)
    torch.testing.assert_close(found, F.grid_sample(images, grid, **options))


def test_a_spatial_transformer_has_the_second_derivative_of_its_gradient():
    class Transformer(nn.Module):
        """Jaderberg et al. (2015), arXiv:1506.02025."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Conv2d(1, 2, 3), nn.Linear(36, 6), nn.Linear(72, 3)
            self.convolution, self.places, self.last = self.layers

        def forward(self, x):
            where = self.places(x.flatten(1)).tanh().unflatten(1, (2, 3))
            grid = F.affine_grid(where, (len(x), 1, 8, 8), align_corners=False)
            moved = F.grid_sample(x, grid, align_corners=False)
            return self.last(self.convolution(moved).tanh().flatten(1))

    x = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    data, model = [(x, torch.arange(4) % 3)], Transformer().double()
    op = HessianOperator(model, data, engine="captured")
    point = op.space.flatten([tensor.detach() for tensor in op.space.tensors])
    v = torch.randn(len(point), generator=torch.Generator().manual_seed(1)).double()

    def gradient(step):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for own, part in zip(moved.parameters(), op.space.split(point + step * v), strict=True):
                own.copy_(part)
        loss = F.cross_entropy(moved(x), data[0][1])
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, moved.parameters())])

    step = 1e-7
    differences = (gradient(step) - gradient(-step)) / (2 * step)
    assert_relative(op(v), differences, 1e-6)
    assert_relative(HessianOperator(model, data, engine="autograd")(v), op(v), 1e-10)


def test_an_encoder_at_padding_has_the_loss_that_is_differentiated():
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    torch.manual_seed(0)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=True).eval()
    x, y = torch.randn(4, 5, 8), torch.arange(4)
    padded = torch.zeros(4, 5, dtype=torch.bool)
    padded[1, 3:] = True

    def loss_fn(model, batch):
        out = model(batch[0], src_key_padding_mask=padded).mean(1)
        return F.cross_entropy(out, batch[1])

    enabled = torch.backends.mha.get_fastpath_enabled()
    op = HessianOperator(model, [(x, y)], loss_fn=loss_fn)
    assert op.loss == pytest.approx(loss_fn(model, (x, y)).item(), rel=1e-6)
    assert torch.backends.mha.get_fastpath_enabled() == enabled


WORDS = torch.tensor([[0, 3, 1], [2, 2, 4], [5, 0, 3], [1, 4, 5]])


class Bags(nn.Module):
    """Bags of words: rows of a table, or one list of words and where each bag begins."""

    def __init__(self, listed, by_hand, **options):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.linear = nn.EmbeddingBag(6, 4, **options), nn.Linear(4, 3)
        self.listed, self.by_hand, self.mean = listed, by_hand, options["mode"] == "mean"

    def forward(self, words):
        if self.by_hand:
            entries = self.table.weight[words]
            bags = entries.mean(1) if self.mean else entries.sum(1)
        elif self.listed:
            offsets = torch.arange(0, words.numel(), words.shape[1])
            bags = self.table(words.flatten(), offsets)
        else:
            bags = self.table(words)
        return self.linear(bags.tanh())


@pytest.mark.parametrize("mode", ["mean", "sum"])
@pytest.mark.parametrize("listed", [False, True])
def test_bags_of_embeddings_have_the_hessian_of_their_parts(listed, mode):
    labels = torch.tensor([0, 2, 1, 2])
    exact = dense_hessian(
        Bags(listed, True, mode=mode), lambda m: F.cross_entropy(m(WORDS), labels)
    )
    for engine in ("captured", "autograd"):
        model = Bags(listed, False, mode=mode).double()
        op = HessianOperator(model, [(WORDS, labels)], engine=engine)
        assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, 1e-12)


def test_embeddings_that_ask_for_sparse_gradients_have_the_same_hessian():
    class Words(nn.Module):
        def __init__(self, sparse):
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(6, 4, sparse=sparse)
            self.bag = nn.EmbeddingBag(6, 4, mode="sum", sparse=sparse)
            self.linear = nn.Linear(4, 3)

        def forward(self, words):
            # The oracle, which is not sparse, has no second derivative of bags either.
            sparse = self.bag.sparse
            bags = self.bag(words) if sparse else F.embedding(words, self.bag.weight).sum(1)
            return self.linear((self.table(words).sum(1) + bags).tanh())

    data = [(WORDS, torch.tensor([0, 2, 1, 2]))]
    exact = dense_hessian(Words(False).double(), lambda m: F.cross_entropy(m(WORDS), data[0][1]))
    for engine in ("captured", "autograd"):
        op = HessianOperator(Words(True).double(), data, engine=engine)
        assert_relative(op(torch.eye(op.shape[0], dtype=torch.float64)), exact, 1e-12)
        assert op.loss_and_gradient()[1].layout == torch.strided


@pytest.mark.parametrize("mode", ["mean", "sum"])
@pytest.mark.parametrize("last", [False, True])
def test_bags_of_embeddings_are_those_of_torch(last, mode):
    torch.manual_seed(0)
    weight = torch.randn(6, 4, dtype=torch.float64)
    words, offsets = torch.tensor([0, 3, 1, 2, 2]), torch.tensor([0, 2, 2] + [5] * last)
    options = {"mode": mode, "include_last_offset": last}
    if mode == "sum":
        options["per_sample_weights"] = torch.rand(5, dtype=torch.float64)
    exact = F.embedding_bag(words, weight, offsets, **options)
    with PlainOperations():
        assert_relative(F.embedding_bag(words, weight, offsets, **options), exact, 1e-14)
