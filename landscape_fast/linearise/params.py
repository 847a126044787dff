"""The coordinates of an operator: which parameters, in which order, at which offset."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

Selection = str | nn.Module | Iterable[str | nn.Module] | None


class ParameterSpace:
    """Trainable parameters of a model as one vector of length ``n``.

    The order is that of ``model.named_parameters()``; a parameter used under two names counts once,
    and one without entries does not count.

    Args:
        model: The module that owns the parameters.
        params: Which of them: None for all trainable ones, or names of parameters or of
            sub-modules (``"layer1"`` takes ``layer1.*``), sub-modules, or a list of these.

    Attributes:
        names: Parameter names, in order.
        tensors: The parameters themselves.
        size: n, the number of scalars.
        dtype: Of vectors in this space: float64 if any parameter is, else float32. Half-precision
            parameters have float32 vectors.
        device: Of all parameters.

    Raises:
        ValueError: No trainable parameter is selected, a name is unknown, a selected parameter is
            frozen, complex, or parameters live on several devices.
    """

    def __init__(self, model: nn.Module, params: Selection = None) -> None:
        owned = dict(model.named_parameters())
        names = [name for name in _selected(model, owned, params) if owned[name].numel()]
        if not names:
            raise ValueError("model has no trainable parameter: requires_grad is False for all")
        self.names: tuple[str, ...] = tuple(names)
        self.tensors: tuple[Tensor, ...] = tuple(owned[name] for name in names)
        self.shapes: tuple[torch.Size, ...] = tuple(tensor.shape for tensor in self.tensors)
        sizes = [tensor.numel() for tensor in self.tensors]
        self.offsets: tuple[int, ...] = tuple(accumulate(sizes, initial=0))
        self.size: int = self.offsets[-1]
        dtypes = {tensor.dtype for tensor in self.tensors}
        self.dtype = torch.float64 if torch.float64 in dtypes else torch.float32
        self.device: torch.device = self.tensors[0].device
        for name, tensor in zip(self.names, self.tensors, strict=True):
            if tensor.device != self.device:
                raise ValueError(
                    f"model has parameters on {self.device} and on {tensor.device} ({name}); "
                    "move it to one device"
                )
            if not tensor.is_floating_point():
                raise ValueError(f"model has a parameter that is not real: {name}, {tensor.dtype}")

    def split(self, block: Tensor) -> tuple[Tensor, ...]:
        """Cut ``block`` (k, n) or (n,) into parameter shapes, in the parameters' own dtypes."""
        lead = block.shape[:-1]
        return tuple(
            block[..., start:stop].reshape((*lead, *tensor.shape)).to(tensor.dtype)
            for tensor, start, stop in zip(
                self.tensors, self.offsets[:-1], self.offsets[1:], strict=True
            )
        )

    def views(self, block: Tensor) -> tuple[Tensor, ...]:
        """Views of ``block`` (k, n) in parameter shapes (k, *shape)."""
        return tuple(
            block[:, start:stop].unflatten(1, shape or (1,)).reshape(len(block), *shape)
            for shape, start, stop in zip(
                self.shapes, self.offsets[:-1], self.offsets[1:], strict=True
            )
        )

    def flatten(self, parts: Sequence[Tensor]) -> Tensor:
        """Join tensors of the parameters' shapes into one vector (n,)."""
        return torch.cat([part.reshape(-1).to(self.dtype) for part in parts])

    def to_vector(self, named: Mapping[str, Tensor]) -> Tensor:
        """Vector (n,), or block (k, n), from a dict of parameter-shaped tensors.

        Raises:
            ValueError: A name is missing or unknown, or a shape does not fit.
        """
        if set(named) != set(self.names):
            odd = sorted(set(named) ^ set(self.names))
            raise ValueError(f"the dict's names differ from the selected parameters': {odd[:5]}")
        pieces = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            tensor = named[name]
            lead = tensor.shape[: tensor.dim() - len(shape)]
            if tensor.shape[len(lead) :] != shape or len(lead) > 1:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, wanted {tuple(shape)}")
            pieces.append(tensor.reshape(*lead, -1).to(self.dtype))
        return torch.cat(pieces, dim=-1)

    def to_dict(self, block: Tensor) -> dict[str, Tensor]:
        """Dict of parameter-shaped tensors from a vector (n,) or a block (k, n)."""
        return dict(zip(self.names, self.split(block), strict=True))


def _selected(model: nn.Module, owned: Mapping[str, Tensor], params: Selection) -> list[str]:
    trainable = [name for name, tensor in owned.items() if tensor.requires_grad]
    if params is None:
        return trainable
    if not isinstance(params, Iterable | nn.Module):
        raise TypeError(f"params takes names and modules, got {type(params).__name__}")
    wanted: set[str] = set()
    for item in [params] if isinstance(params, str | nn.Module) else list(params):
        wanted |= names_of(model, owned, item)
    frozen = sorted(wanted - set(trainable))
    if frozen:
        raise ValueError(f"params selects {frozen[0]}, which is frozen (requires_grad=False)")
    if not wanted:
        raise ValueError("params selects no parameter")
    return [name for name in trainable if name in wanted]


def names_of(
    model: nn.Module,
    owned: Mapping[str, Tensor],
    item: str | nn.Module,
    argument: str = "params",
) -> set[str]:
    """Names of the parameters that a name or a sub-module stands for.

    Raises:
        ValueError: There is none. ``argument`` is what the message calls the source.
    """
    if isinstance(item, nn.Module):
        inside = {id(tensor) for tensor in item.parameters()}
        found = {name for name, tensor in owned.items() if id(tensor) in inside}
        if not found:
            raise ValueError(
                f"{argument} holds a {type(item).__name__} that is not part of the model"
            )
        return found
    if not isinstance(item, str):
        raise TypeError(f"{argument} takes names and modules, got {type(item).__name__}")
    meant = {  # by any name of a tied parameter
        id(tensor)
        for name, tensor in model.named_parameters(remove_duplicate=False)
        if name == item or name.startswith(item + ".")
    }
    found = {name for name, tensor in owned.items() if id(tensor) in meant}
    if not found:
        near = difflib.get_close_matches(item, [*owned, *dict(model.named_modules())], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{argument} names {item!r}, which is no parameter or module{hint}")
    return found
