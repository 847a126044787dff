"""Neural collapse: how far features and classifier are from a simplex."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.state import measurable, untouched
from landscape_fast.metrics.networks import device_of
from landscape_fast.results import NeuralCollapse

_IGNORED = -100  # target that torch's losses leave out


def neural_collapse(
    model: nn.Module, loader: Iterable[Any], *, head: str | nn.Linear | None = None
) -> NeuralCollapse:
    r"""The four signs of neural collapse, on features in front of the last linear layer.

    With class means :math:`\mu_c`, their mean :math:`\mu`, M the matrix of :math:`\mu_c - \mu`,
    :math:`\Sigma_B` the mean of their outer products, :math:`\Sigma_W` that of
    :math:`h - \mu_c` over all samples, and W the weights of the layer:

    * NC1 :math:`\operatorname{tr}(\Sigma_W \Sigma_B^+) / K`, the pseudo-inverse of rank K - 1;
    * NC2 equal norms (standard deviation over mean) and equal angles (mean of
      :math:`|\cos + 1/(K-1)|`) of the columns of M, and of the rows of W less their mean;
    * NC3 :math:`\lVert W / \lVert W \rVert_F - M^\top / \lVert M \rVert_F \rVert_F^2`;
    * NC4 the part of samples whose nearest class mean is not the class that the network says.

    Every class counts the same in :math:`\mu` and :math:`\Sigma_B`, every sample in
    :math:`\Sigma_W`. Defined for any loss: of trained networks all go to zero under cross-entropy,
    squared error, label smoothing and focal loss alike (Zhou et al. 2022).

    Args:
        model: A classifier; measured in evaluation mode and left untouched.
        loader: Iterable of batches ``(inputs, classes)``, the training data as a rule. Read twice.
            Rows of class -100, which torch's losses leave out, are left out.
        head: Name of the last linear layer, or the layer; None for the last ``nn.Linear`` that
            runs. Its inputs are (N, d).

    Returns:
        The four measures, each zero in perfect collapse; NC1 is nan where all class means are one.

    Raises:
        ValueError: There is no such layer, its inputs are no (N, d) or not finite, it has fewer
            than two classes, targets are no class indices (N,), or a class of the layer has no
            sample.
        TypeError: The model does not return one tensor.

    References:
        Papyan, Han and Donoho (2020), doi:10.1073/pnas.2015509117. Zhou et al. (2022),
        arXiv:2210.02192, for other losses.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(3, 3, bias=False)
        >>> _ = model.weight.data.copy_(torch.eye(3) - 1 / 3)
        >>> found = neural_collapse(model, [(torch.eye(3).repeat(2, 1), torch.arange(6) % 3)])
        >>> round(found.nc2_angles, 6), round(found.nc3, 6), found.nc4
        (0.0, 0.0, 0.0)
    """
    if not isinstance(head, str | nn.Linear | None):
        raise TypeError(f"head must be a name or an nn.Linear, got {type(head).__name__}")
    model = measurable(model)
    with untouched(model), torch.no_grad():
        model.eval()
        batches = Batches(loader, device=device_of(model))
        layer = _head(model, head, next(iter(batches)))
        weight = layer.weight.detach().double().cpu()
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        bias = bias.double().cpu()
        classes, width = weight.shape
        if classes < 2:
            raise ValueError(f"head must have two classes or more, got {classes}")
        sums = torch.zeros(classes, width, dtype=torch.float64)
        counts = torch.zeros(classes, dtype=torch.float64)
        for features, targets, _ in _seen(model, layer, batches, classes):
            sums.index_add_(0, targets, features)
            counts += torch.bincount(targets, minlength=classes)
        if not (counts > 0).all():
            missing = int((counts == 0).nonzero()[0])
            raise ValueError(f"class {missing} of {classes} has no sample in the loader")
        means = sums / counts[:, None]
        within = torch.zeros(width, width, dtype=torch.float64)
        elsewhere = right = 0
        for features, targets, said in _seen(model, layer, batches, classes):
            centred = features - means[targets]
            within += centred.T @ centred
            elsewhere += int((torch.cdist(features, means).argmin(1) != said).sum())
            right += int((said == targets).sum())
    samples = int(counts.sum())
    centre = means.mean(0)
    rays, rows = means - centre, weight - weight.mean(0)
    norms, angles = _simplex(rays)
    weights_norms, weights_angles = _simplex(rows)
    return NeuralCollapse(
        nc1=_variability(within / samples, rays),
        nc2_norms=norms,
        nc2_angles=angles,
        nc2_weights_norms=weights_norms,
        nc2_weights_angles=weights_angles,
        nc3=float((weight / weight.norm() - rays / rays.norm()).square().sum()),
        nc4=elsewhere / samples,
        bias=_bias(weight, bias, centre, rays),
        means=means,
        accuracy=100.0 * right / samples,
        classes=classes,
        samples=samples,
    )


def _variability(within: Tensor, rays: Tensor) -> float:
    """``tr(S_W S_B^+) / K`` in the K - 1 directions that class means span at most."""
    classes = len(rays)
    _, singular, right = torch.linalg.svd(rays, full_matrices=False)
    kept = singular[: classes - 1]
    right = right[: classes - 1][kept > 1e-12 * singular[0]]
    between = kept[kept > 1e-12 * singular[0]].square() / classes
    if not len(between):
        return math.nan
    return float(((right @ within * right).sum(1) / between).sum()) / classes


def _simplex(rays: Tensor) -> tuple[float, float]:
    """How unequal norms of ``rays`` (K, d) are, and how far cosines are from -1 / (K - 1)."""
    classes = len(rays)
    norms = rays.norm(dim=1)
    cosines = (rays @ rays.T) / (norms[:, None] * norms)
    off = cosines[~torch.eye(classes, dtype=torch.bool)]
    unequal = float(norms.std(unbiased=False) / norms.mean())
    return unequal, float((off + 1.0 / (classes - 1)).abs().mean())


def _bias(weight: Tensor, bias: Tensor, centre: Tensor, rays: Tensor) -> float:
    """What the logits of the centre differ by, relative to those of the class means."""
    logits = bias + weight @ centre
    return float((logits - logits.mean()).norm() / (weight @ rays.T).norm())


def _head(model: nn.Module, head: str | nn.Linear | None, batch: Any) -> nn.Linear:
    if isinstance(head, nn.Linear):
        if all(module is not head for module in model.modules()):
            raise ValueError("head is not part of the model")
        return head
    if head is not None:
        found = dict(model.named_modules()).get(head)
        if not isinstance(found, nn.Linear):
            raise ValueError(f"head names {head!r}, which is no nn.Linear of the model")
        return found
    ran: list[nn.Linear] = []
    handles = [
        module.register_forward_hook(lambda layer, _inputs, _outputs: ran.append(layer))
        for module in model.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        model(_pair(batch)[0])
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise ValueError("model runs no nn.Linear; name the layer with head=")
    return ran[-1]


def _seen(
    model: nn.Module, layer: nn.Linear, batches: Batches, classes: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Features (N, d) float64, targets (N,), and the classes the network says (N,), on the CPU."""
    found: list[Tensor] = []
    hook: Callable[..., None] = lambda _, inputs: found.append(inputs[0])  # noqa: E731
    handle = layer.register_forward_pre_hook(hook)
    try:
        for batch in batches:
            inputs, targets = _pair(batch)
            found.clear()
            said = model(inputs)
            if not isinstance(said, Tensor):
                raise TypeError(f"model must return a tensor of scores, got {type(said).__name__}")
            if said.dim() != 2 or len(said) != len(targets):
                raise ValueError(f"model must return scores (N, C), got {tuple(said.shape)}")
            if len(found) != 1 or found[0].dim() != 2 or len(found[0]) != len(targets):
                shape = tuple(found[0].shape) if found else None
                raise ValueError(
                    f"head must run once on features (N, d), N being the rows, got {shape}"
                )
            if targets.is_floating_point() or targets.dim() != 1:
                raise ValueError(f"targets must be indices (N,) of {classes} classes")
            counts = (targets != _IGNORED).nonzero()[:, 0]
            features, targets = found[0][counts].double().cpu(), targets[counts].long().cpu()
            if ((targets < 0) | (targets >= classes)).any():
                wrong = int(targets[(targets < 0) | (targets >= classes)][0])
                raise ValueError(f"targets must be indices (N,) of {classes} classes, got {wrong}")
            if not torch.isfinite(features).all():
                raise ValueError("the features in front of head are not finite: see data and model")
            yield features, targets, said[counts].argmax(1).cpu()
    finally:
        handle.remove()


def _pair(batch: Any) -> tuple[Any, Tensor]:
    if isinstance(batch, list | tuple) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    raise ValueError("loader must yield batches (inputs, classes)")
