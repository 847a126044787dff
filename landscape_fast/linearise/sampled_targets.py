"""Targets drawn from the model's own predictive distribution, for Monte Carlo curvature.

Where a loss is a negative log-likelihood, its Hessian in the outputs is the expected outer product
of its gradient over targets that the model itself predicts. A few draws per row estimate it without
bias, and give a matrix that is a sum of outer products.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast import _native
from landscape_fast.arguments import require_whole
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.structure import rows

_CATEGORICAL = (nn.CrossEntropyLoss, nn.NLLLoss)
_BERNOULLI = (nn.BCEWithLogitsLoss, nn.BCELoss)
_GAUSSIAN = (nn.MSELoss,)
_IGNORED = -100  # torch's own mark of targets without a loss


class SampledTargets(Objective):
    r"""The losses of drawn targets, and the matrix of their gradients' outer products.

    What is differentiated is :math:`\frac{1}{2M} \sum_m \sum_i s_{mi}^2` of the losses of M drawn
    targets per term i: cross-entropy draws classes, binary cross-entropy bits, a squared error
    Gaussians of variance 1/2, for which it is the negative log-likelihood. The numbers behind the
    draws belong to (seed, row of the data), whatever the cut into batches or the device.

    Args:
        criterion: Cross-entropy, ``NLLLoss``, ``MSELoss``, ``BCEWithLogitsLoss`` or ``BCELoss``,
            without weights.
        loss_fn: Refused: it states no distribution.
        draws: M.
        seed: Chooses the numbers behind the targets.

    Raises:
        ValueError: The loss is no such likelihood, or ``draws`` is less than 1.
    """

    ends_at_model = False  # each row's loss is the output here

    def __init__(
        self, criterion: Criterion | None, loss_fn: LossFunction | None, draws: int, seed: int
    ) -> None:
        super().__init__(criterion, loss_fn)
        require_whole(1, monte_carlo=draws)
        if loss_fn is not None:
            raise ValueError(
                "monte_carlo draws targets from the model's distribution, which a loss_fn does not "
                "state; pass a criterion"
            )
        kind = type(self._criterion)
        if kind not in (*_CATEGORICAL, *_BERNOULLI, *_GAUSSIAN):
            raise ValueError(
                "monte_carlo needs a likelihood that targets can be drawn from, and "
                f"{kind.__name__} is none that is known"
            )
        weighted = [
            n for n in ("weight", "pos_weight") if getattr(self._criterion, n, None) is not None
        ]
        if weighted:
            raise ValueError(f"monte_carlo needs a likelihood: criterion has {weighted[0]}")
        self._draws = draws
        self._seed = seed
        self._single = kind(reduction="none")

    @property
    def key(self) -> Hashable | None:
        """As :class:`Objective`, and different from its."""
        return ("sampled", self._draws, super().key)

    def summed(self, model: nn.Module, batch: Any) -> Tensor:
        """Half the mean over draws of the squared norm of the losses, for a drawn batch."""
        return self.outputs_and_loss(model, batch)[1]

    def outputs_and_loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The losses of all draws, (B, M, ...), and half their squared norm, for a drawn batch."""
        inputs, drawn = batch
        outputs = model(inputs)
        losses = torch.stack([self._single(outputs, one) for one in drawn.unbind(1)], 1)
        losses = losses * self._draws**-0.5
        return losses, losses.square().sum() / 2

    def draw(self, model: nn.Module, batch: Any, first_row: int) -> tuple[Any, Tensor]:
        """Inputs of ``batch`` with drawn targets (B, M, ...) in the place of its own.

        Args:
            model: Predicts.
            batch: A pair of inputs and targets.
            first_row: Place of its first row in the whole data.

        Raises:
            ValueError: Rows cannot be told, or targets do not fit the outputs one by one.
        """
        inputs, targets = self._pair(batch)
        if rows(batch) is None:
            raise ValueError("monte_carlo needs batches whose tensors have the same leading size")
        with torch.no_grad():
            outputs = model(inputs)
        kind = type(self._criterion)
        if kind in _CATEGORICAL:
            drawn = self._classes(outputs, targets, first_row)
        elif outputs.shape != targets.shape:
            raise ValueError(
                f"monte_carlo needs targets like the outputs, {tuple(outputs.shape)}, got "
                f"{tuple(targets.shape)}"
            )
        elif kind in _BERNOULLI:
            p = outputs.double().sigmoid() if kind is nn.BCEWithLogitsLoss else outputs.double()
            drawn = (
                torch.special.ndtr(self._normals(outputs.shape, outputs, first_row)) < p[:, None]
            )
        else:
            noise = self._normals(outputs.shape, outputs, first_row)
            drawn = outputs.double()[:, None] + 0.5**0.5 * noise
        return inputs, drawn if kind in _CATEGORICAL else drawn.to(outputs.dtype)

    def _classes(self, outputs: Tensor, targets: Tensor, first_row: int) -> Tensor:
        if targets.is_floating_point() and ((targets.sum(1) - 1).abs() > 1e-3).any():
            raise ValueError("monte_carlo needs target probabilities that sum to one")
        logits = outputs.double()
        logits = logits.log_softmax(1) if type(self._criterion) is nn.CrossEntropyLoss else logits
        below = logits.exp().cumsum(1)
        positions = torch.Size((len(outputs), *outputs.shape[2:]))
        uniform = torch.special.ndtr(self._normals(positions, outputs, first_row))
        last = outputs.shape[1] - 1
        drawn = torch.stack(
            [(one[:, None] > below).sum(1).clamp_max(last) for one in uniform.unbind(1)], 1
        )
        if targets.is_floating_point():
            return drawn
        # The caller's ignore_index may be a class, which a row that counts may draw.
        return drawn.masked_fill((targets == self._criterion.ignore_index)[:, None], _IGNORED)

    def _normals(self, shape: torch.Size, like: Tensor, first_row: int) -> Tensor:
        """Gaussians (B, M, ...) for terms of ``shape`` (B, ...), float64."""
        each = shape[1:].numel()
        out = torch.empty(shape[0], self._draws * each, dtype=torch.float64, device=like.device)
        _native.normals_(out, self._seed, first_row=first_row)
        return out.reshape(shape[0], self._draws, *shape[1:])
