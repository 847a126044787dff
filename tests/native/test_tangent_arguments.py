"""What the operations on blocks of tangents refuse, and whom they blame."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from native.tangent_problems import (
    ActivationProblem,
    BatchNormProblem,
    LayerNormProblem,
    NormProblem,
    SoftmaxProblem,
    backwards,
    forwards,
)

from landscape_fast import _native

SHAPE = (2, 3, 4, 5)
FORWARDS, BACKWARDS = _native.affine_norm_tangent_, _native.affine_norm_gradient_tangent_
CALLS = {
    "affine_norm_tangent_": (FORWARDS, lambda: forwards(NormProblem(SHAPE, torch.float32), "kb")),
    "affine_norm_gradient_tangent_": (
        BACKWARDS,
        lambda: backwards(NormProblem(SHAPE, torch.float32), "kb"),
    ),
}


def activations(*names: str) -> dict[str, torch.Tensor]:
    p = ActivationProblem((2, 3, 5), torch.float32)
    given = {name: getattr(p, name) for name in ("z", "delta", "z_dot", "delta_dot")}
    given |= {"dot": p.z_dot, "adjoint": p.delta, "out": torch.empty_like(p.z_dot)}
    return {name: given[name] for name in names}


def softmax(*names: str) -> dict[str, torch.Tensor]:
    problem = SoftmaxProblem((2, 3, 5), torch.float32)
    given = {name: getattr(problem, name) for name in ("p", "dot", "row_weight")}
    given["out"] = torch.empty_like(problem.dot)
    return {name: given[name] for name in names}


MORE_CALLS = {
    "pointwise_tangent_": (
        partial(_native.pointwise_tangent_, "gelu"),
        partial(activations, "z", "dot", "out"),
    ),
    "pointwise_gradient_tangent_": (
        partial(_native.pointwise_gradient_tangent_, "gelu"),
        partial(activations, "z", "delta", "z_dot", "delta_dot", "out"),
    ),
    "pointwise_quadratic": (
        partial(_native.pointwise_quadratic, "gelu"),
        partial(activations, "z", "adjoint", "z_dot"),
    ),
    "softmax_tangent_": (
        _native.softmax_tangent_,
        partial(softmax, "p", "dot", "row_weight", "out"),
    ),
    "softmax_quadratic": (_native.softmax_quadratic, partial(softmax, "p", "dot", "row_weight")),
    "layer_norm_tangent_": (
        _native.layer_norm_tangent_,
        lambda: LayerNormProblem((2, 3, 5), torch.float32).forwards("kb"),
    ),
    "layer_norm_gradient_tangent_": (
        _native.layer_norm_gradient_tangent_,
        lambda: LayerNormProblem((2, 3, 5), torch.float32).backwards("kb"),
    ),
    "layer_norm_quadratic": (
        _native.layer_norm_quadratic,
        lambda: LayerNormProblem((2, 3, 5), torch.float32).form("kb"),
    ),
    "batch_norm_tangent_": (
        _native.batch_norm_tangent_,
        lambda: BatchNormProblem(SHAPE, torch.float32).forwards("kb"),
    ),
    "batch_norm_gradient_tangent_": (
        _native.batch_norm_gradient_tangent_,
        lambda: BatchNormProblem(SHAPE, torch.float32).backwards("kb"),
    ),
    "batch_norm_quadratic": (
        _native.batch_norm_quadratic,
        lambda: BatchNormProblem(SHAPE, torch.float32).form("kb"),
    ),
}
EVERY = [
    pytest.param(operation, arguments, name, id=f"{title} {name}")
    for title, (operation, arguments) in (CALLS | MORE_CALLS).items()
    for name in arguments()
]
every_argument = pytest.mark.parametrize(("operation", "arguments", "name"), EVERY)


@every_argument
@pytest.mark.parametrize(
    ("spoil", "kind", "reason"),
    [
        (lambda t: t.tolist(), TypeError, "must be a torch.Tensor, got <class 'list'>"),
        (lambda t: t.half(), TypeError, "must be float32 or float64, got torch.float16"),
        (lambda t: t.clone().requires_grad_(), ValueError, "requires grad"),
        (lambda t: t.to("meta"), ValueError, "has no memory"),
        (lambda t: t[None], ValueError, "must "),
        (lambda t: torch.stack([t, t], -1)[..., 0], ValueError, "must be contiguous"),
    ],
    ids=["list", "half", "requires grad", "meta", "shape", "strided"],
)
def test_each_argument_is_named_with_what_it_was(operation, arguments, name, spoil, kind, reason):
    given = arguments()
    given[name] = spoil(given[name])
    with pytest.raises(kind, match=f"^{name} {reason}"):
        operation(**given)


@every_argument
def test_a_dtype_that_differs_is_named(operation, arguments, name):
    given = arguments()
    given[name] = given[name].double()
    with pytest.raises(TypeError, match=r"^\w+ is torch.float\d\d, \w+ is torch.float\d\d"):
        operation(**given)


@every_argument
def test_an_extent_that_differs_is_named(operation, arguments, name):
    given = arguments()
    given[name] = torch.cat([given[name], given[name]], dim=-1)
    with pytest.raises(ValueError, match=r"^\w+ must have shape \(.*\) .* got shape"):
        operation(**given)


@pytest.mark.parametrize("written", ["first", "result"])
@pytest.mark.parametrize("title", CALLS)
def test_what_is_written_may_not_be_read_too(title, written):
    operation, arguments = CALLS[title]
    for name, value in arguments().items():
        if name == written or (written, name) == ("result", "second"):
            continue
        given = arguments()
        whole = given[written].flatten()
        if name in ("weight_dot", "bias_dot"):
            given[name] = whole.as_strided(value.shape, (value.shape[1], 1))
        else:
            given[name] = whole[: value.numel()].view(value.shape)
        with pytest.raises(ValueError, match=r"^\w+ is written and shares memory with \w+"):
            operation(**given)


@pytest.mark.parametrize("title", CALLS)
def test_a_result_may_be_second_itself_but_not_meet_it(title):
    operation, arguments = CALLS[title]
    given = arguments()
    room = torch.zeros(2 * given["second"].numel())
    given["second"] = room[: given["second"].numel()].view(SHAPE)
    given["result"] = room[5 : 5 + given["second"].numel()].view(SHAPE)
    with pytest.raises(ValueError, match="^result is written and shares memory with second"):
        operation(**given)


@pytest.mark.parametrize("written", ["first", "result"])
@pytest.mark.parametrize("title", CALLS)
def test_what_is_written_has_separate_pieces(title, written):
    operation, arguments = CALLS[title]
    given = arguments()
    given[written] = torch.zeros(1, *SHAPE[1:]).expand(SHAPE)
    with pytest.raises(ValueError, match=f"^{written} is written and must have separate pieces"):
        operation(**given)


def test_out_may_be_a_tangent_that_is_read_but_not_meet_it():
    given = activations("z", "dot", "out")
    room = torch.zeros(2 * given["dot"].numel())
    given["dot"], given["out"] = (room[i : i + 30].view(2, 3, 5) for i in (0, 5))
    with pytest.raises(ValueError, match="^out is written and shares memory with dot"):
        _native.pointwise_tangent_("gelu", **given)
    given["z"], given["out"] = room[:15].view(3, 5), room[:30].view(2, 3, 5)
    with pytest.raises(ValueError, match="^out is written and shares memory with z"):
        _native.pointwise_tangent_("gelu", **given)


def test_a_tangent_that_is_read_may_be_one_for_all():
    given = forwards(NormProblem(SHAPE, torch.float32), "kb")
    given["residual"] = given["residual"][:1].expand(SHAPE)
    repeated = {name: value.clone() for name, value in given.items()}
    result = _native.affine_norm_tangent_(**given)
    assert torch.equal(result, _native.affine_norm_tangent_(**repeated))


def test_second_comes_only_with_first():
    given = forwards(NormProblem(SHAPE, torch.float32), "kb")
    with pytest.raises(ValueError, match="^second needs first"):
        _native.affine_norm_tangent_(**(given | {"first": None}))
