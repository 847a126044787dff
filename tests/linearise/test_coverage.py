"""What people bring is captured, and exact: layers, losses, batches, held to the dense Hessian."""

from __future__ import annotations

import copy
import logging
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
import zoo
from cases import losses
from cases.batches import BATCHES
from cases.case import ROWS, Case, loss, noise, vector
from cases.layers import IMAGES, TOKENS, VECTORS
from cases.losses import LOSSES
from oracles import assert_relative, dense_hessian
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape_fast.linearise import programs
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.structure import map_tensors

CASES = {**LOSSES, **VECTORS, **IMAGES, **TOKENS, **BATCHES}


def built(case):
    torch.manual_seed(0)
    model = case.make().double().eval()
    for name, buffer in model.named_buffers():
        if "running_var" in name:
            buffer.uniform_(0.5, 2.0)
        elif "running_mean" in name:
            buffer.normal_()
    batch = map_tensors(lambda x: x.double() if x.is_floating_point() else x, case.batch())
    return model, batch


def whole_loss(case, batch):
    loss_fn = case.options.get("loss_fn")
    criterion = copy.deepcopy(case.options.get("criterion")) or nn.CrossEntropyLoss()
    return lambda m: loss_fn(m, batch) if loss_fn else criterion(m(batch[0]), batch[1])


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    # Functions inside the networks here live as long as one test, and their addresses are reused.
    monkeypatch.setattr(programs, "_shared", type(programs._shared)())


@pytest.fixture
def _captured_once(monkeypatch):
    # A network that is in float64 already has one program, not another one for the float64 check.
    find = programs.Programs.find
    monkeypatch.setattr(
        programs.Programs, "find", lambda self, kind, batch, dtype=None: find(self, kind, batch)
    )


def as_single(value):
    return copy.deepcopy(value).float() if isinstance(value, nn.Module) else value


def expected_warning(case):
    return pytest.warns(UserWarning, match=case.warning) if case.warning else nullcontext()


@pytest.mark.usefixtures("_captured_once")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.error])
def test_products_and_forms_are_those_of_the_dense_hessian(name):
    case = CASES[name]
    model, batch = built(case)
    with expected_warning(case):
        op = HessianOperator(model, [batch], **case.options)
    with sdpa_kernel(SDPBackend.MATH):
        exact = dense_hessian(model, whole_loss(case, batch))
    assert op.shape[0] <= 250
    if case.autograd:
        assert op.engine == "autograd"
        assert case.autograd in op.engine_note
    else:
        assert (op.engine, op.engine_note) == ("captured", None)
    assert op.slow_operations == case.slow
    assert_relative(op(torch.eye(len(exact), dtype=torch.float64)), exact, 1e-10)
    v = torch.randn(3, len(exact), dtype=torch.float64)
    assert_relative(op.quadratic(v), ((v @ exact) * v).sum(1), 1e-10)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.error])
def test_what_torch_cannot_differentiate_twice_is_an_error_that_names_it(name):
    case = CASES[name]
    model, batch = built(case)
    with pytest.raises(ValueError, match=f"cannot be differentiated twice.*{case.error}"):
        HessianOperator(model, [batch], **case.options)
    op = HessianOperator(model, [batch], engine="autograd", **case.options)
    for product in (op, op.quadratic):
        with pytest.raises(ValueError, match=f"cannot be differentiated twice.*{case.error}"):
            product(torch.ones(1, op.shape[0], dtype=torch.float64))


SINGLE = (
    "cross-entropy weighted",
    "cross-entropy of weighted probabilities",
    "binary with logits, weighted",
    "weights in a closure",
    "lstm",
)


@pytest.mark.parametrize("name", SINGLE)
def test_a_network_in_single_precision_is_captured_as_well(name, monkeypatch):
    # oneDNN serves this precision alone, and what a loss holds must follow into the float64 check.
    case = CASES[name]
    model, batch = built(case)
    with sdpa_kernel(SDPBackend.MATH):
        exact = dense_hessian(model, whole_loss(case, batch))
    monkeypatch.setattr(losses, "WEIGHTS", losses.WEIGHTS.float())
    options = {key: as_single(value) for key, value in case.options.items()}
    single = map_tensors(lambda x: x.float() if x.is_floating_point() else x, batch)
    op = HessianOperator(model.float(), [single], **options)
    assert (op.engine, op.engine_note) == ("captured", None)
    assert_relative(op(torch.eye(len(exact))), exact, 1e-5)


def at_zero(criterion, target):
    return Case(
        lambda: zoo.vectors(nn.Tanh()),
        lambda: (noise(5), target.expand(ROWS, 3)),
        {"criterion": criterion},
    )


@pytest.mark.parametrize(
    ("criterion", "target"),
    [
        (nn.BCEWithLogitsLoss(), torch.ones(1)),
        (nn.SmoothL1Loss(), torch.zeros(1)),
        (nn.HuberLoss(), torch.zeros(1)),
        (nn.SoftMarginLoss(), torch.ones(1)),
        (lambda out, y: -(F.logsigmoid(out) * y).mean(), torch.ones(1)),
    ],
    ids=["binary", "smooth", "huber", "margin", "log-sigmoid"],
)
def test_losses_are_curved_where_a_last_layer_starts_at_zero(criterion, target):
    case = at_zero(criterion, target)
    model, batch = built(case)
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    op = HessianOperator(model, [batch], **case.options)
    exact = dense_hessian(model, whole_loss(case, batch))
    assert op.engine == "captured"
    assert exact[-1, -1] > 0.01
    assert_relative(op(torch.eye(len(exact), dtype=torch.float64)), exact, 1e-10)


def test_parameters_that_a_loss_holds_itself_never_become_constants():
    model, batch = built(loss(None))
    held = list(model.parameters())

    def loss_fn(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1]) + 1e-4 * sum(
            p.square().sum() for p in held
        )

    op = HessianOperator(model.float(), [(batch[0].float(), batch[1])], loss_fn=loss_fn)
    assert op.engine == "autograd"
    assert "past the model" in op.engine_note


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: torch.add(x, x.square(), alpha=3),
        lambda x: torch.sub(x, x.square(), alpha=3),
        lambda x: torch.rsub(x, x.square(), alpha=3),
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: torch.addcmul(x, x, x, value=0.3),
        lambda x: torch.addmm(x, x[:, :4], x[:4, :4], beta=0.5, alpha=0.7),
        lambda x: x * x.var(1, correction=0, keepdim=True),
    ],
    ids=["add", "sub", "rsub", "gelu", "addcmul", "addmm", "var"],
)
def test_arguments_given_by_keyword_alone_count(layer):
    case = vector(lambda: zoo.Lambda(layer))
    model, batch = built(case)
    op = HessianOperator(model, [batch])
    exact = dense_hessian(model, whole_loss(case, batch))
    assert op.engine == "captured"
    assert op.slow_operations == ()
    assert_relative(op(torch.eye(len(exact), dtype=torch.float64)), exact, 1e-10)


def test_the_tracer_prints_nothing_and_gets_its_voice_back(caplog):
    model, batch = built(loss(None))
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before = log.level

    def loss_fn(model, batch):
        out = model(batch[0])
        if isinstance(out, FakeTensor):
            log.error("a traceback")
            raise RuntimeError("not here")
        return F.cross_entropy(out, batch[1])

    op = HessianOperator(model, [batch], loss_fn=loss_fn)
    assert op.engine_note == "RuntimeError: not here"
    assert log.name not in {record.name for record in caplog.records}
    assert log.level == before
