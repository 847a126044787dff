"""What the operations refuse, and whom they blame."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from landscape_fast import _native

OPERATIONS = {
    "signs_": (lambda t: _native.signs_(t, 0), "out"),
    "normals_": (lambda t: _native.normals_(t, 0), "out"),
    "row_dots x": (lambda t: _native.row_dots(t, torch.zeros(2, 3)), "x"),
    "row_dots y": (lambda t: _native.row_dots(torch.zeros(2, 3), t), "y"),
    "block_dots x": (lambda t: _native.block_dots(t, torch.zeros(4, 3)), "x"),
    "block_dots y": (lambda t: _native.block_dots(torch.zeros(4, 3), t), "y"),
    "block_update_ y": (
        lambda t: _native.block_update_(t, torch.zeros(2, 4).double(), torch.zeros(4, 3)),
        "y",
    ),
    "block_update_ coefficients": (
        lambda t: _native.block_update_(torch.zeros(2, 5), t, torch.zeros(3, 5)),
        "coefficients",
    ),
    "block_update_ basis": (
        lambda t: _native.block_update_(torch.zeros(4, 3), torch.zeros(4, 2).double(), t),
        "basis",
    ),
    "orthogonalise_ block": (lambda t: _native.orthogonalise_(t, torch.zeros(4, 3)), "block"),
    "orthogonalise_ basis": (lambda t: _native.orthogonalise_(torch.zeros(4, 3), t), "basis"),
}

every_argument = pytest.mark.parametrize(
    ("operation", "name"), OPERATIONS.values(), ids=OPERATIONS.keys()
)


@every_argument
@pytest.mark.parametrize(
    ("tensor", "kind", "reason"),
    [
        ([[1.0, 2.0, 3.0]] * 2, TypeError, "must be a torch.Tensor, got <class 'list'>"),
        (torch.zeros(2, 3).half(), TypeError, "must be float32 or float64, got torch.float16"),
        (torch.zeros(2, 3).long(), TypeError, "must be float32 or float64, got torch.int64"),
        (torch.zeros(2, 3).cfloat(), TypeError, "must be float32 or float64, got torch.complex64"),
        (torch.zeros(6), ValueError, r"must be a block \(k, n\), got shape .*6"),
        (torch.zeros(1, 2, 3), ValueError, r"must be a block \(k, n\), got shape .*1, 2, 3"),
        (torch.zeros(3, 2).T, ValueError, "must have contiguous rows, got column stride 2"),
        (torch.zeros(1, 3).expand(2, 3), ValueError, "must have separate rows, got row stride 0"),
        (torch.zeros(2, 3, requires_grad=True), ValueError, "requires grad"),
        (torch.complex(*torch.zeros(2, 2, 3)).conj().imag, ValueError, "is a lazily negated view"),
        (torch.zeros(2, 3, device="meta"), ValueError, "has no memory"),
        (torch.zeros(2, 3).to_sparse(), ValueError, "has no memory"),
    ],
    ids=[
        "list",
        "half",
        "integer",
        "complex",
        "vector",
        "batch",
        "transposed",
        "expanded",
        "requires grad",
        "negated",
        "meta",
        "sparse",
    ],
)
def test_each_argument_is_named_with_what_it_was(operation, name, tensor, kind, reason):
    with pytest.raises(kind, match=f"^{name} {reason}"):
        operation(tensor)


@every_argument
@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_a_fake_tensor_is_refused_and_not_dereferenced(operation, name):
    with FakeTensorMode():
        fake = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=f"^{name} has no memory"):
        operation(fake)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: _native.row_dots(torch.zeros(2, 3), torch.zeros(3, 3)),
            ValueError,
            r"^y must have 2 rows \(as x has\), got shape \(3, 3\)",
        ),
        (
            lambda: _native.row_dots(torch.zeros(2, 3), torch.zeros(2, 4)),
            ValueError,
            r"^y must have 3 columns \(as x has\), got shape \(2, 4\)",
        ),
        (
            lambda: _native.block_dots(torch.zeros(2, 3), torch.zeros(4, 3).double()),
            TypeError,
            r"^y is torch.float64, x is torch.float32",
        ),
        (
            lambda: _native.block_update_(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(4, 3)),
            TypeError,
            r"^coefficients must be float64, got torch.float32",
        ),
        (
            lambda: _native.block_update_(
                torch.zeros(2, 3), torch.zeros(2, 5).double(), torch.zeros(4, 3)
            ),
            ValueError,
            r"^coefficients must have 4 columns \(one per row of basis\), got shape \(2, 5\)",
        ),
        (
            lambda: _native.orthogonalise_(torch.zeros(2, 3), torch.zeros(4, 5)),
            ValueError,
            r"^basis must have 3 columns \(as block has\), got shape \(4, 5\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_together_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_what_is_written_may_not_be_read_too():
    buffer = torch.randn(6, 10)
    c = torch.zeros(3, 3, dtype=torch.float64)
    for block, basis in (
        (buffer[:3], buffer[:3]),
        (buffer[:3], buffer[2:5]),
        (buffer[:3, :6], buffer[:3, 4:]),
        (buffer.view(3, 20)[:, :6], buffer[:3, :6]),
    ):
        with pytest.raises(ValueError, match=r"^block is written and shares memory with basis"):
            _native.orthogonalise_(block, basis)
        with pytest.raises(ValueError, match=r"^y is written and shares memory with basis"):
            _native.block_update_(block, c, basis)
    square = torch.zeros(3, 3, dtype=torch.float64)
    basis = torch.zeros(3, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^y is written and shares memory with coefficients"):
        _native.block_update_(square, square, basis)


def test_a_refused_call_writes_nothing():
    block = torch.randn(2, 5)
    before = block.clone()
    with pytest.raises(ValueError, match="basis"):
        _native.orthogonalise_(block, torch.zeros(3, 4))
    assert torch.equal(block, before)


class WithoutExchange(torch.Tensor):
    """A tensor as a torch without the C exchange table would show it."""

    __dlpack_c_exchange_api__ = None


def test_a_torch_without_the_exchange_table_is_served_alike(dtype):
    block, basis = torch.randn(3, 50, dtype=dtype), torch.randn(2, 60, dtype=dtype)[:, 5:-5]
    basis = torch.linalg.qr(basis.T)[0].T.contiguous()
    expected = block.clone()
    total = _native.orthogonalise_(expected, basis)
    disguised = _native.orthogonalise_(
        block.as_subclass(WithoutExchange), basis.as_subclass(WithoutExchange)
    )
    assert torch.equal(disguised.as_subclass(torch.Tensor), total)
    assert torch.equal(block, expected)


@every_argument
@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.zeros(2, 3).half(), TypeError),
        (torch.zeros(6), ValueError),
        (torch.zeros(3, 2).T, ValueError),
        (torch.zeros(2, 3, device="meta"), ValueError),
    ],
    ids=["half", "vector", "transposed", "meta"],
)
def test_the_slower_path_refuses_the_same(operation, name, tensor, kind):
    with pytest.raises(kind, match=f"^{name} "):
        operation(tensor.as_subclass(WithoutExchange))


class OnCuda(WithoutExchange):
    """A tensor that says it is on a GPU."""

    device = torch.device("cuda", 0)


def test_a_build_without_cuda_names_the_argument_and_the_command():
    if _native.has_cuda():
        pytest.skip("landscape_fast was built with CUDA kernels")
    with pytest.raises(RuntimeError, match=r"^y is on a CUDA device .* -C cmake.define.LANDSCAPE"):
        _native.row_dots(torch.zeros(2, 3), torch.zeros(2, 3).as_subclass(OnCuda))


def test_tensors_under_a_functional_transform_are_refused():
    def squared_norms(rows):
        return _native.row_dots(rows, rows)

    x = torch.randn(2, 3)
    with pytest.raises(ValueError, match=r"^x has no memory"):
        torch.func.vmap(squared_norms)(x[None])
    with pytest.raises(ValueError, match=r"^x has no memory"):
        torch.func.jvp(squared_norms, (x,), (x,))
    with pytest.raises(ValueError, match=r"^x requires grad"):
        torch.func.grad(lambda rows: squared_norms(rows).sum())(x)


def test_a_missing_extension_says_how_to_build_it(monkeypatch):
    import importlib.util
    import sys

    import landscape_fast

    monkeypatch.setitem(sys.modules, "landscape_fast._C", None)
    monkeypatch.delattr(landscape_fast, "_C", raising=False)
    spec = importlib.util.spec_from_file_location("unbuilt", _native.__file__)
    module = importlib.util.module_from_spec(spec)
    with pytest.raises(ImportError) as caught:
        spec.loader.exec_module(module)
    assert "pip install" in " ".join(caught.value.__notes__)
