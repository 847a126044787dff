"""What every operator promises around its products, whatever the model and the mode of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import LADDER
from oracles import (
    assert_relative,
    assert_same_state,
    classification,
    conv_net,
    cut,
    dense_hessian,
    mlp,
    snapshot,
)
from torch import nn
from torch.utils.checkpoint import checkpoint

from landscape_fast import trace
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.linearise import cuts
from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.progress import Progress


class Checkpointed(nn.Module):
    """A network whose first part runs again in the backward pass."""

    def __init__(self, reentrant):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.reentrant = reentrant

    def body(self, x):
        return torch.tanh(self.second(torch.tanh(self.first(x))))

    def forward(self, x):
        if self.reentrant is None:
            return self.last(self.body(x))
        return self.last(checkpoint(self.body, x, use_reentrant=self.reentrant))


def double(rows=11, shape=(5,)):
    x, y = classification(rows, shape)
    return x.double(), y


@pytest.mark.parametrize("engine", ["captured", "autograd"])
@pytest.mark.parametrize("kind", [HessianOperator, GGNOperator])
def test_checkpointing_without_reentrance_changes_no_product(kind, engine):
    loader = cut(double(), [4, 4, 3])
    plain = kind(Checkpointed(None).double(), loader, engine=engine)
    op = kind(Checkpointed(False).double(), loader, engine=engine)
    eye = torch.eye(op.shape[0], dtype=torch.float64)
    assert_relative(op(eye), plain(eye), 1e-13)
    assert_relative(op.quadratic(eye), plain.quadratic(eye), 1e-13)


def test_reentrant_checkpointing_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"reentrant activation checkpointing.*use_reentrant=False"
    ):
        HessianOperator(Checkpointed(True), [classification(4)])
    checkpoint(torch.tanh, torch.ones(1, requires_grad=True), use_reentrant=True)  # restored


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("engine", ["captured", "autograd"])
def test_sums_of_a_half_precision_model_are_float32(dtype, engine, monkeypatch):
    monkeypatch.setattr(cuts, "CACHED_ELEMENTS", 1)  # the whole batch goes through in pieces
    x, y = classification(512)
    x = x.to(dtype)
    model = mlp().to(dtype)
    exact = dense_hessian(model, lambda call: F.cross_entropy(call(x.double()), y))
    v = torch.randn(3, len(exact), generator=torch.Generator().manual_seed(0))
    exact = v.double() @ exact
    errors = []
    for sizes in ([512], [8] * 64):
        op = HessianOperator(model, cut((x, y), sizes), engine=engine)
        ours = op(v)
        assert ours.dtype == torch.float32
        errors.append(float((ours - exact).norm() / exact.norm()))
        assert abs(op.loss / F.cross_entropy(model(x).float(), y) - 1) < 0.01
    assert (
        max(errors) < torch.finfo(dtype).eps / 2
    )  # sums in the model's own precision lose many times that


class Interrupting(nn.Module):
    """Raises KeyboardInterrupt in the forward pass when it is told to."""

    armed = False

    def forward(self, x):
        if self.armed:
            raise KeyboardInterrupt
        return x


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
@pytest.mark.parametrize("method", ["product", "quadratic", "construction", "gradient"])
def test_control_c_leaves_the_model_as_it_was(method, batchnorm):
    trap = Interrupting()
    model = nn.Sequential(conv_net(), trap).train()
    model[0][4].eval()
    model[0][0].weight.grad = torch.ones_like(model[0][0].weight)
    loader = cut(classification(8, (1, 6, 6)), [4, 4])
    before = snapshot(model)
    op = HessianOperator(model, loader, engine="autograd", batchnorm=batchnorm)
    v = torch.ones(1, op.shape[0])
    trap.armed = True
    calls = {
        "product": lambda: op(v),
        "quadratic": lambda: op.quadratic(v),
        "gradient": op.loss_and_gradient,
        "construction": lambda: HessianOperator(model, loader),
    }
    with pytest.raises(KeyboardInterrupt):
        calls[method]()
    assert_same_state(model, before)
    trap.armed = False
    assert torch.isfinite(op(v)).all()


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("engine", ["captured", "autograd"])
def test_inference_mode_around_a_measurement_changes_nothing(engine, kept):
    model, data = mlp().double(), double()
    outside = HessianOperator(model, [data], engine=engine)
    v = torch.randn(2, outside.shape[0], dtype=torch.float64)
    with torch.inference_mode():
        made_inside = [tuple(leaf.clone() for leaf in data)]
        loader = made_inside if kept else iter(made_inside)
        op = HessianOperator(model, loader, engine=engine)
        inside = v.clone()
        assert torch.equal(op(inside), outside(v))
        assert torch.equal(op.quadratic(inside), outside.quadratic(v))
        assert torch.equal(op.random_quadratics(2, seed=0), outside.random_quadratics(2, seed=0))
        found = extreme_eigenpairs(op, 2)
    assert_relative(found.values, extreme_eigenpairs(outside, 2).values, 1e-12)
    assert torch.equal(op(v), outside(v))


@pytest.mark.parametrize("measure", [trace, lambda *of: HessianOperator(*of)(torch.ones(1, 93))])
def test_a_recurrent_layer_still_computes_with_its_own_weights_afterwards(measure):
    model = LADDER["recurrent"][0]()
    x, y = classification(6, LADDER["recurrent"][1])
    before, output = snapshot(model), model(x)
    measure(model, [(x, y)])
    assert_same_state(model, before)
    assert torch.equal(model(x), output)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    again = LADDER["recurrent"][0]()
    again.load_state_dict(model.state_dict())
    assert torch.equal(model(x), again(x))


def test_a_model_made_in_inference_mode_is_named():
    with torch.inference_mode():
        model = mlp()
    with pytest.raises(ValueError, match=r"model holds 0.weight made inside torch.inference_mode"):
        HessianOperator(model, [classification(4)])


def test_sharded_models_are_refused_with_advice(monkeypatch):
    from torch.distributed import fsdp
    from torch.distributed import tensor as sharding

    class Sharded(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = mlp()

    class Piece(torch.Tensor):
        pass

    monkeypatch.setattr(fsdp, "FullyShardedDataParallel", Sharded)
    monkeypatch.setattr(sharding, "DTensor", Piece)
    with pytest.raises(ValueError, match=r"FullyShardedDataParallel.*full_state_dict=True"):
        HessianOperator(nn.Sequential(Sharded()), [classification(4)])
    model = mlp()
    model.register_buffer("part", torch.ones(2).as_subclass(Piece))
    with pytest.raises(ValueError, match=r"part as a DTensor \(fully_shard\).*process_group="):
        HessianOperator(model, [classification(4)])


def test_a_list_that_changes_in_place_between_products_is_an_error():
    x, y = double()
    op = HessianOperator(mlp().double(), [(x, y)])
    v = torch.ones(1, op.shape[0], dtype=torch.float64)
    op(v)
    x[3, 2] += 1
    with pytest.raises(ValueError, match="loader is a list whose tensors were changed in place"):
        op(v)


def test_the_gradient_is_that_of_the_whole_loss_at_the_current_parameters():
    model, (x, y) = mlp().double(), double()
    op = HessianOperator(model, cut((x, y), [4, 4, 3]), weight_decay=0.1)
    with torch.no_grad():
        model[0].weight.add_(0.5)
    decay = 0.05 * sum(p.square().sum() for p in model.parameters())
    value = F.cross_entropy(model(x), y) + decay
    exact = torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, list(model.parameters()))])
    loss, gradient = op.loss_and_gradient()
    assert loss == pytest.approx(float(value.detach()), rel=1e-13)
    assert_relative(gradient, exact, 1e-13)


def test_an_estimate_grows_with_the_blocks_and_counts_what_is_held():
    op = HessianOperator(mlp().double(), cut(double(), [4, 4, 3]), engine="captured")
    data, blocks = 11 * 5 * 8 + 11 * 8, 2 * 4 * op.shape[0] * 8
    few = op.estimate(8, block=4)
    assert few.bytes == data + op.kept_bytes + blocks
    many = op.estimate(80, block=4)
    assert many.bytes == data + op.kept_bytes + blocks > few.bytes  # values are kept by now
    assert (few.products, few.block, op.products) == (8, 4, 16)
    assert many.seconds >= 20 * many.seconds_per_block > 0
    assert few.peak_bytes is None
    with pytest.raises(ValueError, match="products must be a whole number of at least 1, got 0"):
        op.estimate(0)


def test_progress_is_shown_on_request_and_leaves_no_line(monkeypatch, capsys):
    ticks = iter(float(n) for n in range(1000))
    monkeypatch.setattr("landscape_fast.linearise.progress.seconds", lambda: next(ticks))
    silent = HessianOperator(mlp(), cut(classification(12), [4, 4, 4]), engine="autograd")
    silent(torch.ones(1, silent.shape[0]))
    assert capsys.readouterr().err == ""
    op = HessianOperator(
        mlp(), cut(classification(12), [4, 4, 4]), engine="autograd", progress=True
    )
    with op.progress:
        op(torch.ones(2, op.shape[0]))
        op(torch.ones(1, op.shape[0]))
    said = capsys.readouterr().err
    assert "HessianOperator: 2 products, batch 1 of 3" in said
    assert said.endswith("\r\x1b[K")
    assert said.count("\r\x1b[K") == 1


def test_progress_is_off_where_nobody_looks():
    assert not Progress("any", None).shown
