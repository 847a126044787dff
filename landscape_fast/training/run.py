"""A training run in progress: seeded epochs of gradient descent over resident data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from landscape_fast.training.data import IGNORED, Dataset
from landscape_fast.training.early_stopping import settled
from landscape_fast.training.graphed import GraphedStep
from landscape_fast.training.losses import build_loss
from landscape_fast.training.randomness import derived_seed, seeded
from landscape_fast.training.recipe import Recipe

Weights = dict[str, Tensor]
Network = Callable[[Tensor], Tensor]


class Run:
    """State of a run between two epochs.

    What an epoch does depends on the weights, the optimiser and the epoch's index alone, so
    :meth:`content` is all that must be saved to continue to the same bits.

    Args:
        recipe: What to train and how.
        data: The training data of the recipe, noise and fraction applied.
        device: Where data and model live.
        cuda_graph: Play steps from a CUDA graph.

    Raises:
        ValueError: An epoch has no complete batch, ``channels_last`` is asked for what are no
            images, or ``cuda_graph`` for another device or optimiser than CUDA and SGD.
    """

    def __init__(
        self, recipe: Recipe, data: Dataset, device: torch.device, *, cuda_graph: bool = False
    ) -> None:
        self.recipe = recipe
        self.losses: list[float] = []  # one per epoch done
        self.best: Weights | None = None  # of the epoch that the checkpoint rule prefers so far
        self.best_epoch = -1
        self.device = device
        self.inputs = data.cast(getattr(torch, recipe.dtype)).train_inputs.to(device)
        self.targets = data.train_targets.to(device)
        self._sizes = _batch_sizes(len(self.targets), recipe)
        self._criterion = build_loss(recipe.loss)
        self.model = recipe.build_model(data).to(device)
        if recipe.channels_last:
            _check_images(self.inputs)
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = new_optimizer(recipe, self.model.parameters())
        self._step: Callable[[Tensor, float], Tensor] = self._update
        if cuda_graph:
            _check_recordable(recipe, device)
            self._step = GraphedStep(self._update, recipe.batch_size, device)

    @property
    def diverged(self) -> bool:
        """The loss of the last epoch is infinite or NaN."""
        return bool(self.losses) and not math.isfinite(self.losses[-1])

    @property
    def complete(self) -> bool:
        """No epoch is left, or none that could change the result."""
        return len(self.losses) == self.recipe.epochs or self.diverged or self._stopped

    @property
    def _stopped(self) -> bool:
        return self.recipe.checkpoint == "early_stopped" and settled(self.losses)

    @property
    def steps(self) -> int:
        """Updates made so far."""
        return len(self._sizes) * len(self.losses)

    @property
    def weights(self) -> Weights:
        """Current parameters and buffers, not copied."""
        return self.model.state_dict()

    def train_epoch(self) -> None:
        """Make one pass over the data in a new random order."""
        self.finish_epoch(self.train_steps())

    def train_steps(self, first: int = 0, last: int | None = None) -> Tensor:
        """Make the updates ``first`` to ``last`` (excluded) of the next epoch; None is all of them.

        Returns:
            Losses of their batches, on the CPU; :meth:`finish_epoch` wants those of a whole epoch.
        """
        epoch = len(self.losses)
        batches, rates = self.batches(epoch)[first:last], self.rates(epoch)[first:last]
        self.model.train()
        with seeded(derived_seed(self.recipe.seed, "layers", epoch), self.device):
            losses = [self._step(*step) for step in zip(batches, rates, strict=True)]
        # This is the one wait for the device.
        return torch.stack(losses).cpu()

    def rates(self, epoch: int) -> list[float]:
        """Learning rate of each step of an epoch."""
        steps = len(self._sizes)
        return [self.recipe.learning_rate(epoch + step / steps) for step in range(steps)]

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        """Rows of the training set that make up each batch of an epoch, in its random order."""
        order = torch.Generator().manual_seed(derived_seed(self.recipe.seed, "order", epoch))
        shuffled = torch.randperm(len(self.targets), generator=order, device="cpu")
        return shuffled[: sum(self._sizes)].to(self.device).split(self.recipe.batch_size)

    def finish_epoch(self, losses: Tensor) -> None:
        """Record an epoch whose updates are made, and keep its weights if the rule says so.

        Args:
            losses: Of each batch, on the CPU.
        """
        # Means over batches become the mean over samples, or over the tokens of sequences.
        sizes = torch.tensor(self._terms(len(self.losses)), dtype=torch.float64, device="cpu")
        mean = float(losses.double() @ sizes / sizes.sum())
        lowest = self.recipe.checkpoint != "last" and mean < min(self.losses, default=math.inf)
        self.losses.append(mean)
        if lowest or self._stopped:
            self.best = {name: value.detach().clone() for name, value in self.weights.items()}
            self.best_epoch = len(self.losses) - 1

    def content(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs."""
        return {
            "recipe": self.recipe.model_dump_json(),
            "losses": self.losses,
            "model": self.weights,
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from the state in ``content``."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.losses = content["losses"]
        self.best, self.best_epoch = content["best"], content["best_epoch"]

    def _terms(self, epoch: int) -> list[int]:
        """Of how many terms the loss of each batch is the mean."""
        if self.targets.dim() == 1 or self.targets.is_floating_point():
            return self._sizes
        counts = (self.targets != IGNORED).flatten(1).sum(1)
        return torch.stack([counts[rows].sum() for rows in self.batches(epoch)]).tolist()

    def loss(self, network: Network, inputs: Tensor, targets: Tensor) -> Tensor:
        """Training loss of a batch, in the precision of the recipe.

        Args:
            network: The model, or what computes the same with weights from elsewhere.
            inputs: A batch of inputs.
            targets: Theirs.

        Raises:
            TypeError: The loss function returns something else than a scalar.
        """
        with self._precision():
            outputs = network(inputs)
        if self.recipe.autocast != "none":
            outputs = outputs.float()
        loss = self._criterion(outputs, targets)
        if not isinstance(loss, Tensor) or loss.dim():
            raise TypeError(
                f"loss {self.recipe.loss!r} must return the scalar mean over a batch, got {loss!r}"
            )
        return loss

    def _update(self, rows: Tensor, rate: float | Tensor) -> Tensor:
        inputs = self.inputs.index_select(0, rows)
        if self.recipe.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        loss = self.loss(self.model, inputs, self.targets.index_select(0, rows))
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _precision(self) -> AbstractContextManager[object]:
        if self.recipe.autocast == "none":
            return nullcontext()
        # Weights change in every step, and the cache of their copies is only emptied when the
        # outermost of nested contexts ends.
        dtype = getattr(torch, self.recipe.autocast)
        return torch.autocast(self.device.type, dtype=dtype, cache_enabled=False)


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


def new_optimizer(recipe: Recipe, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe, before its first step."""
    # Fused: on small networks its overhead is a third below that of foreach.
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "sgd":
        momentum: dict[str, Any] = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        return torch.optim.SGD(parameters, **momentum, **common)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, betas=(recipe.momentum, 0.999), **common)


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


def _check_recordable(recipe: Recipe, device: torch.device) -> None:
    if device.type != "cuda":
        raise ValueError(f"cuda_graph needs a CUDA device, got {str(device)!r}")
    if recipe.optimizer != "sgd":
        raise ValueError(f"cuda_graph is for optimizer 'sgd', got {recipe.optimizer!r}")


def _check_images(inputs: Tensor) -> None:
    if inputs.dim() != 4:
        raise ValueError(f"channels_last needs images, got inputs of shape {tuple(inputs.shape)}")
