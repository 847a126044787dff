"""Activation checkpointing: what of it second derivatives can pass.

A checkpointed part of a model runs again in the backward pass. The form without re-entrance is an
ordinary part of the graph. The reentrant one is not: ``torch.autograd.grad`` refuses it, or loses
the gradient without a word where no input of the part requires grad.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from torch.utils import checkpoint


@contextmanager
def stored_activations() -> Iterator[None]:
    """Run models without checkpointing: for parameters that are swapped in for a forward pass.

    The second run of a part would find the model's own parameters again, not those swapped in.
    """
    with _replaced("_checkpoint_without_reentrant_generator", _nothing_around):
        yield


@contextmanager
def reentrance_refused() -> Iterator[None]:
    """Refuse models that checkpoint in the reentrant way.

    Raises:
        ValueError: A model does, inside the block.
    """
    with _replaced("CheckpointFunction", _Refused):
        yield


def _nothing_around(*_: Any, **__: Any) -> Iterator[None]:
    yield


class _Refused:
    @staticmethod
    def apply(*_: Any) -> NoReturn:
        raise ValueError(
            "model uses reentrant activation checkpointing, which has no second derivative; call "
            "torch.utils.checkpoint.checkpoint(..., use_reentrant=False)"
        )


@contextmanager
def _replaced(name: str, stand_in: Any) -> Iterator[None]:
    original = getattr(checkpoint, name)
    setattr(checkpoint, name, stand_in)
    try:
        yield
    finally:
        setattr(checkpoint, name, original)
