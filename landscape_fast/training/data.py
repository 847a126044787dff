"""A data set as resident tensors: subsets of it and noisy labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape_fast.arguments import require_choice, require_number, require_whole
from landscape_fast.training.pixel_noise import PixelScale, noisy

IGNORED = -100  # target of a position without one; torch's cross-entropy leaves it out


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Training and test samples, ready to go into a network.

    Integer inputs are tokens, and ``classes`` their vocabulary. Targets of sequences have one class
    index for each position, :data:`IGNORED` where the sequence is filled up.

    Raises:
        ValueError: A part is empty, its counts differ, or a class index is out of range.
    """

    train_inputs: Tensor  # (N, channels, ...) floating, normalised; or int64 tokens
    train_targets: Tensor  # (N,) int64 class indices; or (N, T) of sequences
    test_inputs: Tensor  # (N_test, channels, ...)
    test_targets: Tensor  # (N_test,)
    classes: int
    pixels: PixelScale | None = None  # how inputs came from pixels; None: they are no images

    def __post_init__(self) -> None:
        _check_part("train", self.train_inputs, self.train_targets, self.classes)
        _check_part("test", self.test_inputs, self.test_targets, self.classes)

    @property
    def channels(self) -> int:
        """Size of the second axis of the inputs."""
        return self.train_inputs.shape[1] if self.train_inputs.dim() > 1 else 1

    def cast(self, dtype: torch.dtype) -> Dataset:
        """Take the inputs to ``dtype``; tokens stay the integers that they are."""
        if not self.train_inputs.is_floating_point():
            return self
        return replace(
            self, train_inputs=self.train_inputs.to(dtype), test_inputs=self.test_inputs.to(dtype)
        )

    def first(self, fraction: float) -> Dataset:
        """Keep the first ``int(N * fraction)`` training samples, in their order.

        Raises:
            ValueError: ``fraction`` is not in (0, 1], or leaves no sample.
        """
        require_number(above=0, most=1, fraction=fraction)
        kept = int(len(self.train_targets) * fraction)
        if kept == 0:
            raise ValueError(
                f"fraction {fraction} leaves none of {len(self.train_targets)} samples"
            )
        inputs, targets = self.train_inputs[:kept], self.train_targets[:kept]
        return replace(self, train_inputs=inputs, train_targets=targets)

    def with_label_noise(self, probability: float, *, seed: int = 12345) -> Dataset:
        """Replace each training label, with ``probability``, by a uniform draw over all classes.

        The draw may hit the true label. Test labels stay clean. For one ``seed`` the noise is the
        same in every run, drawn as in the code of Yang et al. (2021), whose seed is the default.

        Raises:
            ValueError: ``probability`` is not in [0, 1], or the targets are not one class index for
                each sample.
        """
        require_number(least=0, most=1, probability=probability)
        if probability == 0.0:
            return self
        if self.train_targets.is_floating_point():
            raise ValueError("label noise needs class indices as targets, got floating-point ones")
        if self.train_targets.dim() > 1:
            raise ValueError(
                "label noise needs one label for each sample, got targets of shape "
                f"{tuple(self.train_targets.shape)}"
            )
        draws = np.random.RandomState(seed)  # this generator's stream is frozen for good
        targets = self.train_targets.clone()
        replaced = torch.from_numpy(draws.rand(len(targets)) <= probability)
        drawn = draws.choice(self.classes, int(replaced.sum()))
        targets[replaced.to(targets.device)] = torch.from_numpy(drawn).to(targets)
        return replace(self, train_targets=targets)

    def with_pixel_noise(
        self, amplitude: float, *, wraps: bool = False, seed: int = 12345
    ) -> Dataset:
        """Add noise, uniform on [0, ``amplitude``], to every pixel of the training images.

        Test images stay clean. For one ``seed`` the noise is the same in every run, drawn image by
        image as in the code of Yang et al. (2021), whose seed is the default; so the noisy image of
        a fraction is that of the whole set.

        Args:
            amplitude: Largest noise, in pixel values, of which black is 0 and white is 255.
            wraps: What becomes of sums above 255. By default they are cut to 255. True repeats what
                that code does: noise is cut to whole numbers and sums wrap around, 256 to 0.
            seed: Of the noise.

        Raises:
            ValueError: ``amplitude`` is not in [0, 255], or the inputs are no images with a known
                pixel scale.
        """
        require_number(least=0, most=255, amplitude=amplitude)
        if amplitude == 0.0:
            return self
        if self.pixels is None:
            raise ValueError("pixel noise needs images whose pixel scale is known (pixels is None)")
        inputs = noisy(self.train_inputs, self.pixels, amplitude, wraps=wraps, seed=seed)
        return replace(self, train_inputs=inputs)

    def batches(self, part: Literal["train", "test"], size: int) -> list[tuple[Tensor, Tensor]]:
        """Cut a part into consecutive ``(inputs, targets)`` batches; the last may be smaller.

        Raises:
            ValueError: ``part`` is neither, or ``size`` is below 1.
        """
        require_choice(("train", "test"), part=part)
        require_whole(1, size=size)
        train = part == "train"
        inputs = self.train_inputs if train else self.test_inputs
        targets = self.train_targets if train else self.test_targets
        return list(zip(inputs.split(size), targets.split(size), strict=True))


def _check_part(part: str, inputs: Tensor, targets: Tensor, classes: int) -> None:
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise ValueError(
            f"{part}_inputs has {len(inputs)} rows and {part}_targets {len(targets)}; both must "
            "have the same number, at least 1"
        )
    if targets.is_floating_point():
        return
    indices = targets[targets != IGNORED] if targets.dim() > 1 else targets
    if indices.numel() == 0:
        raise ValueError(f"{part}_targets has no position with a target, all are {IGNORED}")
    if not 0 <= int(indices.min()) <= int(indices.max()) < classes:
        raise ValueError(
            f"{part}_targets must be class indices in 0..{classes - 1}, got values from "
            f"{int(indices.min())} to {int(indices.max())}"
        )
