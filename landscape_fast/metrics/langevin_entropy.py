"""Local entropy by Langevin moves from the neighbourhood's Gaussian to the low losses in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.state import evaluation
from landscape_fast.metrics.placed import PlacedNetwork, placed
from landscape_fast.results import LocalEntropy


def langevin_local_entropy(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    gamma: float,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    runs: int = 16,
    steps: int = 20,
    step_size: float = 0.5,
    params: Selection = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> LocalEntropy:
    r"""Local entropy of the loss itself, by annealed importance sampling with Langevin moves.

    Every run starts from a point of :math:`N(\theta, I/\gamma)`. In ``steps`` equal steps b from 0
    to 1 it is weighted by :math:`\exp(-L/\text{steps})` where it is, and makes one Langevin move
    that leaves :math:`\exp(-b L)` times the Gaussian as it is. Then the mean of the weights is the
    mean of :math:`\exp(-L)` under the Gaussian without bias, however short a run is; what runs
    differ by is the error. The log of the mean is stated with its error to first order, which
    holds while the logs of the weights, ``.draws``, spread by less than about one.

    Differs from the stochastic gradient Langevin dynamics of Chaudhari et al. in: gradients are
    those of all data and a move is taken or not by the rule of Metropolis, so that no step size
    and no mini-batch noise biases the answer; the noise is that of the integral, not 1e-4 of it;
    the answer is the entropy, not its gradient
    (:func:`landscape_fast.regularisers.local_entropy` is theirs).

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        gamma: Inverse of the neighbourhood's variance along each weight: the typical distance of
            its points is ``sqrt(n / gamma)``.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        runs: Independent runs; at least 2 for an error.
        steps: Of each run, each with a gradient of all data. More make the weights alike; 1 is the
            plain mean over the Gaussian.
        step_size: Of a move, above 0; a move at 2 forgets where it was. ``.acceptance`` tells
            whether it is too long.
        params: Names or modules that the neighbourhood extends over; None for all trainable
            parameters.
        seed: Chooses starts and noise; run i depends on ``(seed, i)`` alone.
        memory_budget: Bytes of data to keep in memory.

    Returns:
        ``value`` in nats, larger where the neighbourhood is flatter, with ``stderr``; nan where a
        loss is. A loss that is infinite has the weight 0.

    Raises:
        ValueError: An argument is out of range, or the loader is empty or holds no valid target.

    References:
        Chaudhari et al. (2017), arXiv:1611.01838. Neal (2001), Annealed importance sampling,
        doi:10.1023/A:1008923215028. Cotter, Roberts, Stuart and White (2013),
        doi:10.1214/13-STS421, for moves that keep the Gaussian in any dimension.

    Example:
        For the loss w^2 at its minimum, -log(1 + 2 / gamma) / 2:

        >>> import math, torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> data = [(torch.ones(1, 1), model(torch.ones(1, 1)).detach())]
        >>> found = langevin_local_entropy(model, data, gamma=2.0, criterion=torch.nn.MSELoss())
        >>> low, high = found.interval(0.999)
        >>> low < -math.log(2) / 2 < high
        True
    """
    require_number(above=0, gamma=gamma)
    require_number(above=0, most=2, step_size=step_size)
    require_whole(1, runs=runs, steps=steps)
    require_seed(seed)
    network, batches, objective = placed(model, loader, criterion, loss_fn, params, memory_budget)
    with evaluation(network.model), torch.no_grad():
        base, count = network.loss(batches, objective)
        if not count > 0:
            raise ValueError(f"the loader holds no valid target: the loss divides by {count}")
        neighbourhood = _Neighbourhood(network, batches, objective, gamma)
        found = [neighbourhood.run(seed, index, steps, step_size) for index in range(runs)]
    logs = torch.tensor([log for log, _ in found], dtype=torch.float64)
    value = float(logs.logsumexp(0)) - math.log(runs)
    relative = (logs - value).exp()  # weights as parts of their mean
    return LocalEntropy(
        value=value,
        stderr=float(relative.std()) / math.sqrt(runs) if runs > 1 else math.nan,
        draws=logs,
        loss=base,
        gamma=gamma,
        method="langevin",
        dimension=network.space.size,
        samples=batches.samples,
        acceptance=sum(taken for _, taken in found) / (runs * (steps - 1)) if steps > 1 else None,
    )


class _Neighbourhood:
    """The Gaussian around a network, and moves in it that the loss directs."""

    def __init__(
        self, network: PlacedNetwork, batches: Batches, objective: Objective, gamma: float
    ) -> None:
        self._network, self._batches, self._objective = network, batches, objective
        self._gamma = gamma

    def run(self, seed: int, index: int, steps: int, size: float) -> tuple[float, int]:
        """Log of the weight of one run, and how many of its ``steps - 1`` moves were taken."""
        words = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
        draws = torch.Generator().manual_seed(int(words[0]))
        here = self._at(self._noise(draws))
        log, taken = -here.loss / steps, 0
        for step in range(1, steps):
            if not here.finite:
                return -math.inf if here.loss == math.inf else math.nan, taken
            there = self._move(here, step / steps, size, draws)
            if math.isnan(there.loss):
                return math.nan, taken
            odds = self._balance(here, there, step / steps, size)
            if float(torch.rand((), generator=draws, dtype=torch.float64).log()) < odds:
                here, taken = there, taken + 1
            log -= here.loss / steps
        return log, taken

    def _at(self, offset: Tensor) -> _Point:
        loss, _, gradient = self._network.loss_and_gradient(self._batches, self._objective, offset)
        return _Point(offset, loss, gradient)

    def _noise(self, generator: torch.Generator) -> Tensor:
        origin = self._network.origin
        drawn = torch.randn(origin.shape, generator=generator, dtype=origin.dtype)
        return drawn.to(origin.device) / math.sqrt(self._gamma)

    def _move(self, here: _Point, part: float, size: float, draws: torch.Generator) -> _Point:
        """Proposal, reversible under the Gaussian but for the slope of the loss."""
        offset = (2 - size) * here.offset - 2 * size * part / self._gamma * here.gradient
        return self._at((offset + math.sqrt(8 * size) * self._noise(draws)) / (2 + size))

    def _balance(self, here: _Point, there: _Point, part: float, size: float) -> float:
        """Log of the odds with which a move is taken; it makes the moves exact."""
        if not there.finite:
            return -math.inf
        both, way = here.offset + there.offset, there.offset - here.offset
        sides = []
        for point, towards in ((here, way), (there, -way)):
            slope = part * point.gradient
            sides.append(
                part * point.loss
                + _dot(slope, towards) / 2
                + size / 4 * (_dot(slope, both) + _dot(slope, slope) / self._gamma)
            )
        return sides[0] - sides[1]


class _Point:
    """A move from the model with the loss and its gradient there."""

    def __init__(self, offset: Tensor, loss: float, gradient: Tensor) -> None:
        self.offset, self.loss, self.gradient = offset, loss, gradient
        self.finite = math.isfinite(loss) and bool(torch.isfinite(gradient).all())


def _dot(one: Tensor, other: Tensor) -> float:
    return float((one.double() * other).sum())
