"""A training run in progress: seeded epochs of SGD over resident data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from landscape_fast.training.data import Dataset
from landscape_fast.training.losses import build_loss
from landscape_fast.training.randomness import derived_seed, seeded
from landscape_fast.training.recipe import Recipe

Weights = dict[str, Tensor]


class Run:
    """State of a run between two epochs.

    What an epoch does depends on the weights, the optimiser and the epoch's index alone, so
    :meth:`content` is all that must be saved to continue to the same bits.

    Args:
        recipe: What to train and how.
        data: The training data of the recipe, noise and fraction applied.
        device: Where data and model live.

    Raises:
        ValueError: An epoch has no complete batch.
    """

    def __init__(self, recipe: Recipe, data: Dataset, device: torch.device) -> None:
        self.recipe = recipe
        self.losses: list[float] = []  # one per epoch done
        self.best: Weights | None = None  # of the epoch with the lowest loss so far
        self.best_epoch = -1
        self._device = device
        self._inputs = data.cast(getattr(torch, recipe.dtype)).train_inputs.to(device)
        self._targets = data.train_targets.to(device)
        self._sizes = _batch_sizes(len(self._targets), recipe)
        self._loss = build_loss(recipe.loss)
        self._model = recipe.build_model(data).to(device)
        self._optimizer = torch.optim.SGD(
            self._model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,  # on small networks its overhead is a third below that of foreach
        )

    @property
    def diverged(self) -> bool:
        """The loss of the last epoch is infinite or NaN."""
        return bool(self.losses) and not math.isfinite(self.losses[-1])

    @property
    def complete(self) -> bool:
        """No epoch is left, or none that makes sense."""
        return len(self.losses) == self.recipe.epochs or self.diverged

    @property
    def steps(self) -> int:
        """Updates made so far."""
        return len(self._sizes) * len(self.losses)

    @property
    def weights(self) -> Weights:
        """Current parameters and buffers, not copied."""
        return self._model.state_dict()

    def train_epoch(self) -> None:
        """Make one pass over the data in a new random order."""
        epoch = len(self.losses)
        order = torch.Generator().manual_seed(derived_seed(self.recipe.seed, "order", epoch))
        shuffled = torch.randperm(len(self._targets), generator=order, device="cpu")
        batches = shuffled[: sum(self._sizes)].to(self._device).split(self.recipe.batch_size)
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(epoch)
        self._model.train()
        with seeded(derived_seed(self.recipe.seed, "layers", epoch), self._device):
            losses = torch.stack([self._step(rows) for rows in batches])
        # Means over batches become the mean over samples. This is the one wait for the device.
        sizes = torch.tensor(self._sizes, dtype=torch.float64, device="cpu")
        mean = float(losses.cpu().double() @ sizes / sizes.sum())
        if self.recipe.checkpoint == "lowest_loss" and mean < min(self.losses, default=math.inf):
            self.best = {name: value.detach().clone() for name, value in self.weights.items()}
            self.best_epoch = epoch
        self.losses.append(mean)

    def content(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs."""
        return {
            "recipe": self.recipe.model_dump_json(),
            "losses": self.losses,
            "model": self.weights,
            "optimizer": self._optimizer.state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from the state in ``content``."""
        self._model.load_state_dict(content["model"])
        self._optimizer.load_state_dict(content["optimizer"])
        self.losses = content["losses"]
        self.best, self.best_epoch = content["best"], content["best_epoch"]

    def _step(self, rows: Tensor) -> Tensor:
        outputs = self._model(self._inputs.index_select(0, rows))
        loss = self._loss(outputs, self._targets.index_select(0, rows))
        if not isinstance(loss, Tensor) or loss.dim():
            raise TypeError(
                f"loss {self.recipe.loss!r} must return the scalar mean over a batch, got {loss!r}"
            )
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()


@contextmanager
def repeatable_training(device: torch.device) -> Iterator[None]:
    """Make training independent of the caller's switches, which come back after.

    Inside, gradients are on, autocast is off, and a GPU uses deterministic convolutions.

    Args:
        device: Where the training runs.
    """
    cudnn = torch.backends.cudnn
    switches = (cudnn.deterministic, cudnn.benchmark)
    try:
        if device.type == "cuda":
            cudnn.deterministic, cudnn.benchmark = True, False
        autocast = torch.autocast(device.type, enabled=False)
        with torch.inference_mode(False), torch.enable_grad(), autocast:
            yield
    finally:
        if device.type == "cuda":
            cudnn.deterministic, cudnn.benchmark = switches


def _batch_sizes(samples: int, recipe: Recipe) -> list[int]:
    full, rest = divmod(samples, recipe.batch_size)
    sizes = [recipe.batch_size] * full
    if rest and not recipe.drop_last:
        sizes.append(rest)
    if not sizes:
        raise ValueError(
            f"batch_size {recipe.batch_size} exceeds the {samples} training samples, and drop_last "
            "skips the incomplete batch: nothing would be trained"
        )
    return sizes
