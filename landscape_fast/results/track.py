"""Curves of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from landscape_fast.results.brief import brief


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPoint:
    """The shape of the loss at one step of a training run."""

    step: int
    loss: float  # of the whole data that is tracked
    gradient_norm: float
    values: Tensor  # (k,) float64, eigenvalues, largest first
    residuals: Tensor  # (k,) float64, ||H v - lambda v||
    converged: bool  # all residuals are within tolerance
    cosines: Tensor  # (k,) float64, of the gradient with each eigenvector, up to its sign
    alignment: float  # cosine of the gradient with the span of the eigenvectors, 0 to 1
    share: float  # of the squared gradient norm that lies in the span: alignment squared
    trace: float  # nan where it was not asked for
    trace_stderr: float  # standard error of `trace`; nan with fewer than two draws
    products: int  # spent on this point
    samples: int

    __repr__ = brief
