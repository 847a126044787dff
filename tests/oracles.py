"""Problems whose answer is known, and the assertions that hold ours to it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


def dense_hessian(model: nn.Module, whole_loss: Callable[[nn.Module], Tensor]) -> Tensor:
    """Hessian (n, n) in float64 of ``whole_loss(model)``, a loss over all data in one expression.

    The model is passed in float64 and evaluation mode. One entry of the gradient at a time, not
    ``torch.func.hessian``: under vmap the second derivative of LayerNorm is wrong in torch 2.13.
    """
    model = copy.deepcopy(model).double().eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(
        whole_loss(model), parameters, create_graph=True, materialize_grads=True
    )
    rows = []
    for entry in torch.cat([part.reshape(-1) for part in gradient]):
        row = torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.reshape(-1) for part in row]))
    return torch.stack(rows)


def dense_gauss_newton(
    model: nn.Module,
    outputs: Callable[[nn.Module], Tensor],
    whole_loss: Callable[[Tensor], Tensor],
) -> Tensor:
    """``J^T A J`` (n, n) in float64: J of ``outputs(model)`` for all data, A of their loss."""
    model = copy.deepcopy(model).double().eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = outputs(model)
    jacobian = []
    for entry in found.reshape(-1):
        row = torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
        jacobian.append(torch.cat([part.reshape(-1) for part in row]))
    fixed = found.detach().requires_grad_()
    (slope,) = torch.autograd.grad(whole_loss(fixed), fixed, create_graph=True)
    bends = [torch.autograd.grad(e, fixed, retain_graph=True)[0] for e in slope.reshape(-1)]
    j = torch.stack(jacobian)
    return j.T @ torch.stack(bends).reshape(len(j), len(j)) @ j


def difference_hessian(model: nn.Module, whole_loss: Callable[[nn.Module], Tensor]) -> Tensor:
    """Hessian (n, n) in float64 from central differences of gradients; good to about 1e-8.

    Needs no second derivative of any operation, so it judges those of torch as well.
    """
    model = copy.deepcopy(model).double().eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows, step = [], 1e-5
    for parameter in parameters:
        for entry in parameter.detach().view(-1):
            sides = []
            for shift in (step, -2 * step):
                entry += shift
                gradient = torch.autograd.grad(whole_loss(model), parameters)
                sides.append(torch.cat([part.reshape(-1) for part in gradient]))
            entry += step
            rows.append((sides[0] - sides[1]) / (2 * step))
    return torch.stack(rows)


def symmetric_matrix(values: Tensor, *, seed: int = 0) -> Tensor:
    """Matrix (n, n) float64 with the given eigenvalues in a random orthonormal frame."""
    generator = torch.Generator().manual_seed(seed)
    n = len(values)
    frame, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    matrix = frame @ torch.diag(values.double()) @ frame.T
    return (matrix + matrix.T) / 2


def assert_as_accurate(ours: Tensor, plain: Tensor, exact: Tensor, *, slack: float = 2.0) -> None:
    """``ours`` is at most ``slack`` times as far from ``exact`` as ``plain`` is.

    exact: float64 oracle; plain: the same computation in stock torch at our precision. There is no
    tolerance to tune: plain torch's own rounding error is the unit.
    """
    assert ours.shape == exact.shape, f"shape {tuple(ours.shape)}, wanted {tuple(exact.shape)}"
    assert torch.isfinite(ours).all(), "ours is not finite"
    unit = torch.finfo(plain.dtype).eps * exact.abs().max()
    error = (ours.double() - exact).abs().max()
    allowed = slack * (plain.double() - exact).abs().max() + unit
    assert error <= allowed, f"error {error:.3e} exceeds {slack} x plain torch's, {allowed:.3e}"


def assert_relative(ours: Tensor, exact: Tensor, bound: float) -> None:
    """Largest error of ``ours`` is at most ``bound`` times the largest entry of ``exact``."""
    assert ours.shape == exact.shape, f"shape {tuple(ours.shape)}, wanted {tuple(exact.shape)}"
    error = (ours.double() - exact.double()).abs().max()
    allowed = bound * exact.double().abs().max()
    assert error <= allowed, f"error {error:.3e} exceeds {allowed:.3e}"


def assert_same_state(model: nn.Module, before: dict[str, object]) -> None:
    """``model`` is in the state that ``snapshot`` saw."""
    now = snapshot(model)
    for key, value in before.items():
        same = torch.equal(value, now[key]) if isinstance(value, Tensor) else value == now[key]
        assert same, f"{key} changed"
    assert now.keys() == before.keys(), f"{set(now) ^ set(before)} appeared or vanished"


def snapshot(model: nn.Module) -> dict[str, object]:
    """Everything of a model that a measurement could change, and the random state."""
    state: dict[str, object] = {"random state": torch.get_rng_state().clone()}
    for name, module in model.named_modules():
        state[f"mode of {name!r}"] = module.training
        if isinstance(module, nn.RNNBase):  # the list that it computes with
            state[f"weights of {name!r}"] = [id(weight) for weight in module._flat_weights]
    for name, tensor in model.state_dict(keep_vars=True).items():
        state[f"value of {name}"] = tensor.detach().clone()
        state[f"identity of {name}"] = id(tensor)
        state[f"requires_grad of {name}"] = tensor.requires_grad
        state[f"grad of {name}"] = None if tensor.grad is None else tensor.grad.clone()
    return state


def mlp(*, activation: type[nn.Module] = nn.Tanh, seed: int = 0) -> nn.Module:
    """5 inputs, 6 hidden units, 3 outputs."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), activation(), nn.Linear(6, 3))


def conv_net(*, seed: int = 0) -> nn.Module:
    """Convolution, BatchNorm with moved statistics, relu, pooling, linear: 1x6x6 to 3 classes."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 2.0)
            module.bias.data.normal_()
    return model


def classification(
    rows: int, shape: tuple[int, ...] = (5,), classes: int = 3, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Gaussian inputs (rows, *shape) and uniform class targets (rows,)."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, *shape, generator=generator)
    return inputs, torch.randint(classes, (rows,), generator=generator)


def cut(data: tuple[Tensor, ...], sizes: list[int]) -> list[tuple[Tensor, ...]]:
    """The same data as batches of the given sizes."""
    assert sum(sizes) == len(data[0]), "the sizes must add up to the rows"
    return list(zip(*(tensor.split(sizes) for tensor in data), strict=True))
