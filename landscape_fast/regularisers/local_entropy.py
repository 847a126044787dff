"""Local entropy as a penalty: training that prefers wide valleys."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_seed, require_whole
from landscape_fast.regularisers.parameters import trainable


def local_entropy(
    closure: Callable[[], Tensor],
    parameters: nn.Module | Iterable[Tensor],
    *,
    gamma: float,
    steps: int = 20,
    lr: float = 0.1,
    noise: float = 1e-4,
    memory: float = 0.75,
    seed: int = 0,
) -> Tensor:
    r"""A scalar whose gradient is that of the negative local entropy, estimated by Langevin steps.

    Of :math:`-F(\theta) = -\log \int \exp(-L(\theta') - \tfrac\gamma2 \lVert \theta - \theta'
    \rVert^2) d\theta'` the gradient is :math:`\gamma (\theta - \langle \theta' \rangle)`. The mean
    is estimated by stochastic gradient Langevin dynamics from :math:`\theta`, as a running average
    with weight ``memory`` on the past. Returned is :math:`\tfrac\gamma2 \lVert \theta - \mu
    \rVert^2` with the mean :math:`\mu` held fixed: its gradient is the one above, its value is not
    the entropy. Use it in the place of the loss, or beside it.

    Without noise, and with enough steps, the mean is the proximal point of the loss, which for a
    quadratic loss is the exact answer.

    Args:
        closure: Returns the loss where the parameters are, with its graph; called ``steps`` times,
            best with a fresh mini-batch each. In training mode, statistics of BatchNorm move as in
            any other forward pass.
        parameters: A module (its trainable parameters), or tensors that require grad; their values
            are moved inside and come back, also after an exception.
        gamma: Inverse width of the neighbourhood, squared.
        steps: Langevin steps.
        lr: Their length.
        noise: Standard deviation of the noise of a step is ``noise * sqrt(2 lr)``. The mean of the
            integral above would take 1; Chaudhari et al. take 1e-4, a much colder ensemble.
        memory: Weight of the past in the running average.
        seed: Chooses the noise; pass the number of the training step.

    Returns:
        A scalar with a graph.

    Raises:
        ValueError: An argument is out of range, ``parameters`` is empty, or the closure returns no
            scalar with a graph.
        TypeError: An argument is of another kind.

    References:
        Chaudhari, Choromanska, Soatto, LeCun, Baldassi, Borgs, Chayes, Sagun and Zecchina (2017),
        arXiv:1611.01838.

    Example:
        For the loss a w^2 / 2 the gradient is a gamma / (a + gamma) w:

        >>> w = torch.tensor([2.0], requires_grad=True)
        >>> def closure():
        ...     return 3.0 * (w**2).sum() / 2
        >>> local_entropy(closure, [w], gamma=1.0, steps=200, noise=0.0).backward()
        >>> w.grad.round(decimals=4)
        tensor([1.5000])
    """
    if not callable(closure):
        raise TypeError(f"closure must be callable, got {type(closure).__name__}")
    require_number(above=0, gamma=gamma, lr=lr)
    require_number(least=0, noise=noise)
    require_number(least=0, below=1, memory=memory)
    require_whole(1, steps=steps)
    require_seed(seed)
    owned = trainable(parameters)
    generator = torch.Generator().manual_seed(seed)
    origin = [part.detach() for part in owned]
    mean = [part.clone() for part in origin]
    with _borrowed(owned):
        for _ in range(steps):
            with torch.enable_grad():
                loss = closure()
            if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
                raise ValueError("closure must return a scalar tensor with its graph")
            slopes = torch.autograd.grad(loss, owned, materialize_grads=True)
            for part, slope, start, average in zip(owned, slopes, origin, mean, strict=True):
                drawn = torch.randn(part.shape, generator=generator).to(part)
                step = -lr * (slope + gamma * (part.data - start))
                part.data = part.data + step + noise * math.sqrt(2 * lr) * drawn
                average.mul_(memory).add_(part.data, alpha=1 - memory)
    gaps = [(part - average).square().sum() for part, average in zip(owned, mean, strict=True)]
    return gamma / 2 * torch.stack(gaps).sum()


@contextmanager
def _borrowed(owned: Sequence[Tensor]) -> Iterator[None]:
    """Give parameters their memory back: graphs that saved them stay valid."""
    kept = [part.data for part in owned]
    try:
        yield
    finally:
        for part, data in zip(owned, kept, strict=True):
            part.data = data
