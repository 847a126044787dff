"""Products with the Hessian and quadratic forms, per vector, against the plain torch ways.

Time is that of one vector of a block through one batch of 128, of the decoder through 32 sequences
of 32 tokens; a block is of K = 8 on a CPU and of 32 on a GPU. Each benchmark asserts first that the
answers agree; ``extra_info`` holds the paired ratios (ours over theirs).

gradient    one plain gradient: twice that is what a product costs at least
rebuilt     gradient with its graph, then one double backward: a product as PyHessian makes it
kept        double backward through a graph that is kept between vectors
vmap        torch.func.vmap of jvp of grad over the block
compiled    the same under torch.compile

``python benchmarks/report`` makes the table from committed results.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pairing import ratios
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

from landscape_fast import HessianOperator
from landscape_fast.linearise import residency
from landscape_fast.linearise.capture import capture_gradient
from landscape_fast.training.models import resnet18

BATCH = 128
VECTORS = {"cpu": 8, "cuda": 32}
DEVICES = [name for name in VECTORS if name == "cpu" or torch.cuda.is_available()]


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10)
    )


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, activation="gelu", batch_first=True)
    body = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return nn.Sequential(body, nn.Flatten(), nn.Linear(64 * 16, 10))


class Decoder(nn.Module):
    """A small language model: tokens to their successors, causal attention, tied embedding."""

    vocabulary, length = 1000, 32

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(self.vocabulary, 64)
        self.place = nn.Parameter(0.02 * torch.randn(self.length, 64))
        layer = nn.TransformerEncoderLayer(
            64, 4, 256, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(64)
        mask = nn.Transformer.generate_square_subsequent_mask(self.length)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, vocabulary, length)."""
        hidden = self.body(self.table(tokens) + self.place, mask=self.mask, is_causal=True)
        return (self.norm(hidden) @ self.table.weight.T).transpose(1, 2)


def images(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(BATCH, *shape), torch.randint(10, (BATCH,))


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences and what follows each of their places; a fourth of the rows of the other cases."""
    text = torch.randint(Decoder.vocabulary, (BATCH // 4, Decoder.length + 1))
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()


PROBLEMS = {
    "resnet18 width 4": (lambda: resnet18(4), lambda: images(3, 32, 32)),
    "resnet18 width 8": (lambda: resnet18(8), lambda: images(3, 32, 32)),
    "resnet18 width 16": (lambda: resnet18(16), lambda: images(3, 32, 32)),
    "resnet18 width 64": (lambda: resnet18(64), lambda: images(3, 32, 32)),
    "mlp": (mlp, lambda: images(784)),
    "encoder": (encoder, lambda: images(16, 64)),
    "decoder": (Decoder, tokens),
}


class Rivals:
    """The same products in plain torch."""

    def __init__(self, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.model, (self.x, self.y) = model, batch
        self.parameters = dict(model.named_parameters())
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            self.graph = self._gradient()

    def _gradient(self) -> tuple[torch.Tensor, ...]:
        loss = F.cross_entropy(self.model(self.x), self.y)
        return torch.autograd.grad(loss, list(self.parameters.values()), create_graph=True)

    def plain(self) -> tuple[torch.Tensor, ...]:
        """One gradient."""
        loss = F.cross_entropy(self.model(self.x), self.y)
        return torch.autograd.grad(loss, list(self.parameters.values()))

    def kept(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Double backward through the kept graph."""
        product = torch.autograd.grad(
            self.graph, list(self.parameters.values()), parts, retain_graph=True
        )
        return torch.cat([part.reshape(-1) for part in product])

    def rebuilt(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Gradient, then double backward."""
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            product = torch.autograd.grad(self._gradient(), list(self.parameters.values()), parts)
        return torch.cat([part.reshape(-1) for part in product])

    def vmap(self, block: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Forward over reverse, mapped over the block."""

        def loss(values: dict[str, torch.Tensor]) -> torch.Tensor:
            return F.cross_entropy(functional_call(self.model, values, (self.x,)), self.y)

        def product(tangent: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return jvp(grad(loss), (self.parameters,), (tangent,))[1]

        return vmap(product)(block)


def make_problem(name: str, device: str, vectors: int) -> tuple[HessianOperator, Rivals, Any]:
    """An operator, its rivals on the same batch, and a block of vectors."""
    make, data = PROBLEMS[name]
    torch.manual_seed(0)
    model = make().eval().to(device)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    x, y = (part.to(device) for part in data())
    residency.PASSES_BEFORE.clear()  # a long search is timed, whose values are kept
    op = HessianOperator(model, [(x, y)], engine="captured")
    block = torch.randn(vectors, op.shape[0]).to(op.device)
    return op, Rivals(model, (x, y)), block


@pytest.fixture(params=[name + at for at in ("", " on cuda")[: len(DEVICES)] for name in PROBLEMS])
def problem(request):
    name, _, device = request.param.partition(" on ")
    device = device or "cpu"
    return make_problem(name, device, VECTORS[device])


def describe(benchmark, op: HessianOperator, vectors: int) -> None:
    """Store what ran where."""
    benchmark.extra_info.update(
        vectors=vectors, threads=torch.get_num_threads(), torch=torch.__version__
    )
    if op.device.type == "cuda":
        benchmark.extra_info["gpu"] = torch.cuda.get_device_name()


def record(benchmark, op: HessianOperator, vectors: int, ours, rivals) -> None:
    """Store ratios per vector: ours takes the block, ``rivals`` is their calls per vector."""
    rivals = {name: lambda f=f: f(0) for name, f in rivals.items()}
    slow = "64" in benchmark.name and op.device.type == "cpu"
    found = ratios(ours, rivals, rounds=5 if slow else 7)
    describe(benchmark, op, vectors)
    benchmark.extra_info["ratios"] = {
        name: {q: v / vectors for q, v in of.items()} for name, of in found.items()
    }
    benchmark.pedantic(ours, rounds=1 if slow else 3)


def test_product(problem, benchmark):
    op, rivals, v = problem
    parts = [list(op.space.split(row)) for row in v]
    ours, plain = op(v[:2]), torch.stack([rivals.kept(part) for part in parts[:2]])
    assert (ours - plain).norm() <= 1e-4 * plain.norm()
    record(
        benchmark,
        op,
        len(v),
        lambda: op(v),
        {
            "gradient": lambda _: rivals.plain(),
            "kept": lambda index: rivals.kept(parts[index]),
            "rebuilt": lambda index: rivals.rebuilt(parts[index]),
        },
    )


@pytest.mark.parametrize("way", ["vmap", "compiled"])
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # read while it compiles
def test_product_against_vmap(problem, benchmark, way):
    op, rivals, v = problem
    named = op.space.to_dict(v)
    mapped = rivals.vmap if way == "vmap" else torch.compile(rivals.vmap)

    def theirs() -> dict[str, torch.Tensor]:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return mapped(named)

    plain = op.space.to_vector(theirs())
    assert (op(v) - plain).norm() <= 1e-4 * plain.norm()
    found = ratios(lambda: op(v), {way: theirs}, rounds=5)
    describe(benchmark, op, len(v))
    benchmark.extra_info["ratios"] = found
    benchmark.pedantic(lambda: op(v), rounds=3)


def test_quadratic(problem, benchmark):
    op, rivals, v = problem
    parts = [list(op.space.split(row)) for row in v]
    plain = torch.stack([rivals.kept(p) @ row for p, row in zip(parts[:2], v[:2], strict=True)])
    assert ((op.quadratic(v[:2]) - plain).abs() <= 1e-3 * plain.abs().max()).all()
    record(
        benchmark,
        op,
        len(v),
        lambda: op.quadratic(v),
        {"rebuilt": lambda index: rivals.rebuilt(parts[index]) @ v[index]},
    )


def test_capture(problem, benchmark):
    """The first product of a model of a new structure, next to that of a structure seen before."""
    op, _, _ = problem
    engine, batch = op._engine, next(iter(op._batches))
    inputs, directions = engine._inputs, len(op.space.tensors)
    benchmark.pedantic(
        lambda: capture_gradient(inputs, op._objective, batch, directions, None), rounds=5
    )
