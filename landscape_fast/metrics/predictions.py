"""Predictions of several models on the same inputs: where they differ, and their average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_whole
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.state import untouched, unwrap
from landscape_fast.metrics.networks import common_device
from landscape_fast.metrics.quality import quality
from landscape_fast.results import Agreement, Quality


def agreement(
    model_a: nn.Module, model_b: nn.Module, loader: Iterable[Any], *, ignore_index: int = -100
) -> Agreement:
    r"""How often two models predict different classes, and how far their probabilities differ.

    The Jensen-Shannon divergence of a prediction is :math:`\tfrac12 \mathrm{KL}(p \| m) + \tfrac12
    \mathrm{KL}(q \| m)` with :math:`m = (p + q)/2`, from log-probabilities in float64: 0 for equal
    predictions, log 2 for disjoint ones. Swapping the models changes nothing.

    Differs from the released code of Yang et al. in: m is not clamped at 1e-7, which changes a
    divergence by less than 1e-7 per class; the mean is over predictions, not over batches.

    Args:
        model_a: Any module with one tensor of scores (N, C, ...) as output, as cross-entropy takes
            it; measured in evaluation mode, comes back as it went in.
        model_b: The same; it may be of another architecture.
        loader: Iterable of batches ``(inputs, ...)``; targets say at most what to leave out.
        ignore_index: Predictions with this target are left out: where sequences are filled up.

    Returns:
        Both in one result; nan where a model's probabilities are.

    Raises:
        ValueError: The loader is empty or holds no prediction that counts, the models are on
            different devices, or their outputs differ in shape or have fewer than two classes.
        TypeError: A model's output is not a tensor.

    References:
        Lin (1991), doi:10.1109/18.61115. Yang et al. (2021), arXiv:2107.11228, appendix A.

    Example:
        >>> import torch
        >>> one, other = torch.nn.Identity(), torch.nn.Flatten()
        >>> agreement(one, other, [(torch.eye(2), None)])
        Agreement(disagreement=0.0, js_divergence=0.0, predictions=2)
    """
    require_whole(-math.inf, ignore_index=ignore_index)
    models = unwrap(model_a, "model_a"), unwrap(model_b, "model_b")
    device = common_device(*models)
    unequal, divergence, count = 0, 0.0, 0
    with untouched(*models), torch.no_grad():
        for model in models:
            model.eval()
        for batch in Batches(loader, device=device):
            inputs = batch[0] if isinstance(batch, list | tuple) else batch
            p, q = (_log_probabilities(model(inputs)) for model in models)
            if p.shape != q.shape:
                raise ValueError(
                    f"model_a gives outputs {tuple(p.shape)} and model_b {tuple(q.shape)}"
                )
            valid = _valid(batch, p, ignore_index)
            unequal += int((p.argmax(1) != q.argmax(1))[valid].sum())
            divergence += float(_divergences(p, q)[valid].sum())
            count += int(valid.sum())
    if not count:
        raise ValueError("the loader holds no prediction that counts")
    unknown = math.isnan(divergence)
    return Agreement(
        disagreement=math.nan if unknown else 100.0 * unequal / count,
        js_divergence=divergence / count,
        predictions=count,
    )


def ensemble_quality(models: Sequence[nn.Module], loader: Iterable[Any]) -> Quality:
    """Loss and accuracy of the average of several models' class probabilities.

    Args:
        models: Modules with scores (N, C, ...) as output, on one device; measured in evaluation
            mode, come back as they went in.
        loader: Iterable of batches ``(inputs, targets)``, targets as cross-entropy takes them.

    Returns:
        Cross-entropy of the averaged probabilities in nats, which is at most the mean of the
        models' own, and accuracy in percent.

    Raises:
        ValueError: No model is given, they are on different devices, or the loader is empty or
            holds no valid target.
        TypeError: A model is not a module, or its output is not a tensor.

    References:
        Lakshminarayanan, Pritzel and Blundell (2017), arXiv:1612.01474.

    Example:
        >>> import torch
        >>> data = [(torch.eye(2), torch.tensor([0, 1]))]
        >>> sure, wrong = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
        >>> _ = sure.load_state_dict({"weight": 3 * torch.eye(2)})
        >>> _ = wrong.load_state_dict({"weight": -torch.eye(2)})
        >>> ensemble_quality([sure, wrong], data).accuracy
        100.0
    """
    single = isinstance(models, nn.Module) and not isinstance(models, nn.ModuleList)
    if single or not isinstance(models, Iterable):
        raise TypeError(f"models must be a sequence of modules, got one {type(models).__name__}")
    inner = [unwrap(model, f"models[{index}]") for index, model in enumerate(models)]
    if not inner:
        raise ValueError("models is empty")
    for other in inner[1:]:
        common_device(inner[0], other)
    return quality(_Averaged(inner), loader)


class _Averaged(nn.Module):
    """Logarithms of averaged probabilities: scores whose cross-entropy is that of the average."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, inputs: Any) -> Tensor:
        found = [_log_probabilities(model(inputs)) for model in self.models]
        if len(shapes := {tuple(one.shape) for one in found}) > 1:
            raise ValueError(f"models give outputs of different shapes: {sorted(shapes)}")
        each = torch.stack(found)
        return each.logsumexp(0) - math.log(len(each))


def _log_probabilities(scores: Any) -> Tensor:
    """Float64 log-probabilities (N, C, ...)."""
    if not isinstance(scores, Tensor):
        raise TypeError(f"a model must return a tensor of outputs, got {type(scores).__name__}")
    if scores.dim() < 2 or scores.shape[1] < 2:
        raise ValueError(
            f"a model must return scores (N, C, ...) of two classes or more, got "
            f"{tuple(scores.shape)}"
        )
    return scores.double().log_softmax(1)


def _valid(batch: Any, predictions: Tensor, ignore_index: int) -> Tensor:
    """Which of ``predictions`` (N, C, ...) count: (N, ...) bool."""
    every = torch.ones_like(predictions[:, 0], dtype=torch.bool)
    targets = batch[1] if isinstance(batch, list | tuple) and len(batch) > 1 else None
    if isinstance(targets, Tensor) and targets.shape == every.shape:
        return targets.ne(ignore_index)
    return every


def _divergences(p: Tensor, q: Tensor) -> Tensor:
    """(N, ...) Jensen-Shannon divergences of log-probabilities (N, C, ...), not below 0."""
    middle = torch.logaddexp(p, q) - math.log(2.0)
    # exp(-inf) * (-inf - x) is no number where the term is 0
    terms = [torch.where(one == -math.inf, 0.0, one.exp() * (one - middle)) for one in (p, q)]
    return (0.5 * (terms[0] + terms[1]).sum(1)).clamp(min=0.0)
