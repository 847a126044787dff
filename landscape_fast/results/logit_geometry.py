"""Results about the logits of a classifier: how their gradients cluster, how they spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape_fast.results.brief import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitClustering:
    """Cosines between the logit gradients of different samples, exact over all pairs.

    The tables hold means over pairs; the numbers read off them are means of their entries, so that
    classes count alike however many samples they have. Means over nothing are nan and left out.
    """

    same_class: Tensor  # (C, C) float64: logit k, pairs of class l, mean cosine
    same_logit: Tensor  # (C,) float64: logit k, all pairs
    different_logits: Tensor  # (C, C) float64: logits k and l, all pairs; nan on the diagonal
    squared_norms: Tensor  # (C,) float64, mean over samples
    products_same_class: Tensor  # (C,) float64: logit k, mean inner product of pairs of one class
    products_other_class: Tensor  # (C,) float64: logit k, of pairs of different classes
    counts: Tensor  # (C,) int64, samples of each class
    dimension: int  # n, entries of a gradient
    samples: int

    __repr__ = brief

    @property
    def same_logit_same_class(self) -> float:
        """q_SLSC, averaged over all classes and all logits."""
        return float(self.same_class.nanmean())

    @property
    def own_logit_own_class(self) -> float:
        """q_SLSC with the logit of the samples' own class, averaged over classes."""
        return float(self.same_class.diagonal().nanmean())

    @property
    def same_logit_any_class(self) -> float:
        """q_SL, averaged over logits."""
        return float(self.same_logit.nanmean())

    @property
    def different_logit(self) -> float:
        """q_DL, averaged over pairs of logits."""
        return float(self.different_logits.nanmean())

    @property
    def scales(self) -> tuple[float, float, float]:
        """Length of what gradients share by logit, by logit and class, and of the rest of each.

        Roots of mean squares of c, s and E in ``J = c_k + s_{k, class} + E``, from mean inner
        products, which are unbiased for the squares; a negative estimate of a square counts as 0.
        """
        shared = max(0.0, _mean(self.products_other_class))
        by_class = _mean(self.products_same_class) - shared
        by_class = max(0.0, by_class) if math.isfinite(by_class) else 0.0
        rest = max(0.0, _mean(self.squared_norms) - shared - by_class)
        return math.sqrt(shared), math.sqrt(by_class), math.sqrt(rest)

    def plot(self) -> Figure:
        """Bars of the mean cosines; needs matplotlib.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.
        """
        from landscape_fast.plots.local_geometry import clustering_figure

        return clustering_figure(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freezing:
    """Logits of all samples, and how far the probabilities they make are decided."""

    logits: Tensor  # (N, C) float64, less their mean over classes
    targets: Tensor  # (N,) int64

    __repr__ = brief

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, (N, C) float64."""
        return self.logits.softmax(1)

    @property
    def logit_std(self) -> float:
        """Root of the variance of logits over classes, averaged over samples."""
        return math.sqrt(float(self.logits.square().mean()))

    @property
    def entropy(self) -> float:
        """Mean entropy of the probabilities in nats; log C where all classes are as likely."""
        log_p = self.logits.log_softmax(1)
        return float(-(log_p.exp() * log_p).nan_to_num(0.0).sum(1).mean())

    @property
    def confidence(self) -> float:
        """Mean probability of the likeliest class."""
        return float(self.probabilities.amax(1).mean())

    @property
    def slope(self) -> float:
        """Mean of p (1 - p) over samples and classes: what logits still move."""
        p = self.probabilities
        return float((p * (1 - p)).mean())

    @property
    def critical_std(self) -> float:
        """Spread of independent Gaussian logits at which one class takes over: root of 2 log C.

        References:
            Derrida (1981), doi:10.1103/PhysRevB.24.2613, for many classes.
        """
        return math.sqrt(2 * math.log(self.logits.shape[1]))

    @property
    def samples(self) -> int:
        """N."""
        return len(self.targets)


def _mean(values: Tensor) -> float:
    return float(values[~torch.isnan(values)].mean())
