"""A network between two others, with the statistics of its hidden units repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from landscape_fast.alignment.groups import find_groups, forward
from landscape_fast.arguments import require_number, require_switch
from landscape_fast.functional import copied
from landscape_fast.linearise.batches import Batches, require_loader
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.state import evaluation, measurable
from landscape_fast.metrics.batchnorm import average_statistics, recalibrate
from landscape_fast.metrics.networks import matched_parameters, require_same_rest

Statistics = dict[str, tuple[Tensor, Tensor]]  # mean and deviation (c,) of each layer's units
_EPS = 1e-5  # added to variances, as batch normalisation does


def interpolated(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Iterable[Any],
    *,
    t: float = 0.5,
    repair: bool = True,
) -> nn.Module:
    r"""The network at :math:`(1 - t) \theta_a + t \theta_b`, with repaired statistics.

    Hidden units of an average of two networks vary less than those of either (variance collapse).
    With batch normalisation, running statistics are measured anew. Without, the outputs of every
    linear or convolution layer that makes hidden units are rescaled to the mean and deviation that
    lie at t between those of the two networks; the scale goes into weights and biases, so the
    architecture stays. Align ``model_b`` first.

    Args:
        model_a: The network at t = 0; left untouched.
        model_b: The network at t = 1, with units in the order of ``model_a``.
        loader: Iterable of batches: ``(inputs, ...)``, or a mapping of keywords.
        t: Position between the two.
        repair: False gives the plain average, with averaged running statistics.

    Returns:
        A new module in evaluation mode.

    Raises:
        ValueError: The models differ in more than trainable parameters and batch statistics, a
            layer to be rescaled has no bias, or ``t`` is not finite.

    References:
        Jordan, Sedghi, Saukh, Entezari and Neyshabur (2022), arXiv:2211.08403.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> same = interpolated(model, model, [(torch.randn(8, 2),)])
        >>> x = torch.randn(4, 2)
        >>> bool(torch.allclose(same(x), model(x), atol=1e-3))
        True
    """
    require_number(t=t)
    require_switch(repair=repair)
    require_loader(loader)
    model_a, model_b = measurable(model_a, "model_a"), measurable(model_b, "model_b")
    space, tensors_b = matched_parameters(model_a, model_b)
    require_same_rest(model_a, model_b)
    middle = copied(model_a).eval()
    with evaluation(model_a), evaluation(model_b), torch.no_grad():
        own = dict(middle.named_parameters())
        for name, one, other in zip(space.names, space.tensors, tensors_b, strict=True):
            own[name].copy_(torch.lerp(one, other, t))
        average_statistics(middle, model_a, model_b, t)
        if not repair:
            return middle
        batches = Batches(loader, device=space.device)
        if any(isinstance(layer, _NormBase) for layer in middle.modules()):
            recalibrate(middle, batches, Objective(loss_fn=_no_loss))
            return middle.eval()
        layers = _hidden_layers(middle, next(iter(batches)))
        ends = [_measured(model, layers, batches) for model in (model_a, model_b)]
        goals = {
            name: (
                torch.lerp(ends[0][name][0], ends[1][name][0], t),
                torch.lerp(ends[0][name][1], ends[1][name][1], t),
            )
            for name in layers
        }
        _rescale(middle, layers, goals, batches)
    return middle


def _no_loss(model: nn.Module, batch: Any) -> tuple[Tensor, int]:
    forward(model, batch)
    return torch.zeros(()), 1


def _hidden_layers(model: nn.Module, batch: Any) -> dict[str, nn.Module]:
    """Linear and convolution layers whose outputs are hidden units, by name."""
    made = {(place.name, place.axis) for place in find_groups(model, batch).places}
    found: dict[str, nn.Module] = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | _ConvNd):
            continue
        axis = 1 if isinstance(layer, _ConvTransposeNd) else 0
        if (f"{name}.weight", axis) in made:
            if layer.bias is None:
                raise ValueError(f"layer {name!r} has no bias, so its outputs cannot be shifted")
            found[name] = layer
    return found


@contextmanager
def _hooked(model: nn.Module, hooks: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    handles = [model.get_submodule(name).register_forward_hook(h) for name, h in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _moments(layer: nn.Module, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs with units last, and their mean and variance (c,) over rows and positions."""
    last = out if isinstance(layer, nn.Linear) else out.movedim(1, -1)
    flat = last.reshape(-1, last.shape[-1])
    return last, flat.mean(0), flat.var(0, unbiased=False)


class _Average:
    """Means and variances of batches, averaged by their rows."""

    def __init__(self) -> None:
        self.rows, self.mean, self.variance = 0, torch.zeros(()), torch.zeros(())

    def add(self, rows: int, mean: Tensor, variance: Tensor) -> None:
        self.rows += rows
        self.mean = self.mean + (mean - self.mean) * (rows / self.rows)
        self.variance = self.variance + (variance - self.variance) * (rows / self.rows)


def _measured(model: nn.Module, layers: Mapping[str, nn.Module], batches: Batches) -> Statistics:
    """Mean and deviation of the outputs of layers of ``model``."""
    found = {name: _Average() for name in layers}

    def watch(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, _: Any, out: Tensor) -> None:
            found[name].add(len(out), *_moments(layer, out)[1:])

        return hook

    with _hooked(model, {name: watch(name) for name in layers}):
        for batch in batches:
            forward(model, batch)
    return {name: (seen.mean, (seen.variance + _EPS).sqrt()) for name, seen in found.items()}


def _rescale(
    model: nn.Module, layers: Mapping[str, nn.Module], goals: Statistics, batches: Batches
) -> None:
    """Give the outputs of ``layers`` the statistics ``goals``, through their weights and biases.

    In one pass: each layer already sees what comes before it repaired, batch by batch.
    """
    found = {name: _Average() for name in layers}

    def repair(name: str) -> Callable[..., Tensor]:
        def hook(layer: nn.Module, _: Any, out: Tensor) -> Tensor:
            last, mean, variance = _moments(layer, out)
            found[name].add(len(out), mean, variance)
            goal, deviation = goals[name]
            fixed = (last - mean) * (deviation / (variance + _EPS).sqrt()) + goal
            return fixed if isinstance(layer, nn.Linear) else fixed.movedim(-1, 1)

        return hook

    with _hooked(model, {name: repair(name) for name in layers}):
        for batch in batches:
            forward(model, batch)
    for name, layer in layers.items():
        goal, deviation = goals[name]
        scale = deviation / (found[name].variance + _EPS).sqrt()
        weight: Tensor = layer.weight  # type: ignore[assignment]
        bias: Tensor = layer.bias  # type: ignore[assignment]
        axis = 1 if isinstance(layer, _ConvTransposeNd) else 0
        weight.mul_(scale.view(*[1] * axis, -1, *[1] * (weight.dim() - axis - 1)))
        bias.sub_(found[name].mean).mul_(scale).add_(goal)
