"""Weight decay as part of the loss: lambda/2 ||w||^2 on chosen parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number
from landscape_fast.linearise.params import ParameterSpace, names_of

Decay = float | Mapping[str, float]


class WeightDecay:
    """The penalty that gives every gradient ``g`` the term ``lambda w``, as SGD adds it.

    Args:
        model: The module.
        space: The selected parameters; the penalty itself is over all trainable ones.
        weight_decay: lambda for all trainable parameters, or by name of parameter or sub-module,
            the longest name that fits one counts; zero for the others.

    Raises:
        ValueError: A rate is negative or not finite, or a name is unknown.
        TypeError: A rate is not a number.
    """

    def __init__(self, model: nn.Module, space: ParameterSpace, weight_decay: Decay) -> None:
        owned = dict(model.named_parameters())
        rates = dict.fromkeys(owned, 0.0)
        if isinstance(weight_decay, Mapping):
            for name in sorted(weight_decay, key=lambda name: len(str(name))):
                found = names_of(model, owned, name, "weight_decay")
                rate = weight_decay[name]
                require_number(least=0, **{f"weight_decay[{name!r}]": rate})
                rates |= dict.fromkeys(found, float(rate))
        else:
            require_number(least=0, weight_decay=weight_decay)
            rates = dict.fromkeys(owned, float(weight_decay))
        self._penalised = [
            (tensor, rates[name])
            for name, tensor in owned.items()
            if tensor.requires_grad and rates[name] > 0
        ]
        self._space = space
        self._rates = [rates[name] for name in space.names]

    def penalty(self) -> float:
        """The penalty at the current parameters."""
        return sum(
            rate / 2 * float(tensor.detach().double().square().sum())
            for tensor, rate in self._penalised
        )

    def add_products(self, out: Tensor, block: Tensor) -> None:
        """Add ``lambda v`` to the products ``out`` (K, n) of the vectors ``block`` (K, n)."""
        if any(self._rates):
            parts = zip(self._rates, self._space.views(out), self._space.views(block), strict=True)
            for rate, product, vector in parts:
                product.add_(vector, alpha=rate)

    def forms(self, block: Tensor) -> Tensor:
        """``lambda ||v||^2`` for each row of ``block`` (K, n): (K,) float64."""
        total = torch.zeros(len(block), dtype=torch.float64, device=block.device)
        for rate, vector in zip(self._rates, self._space.views(block), strict=True):
            if rate > 0:
                total += rate * vector.double().reshape(len(block), -1).square().sum(1)
        return total

    def trace(self) -> float:
        """Of the penalty's second derivative: the form of any vector of signs."""
        sizes = (shape.numel() for shape in self._space.shapes)
        return sum(rate * size for rate, size in zip(self._rates, sizes, strict=True))
