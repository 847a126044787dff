"""Similarity of what two models compute: linear CKA of their outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.arguments import (
    require_choice,
    require_number,
    require_seed,
    require_switch,
    require_whole,
)
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.state import untouched, unwrap
from landscape_fast.metrics.alignment import Alignment
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.networks import common_device
from landscape_fast.randomness import start_from_seed
from landscape_fast.results import Similarity

_IGNORED = -100  # target that torch's losses leave out


def cka(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Iterable[Any],
    *,
    outputs: str = "softmax",
    rows: str = "samples",
    mixup_alpha: float | None = 16.0,
    samples: int = 640,
    batch_size: int = 128,
    debiased: bool = False,
    seed: int = 0,
) -> Similarity:
    r"""Linear CKA of two models' outputs on interpolated inputs.

    Both models see the same inputs: rows drawn from the data without replacement, and in each batch
    :math:`x \leftarrow \lambda x + (1 - \lambda) x_\pi` with one :math:`\lambda \sim
    \mathrm{Beta}(\alpha, \alpha)` and a random permutation :math:`\pi`. On the data itself, models
    that fit it agree for that reason alone. Swapping the models changes the value by rounding only.

    Differs from the authors' released code in: 640 rows as their paper says, where the code's loop
    draws 768; float64; the same inputs for both orders of a pair.

    Args:
        model_a: Any module with one tensor (N, C, ...) as output; comes back as it went in.
        model_b: The same; it may be of another architecture.
        loader: Iterable of batches ``(inputs, ...)``, held in memory. Targets are not used but for
            ``rows="positions"``.
        outputs: ``"softmax"`` compares probabilities along dimension 1, ``"logits"`` the outputs.
        rows: What is compared: all outputs of each of the ``"samples"`` together, or the C outputs
            at each of their ``"positions"`` with a target other than -100, as of tokens. The latter
            needs batches ``(inputs, targets)`` and holds three (C, C) matrices in float64.
        mixup_alpha: Parameter of the Beta distribution: large values pull :math:`\lambda` to 1/2.
            None leaves the inputs as they are.
        samples: Samples to draw. Data with fewer is used in full. For softmax outputs of ten
            classes, 768 leave a noise of about 0.03 in the value.
        batch_size: Samples that are interpolated with each other.
        debiased: Whether the unbiased estimate of HSIC is used, see :func:`linear_cka`.
        seed: Chooses rows, interpolation and, for a loader that shuffles, its order.

    Returns:
        Value between 0 and 1 (a debiased one may be a little below 0), nan when a model's output is
        constant or not finite; and in ``.samples`` how many rows were compared.

    Raises:
        ValueError: An argument is out of range, the models are on different devices, the loader is
            empty, its batches do not start with a tensor, integer inputs would be interpolated, or
            for ``"positions"`` targets do not go with outputs (N, C, ...).
        TypeError: A model's output is not a tensor.

    References:
        Kornblith, Norouzi, Lee and Hinton (2019), arXiv:1905.00414; Yang et al. (2021),
        arXiv:2107.11228, for the choice of inputs and outputs.

    Example:
        >>> import torch
        >>> data = [(torch.randn(20, 3), torch.zeros(20))]
        >>> model = torch.nn.Linear(3, 2)
        >>> result = cka(model, model, data)
        >>> round(result.value, 6), result.samples
        (1.0, 20)
    """
    _check(outputs, rows, mixup_alpha, samples, batch_size)
    require_switch(debiased=debiased)
    require_seed(seed)
    models = unwrap(model_a, "model_a"), unwrap(model_b, "model_b")
    device = common_device(*models)
    with untouched(*models), torch.no_grad():
        rng = start_from_seed(seed, device)
        for model in models:
            model.eval()
        kept = Minibatches(
            (_needed(batch, rows) for batch in Batches(loader, device=device)), size=batch_size
        )
        collected: list[tuple[Tensor, Tensor]] = []
        positions = Alignment()
        for inputs, *targets in kept.shuffled(rng, samples):
            mixed = _interpolated(inputs, mixup_alpha, rng)
            first, second = (_wide(model(mixed), outputs) for model in models)
            if targets:
                positions.add(*(_at_positions(each, targets[0]) for each in (first, second)))
            else:
                collected.append((first.flatten(1), second.flatten(1)))
    if collected:
        x, y = (torch.cat(parts) for parts in zip(*collected, strict=True))
        value, compared = linear_cka(x, y, debiased=debiased), len(x)
    else:
        value, compared = positions.value(debiased=debiased), positions.rows
    # Rounding can exceed the bound of Cauchy and Schwarz by an ulp.
    value = value if math.isnan(value) else min(value, 1.0)
    return Similarity(value=value, outputs=outputs, samples=compared)


def linear_cka(x: Tensor, y: Tensor, *, debiased: bool = False) -> float:
    r"""Linear centred kernel alignment of two sets of features of the same rows.

    :math:`\mathrm{HSIC}(x, y) / \sqrt{\mathrm{HSIC}(x, x)\, \mathrm{HSIC}(y, y)}` with linear
    kernels, which for centred columns is :math:`\lVert x^\top y \rVert_F^2 / (\lVert x^\top x
    \rVert_F \lVert y^\top y \rVert_F)`. Rotations and uniform scaling of a set do not change it.

    Args:
        x: (m, d1) floating-point features, one row per sample; taken to float64.
        y: (m, d2) features of the same samples.
        debiased: Use the unbiased estimate of HSIC. The plain one approaches 1 for unrelated
            features once d1 and d2 reach m; the unbiased one stays near 0 and may be negative.

    Returns:
        The alignment; nan when the rows of a set differ by no more than their rounding, are not
        finite, or (debiased) are too alike for a positive variance.

    Raises:
        ValueError: Not two matrices of equally many rows, or fewer than four with ``debiased``.

    References:
        Kornblith, Norouzi, Lee and Hinton (2019), arXiv:1905.00414.
        Song, Smola, Gretton, Bedo and Borgwardt (2012), JMLR 13, equation 4, for the unbiased HSIC.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> round(linear_cka(x, x[:, :1]), 6)
        0.707107
    """
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y):
        raise ValueError(
            f"x and y must be matrices of equally many rows, got {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    if debiased and len(x) < 4:
        raise ValueError(f"debiased needs at least 4 rows in x and y, got {len(x)}")
    one, other = (_narrow(_centred(features)) for features in (x, y))
    hsic = _unbiased_hsic if debiased else _hsic
    own = hsic(one, one), hsic(other, other)
    if not min(own) > 0:
        return math.nan
    # One root each: the product of both would leave the range of float64 for small features.
    return hsic(one, other) / (math.sqrt(own[0]) * math.sqrt(own[1]))


def _centred(features: Tensor) -> Tensor:
    """Columns with mean zero in float64; zero where they vary by no more than their rounding."""
    exact = features.double()
    centred = exact - exact.mean(0)
    rounding = 8 * torch.finfo(features.dtype).eps * exact.norm(dim=0)
    return centred.masked_fill(centred.norm(dim=0) <= rounding, 0.0)


def _narrow(features: Tensor) -> Tensor:
    """Features with the same inner products and at most as many columns as rows."""
    if features.shape[1] <= len(features):
        return features
    return torch.linalg.qr(features.T, mode="r").R.T


def _hsic(x: Tensor, y: Tensor) -> float:
    """Biased estimate for centred features, times (m - 1)^2, which cancels in the alignment."""
    return float((x.T @ y).square().sum())


def _unbiased_hsic(x: Tensor, y: Tensor) -> float:
    """Unbiased estimate, times m (m - 3), from Gram matrices K and L without their diagonals."""
    m = len(x)
    diagonal_x, diagonal_y = x.square().sum(1), y.square().sum(1)
    rows_x, rows_y = x @ x.sum(0) - diagonal_x, y @ y.sum(0) - diagonal_y  # K 1 and L 1
    return float(
        (x.T @ y).square().sum()
        - diagonal_x @ diagonal_y
        + rows_x.sum() * rows_y.sum() / ((m - 1) * (m - 2))
        - 2.0 / (m - 2) * (rows_x @ rows_y)
    )


def _needed(batch: Any, rows: str) -> tuple[Tensor, ...]:
    """Inputs of a batch, and for positions its targets."""
    parts = batch if isinstance(batch, list | tuple) else [batch]
    needed = tuple(parts[: 1 if rows == "samples" else 2])
    if not needed or not isinstance(needed[0], Tensor):
        kind = type(needed[0] if needed else batch).__name__
        raise ValueError(
            f"loader must yield batches (inputs, ...) with a tensor of inputs, got {kind}"
        )
    if rows == "positions" and (len(needed) < 2 or not isinstance(needed[1], Tensor)):
        raise ValueError("rows='positions' needs batches (inputs, targets) of two tensors")
    return needed


def _interpolated(inputs: Tensor, alpha: float | None, rng: np.random.Generator) -> Tensor:
    if alpha is None:
        return inputs
    if not inputs.is_floating_point():
        raise ValueError(
            f"inputs are {inputs.dtype} and cannot be interpolated; pass mixup_alpha=None"
        )
    partners = torch.from_numpy(rng.permutation(len(inputs))).to(inputs.device)
    share = float(rng.beta(alpha, alpha))  # of the input itself
    return torch.lerp(inputs[partners], inputs, share)


def _wide(returned: Any, outputs: str) -> Tensor:
    """Outputs (N, C, ...) of a model in at least float32."""
    if not isinstance(returned, Tensor):
        raise TypeError(f"a model must return a tensor of outputs, got {type(returned).__name__}")
    wide = returned.to(torch.promote_types(returned.dtype, torch.float32))
    return wide.softmax(1) if outputs == "softmax" else wide


def _at_positions(features: Tensor, targets: Tensor) -> Tensor:
    """Outputs (m, C) where there is a target."""
    expected = features.shape[:1] + features.shape[2:]
    if targets.shape != expected:
        raise ValueError(
            f"rows='positions' needs targets {tuple(expected)} for outputs "
            f"{tuple(features.shape)}, got {tuple(targets.shape)}"
        )
    return features.movedim(1, -1)[targets != _IGNORED]


def _check(
    outputs: str, rows: str, mixup_alpha: float | None, samples: int, batch_size: int
) -> None:
    require_choice(("samples", "positions"), rows=rows)
    require_choice(("softmax", "logits"), outputs=outputs)
    if mixup_alpha is not None:
        require_number(above=0, mixup_alpha=mixup_alpha)
    require_whole(2, samples=samples)  # of one nothing is left when the mean is taken off
    require_whole(1, batch_size=batch_size)
