"""The native operations against plain torch, each after its answer was asserted.

Blocks are float32. ``extra_info["ratios"]`` holds the paired ratios, ours over theirs (pairing.py):

float32     the operation as torch does it on the data as they are
float64     the torch expression that has our accuracy: converted first, sums in float64
torch       torch's own generator, for signs and Gaussians

``extra_info`` also has the bytes that must move at least and the multiply-adds, for rates.
``python benchmarks/report`` makes the table from committed results.
"""

from __future__ import annotations

import pytest
import torch
from pairing import ratios

from landscape_fast import _native
from landscape_fast.linearise.rules import fused_batch_norm, fused_layer_norm

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() and _native.has_cuda() else ["cpu"]
ROWS, COLUMNS, BASIS = (1, 8, 32), (10**5, 10**6, 3 * 10**6), (10, 100)
# Without the largest, whose float64 rival needs 5 GB.
SHAPES = [(k, n, m) for k in ROWS for n in COLUMNS for m in BASIS if k * n * m < 9 * 10**9]

pytestmark = pytest.mark.parametrize("device", DEVICES)


def record(benchmark, ours, rivals, *, rounds, bytes_moved, multiply_adds, shape) -> None:
    benchmark.extra_info.update(
        ratios=ratios(ours, rivals, rounds=rounds),
        shape=shape,
        bytes=bytes_moved,
        multiply_adds=multiply_adds,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    benchmark.pedantic(ours, rounds=rounds)


def record_tangents(
    benchmark, ours, in_torch, n, *, blocks, primals, within, relative=False
) -> None:
    """An operation on 8 tangents of n values, that moves so many blocks of both, held to torch."""
    expected = in_torch()
    allowed = within * expected.abs().max() if relative else within
    assert (ours() - expected).abs().max() <= allowed
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=31,
        bytes_moved=4 * n * (8 * blocks + primals),
        multiply_adds=0,
        shape={"k": 8, "n": n},
    )


def rounds_for(work: float) -> int:
    """More rounds where they are cheap: between 5 and 51."""
    return int(max(5, min(51, 2e9 / work)))


def normalised(m: int, n: int, device: str) -> torch.Tensor:
    """Rows of unit length and, being random and long, nearly orthogonal."""
    return torch.nn.functional.normalize(torch.randn(m, n, device=device))


@pytest.mark.parametrize("n", COLUMNS)
@pytest.mark.parametrize("k", ROWS)
def test_row_dots(benchmark, device, k, n):
    x, y = torch.randn(k, n, device=device), torch.randn(k, n, device=device)

    def in_float64() -> torch.Tensor:
        return (x.double() * y.double()).sum(-1)

    sizes = (x.double() * y.double()).abs().sum(-1)
    assert ((_native.row_dots(x, y) - in_float64()).abs() <= 1e-14 * sizes).all()
    record(
        benchmark,
        lambda: _native.row_dots(x, y),
        {"float32": lambda: torch.linalg.vecdot(x, y), "float64": in_float64},
        rounds=rounds_for(40 * k * n),
        bytes_moved=8 * k * n,
        multiply_adds=k * n,
        shape={"k": k, "n": n},
    )


def cgs2(block: torch.Tensor, basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two rounds of projection, as two products each."""
    first = block @ basis.T
    block = block - first @ basis
    second = block @ basis.T
    return first + second, block - second @ basis


@pytest.mark.parametrize(("k", "n", "m"), SHAPES)
def test_orthogonalise(benchmark, device, k, n, m):
    block, basis = torch.randn(k, n, device=device), normalised(m, n, device)
    expected, left = cgs2(block.double(), basis.double())
    ours = block.clone()
    total = _native.orthogonalise_(ours, basis)
    assert (total - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert (ours.double() - left).abs().max() <= 1e-6 * left.abs().max()
    del left
    record(
        benchmark,
        lambda: _native.orthogonalise_(ours, basis),
        {
            "float32": lambda: cgs2(ours, basis),
            "float64": lambda: cgs2(ours.double(), basis.double()),
        },
        rounds=rounds_for(4 * k * n * m),
        bytes_moved=4 * n * (3 * m + 5 * k),
        multiply_adds=4 * k * n * m,
        shape={"k": k, "n": n, "m": m},
    )


@pytest.mark.parametrize(("k", "n", "m"), [shape for shape in SHAPES if shape[1] == 10**6])
def test_block_dots(benchmark, device, k, n, m):
    x, y = torch.randn(k, n, device=device), normalised(m, n, device)
    exact = x.double() @ y.double().T
    assert (_native.block_dots(x, y) - exact).abs().max() <= 1e-12 * exact.abs().max()
    record(
        benchmark,
        lambda: _native.block_dots(x, y),
        {"float32": lambda: x @ y.T, "float64": lambda: x.double() @ y.double().T},
        rounds=rounds_for(k * n * m),
        bytes_moved=4 * n * (m + k),
        multiply_adds=k * n * m,
        shape={"k": k, "n": n, "m": m},
    )


@pytest.mark.parametrize(("k", "n", "m"), [shape for shape in SHAPES if shape[1] == 10**6])
def test_block_update(benchmark, device, k, n, m):
    y, basis = torch.randn(k, n, device=device), normalised(m, n, device)
    c = 1e-3 * torch.randn(k, m, dtype=torch.float64, device=device)
    narrow = c.float()
    exact = y.double() - c @ basis.double()
    assert (_native.block_update_(y.clone(), c, basis) - exact).abs().max() <= 1e-6
    record(
        benchmark,
        lambda: _native.block_update_(y, c, basis),
        {
            "float32": lambda: y - narrow @ basis,
            "float64": lambda: (y.double() - c @ basis.double()).float(),
        },
        rounds=rounds_for(k * n * m),
        bytes_moved=4 * n * (m + 2 * k),
        multiply_adds=k * n * m,
        shape={"k": k, "n": n, "m": m},
    )


@pytest.mark.parametrize("n", [10**5, 10**6])
@pytest.mark.parametrize("k", [1, 8])
def test_signs(benchmark, device, k, n):
    out = torch.empty(k, n, device=device)
    assert torch.equal(_native.signs_(out, 0).abs(), torch.ones_like(out))
    record(
        benchmark,
        lambda: _native.signs_(out, 0),
        {"torch": lambda: out.bernoulli_().mul_(2).sub_(1)},
        rounds=rounds_for(200 * k * n),
        bytes_moved=4 * k * n,
        multiply_adds=0,
        shape={"k": k, "n": n},
    )


@pytest.mark.parametrize("n", [10**5, 10**6])
@pytest.mark.parametrize("k", [1, 8])
def test_normals(benchmark, device, k, n):
    out = torch.empty(k, n, device=device)
    assert (_native.normals_(out, 0).std() - 1).abs() < 0.02
    record(
        benchmark,
        lambda: _native.normals_(out, 0),
        {"torch": lambda: out.normal_()},
        rounds=rounds_for(200 * k * n),
        bytes_moved=4 * k * n,
        multiply_adds=0,
        shape={"k": k, "n": n},
    )


# (B, C, S) of K = 8 tangents, as in small convolutional networks.
NORM_SHAPES = [(16, 8, 1024), (16, 16, 256), (16, 64, 16)]


def norm_operands(b: int, c: int, s: int, device: str) -> dict[str, torch.Tensor]:
    """Blocks as convolutions leave them, [B, K, C, S], and what they are tangents of."""
    names = ("first", "second", "residual", "x_dot", "result")
    operands = {name: torch.randn(b, 8, c, s, device=device).transpose(0, 1) for name in names}
    operands["x"], operands["output"], delta = torch.randn(3, b, c, s, device=device)
    operands["output"] = operands["output"].relu()
    operands["delta"] = delta * (operands["output"] > 0)
    operands["mean"], operands["scale"], operands["gain"] = torch.rand(3, c, device=device) + 0.5
    operands["weight_dot"], operands["bias_dot"] = torch.randn(2, 8, c, device=device)
    return operands


@pytest.mark.parametrize(("b", "c", "s"), NORM_SHAPES)
def test_affine_norm_tangent(benchmark, device, b, c, s):
    o = norm_operands(b, c, s, device)

    def in_torch() -> torch.Tensor:
        normal = (o["x"] - o["mean"][:, None]) * o["scale"][:, None]
        total = (o["first"] + o["second"]) * o["gain"][:, None]
        total.addcmul_(normal, o["weight_dot"][:, None, :, None])
        total.add_(o["bias_dot"][:, None, :, None]).add_(o["residual"])
        return total.mul_(o["output"] > 0)

    names = ("x", "mean", "scale", "gain", "weight_dot", "bias_dot", "residual", "output")
    shared = [o[name] for name in names]

    def ours() -> torch.Tensor:
        return _native.affine_norm_tangent_(o["first"], o["second"], o["result"], *shared)

    o["second"].zero_()  # so that the sum in place does not grow
    expected = in_torch()
    assert (ours() - expected).abs().max() <= 1e-5 * expected.abs().max()
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=51,
        bytes_moved=4 * b * c * s * (5 * 8 + 2),
        multiply_adds=0,
        shape={"k": 8, "n": b * c * s},
    )


@pytest.mark.parametrize(("b", "c", "s"), NORM_SHAPES)
def test_affine_norm_gradient_tangent(benchmark, device, b, c, s):
    o = norm_operands(b, c, s, device)

    def in_torch() -> tuple[torch.Tensor, ...]:
        masked = (o["first"] + o["second"]).mul_(o["output"] > 0)
        result = masked * o["gain"][:, None]
        lift = (o["weight_dot"] * o["scale"])[:, None, :, None]
        result.addcmul_(o["delta"], lift)
        normal = (o["x"] - o["mean"][:, None]) * o["scale"][:, None]
        weight_rows = (masked * normal).sum((1, 3))
        weight_rows.add_((o["x_dot"] * o["delta"]).sum((1, 3)) * o["scale"])
        return weight_rows, masked.sum((1, 3)), result

    names = ("result", "delta", "x", "x_dot", "mean", "scale", "gain", "weight_dot", "output")
    others = [o[name] for name in names]

    def ours() -> tuple[torch.Tensor, ...]:
        return _native.affine_norm_gradient_tangent_(o["first"], o["second"], *others)

    o["second"].zero_()  # so that the sum in place does not grow
    for answer, expected in zip((*ours(), o["result"]), in_torch(), strict=True):
        assert (answer - expected).abs().max() <= 1e-4 * expected.abs().max()
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=51,
        bytes_moved=4 * b * c * s * (5 * 8 + 3),
        multiply_adds=0,
        shape={"k": 8, "n": b * c * s},
    )


def derivative(function, at: torch.Tensor) -> torch.Tensor:
    """First derivative of an elementwise function, by one reverse pass over its argument."""
    at = at.detach().requires_grad_()
    value = function(at)
    return torch.autograd.grad(value, at, torch.ones_like(value))[0]


# Activation and, for its backward pass, that pass as a function of the two that it takes.
BACKWARD = {
    "gelu": (torch.nn.functional.gelu, torch.ops.aten.gelu_backward.default),
    "tanh": (torch.tanh, lambda delta, z: delta * (1 - torch.tanh(z).square())),
}


@pytest.mark.parametrize("kind", BACKWARD)
@pytest.mark.parametrize(("r", "c"), [(256, 256), (2048, 256)])
def test_pointwise_tangent(benchmark, device, r, c, kind):
    z, dot = torch.randn(r, c, device=device), torch.randn(8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        return dot * derivative(BACKWARD[kind][0], z)

    def ours() -> torch.Tensor:
        return _native.pointwise_tangent_(kind, z, dot, torch.empty_like(dot))

    record_tangents(benchmark, ours, in_torch, r * c, blocks=2, primals=1, within=1e-5)


@pytest.mark.parametrize("kind", BACKWARD)
@pytest.mark.parametrize(("r", "c"), [(256, 256), (2048, 256)])
def test_pointwise_gradient_tangent(benchmark, device, r, c, kind):
    z, delta = torch.randn(2, r, c, device=device)
    z_dot, delta_dot = torch.randn(2, 8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        given = [value.detach().requires_grad_() for value in (delta, z)]
        value = BACKWARD[kind][1](*given)
        slope, bend = torch.autograd.grad(value, given, torch.ones_like(value))
        return torch.addcmul(delta_dot * slope, z_dot, bend)

    def ours() -> torch.Tensor:
        out = torch.empty_like(z_dot)
        return _native.pointwise_gradient_tangent_(kind, z, delta, z_dot, delta_dot, out)

    record_tangents(benchmark, ours, in_torch, r * c, blocks=3, primals=2, within=1e-4)


@pytest.mark.parametrize("kind", BACKWARD)
@pytest.mark.parametrize(("r", "c"), [(256, 256), (2048, 256)])
def test_pointwise_quadratic(benchmark, device, r, c, kind):
    z, adjoint = torch.randn(2, r, c, device=device)
    z_dot = torch.randn(8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        bend = derivative(lambda at: BACKWARD[kind][1](adjoint, at), z)
        return (z_dot * z_dot * bend).flatten(1).sum(1, dtype=torch.float64)

    def ours() -> torch.Tensor:
        return _native.pointwise_quadratic(kind, z, adjoint, z_dot)

    record_tangents(
        benchmark, ours, in_torch, r * c, blocks=1, primals=2, within=1e-3, relative=True
    )


@pytest.mark.parametrize(("r", "c"), [(256, 10), (256, 1000), (2048, 256)])
def test_softmax_tangent(benchmark, device, r, c):
    p, weight = torch.randn(r, c, device=device).softmax(1), torch.rand(r, device=device)
    dot = torch.randn(8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        weighted = dot * p
        inner = weighted.sum(-1, keepdim=True)
        return torch.addcmul(weighted, p, inner, value=-1).mul_(weight[:, None])

    def ours() -> torch.Tensor:
        return _native.softmax_tangent_(p, dot, weight, torch.empty_like(dot))

    record_tangents(benchmark, ours, in_torch, r * c, blocks=2, primals=1, within=1e-5)


@pytest.mark.parametrize(("r", "c"), [(256, 10), (256, 1000), (2048, 256)])
def test_softmax_quadratic(benchmark, device, r, c):
    p, weight = torch.randn(r, c, device=device).softmax(1), torch.rand(r, device=device)
    dot = torch.randn(8, r, c, device=device)

    def in_torch() -> torch.Tensor:
        centred = dot - (dot * p).sum(-1, keepdim=True)
        return ((centred.square() * p).sum(-1) * weight).sum(1, dtype=torch.float64)

    def ours() -> torch.Tensor:
        return _native.softmax_quadratic(p, dot, weight)

    record_tangents(
        benchmark, ours, in_torch, r * c, blocks=1, primals=1, within=1e-5, relative=True
    )


@pytest.mark.parametrize(("b", "n"), [(32, 64), (32, 16384), (1024, 2304)])
def test_square_sums(benchmark, device, b, n):
    block = torch.randn(8, b, n, device=device)

    def in_float64() -> torch.Tensor:
        return block.double().square().sum((0, 1))

    def in_torch() -> torch.Tensor:
        return block.square().sum((0, 1)).double()

    exact = in_float64()
    assert (_native.square_sums(block) - exact).abs().max() <= 1e-13 * exact.abs().max()
    record(
        benchmark,
        lambda: _native.square_sums(block),
        {"float32": in_torch, "float64": in_float64},
        rounds=31,
        bytes_moved=4 * 8 * b * n,
        multiply_adds=8 * b * n,
        shape={"k": 8 * b, "n": n},
    )


# Input channels, filters, positions along a side, window: the layers of ResNet-20 and one of 1 x 1.
FILTERS = [(3, 16, 32, 3), (16, 16, 32, 3), (32, 32, 16, 3), (64, 64, 8, 3), (64, 64, 8, 1)]


@pytest.mark.parametrize(("i", "o", "side", "window"), FILTERS)
@pytest.mark.parametrize("k", [1, 5])
def test_filter_squares(benchmark, device, k, i, o, side, window):
    if device != "cpu":
        pytest.skip("a product and square_sums serve CUDA")
    b, pad = 16, window // 2
    x, delta = torch.randn(b, i, side, side), torch.randn(b, k, o, side**2).transpose(0, 1)

    def in_torch() -> torch.Tensor:
        columns = torch.nn.functional.unfold(x, window, padding=pad)
        left = delta.transpose(0, 1).reshape(b, k * o, -1)
        gradients = torch.bmm(left, columns.transpose(1, 2)).reshape(b * k, -1)
        return gradients.square().sum(0).double()

    def ours() -> torch.Tensor:
        return _native.filter_squares(delta, x, (window, window), padding=(pad, pad))

    expected = in_torch()
    assert (ours().flatten() - expected).abs().max() <= 1e-5 * expected.max()
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=31,
        bytes_moved=4 * b * side**2 * (k * o + i),
        multiply_adds=b * k * o * i * window**2 * side**2,
        shape={"k": k, "n": o * i * window**2, "m": b * side**2},
    )


# Smaller images go through plain torch.
@pytest.mark.parametrize(("b", "c", "s"), [*NORM_SHAPES[:2], (16, 64, 64)])
def test_affine_norm_squares(benchmark, device, b, c, s):
    if device != "cpu":
        pytest.skip("plain torch serves CUDA")
    o = norm_operands(b, c, s, device)

    def in_torch() -> tuple[torch.Tensor, ...]:
        masked = (o["first"] + o["second"]).mul_(o["output"] > 0)
        normal = (o["x"] - o["mean"][:, None]) * o["scale"][:, None]
        weight = (masked * normal).sum(3).square().sum((0, 1)).double()
        bias = masked.sum(3).square().sum((0, 1)).double()
        return weight, bias, masked * o["gain"][:, None]

    names = ("first", "second", "result", "x", "mean", "scale", "gain", "output")
    operands = [o[name] for name in names]

    def ours() -> tuple[torch.Tensor, ...]:
        return _native.affine_norm_squares_(*operands)

    o["second"].zero_()  # so that the sum in place does not grow
    expected = in_torch()
    for answer, wanted in zip((*ours(), o["result"]), expected, strict=True):
        assert (answer - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    record(
        benchmark,
        ours,
        {"float32": in_torch},
        rounds=51,
        bytes_moved=4 * b * c * s * (4 * 8 + 2),
        multiply_adds=0,
        shape={"k": 8, "n": b * c * s},
    )


def against_rules(benchmark, module, name, arguments, shape, blocks) -> None:
    """A native tangent rule against the torch rule that it replaced, both as programs call them."""
    ours, plain = {
        "tangent": (module._forward, module._plain),
        "gradient_tangent": (module._backward, module._plain_backward),
        "quadratic": (module._form, module._plain_curvature),
    }[name]
    answers = [function(*arguments) for function in (ours, plain)]
    if name == "quadratic":
        answers = [[answer] for answer in answers]
    for answer, expected in zip(*answers, strict=True):
        if expected is not None:
            assert (answer - expected).norm() <= 1e-5 * expected.norm()
    record(
        benchmark,
        lambda: ours(*arguments),
        {"float32": lambda: plain(*arguments)},
        rounds=31,
        bytes_moved=4 * shape["n"] * blocks[name],
        multiply_adds=0,
        shape=shape,
    )


OPERATIONS = pytest.mark.parametrize("name", ["tangent", "gradient_tangent", "quadratic"])


@OPERATIONS
@pytest.mark.parametrize(("r", "c"), [(256, 64), (2048, 64), (256, 768)])
def test_layer_norm(benchmark, device, r, c, name):
    x, weight, delta = (torch.randn(*s, device=device) for s in ((r, c), (c,), (r, c)))
    out = torch.ops.aten.native_layer_norm(x, [c], weight, weight, 1e-5)
    x_dot, delta_dot = torch.randn(2, 8, r, c, device=device)
    weight_dot, bias_dot = torch.randn(2, 8, c, device=device)
    forward = [x, [c], weight, weight, 1e-5], [x_dot, None, weight_dot, bias_dot, None], out
    backward = [delta, x, [c], *out[1:], weight, weight, [True] * 3]
    arguments = {
        "tangent": forward,
        "gradient_tangent": (
            backward,
            [delta_dot, x_dot, *[None] * 3, weight_dot, None, None],
            None,
        ),
        "quadratic": (*forward, delta),
    }[name]
    blocks = {"tangent": 2 * 8 + 1, "gradient_tangent": 3 * 8 + 2, "quadratic": 8 + 2}
    against_rules(benchmark, fused_layer_norm, name, arguments, {"k": 8, "n": r * c}, blocks)


@OPERATIONS
@pytest.mark.parametrize(("b", "c", "s"), [(16, 8, 32), (16, 16, 16), (16, 64, 4), (128, 16, 16)])
def test_batch_norm(benchmark, device, b, c, s, name):
    x, delta = torch.randn(2, b, c, s, s, device=device)
    weight = torch.rand(c, device=device) + 0.5
    out = torch.ops.aten.native_batch_norm(x, weight, weight, None, None, True, 0.1, 1e-5)
    # As convolutions leave them, [B, K, C, S].
    x_dot, delta_dot = torch.randn(2, b, 8, c, s, s, device=device).transpose(1, 2)
    weight_dot, bias_dot = torch.randn(2, 8, c, device=device)
    forward = [x, weight, weight, None, None, True, 0.1, 1e-5], [x_dot, weight_dot, bias_dot], out
    backward = [delta, x, weight, None, None, *out[1:], True, 1e-5, [True] * 3]
    arguments = {
        "tangent": forward,
        "gradient_tangent": (backward, [delta_dot, x_dot, weight_dot], None),
        "quadratic": (*forward, delta),
    }[name]
    blocks = {"tangent": 3 * 8 + 2, "gradient_tangent": 5 * 8 + 4, "quadratic": 2 * 8 + 4}
    against_rules(
        benchmark, fused_batch_norm, name, arguments, {"k": 8, "n": b * c * s * s}, blocks
    )
