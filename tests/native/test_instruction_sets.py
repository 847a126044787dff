"""Every vector unit gives the same answers."""

from __future__ import annotations

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

from landscape_fast import _C, _native

SHAPES = [(1, 1, 1), (1, 9, 8), (3, 5, 7), (5, 11, 4097), (33, 21, 5003), (1, 40, 30001)]


def available() -> list[str]:
    names = []
    for name in ("avx512", "avx2", "baseline"):
        try:
            names.append(_C.select_instruction_set(name))
        except ValueError:
            continue
    _C.select_instruction_set(None)
    return names


@pytest.fixture(autouse=True)
def _widest_again():
    yield
    _C.select_instruction_set(None)


def answers(name: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    k, m, n = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(k, n, generator=generator, dtype=dtype)
    y = torch.randn(k, n, generator=generator, dtype=dtype)
    basis = torch.randn(m, n, generator=generator, dtype=dtype) / n**0.5
    c = torch.randn(k, m, generator=generator, dtype=torch.float64)
    assert _C.select_instruction_set(name) == name
    return {
        "signs": _native.signs_(torch.empty(k, n, dtype=dtype), 1, first_entry=77),
        "normals": _native.normals_(torch.empty(k, n, dtype=dtype), 1, first_entry=77),
        "row_dots": _native.row_dots(x, y),
        "block_dots": _native.block_dots(x, basis),
        "block_update_": _native.block_update_(x.clone(), c, basis),
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_sets_with_fused_multiply_add_agree_to_the_bit(dtype, shape):
    fused = [name for name in available() if name != "baseline"]
    if len(fused) < 2:
        pytest.skip(f"this processor has {fused or 'none'} of avx512 and avx2")
    first, second = (answers(name, dtype, shape) for name in fused)
    for name, answer in first.items():
        assert torch.equal(second[name], answer), name


@pytest.mark.parametrize("shape", SHAPES)
def test_without_it_only_float64_products_round_apart(dtype, shape):
    plain, widest = answers("baseline", dtype, shape), answers(available()[0], dtype, shape)
    for name in ("signs", "normals"):
        assert torch.equal(plain[name], widest[name]), name
    for name in ("row_dots", "block_dots", "block_update_"):
        if dtype == torch.float32 and name != "block_update_":
            assert torch.equal(plain[name], widest[name]), name
        else:
            eps = torch.finfo(dtype).eps
            torch.testing.assert_close(plain[name], widest[name], rtol=4 * eps, atol=1e3 * eps)


@pytest.mark.parametrize("shape", [(3, 5, 7, 1), (2, 3, 40, 16), (3, 2, 5, 99)])
def test_all_sets_agree_on_tangents_to_the_bit(dtype, shape):
    p = NormProblem(shape, dtype)
    each = []
    for name in available():
        assert _C.select_instruction_set(name) == name
        moved, back = forwards(p, "bk"), backwards(p, "bk")
        _native.affine_norm_tangent_(**moved)
        rows = _native.affine_norm_gradient_tangent_(**back)
        each.append((moved["result"], back["result"], *rows))
    for answers_of_set in each[1:]:
        for answer, widest in zip(answers_of_set, each[0], strict=True):
            assert torch.equal(answer, widest)


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 5003)])
def test_sets_with_fused_multiply_add_agree_on_activations_and_softmax(dtype, shape):
    a, s = ActivationProblem(shape, dtype), SoftmaxProblem(shape, dtype)
    each = []
    for name in available():
        if name == "baseline":
            continue
        assert _C.select_instruction_set(name) == name
        out, other = torch.empty_like(a.z_dot), torch.empty_like(s.dot)
        _native.pointwise_gradient_tangent_("gelu", a.z, a.delta, a.z_dot, a.delta_dot, out)
        _native.softmax_tangent_(s.p, s.dot, s.row_weight, other)
        forms = _native.pointwise_quadratic("silu", a.z, a.delta, a.z_dot)
        each.append((out, other, forms, _native.softmax_quadratic(s.p, s.dot, s.row_weight)))
    for answers_of_set in each[1:]:
        for answer, widest in zip(answers_of_set, each[0], strict=True):
            assert torch.equal(answer, widest)


OWN_STATISTICS = [
    ("layer_norm", LayerNormProblem((1, 1, 1), torch.float32)),
    ("layer_norm", LayerNormProblem((2, 70, 64), torch.float32)),
    ("layer_norm", LayerNormProblem((2, 3, 1103), torch.float64)),
    ("batch_norm", BatchNormProblem((2, 9, 3, 21), torch.float64)),
    ("batch_norm", BatchNormProblem((2, 3, 2, 1103), torch.float32)),
]


@pytest.mark.parametrize(("name", "p"), OWN_STATISTICS)
def test_all_sets_agree_on_normalisation_by_own_statistics_to_the_bit(name, p):
    each = []
    for vectors in available():
        assert _C.select_instruction_set(vectors) == vectors
        moved, back = p.forwards("bk"), p.backwards("bk")
        getattr(_native, f"{name}_tangent_")(**moved)
        rows = getattr(_native, f"{name}_gradient_tangent_")(**back)
        form = getattr(_native, f"{name}_quadratic")(**p.form("bk"))
        each.append((moved["out"], back["out"], *rows, form))
    for answers_of_set in each[1:]:
        for answer, widest in zip(answers_of_set, each[0], strict=True):
            assert torch.equal(answer, widest)


def test_an_unknown_set_is_refused_by_name():
    with pytest.raises(ValueError, match="got sse9"):
        _C.select_instruction_set("sse9")
