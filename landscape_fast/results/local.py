"""Results about perturbations of the weights, top subspaces, and collapsed features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from landscape_fast.results.brief import brief
from landscape_fast.results.interval import half_width


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbedLoss:
    """How much the loss rises when the weights are perturbed."""

    value: float  # mean rise, in the unit of the loss
    stderr: float  # over `draws`; nan for a single one
    draws: Tensor  # (r,) float64, rises: of each batch (worst case), or each draw (average)
    loss: float  # where the model is
    kind: str  # "worst" or "average"
    rho: float  # radius, or standard deviation per weight
    adaptive: bool  # perturbations are in units of each weight's magnitude
    samples: int

    __repr__ = brief

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the given ``level`` from Student's t on the draws."""
        half = half_width(self.stderr, level, len(self.draws) - 1)
        return self.value - half, self.value + half


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientOverlap:
    """How the gradient lies to the Hessian and to its top subspace."""

    share: float  # of the squared gradient norm in the subspace, 0 to 1; nan at a zero gradient
    cosines: Tensor  # (k,) float64, of the gradient with each vector, up to its sign
    hessian_cosine: float  # g^T H g / (|g| |H g|), -1 to 1
    gradient_norm: float
    loss: float
    samples: int

    __repr__ = brief


@dataclass(frozen=True, slots=True, kw_only=True)
class SubspaceOverlap:
    """How far two subspaces of one dimension are the same."""

    value: float  # mean squared cosine of the principal angles: 1 for one subspace, 0 orthogonal
    cosines: Tensor  # (k,) float64, of the principal angles, descending
    expected: float  # `value` of two random subspaces, k / n

    __repr__ = brief


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuralCollapse:
    """The four signs of neural collapse; all but `classes` and `samples` vanish in it."""

    nc1: float  # tr(S_W S_B^+) / K: spread within classes against that between them
    nc2_norms: float  # std over mean of the centred class means' norms
    nc2_angles: float  # mean of |cosine + 1 / (K - 1)| between centred class means
    nc2_weights_norms: float  # the same two of the rows of the classifier
    nc2_weights_angles: float
    nc3: float  # squared distance of classifier and centred class means, both of norm 1
    nc4: float  # part of samples that are nearest to another class mean than the network says
    bias: float  # |b + W m - mean| over |W M|: what the bias leaves of the global mean
    means: Tensor  # (K, d) float64, class means
    accuracy: float  # percent of samples
    classes: int
    samples: int

    __repr__ = brief
