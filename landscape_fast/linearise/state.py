"""Measuring leaves no trace: what the caller owns comes back as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from landscape_fast.functional import tensors_kept
from landscape_fast.randomness import kept_random_states


def unwrap(model: nn.Module, argument: str = "model") -> nn.Module:
    """Return the module inside DataParallel, DistributedDataParallel or ``torch.compile``.

    Raises:
        TypeError: ``model`` is not a module; ``argument`` is what the message calls it.
    """
    if not isinstance(model, nn.Module):
        what = model.__name__ if isinstance(model, type) else type(model).__name__
        raise TypeError(f"{argument} must be a torch.nn.Module, got {what}")
    while True:
        wrapped = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
        inner = model.module if wrapped else getattr(model, "_orig_mod", model)
        if inner is model or not isinstance(inner, nn.Module):
            return model
        model = inner


def measurable(model: nn.Module, argument: str = "model") -> nn.Module:
    """:func:`unwrap` ``model``, and refuse one that autograd cannot see whole.

    Raises:
        ValueError: Parameters are sharded over processes, or were made in inference mode; or an
            embedding rewrites its weight or its gradient.
        TypeError: ``model`` is not a module.
    """
    model = unwrap(model, argument)
    sharded = _loaded("torch.distributed.fsdp", "FullyShardedDataParallel")
    if any(isinstance(module, sharded) for module in model.modules()):
        raise ValueError(f"{argument} is wrapped in FullyShardedDataParallel: {_GATHER}")
    pieces = _loaded("torch.distributed.tensor", "DTensor")
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            _require_plain(name, module)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if isinstance(tensor, pieces):
            raise ValueError(f"{argument} holds {name} as a DTensor (fully_shard): {_GATHER}")
        if tensor.is_inference():
            raise ValueError(
                f"{argument} holds {name} made inside torch.inference_mode(), which autograd "
                "cannot differentiate; make or load the model outside"
            )
    return model


def _require_plain(name: str, embedding: nn.Embedding | nn.EmbeddingBag) -> None:
    """Refuse options that make the forward or the backward pass another function than the loss's.

    Raises:
        ValueError: As described.
    """
    if embedding.max_norm is not None:
        raise ValueError(
            f"embedding {name!r} has max_norm={embedding.max_norm}: every forward pass rewrites "
            "its weight, which must stay as it is; set max_norm=None to measure (the weights of "
            "the last pass are within it)"
        )
    if embedding.scale_grad_by_freq:
        raise ValueError(
            f"embedding {name!r} has scale_grad_by_freq=True: what it returns as gradient is not "
            "the loss's, and has no Hessian; set it to False to measure"
        )


_GATHER = (
    "a product needs all parameters in one place. Load the full state dict (get_model_state_dict "
    "of torch.distributed.checkpoint.state_dict with full_state_dict=True) into a plain module on "
    "every process, and share the data with process_group="
)


def _loaded(module: str, name: str) -> tuple[type, ...]:
    """A class as isinstance takes it; nothing can be one if its module was never imported."""
    found = getattr(sys.modules.get(module), name, None)
    return () if found is None else (found,)


@contextmanager
def untouched(*models: nn.Module) -> Iterator[None]:
    """Restore, on any way out, what running ``models`` can change.

    Covers the train/eval flag of every module, the values and identities of buffers, ``.grad`` and
    ``requires_grad`` of parameters, which other tensors a module holds (``weight_norm`` makes its
    weight anew in every call), and the random states of torch (CPU and CUDA), numpy and Python.
    Gradients are taken off while inside, so code that calls ``backward`` cannot add to them, and so
    are hooks on the gradients of parameters: a gradient that a hook changes is not the loss's.
    ``torch.autocast`` of the surroundings is off inside: a result is in the precision of the model.
    """
    with ExitStack() as stack:
        stack.enter_context(kept_random_states())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        for model in models:
            stack.enter_context(_model_state(model))
            stack.enter_context(tensors_kept(model))
        yield


@contextmanager
def evaluation(model: nn.Module, batchnorm: str = "eval") -> Iterator[None]:
    """Run ``model`` in evaluation mode with gradients available, and leave it untouched.

    With ``batchnorm="train"`` batch normalisation uses each batch's own statistics. Dropout stays
    off.
    """
    with untouched(model), torch.inference_mode(False), torch.enable_grad():
        model.eval()
        if batchnorm == "train":
            _hide_running_statistics(model)
        yield


def _hide_running_statistics(model: nn.Module) -> None:
    """Make batch normalisation work as if it kept none: it then neither reads nor moves them."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean = module.running_var = None


@contextmanager
def _model_state(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone(), buffer._version)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    parameters = [(p, p.grad, p.requires_grad, p._backward_hooks) for p in model.parameters()]
    try:  # from here on, as an interrupt may come at any line
        for parameter, *_ in parameters:
            parameter.grad = None
            parameter._backward_hooks = None
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for kept in buffers:
            _restore_buffer(*kept)
        for parameter, gradient, requires_grad, hooks in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient
            parameter._backward_hooks = hooks


def _restore_buffer(
    module: nn.Module, name: str, buffer: Tensor, values: Tensor, version: int
) -> None:
    # By value, where values can be compared (not if sparse): batch normalisation moves its
    # statistics without a new version number.
    dense = buffer.layout == torch.strided
    if not torch.equal(buffer, values) if dense else buffer._version != version:
        with torch.no_grad():
            buffer.copy_(values)
    module._buffers[name] = buffer
