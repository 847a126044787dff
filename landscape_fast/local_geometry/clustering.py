"""How the gradients of logits cluster, by logit and by class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.linearise.logit_gradients import LogitGradients
from landscape_fast.linearise.params import Selection
from landscape_fast.results import LogitClustering


@torch.inference_mode(False)  # sums that grow in place are no tensors of that mode
def logit_clustering(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    params: Selection = None,
    memory_budget: int | None = None,
) -> LogitClustering:
    r"""Mean cosines between the logit gradients of different samples.

    With :math:`J_k^\mu = \partial z_k^\mu / \partial \theta` and pairs of samples
    :math:`\mu \ne \nu`: q_SLSC, one logit and two samples of one class; q_SL, one logit and any two
    samples; q_DL, two logits and any two samples. Fort and Ganguli assume the first two well above
    zero, the first the larger, and the third near zero.

    Nothing is sampled: sums of unit gradients by logit and class hold the means over all pairs,
    :math:`\sum_{\mu \ne \nu} \cos = \lVert \sum_\mu u^\mu \rVert^2 - N`. Gradients that are zero
    have no direction and are left out of the cosines, not of the inner products.

    Cost: C backward passes per sample, one row at a time; 4 C vectors of n numbers in float64.

    Args:
        model: A classifier that returns logits (b, C); measured in evaluation mode and left
            untouched.
        loader: Iterable of batches ``(inputs, classes)``, the first of at least two rows.
        params: Names or modules that gradients are taken by; None for all trainable parameters.
        memory_budget: Bytes of data to keep in memory, where they must fit.

    Returns:
        ``same_logit_same_class``, ``own_logit_own_class``, ``same_logit_any_class``,
        ``different_logit``, the tables behind them, and ``scales``.

    Raises:
        ValueError: The model couples rows or returns no logits (b, C); targets are no class indices
            below C; there are fewer than two samples.

    References:
        Fort and Ganguli (2019), arXiv:1910.05929.

    Example:
        The logits of a linear model have the inputs for gradients, each in rows of its own:

        >>> model = nn.Linear(2, 2, bias=False)
        >>> inputs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> found = logit_clustering(model, [(inputs, torch.tensor([0, 0, 1]))])
        >>> found.same_logit_same_class, round(found.same_logit_any_class, 4), found.different_logit
        (1.0, 0.3333, 0.0)
    """
    gradients = LogitGradients(model, loader, params=params, memory_budget=memory_budget)
    if gradients.samples < 2:
        raise ValueError(f"loader must hold at least 2 samples, got {gradients.samples}")
    classes, n = gradients.classes, gradients.space.size
    cosines, products = _Sums(classes, n, gradients), _Sums(classes, n, gradients)
    for label in range(classes):
        for block in gradients.of_class(label):
            block = block.double()
            norms = block.norm(dim=1, keepdim=True)
            cosines.add(torch.where(norms > 0, block / norms, 0.0), norms[:, 0] > 0)
            products.add(block, torch.ones_like(norms[:, 0], dtype=torch.bool))
        cosines.close(label)
        products.close(label)
    counts = torch.bincount(gradients.targets, minlength=classes)
    within, among = products.pairs_within, products.pairs_among
    cosine = _mean(cosines.among, cosines.pairs_among)
    return LogitClustering(
        same_class=_mean(cosines.within, cosines.pairs_within),
        same_logit=cosine.diagonal().clone(),
        different_logits=cosine.clone().fill_diagonal_(torch.nan),
        squared_norms=products.same.diagonal().cpu() / gradients.samples,
        products_same_class=_mean(products.within.sum(1), within.sum(1)),
        products_other_class=_mean(
            products.among.diagonal() - products.within.sum(1), among.diagonal() - within.sum(1)
        ),
        counts=counts,
        dimension=n,
        samples=gradients.samples,
    )


class _Sums:
    """Inner products of gradients, summed over pairs of different samples.

    Samples come class by class, so that one class at a time has a sum of its own.

    Attributes:
        within: (C, C), logit k and pairs of class l; `pairs_within` how many there are.
        same: (C, C), logits k and l of one sample.
    """

    def __init__(self, classes: int, n: int, like: LogitGradients) -> None:
        where: dict[str, Any] = {"dtype": torch.float64, "device": like.space.device}
        self._whole, self._class = torch.zeros(2, classes, n, **where)
        self._valid, self._valid_class = torch.zeros(2, classes, **where)
        self._both = torch.zeros(classes, classes, **where)
        self._squares = torch.zeros(classes, **where)
        self.same = torch.zeros(classes, classes, **where)
        self.within = torch.zeros(classes, classes, **where)
        self.pairs_within = torch.zeros(classes, classes, **where)

    def add(self, block: Tensor, valid: Tensor) -> None:
        """Take the gradients (C, n) of one sample, of which ``valid`` (C,) count."""
        self._class += block
        self._valid_class += valid
        product = block @ block.T
        self.same += product
        self._squares += product.diagonal()
        self._both += torch.outer(valid, valid)

    def close(self, label: int) -> None:
        """All samples of the class have come."""
        self.within[:, label] = self._class.square().sum(1) - self._squares
        self.pairs_within[:, label] = self._valid_class * (self._valid_class - 1)
        self._whole += self._class
        self._valid += self._valid_class
        for own in (self._class, self._valid_class, self._squares):
            own.zero_()

    @property
    def among(self) -> Tensor:
        """(C, C), logits k and l of different samples."""
        return self._whole @ self._whole.T - self.same

    @property
    def pairs_among(self) -> Tensor:
        """(C, C), ordered pairs of different samples that count for logits k and l."""
        return torch.outer(self._valid, self._valid) - self._both


def _mean(total: Tensor, count: Tensor) -> Tensor:
    """Means on the CPU, nan where there is nothing: a sum over nothing may be rounding, not 0."""
    return torch.where(count > 0, total / count, torch.nan).cpu()
