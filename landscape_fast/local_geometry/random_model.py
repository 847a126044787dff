"""Fort and Ganguli's random model of logit gradients, drawn, and its spectrum foretold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from scipy.optimize import brentq
from torch import Tensor

from landscape_fast.arguments import (
    require_number,
    require_seed,
    require_whole,
    require_whole_or_none,
)
from landscape_fast.results import LogitClustering, PredictedSpectrum, SimulatedSpectrum


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogitGradientModel:
    r"""Random logit gradients :math:`J_k^\mu = c_k + s_{k, y^\mu} + E_k^\mu` with given logits.

    All entries are independent and Gaussian, with variances :math:`\sigma^2 / D`, so that the
    scales are the root mean squared lengths of the three parts. Probabilities are independent of
    them. Loss gradient and Gauss-Newton matrix are those of the cross-entropy without curvature of
    the logits,

    .. math:: g = \tfrac1N \sum_\mu \sum_k (p_k^\mu - y_k^\mu) J_k^\mu, \quad
        G = \tfrac1N \sum_\mu \sum_{k, l} J_k^\mu (p_k^\mu \delta_{kl} - p_k^\mu p_l^\mu)
        (J_l^\mu)^\top.

    The part s, shared by the samples of a class, is ours: with ``class_scale=0`` this is the
    model of the paper, in which q_SLSC equals q_SL.

    Attributes:
        probabilities: (N, C) float64, rows that sum to 1.
        targets: (N,) int64.
        dimension: D, parameters.
        logit_scale: Length of the part c of a logit.
        sample_scale: Length of the part E of a sample.
        class_scale: Length of the part s of a logit and a class.

    Raises:
        ValueError: Shapes do not fit, rows are no probabilities, or a scale is negative.

    References:
        Fort and Ganguli (2019), arXiv:1910.05929.

    Example:
        Of gradients that only logits tell apart, C - 1 directions are curved:

        >>> model = LogitGradientModel.drawn(
        ...     samples=20,
        ...     classes=3,
        ...     dimension=50,
        ...     logit_std=0.0,
        ...     logit_scale=3.0,
        ...     sample_scale=0.0,
        ... )
        >>> model.predict().outliers.round(decimals=6)
        tensor([3., 3.], dtype=torch.float64)
        >>> int((model.simulate().values > 1e-9).sum())
        2
    """

    probabilities: Tensor
    targets: Tensor
    dimension: int
    logit_scale: float
    sample_scale: float
    class_scale: float = 0.0

    def __post_init__(self) -> None:
        p = self.probabilities
        if p.dim() != 2 or p.shape[1] < 2 or self.targets.shape != p.shape[:1]:
            raise ValueError(
                "probabilities must be (N, C) with C at least 2, and targets (N,), got "
                f"{tuple(p.shape)} and {tuple(self.targets.shape)}"
            )
        if not ((p >= 0).all() and (p.double().sum(1) - 1).abs().max() < 1e-5):
            raise ValueError("probabilities must be rows of numbers >= 0 that sum to 1")
        if ((self.targets < 0) | (self.targets >= p.shape[1])).any():
            raise ValueError(f"targets must be indices of {p.shape[1]} classes")
        require_whole(1, dimension=self.dimension)
        require_number(
            least=0,
            logit_scale=self.logit_scale,
            sample_scale=self.sample_scale,
            class_scale=self.class_scale,
        )

    @classmethod
    def drawn(
        cls,
        *,
        samples: int,
        classes: int,
        dimension: int,
        logit_std: float,
        logit_scale: float,
        sample_scale: float,
        class_scale: float = 0.0,
        margin: float = 0.0,
        seed: int = 0,
    ) -> Self:
        """The model with Gaussian logits and uniform labels.

        Args:
            samples: N.
            classes: C.
            dimension: D.
            logit_std: Standard deviation of the logits.
            logit_scale: As the attribute.
            sample_scale: Likewise.
            class_scale: Likewise.
            margin: Added to the logit of the true class.
            seed: Of logits and labels.
        """
        require_whole(1, samples=samples, dimension=dimension)
        require_whole(2, classes=classes)
        require_number(least=0, logit_std=logit_std)
        require_number(margin=margin)
        require_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        targets = torch.randint(classes, (samples,), generator=generator)
        logits = logit_std * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
        logits[torch.arange(samples), targets] += margin
        return cls(
            probabilities=logits.softmax(1),
            targets=targets,
            dimension=dimension,
            logit_scale=logit_scale,
            sample_scale=sample_scale,
            class_scale=class_scale,
        )

    @classmethod
    def fitted(cls, found: LogitClustering, probabilities: Tensor, targets: Tensor) -> Self:
        """The model with the lengths and the dimension that a network's gradients have.

        Args:
            found: What :func:`~landscape_fast.local_geometry.clustering.logit_clustering` returned.
            probabilities: (N, C), of the network, for as many samples as are wanted.
            targets: (N,), theirs.
        """
        shared, by_class, rest = found.scales
        return cls(
            probabilities=probabilities.double(),
            targets=targets,
            dimension=found.dimension,
            logit_scale=shared,
            sample_scale=rest,
            class_scale=by_class,
        )

    def gradients(self, seed: int = 0) -> Tensor:
        """One draw of all logit gradients, (N, C, D) float64 on the CPU."""
        require_seed(seed)
        samples, classes = self.probabilities.shape
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            draw = torch.randn(*shape, self.dimension, generator=generator, dtype=torch.float64)
            return draw / math.sqrt(self.dimension)

        shared, by_class = normal(classes), normal(classes, classes)
        out = self.sample_scale * normal(samples, classes)
        out += self.logit_scale * shared
        out += self.class_scale * by_class[self.targets]
        return out

    def simulate(self, seed: int = 0) -> SimulatedSpectrum:
        """Spectrum of G and the gradient of one draw.

        Holds (N, C, D) numbers twice; one eigendecomposition of the smaller of D and N (C - 1).
        """
        gradients = self.gradients(seed)
        samples, _, dimension = gradients.shape
        slope = self.probabilities.double().clone()
        slope[torch.arange(samples), self.targets] -= 1
        gradient = torch.einsum("nk,nkd->d", slope, gradients) / samples
        values, vectors = self._curvatures()
        # The smallest curvature is that of all logits together: zero, the softmax ignores it.
        roots = vectors[:, :, 1:] * values[:, None, 1:].sqrt()
        rows = torch.einsum("nkr,nkd->nrd", roots, gradients).reshape(-1, dimension)
        rows /= math.sqrt(samples)
        small = len(rows) <= dimension
        found, basis = torch.linalg.eigh(rows @ rows.T if small else rows.T @ rows)
        found = found.flip(0).clamp_min(0)
        along = basis.T.flip(0) @ (rows @ gradient if small else gradient)
        if small:  # of unit eigenvectors rows^T w / sqrt(value)
            known = found > 1e-14 * found[0]
            along = torch.where(known, along / found.sqrt().clamp_min(1e-150), 0.0)
        norm = float(gradient.norm())
        return SimulatedSpectrum(
            values=found,
            shares=(along / norm).square() if norm > 0 else torch.full_like(along, math.nan),
            gradient_norm=norm,
            dimension=dimension,
        )

    def predict(self, limit: int | None = None) -> PredictedSpectrum:
        r"""Outliers and the edge of the bulk of G for large N and D, from the probabilities alone.

        The non-zero eigenvalues of G are those of a Wishart matrix of D samples whose population
        covariance, over logits and samples, is :math:`T^{1/2} (\sigma_E^2 I + \ldots) T^{1/2} / N`
        with T the blocks diag p - p p^T: eigenvalues t from E, and few more from what gradients
        share. One of these, alpha, detaches from the bulk where :math:`\psi'(\alpha) > 0`, and is
        then seen at :math:`\psi(\alpha) = \alpha (1 + \tfrac1D \sum_j t_j / (\alpha - t_j))`.

        Args:
            limit: Outliers wanted, the largest; None for all.

        References:
            Baik, Ben Arous and Peche (2005), doi:10.1214/009117905000000233. Bai and Yao (2012),
            doi:10.1016/j.jmva.2011.10.009.
        """
        require_whole_or_none(1, limit=limit)
        samples = len(self.probabilities)
        curvatures, vectors = self._curvatures()
        noise = self.sample_scale**2 * curvatures.flatten() / samples  # t
        highest = float(noise.max())
        spread = math.sqrt(float(noise.square().sum()) / self.dimension)

        def bend(alpha: float) -> float:  # psi'
            return 1 - float((noise / (alpha - noise)).square().sum()) / self.dimension

        def seen(alpha: float) -> float:  # psi
            return alpha * (1 + float((noise / (alpha - noise)).sum()) / self.dimension)

        def signal(alpha: float) -> Tensor:
            """Eigenvalues, descending; alpha is one of the population's where one of them is 1."""
            weights = curvatures / (alpha - self.sample_scale**2 * curvatures / samples)
            return self._shared(torch.einsum("nkr,nr,nlr->nkl", vectors, weights, vectors))

        bare = self._shared(torch.einsum("nkr,nr,nlr->nkl", vectors, curvatures, vectors))
        if highest > 0:
            low = highest * (1 + 1 / math.sqrt(self.dimension))
            threshold = low if bend(low) >= 0 else brentq(bend, low, highest + spread + low)
            detached = int((signal(threshold) > 1).sum())
            top = (highest + float(bare[0])) * (1 + 1e-6)  # by Weyl's inequality
            population = [
                brentq(lambda alpha, i=i: float(signal(alpha)[i]) - 1, threshold, top, rtol=1e-12)
                for i in range(detached if limit is None else min(limit, detached))
            ]
            edge = seen(threshold)
        else:
            threshold = edge = 0.0
            population = bare[bare > 1e-12 * bare[0]][:limit].tolist()
        squares = self.logit_scale**2 + self.class_scale**2 + self.sample_scale**2
        return PredictedSpectrum(
            outliers=torch.tensor([seen(alpha) for alpha in population], dtype=torch.float64),
            edge=edge,
            rank=self._rank(),
            trace=squares * float(curvatures.sum()) / samples,
            population=torch.tensor(population, dtype=torch.float64),
            threshold=threshold,
        )

    def _curvatures(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (N, C), ascending, and vectors (N, C, C) of diag p - p p^T."""
        p = self.probabilities.double()
        values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p[:, :, None] * p[:, None])
        return values.clamp_min(0), vectors

    def _shared(self, blocks: Tensor) -> Tensor:
        """Eigenvalues, descending, of what blocks (N, C, C) are between the shared directions."""
        samples, classes = self.probabilities.shape
        of_class = blocks.new_zeros(classes, classes, classes)
        of_class.index_add_(0, self.targets, blocks)
        whole = self.logit_scale**2 * of_class.sum(0)
        if self.class_scale > 0:
            beside = self.logit_scale * self.class_scale * torch.cat(list(of_class), 1)
            corner = self.class_scale**2 * torch.block_diag(*of_class)
            whole = torch.cat([torch.cat([whole, beside], 1), torch.cat([beside.T, corner], 1)])
        return torch.linalg.eigvalsh(whole / samples).flip(0).clamp_min(0)

    def _rank(self) -> int:
        samples, classes = self.probabilities.shape
        if self.sample_scale > 0:
            return min(self.dimension, samples * (classes - 1))
        present = len(self.targets.unique()) if self.class_scale > 0 else 1
        return min(self.dimension, present * (classes - 1))
