"""Loss and accuracy of a model on a data set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.state import untouched, unwrap
from landscape_fast.metrics.networks import device_of
from landscape_fast.results import Quality


def quality(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
) -> Quality:
    """Loss and accuracy of a model on all of the data, in evaluation mode.

    The loss is the sum over the data divided by the number of its terms, so it does not depend on
    how the data is cut into batches.

    Args:
        model: Any module; comes back as it went in.
        loader: Iterable of batches, on any device.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.

    Returns:
        Loss (nan where the model's outputs are) and accuracy in percent: the share of valid targets
        that are the largest output. Accuracy is nan unless targets are class indices that go with
        outputs (N, C, ...), and the model was called once per batch.

    Raises:
        ValueError: The loader is empty or holds no valid target, both losses are given, or the
            batches do not suit the loss.

    Example:
        >>> import torch
        >>> data = [(torch.eye(2), torch.tensor([0, 0]))]
        >>> quality(torch.nn.Identity(), data)
        Quality(loss=0.8132616281509399, accuracy=50.0, samples=2)
    """
    model, objective = unwrap(model), Objective(criterion, loss_fn)
    with untouched(model), torch.no_grad():
        model.eval()
        batches = Batches(loader, device=device_of(model))
        loss, accuracy = loss_and_accuracy(model, batches, objective, ignored_target(criterion))
    return Quality(loss=loss, accuracy=accuracy, samples=batches.samples)


def loss_and_accuracy(
    model: nn.Module,
    batches: Iterable[Any],
    objective: Objective,
    ignore_index: int,
) -> tuple[float, float]:
    """Loss and accuracy of ``model`` as it is: in its present mode, with its present weights.

    See :func:`quality` for both numbers; targets ``ignore_index`` do not count.
    """
    calls: list[Any] = []
    hits: list[tuple[int, int] | None] = []
    total, counts = 0.0, 0.0
    for batch in batches:
        calls.clear()
        with model.register_forward_hook(lambda _model, _inputs, outputs: calls.append(outputs)):
            value, count = objective(model, batch)
        total, counts = total + float(value), counts + count
        hits.append(_hits(calls, batch, ignore_index))
    if not counts > 0:
        raise ValueError(f"the loader holds no valid target: the loss divides by {counts}")
    loss = total / objective.normaliser(counts)
    # Outputs that are not numbers have a largest entry all the same, but no meaning.
    return loss, math.nan if math.isnan(loss) else _percentage(hits)


def ignored_target(criterion: Criterion | None) -> int:
    """Class index that ``criterion`` leaves out; torch's default where it names none."""
    keywords = getattr(criterion, "keywords", {})  # of functools.partial(cross_entropy, ...)
    return getattr(criterion, "ignore_index", keywords.get("ignore_index", -100))


def _hits(calls: list[Any], batch: Any, ignore_index: int) -> tuple[int, int] | None:
    """Right and valid predictions of a batch, or None where no accuracy is defined."""
    if len(calls) != 1 or not isinstance(batch, list | tuple) or len(batch) != 2:
        return None
    outputs, targets = calls[0], batch[1]
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        return None
    if targets.is_floating_point() or outputs.dim() < 2 or outputs.shape[1] < 2:
        return None
    if targets.shape != outputs.shape[:1] + outputs.shape[2:]:
        return None
    chosen = targets != ignore_index
    targets = targets[chosen]
    if ((targets < 0) | (targets >= outputs.shape[1])).any():
        return None
    return int((outputs.argmax(1)[chosen] == targets).sum()), targets.numel()


def _percentage(hits: list[tuple[int, int] | None]) -> float:
    """Right predictions per hundred valid ones; nan where some batch has no accuracy."""
    defined = [hit for hit in hits if hit is not None]
    valid = sum(count for _, count in defined)
    if len(defined) < len(hits) or not valid:
        return math.nan
    return 100.0 * sum(right for right, _ in defined) / valid
