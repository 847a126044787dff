"""What people bring is captured, and exact: layers, losses, batches, held to the dense Hessian."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import zoo
from oracles import assert_relative, dense_hessian
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations

from landscape_fast.linearise import programs
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.structure import map_tensors

ROWS = 6


@dataclass
class Case:
    make: Callable[[], nn.Module]
    batch: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    slow: tuple[str, ...] = ()  # operations left to the general rule
    autograd: str | None = None  # part of the note that says why there is no capture
    error: str | None = None  # of torch, where it has no second derivative at all
    warning: str | None = None


def noise(*shape):
    return torch.randn(ROWS, *shape)


def labels(classes, *shape):
    return torch.randint(classes, (ROWS, *shape))


def rows(make, shape, classes=3, **options):
    return Case(make, lambda: (noise(*shape), labels(classes)), **options)


def image(*middle, out=2, **options):
    return rows(lambda: zoo.images(*(part() for part in middle), out=out), (1, 6, 6), **options)


def vector(*middle, **options):
    return rows(lambda: zoo.vectors(*(part() for part in middle)), (5,), **options)


def loss(criterion, targets=lambda: labels(3), **options):
    return Case(
        lambda: zoo.vectors(nn.Tanh()),
        lambda: (noise(5), targets()),
        {"criterion": criterion},
        **options,
    )


def function(loss_fn, make=None, batch=None, **options):
    batch = batch or (lambda: (noise(5), labels(3)))
    return Case(make or (lambda: zoo.vectors(nn.Tanh())), batch, {"loss_fn": loss_fn}, **options)


WEIGHTS = torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64)


def some_ignored():
    targets = labels(3)
    targets[1] = -100
    return targets


def probabilities():
    return torch.softmax(noise(3), 1)


def positive():
    return noise(3).abs() + 0.1


def on_probabilities(kind, **options):
    criterion = kind(**options)
    return lambda out, y: criterion(F.log_softmax(out, 1), y)


def tokens_loss(model, batch):
    scores = model(batch[0][:, :-1])
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), batch[0][:, 1:].reshape(-1))


LOSSES = {
    "cross-entropy": loss(None),
    "cross-entropy weighted": loss(nn.CrossEntropyLoss(weight=WEIGHTS)),
    "cross-entropy smoothed": loss(nn.CrossEntropyLoss(label_smoothing=0.1)),
    "cross-entropy weighted and smoothed": loss(
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), some_ignored
    ),
    "cross-entropy ignoring": loss(nn.CrossEntropyLoss(), some_ignored),
    "cross-entropy sum": loss(nn.CrossEntropyLoss(reduction="sum")),
    "cross-entropy of probabilities": loss(nn.CrossEntropyLoss(), probabilities),
    "cross-entropy of weighted probabilities": loss(
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), probabilities
    ),
    "squared error": loss(nn.MSELoss(), lambda: noise(3)),
    "squared error sum": loss(nn.MSELoss(reduction="sum"), lambda: noise(3)),
    "squared error function": loss(F.mse_loss, lambda: noise(3)),
    "absolute error": loss(nn.L1Loss(), lambda: noise(3)),
    "smooth absolute error": loss(nn.SmoothL1Loss(beta=0.5), lambda: noise(3)),
    "huber": loss(nn.HuberLoss(delta=0.7), lambda: noise(3)),
    "binary with logits": loss(nn.BCEWithLogitsLoss(), lambda: torch.rand(ROWS, 3)),
    "binary with logits, weighted": loss(
        nn.BCEWithLogitsLoss(weight=WEIGHTS, pos_weight=WEIGHTS.flip(0)),
        lambda: (noise(3) > 0).double(),
    ),
    "binary": loss(
        lambda out, y: F.binary_cross_entropy(torch.sigmoid(out), y), lambda: torch.rand(ROWS, 3)
    ),
    "likelihood": loss(on_probabilities(nn.NLLLoss)),
    "divergence": loss(on_probabilities(nn.KLDivLoss, reduction="batchmean"), probabilities),
    "divergence of logs": loss(
        on_probabilities(nn.KLDivLoss, reduction="batchmean", log_target=True),
        lambda: probabilities().log(),
    ),
    "poisson": loss(nn.PoissonNLLLoss(), positive),
    "gaussian": loss(
        lambda out, y: F.gaussian_nll_loss(out, y, F.softplus(out.flip(1))),
        lambda: noise(3),
        autograd="data-dependent",  # it asks whether any variance is negative
    ),
    "soft margin": loss(F.soft_margin_loss, lambda: noise(3).sign()),
    "hinge": loss(F.multi_margin_loss, error="multi_margin_loss_backward is not implemented"),
    "log-sum-exp by hand": function(
        lambda m, b: (m(b[0]).logsumexp(1) - m(b[0])[torch.arange(ROWS), b[1]]).mean()
    ),
    "cosine": loss(lambda out, y: 1 - F.cosine_similarity(out, y, dim=1).mean(), lambda: noise(3)),
    "triplet": function(
        lambda m, b: F.triplet_margin_loss(m(b[0]), m(b[0].flip(0)), m(b[0].roll(1, 0)))
    ),
    "consistency": function(lambda m, b: F.mse_loss(m(b[0]), 2 * m(b[0].flip(0)))),
    "distillation": function(
        lambda m, b: F.kl_div(
            F.log_softmax(m(b[0]), 1), torch.softmax(m(b[0].flip(0)), 1), reduction="batchmean"
        )
    ),
    "norm of weights": function(
        lambda m, b: (
            F.cross_entropy(m(b[0]), b[1]) + 0.1 * sum(p.square().sum() for p in m.parameters())
        )
    ),
    "weights in a closure": function(lambda m, b: F.cross_entropy(m(b[0]), b[1], weight=WEIGHTS)),
    "contrastive": function(
        lambda m, b: F.cross_entropy(
            F.normalize(m(b[0]), dim=1) @ F.normalize(m(b[0].flip(0)), dim=1).T / 0.5,
            torch.arange(ROWS),
        )
    ),
}

VECTORS = {
    name: vector(make)
    for name, make in {
        "relu": nn.ReLU,
        "relu in place": lambda: nn.ReLU(inplace=True),
        "relu6": nn.ReLU6,
        "prelu": nn.PReLU,
        "prelu per channel": lambda: nn.PReLU(4),
        "elu": nn.ELU,
        "celu": nn.CELU,
        "gelu": nn.GELU,
        "gelu tanh": lambda: nn.GELU("tanh"),
        "silu": nn.SiLU,
        "mish": nn.Mish,
        "softplus": nn.Softplus,
        "hardswish": nn.Hardswish,
        "logsigmoid": nn.LogSigmoid,
        "softsign": nn.Softsign,
        "glu": lambda: nn.Sequential(nn.Linear(4, 8), nn.GLU()),
        "batch norm": lambda: nn.BatchNorm1d(4),
        "layer norm": lambda: nn.LayerNorm(4),
        "rms norm": lambda: nn.RMSNorm(4),
        "bilinear": lambda: nn.Sequential(
            zoo.Lambda(lambda x: torch.einsum("bi,bj->bij", x, x).flatten(1)), nn.Linear(16, 4)
        ),
        "cumulative sum": lambda: zoo.Lambda(lambda x: torch.tanh(x).cumsum(1)),
        "sorted": lambda: zoo.Lambda(lambda x: x.square().sort(1).values),
        "top": lambda: zoo.Lambda(lambda x: x * x.square().topk(2, dim=1).values.sum(1, True)),
        "largest": lambda: zoo.Lambda(lambda x: x * x.max(1, keepdim=True).values + x.amax(0)),
        "norms": lambda: zoo.Lambda(lambda x: x / (1 + x.norm(dim=1, keepdim=True) + x.std())),
        "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
        "written in place": lambda: zoo.Lambda(written),
    }.items()
}
VECTORS |= {
    "hardsigmoid": vector(nn.Hardsigmoid, error="hardsigmoid_backward is not implemented"),
    "products": vector(
        lambda: zoo.Lambda(lambda x: x + x.prod(1, keepdim=True)),
        slow=("aten.cumprod.default", "aten.prod.dim_int"),
    ),
    "weight norm": vector(
        lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
        autograd="_weight_norm_interface",
        warning="torch has the second derivative of one of its operations wrong",
    ),
    # The factors of a linear system are constants to forward mode, and not to double backward.
    "orthogonal": vector(
        lambda: parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley"),
        autograd="differs from double backward",
    ),
}


def written(x):
    out = torch.zeros_like(x)
    out[:, :2] = x[:, 2:].square()
    out[:, 2:] += x[:, :2]
    return out.clamp_(max=2.0)


IMAGES = {
    "group norm": image(lambda: nn.GroupNorm(1, 2), nn.SiLU),
    "instance norm": image(lambda: nn.InstanceNorm2d(2, affine=True), nn.Tanh),
    "batch norm 2d": image(lambda: nn.BatchNorm2d(2), nn.ReLU),
    "residual in place": image(lambda: zoo.Residual(2)),
    "squeeze and excite": image(nn.SiLU, lambda: zoo.SqueezeExcite(2)),
    "circular": image(lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), nn.Tanh),
    "reflected": image(lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), nn.Tanh),
    "replicated": image(lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate"), nn.Tanh),
    "depthwise": image(nn.SiLU, lambda: nn.Conv2d(2, 2, 3, groups=2), nn.Tanh),
    "grouped": image(nn.SiLU, lambda: nn.Conv2d(2, 4, 3, groups=2), nn.Tanh, out=4),
    "dilated": image(nn.SiLU, lambda: nn.Conv2d(2, 2, 3, dilation=2), nn.Tanh),
    "strided": image(nn.SiLU, lambda: nn.Conv2d(2, 2, 3, stride=2), nn.Tanh),
    "transposed": image(nn.SiLU, lambda: nn.ConvTranspose2d(2, 2, 2, stride=2), nn.Tanh),
    "max pool": image(nn.SiLU, lambda: nn.MaxPool2d(2), lambda: nn.Conv2d(2, 2, 2), nn.Tanh),
    "average pool": image(nn.SiLU, lambda: nn.AvgPool2d(3, 2, 1), lambda: nn.Conv2d(2, 2, 2)),
    "adaptive pool": image(nn.SiLU, lambda: nn.AdaptiveAvgPool2d(4), lambda: nn.Conv2d(2, 2, 2)),
    "adaptive uneven pool": image(nn.SiLU, lambda: nn.AdaptiveAvgPool2d((4, 5)), nn.Tanh),
    "adaptive max pool": image(nn.SiLU, lambda: nn.AdaptiveMaxPool2d(2), nn.Tanh),
    "global pool": image(nn.SiLU, lambda: nn.AdaptiveAvgPool2d(1)),
    "pixel shuffle": image(
        lambda: nn.Conv2d(2, 4, 1), nn.SiLU, lambda: nn.PixelShuffle(2), nn.Tanh, out=1
    ),
    "local response": image(nn.SiLU, lambda: nn.LocalResponseNorm(2)),
    "u-net": Case(zoo.UNet, lambda: (noise(1, 4, 4), labels(2, 4, 4))),
    "u-net nearest": Case(lambda: zoo.UNet("nearest"), lambda: (noise(1, 4, 4), labels(2, 4, 4))),
    "u-net bicubic": Case(lambda: zoo.UNet("bicubic"), lambda: (noise(1, 4, 4), labels(2, 4, 4))),
    "one dimension": rows(
        lambda: nn.Sequential(
            nn.Conv1d(1, 2, 3),
            nn.BatchNorm1d(2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.AvgPool1d(2),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        (1, 10),
    ),
    "three dimensions": rows(
        lambda: nn.Sequential(
            nn.Conv3d(1, 2, 2),
            nn.SiLU(),
            nn.MaxPool3d(2, 1),
            nn.AvgPool3d(2, 1),
            nn.Flatten(),
            nn.Linear(2, 3),
        ),
        (1, 4, 4, 4),
    ),
    "vision transformer": rows(zoo.PatchTransformer, (1, 6, 6), 2),
}

TOKENS = {
    "attention": rows(lambda: zoo.Attention(masked=False), (12,), 2),
    "masked attention": rows(zoo.Attention, (12,), 2),
    "encoder": rows(zoo.Encoder, (12,), 2),
    "grouped queries": rows(zoo.GroupedQueries, (12,), 2),
    "decoder": function(tokens_loss, zoo.Decoder, lambda: (labels(6, 6),)),
    "decoder by hand": function(tokens_loss, lambda: zoo.Decoder(False), lambda: (labels(6, 6),)),
    "gru": rows(lambda: zoo.Recurrent(nn.GRU), (6,), 2),
    "lstm": rows(lambda: zoo.Recurrent(nn.LSTM), (6,), 2),
    "rnn of two layers": rows(lambda: zoo.Recurrent(nn.RNN, num_layers=2), (6,), 2),
    "rnn both ways": rows(lambda: zoo.Recurrent(nn.RNN, bidirectional=True), (6,), 2),
    "lstm cell": rows(zoo.Cells, (6,), 2),
    "gru cell": rows(lambda: zoo.Cells(nn.GRUCell), (6,), 2),
    "text": Case(
        zoo.TextClassifier,
        lambda: (labels(6, 2), labels(2)),
        warning="the loss stops gradients",  # at the padding row
    ),
    "tied tokens": function(tokens_loss, lambda: zoo.TiedTokens(None), lambda: (labels(5, 4),)),
    "tied tokens with padding": function(
        tokens_loss, zoo.TiedTokens, lambda: (labels(5, 4),), warning="the loss stops gradients"
    ),
    "bags": Case(
        zoo.Bags,
        lambda: (labels(6, 4), labels(2)),
        error="'_embedding_bag_backward' is not implemented",
    ),
    "graph": function(
        lambda m, b: F.cross_entropy(m(b[0]), b[1]), zoo.Graph, lambda: (noise(5), labels(2))
    ),
    "fourier": rows(zoo.Fourier, (5,), 2),
}

BATCHES = {
    "nested dict": function(
        lambda m, b: F.cross_entropy(m(b["data"]["x"]), b["y"]),
        batch=lambda: {"data": {"x": noise(5)}, "y": labels(3)},
    ),
    "dataclass": function(
        lambda m, b: F.cross_entropy(m(b.inputs), b.target),
        batch=lambda: zoo.Sample(noise(5), labels(3)),
    ),
    "several outputs": function(
        lambda m, b: F.cross_entropy(m(b[0])["kind"], b[1]) + F.mse_loss(m(b[0])["size"], b[2]),
        zoo.Heads,
        lambda: (noise(5), labels(2), noise()),
    ),
}

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
    op = HessianOperator(model, [batch], **case.options)
    assert op.engine == "autograd"
    for product in (op, op.quadratic):
        with pytest.raises(RuntimeError, match=case.error):
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
    monkeypatch.setattr(sys.modules[__name__], "WEIGHTS", WEIGHTS.float())
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
