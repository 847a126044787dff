"""A spectrum as weighted nodes, and what can be read off it with its error over starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from landscape_fast.arguments import require_number
from landscape_fast.results.brief import brief
from landscape_fast.results.interval import half_width
from landscape_fast.results.outliers import Outliers, find_outliers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Functional = Literal["trace", "frobenius", "logdet", "effective_rank", "fraction_negative"]
FUNCTIONALS = ("trace", "frobenius", "logdet", "effective_rank", "fraction_negative")
VISIBLE = 1e-3  # width of an isolated eigenvalue in a curve, as a share of the spectrum's


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralEstimate:
    """A number read off a spectrum: the mean over starts, and its standard error."""

    value: float
    stderr: float  # nan for a single start
    draws: Tensor  # (r,) float64, one estimate per start; see `functional` for "frobenius"

    __repr__ = brief

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the given ``level`` from Student's t on the starts."""
        half = half_width(self.stderr, level, len(self.draws) - 1)
        return self.value - half, self.value + half


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralDensity:
    """Spectrum as weighted nodes, from stochastic Lanczos quadrature."""

    nodes: Tensor  # (r, m) float64, Ritz values of each of r random starts
    weights: Tensor  # (r, m) float64, >= 0, each row sums to 1
    dimension: int  # n; the number of eigenvalues in [a, b] is about n * weight in [a, b]
    products: int
    samples: int
    precision: str | None = None  # of the products; None where the operator does not say
    residuals: Tensor | None = None  # (r, m) float64, an eigenvalue lies this close to every node
    rounding: float = 0.0  # an eigenvalue this close to zero cannot be told from zero

    __repr__ = brief

    def functional(
        self, f: Functional | Callable[[Tensor], Tensor], *, damping: float | None = None
    ) -> SpectralEstimate:
        r"""Sum :math:`\operatorname{tr} f(A) = \sum_i f(\lambda_i)` over all n eigenvalues.

        The quadrature of one start is exact for polynomials of degree 2m - 1, and the closer to it
        the smoother f is across the spectrum. The error over starts does not hold what is left of
        that: double ``steps`` to see it.

        Args:
            f: A function of a tensor of eigenvalues (r, m) float64, elementwise; or ``"trace"``,
                ``"frobenius"`` (the norm), ``"logdet"`` of ``A + damping I``,
                ``"effective_rank"``, the sum of ``x / (x + damping)``, or
                ``"fraction_negative"``, the share of eigenvalues below ``-rounding``.
            damping: Added to every eigenvalue in ``"logdet"`` and ``"effective_rank"``.

        Returns:
            The mean over starts and its standard error; for ``"frobenius"`` the root of the mean
            square, with an error by the delta method and squares as draws.

        Raises:
            ValueError: The name is unknown, ``damping`` is missing, not wanted or no larger than
                the most negative node, or f returns another shape or values that are not finite.

        References:
            MacKay (1992), effective number of parameters, doi:10.1162/neco.1992.4.3.415.
        """
        if callable(f):
            if damping is not None:
                raise ValueError("damping belongs to 'logdet' and 'effective_rank'")
            return self._sum_of(f(self.nodes))
        if f not in FUNCTIONALS:
            raise ValueError(f"f must be a function or one of {', '.join(FUNCTIONALS)}, got {f!r}")
        if f in ("logdet", "effective_rank"):
            shifted = self._damped(f, damping)
            return self._sum_of(shifted.log() if f == "logdet" else self.nodes / shifted)
        if damping is not None:
            raise ValueError(f"damping has no meaning for {f!r}")
        if f == "trace":
            return self._sum_of(self.nodes)
        if f == "fraction_negative":
            return _mean((self.weights * (self.nodes < -self.rounding)).sum(1))
        square = self._sum_of(self.nodes.square())
        norm = math.sqrt(square.value)
        stderr = square.stderr / (2 * norm) if norm > 0 else square.stderr
        return SpectralEstimate(value=norm, stderr=stderr, draws=square.draws)

    def count(self, *, above: float = -math.inf, below: float = math.inf) -> SpectralEstimate:
        """Number of eigenvalues x with ``above < x < below``, from the weights there.

        Where no eigenvalue lies near the two limits the count is unbiased. One eigenvalue is seen
        with a relative error of ``sqrt(2 / starts)``, d of them with ``sqrt(2 / (d starts))``.
        """
        if not above < below:
            raise ValueError(f"above must be less than below, got {above} and {below}")
        inside = (self.nodes > above) & (self.nodes < below)
        return _mean(self.dimension * (self.weights * inside).sum(1))

    def mass_at_zero(self, tolerance: float | None = None) -> SpectralEstimate:
        """Share of eigenvalues within ``tolerance`` of zero; None for :attr:`rounding`.

        Starts whose last steps did not separate zero from small eigenvalues near it put mass of
        both on nodes between: then the share is that of a wider neighbourhood, or misses some.
        """
        if tolerance is not None and not tolerance >= 0:
            raise ValueError(f"tolerance must not be negative, got {tolerance}")
        width = self.rounding if tolerance is None else tolerance
        return _mean((self.weights * (self.nodes.abs() <= width)).sum(1))

    def outliers(self, gap: float = 0.0) -> Outliers:
        """Eigenvalues at both ends that every start resolves apart from the rest.

        From each end inwards, until the next node is, in some start, farther from an eigenvalue
        than a tenth of its distance to the node after it, or starts disagree on it by as much, or
        half of all mass is reached.

        Args:
            gap: Only what lies beyond an empty interval longer than this counts.

        Raises:
            ValueError: The density has no ``residuals``, or ``gap`` is negative.
        """
        if self.residuals is None:
            raise ValueError("outliers need residuals, which this density does not have")
        if not gap >= 0:
            raise ValueError(f"gap must not be negative, got {gap}")
        return find_outliers(
            self.nodes,
            self.weights,
            self.residuals,
            dimension=self.dimension,
            rounding=self.rounding,
            gap=gap,
        )

    def curve(self, points: int = 1000) -> tuple[Tensor, Tensor]:
        """The density smoothed by Gaussians, which integrates to 1.

        In the bulk every node is as wide as the distance to its neighbours of the same start, times
        ``starts ** -0.2``: fine structure stays where nodes are close, as near zero. An outlier is
        as wide as starts disagree on it, at least a thousandth of the spectrum.

        Args:
            points: Of an even grid; more stand close around every node.

        Returns:
            Positions (p,), ascending, and density there (p,), float64.
        """
        used = self.weights > 0
        x, w = self.nodes[used], self.weights[used] / len(self.nodes)
        span = float(x.max() - x.min()) or abs(float(x[0])) or 1.0
        width = torch.full_like(self.nodes, math.nan)
        isolated = torch.zeros_like(used)
        if self.residuals is not None:
            found = self.outliers()
            for value, spread in zip(found.values, found.spread.nan_to_num(), strict=True):
                here = (self.nodes - value).abs() <= max(4 * float(spread), self.rounding)
                isolated |= here
                width[here] = max(float(spread), VISIBLE * span)
        for start in range(len(self.nodes)):
            bulk = used[start] & ~isolated[start]
            width[start, bulk] = _spacing(self.nodes[start, bulk]) * len(self.nodes) ** -0.2
        sigma = width[used].clamp_min(max(1e-4 * VISIBLE * span, self.rounding))
        around = torch.linspace(-4, 4, 17, dtype=torch.float64)
        even = torch.linspace(
            float((x - 4 * sigma).min()), float((x + 4 * sigma).max()), points, dtype=torch.float64
        )
        grid = torch.cat([even, (x[:, None] + sigma[:, None] * around).flatten()]).unique()
        density = torch.zeros_like(grid)
        for node, weight, scale in zip(x, w, sigma, strict=True):
            density += weight / scale * torch.exp(-0.5 * ((grid - node) / scale) ** 2)
        return grid, density / math.sqrt(2 * math.pi)

    def plot(self) -> Figure:
        """Log density over the spectrum, with outliers marked; needs matplotlib.

        Returns:
            A figure with an Agg canvas; ``figure.savefig(path)`` writes it.
        """
        from landscape_fast.plots.density import density_figure

        return density_figure(self)

    def _sum_of(self, values: Tensor) -> SpectralEstimate:
        if not isinstance(values, Tensor) or values.shape != self.nodes.shape:
            raise ValueError(f"f must return a tensor of shape {tuple(self.nodes.shape)}")
        if not torch.isfinite(values).all():
            raise ValueError("f is not finite on the spectrum")
        return _mean(self.dimension * (self.weights * values).sum(1))

    def _damped(self, name: str, damping: float | None) -> Tensor:
        if damping is None:
            raise ValueError(f"{name!r} needs damping=")
        require_number(damping=damping)
        lowest = float(self.nodes.min())
        if not damping > max(0.0, -lowest):
            raise ValueError(
                f"damping must exceed 0 and minus the smallest node, {-lowest:.3g}, for {name!r}, "
                f"got {damping}"
            )
        return self.nodes + damping


def _mean(draws: Tensor) -> SpectralEstimate:
    stderr = float(draws.std()) / math.sqrt(len(draws)) if len(draws) > 1 else math.nan
    return SpectralEstimate(value=float(draws.mean()), stderr=stderr, draws=draws)


def _spacing(nodes: Tensor) -> Tensor:
    """Mean distance of ascending nodes (j,) to their neighbours; zero for a single one."""
    if len(nodes) < 2:
        return torch.zeros_like(nodes)
    steps = nodes.diff()
    return (torch.cat([steps[:1], steps]) + torch.cat([steps, steps[-1:]])) / 2
