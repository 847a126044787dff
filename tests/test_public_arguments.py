"""Every public call names a wrong argument before it runs anything, whichever argument it is."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import landscape_fast
from landscape_fast import regularisers
from landscape_fast.compat.hessian_eigenthings import compute_hessian_eigenthings
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.krylov.trace import hutchinson
from landscape_fast.metrics.yang2021 import power_iteration, settling_trace
from landscape_fast.surfaces.directions import (
    plane_through,
    random_directions,
    trajectory_directions,
)
from landscape_fast.training.recipe import Recipe


class Unwilling(nn.Sequential):
    """Says so when it is run: what is wrong with an argument must be said before."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 3))

    def forward(self, inputs: Any) -> Any:  # noqa: ARG002
        raise AssertionError("the model ran")


def unwilling(*_: Any) -> Any:
    raise AssertionError("a function ran")


MODELS, LOADERS = (None, nn.Linear, "net"), (None, 3, [], [("a", "b")], [torch.ones(2)])
CRITERIA, PARAMS = ("mse", nn.MSELoss), (3, "nowhere")
WHOLE, NUMBER = ("x", 2.5, 3.0, None), ("x", math.nan, [1.0])

COLUMNS = ("width", "batch_size", "log_hessian_trace", "mc_train_err", "cka_softmax_mean")

# What a call needs, by the name of the argument.
GIVEN: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("model", "model_a", "model_b", "model_c"), Unwilling),
    **dict.fromkeys(
        ("loader", "data", "dataloader"), lambda: [(torch.ones(4, 2), torch.zeros(4).long())]
    ),
    "models": lambda: [Unwilling(), Unwilling()],
    "checkpoints": lambda: [Unwilling(), Unwilling(), Unwilling()],
    "op": lambda: DenseOperator(torch.eye(3)),
    "operator": lambda: torch.eye(3),
    "parameters": lambda: [torch.ones(2, requires_grad=True)],
    "loss": lambda: torch.ones(2, requires_grad=True).sum(),
    "closure": lambda: unwilling,
    **dict.fromkeys(("gamma", "lr", "dimension"), lambda: 1),
    "scales": lambda: [1.0],
    "dimensions": lambda: [1, 2],
    "groups": lambda: {0.1: [Unwilling(), Unwilling()], 0.2: [Unwilling(), Unwilling()]},
    "steps": lambda: 2,
    "recipe": lambda: Recipe(model="mlp", data="digits"),
    "table": lambda: {key: [1.0] for key in COLUMNS} | {"phase": ["I"]},
    "one": lambda: torch.eye(3),
    "other": lambda: torch.eye(3),
}
OWN: dict[Any, dict[str, Callable[[], Any]]] = {
    compute_hessian_eigenthings: {"loss": lambda: unwilling},
    landscape_fast.instability: {"steps": lambda: [1, 2]},
}
# Wrong values by the name of the argument, where its annotation does not say them.
BY_NAME: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("model", "model_a", "model_b", "model_c"), MODELS),
    **dict.fromkeys(("loader", "data", "dataloader"), LOADERS),
    **dict.fromkeys(("criterion", "loss_fn"), CRITERIA),
    "params": PARAMS,
    "models": (3, nn.Linear(2, 2), [], [nn.Linear]),
    "checkpoints": (3, nn.Linear(2, 2), ["a", "b", "c"]),
    "op": ("x", torch.ones(2, 3)),
    "operator": ("x", torch.ones(2, 3)),
    "parameters": (3, [3], torch.ones(2, requires_grad=True), []),
    "loss": (3, torch.ones(2)),
    "closure": (3,),
    "table": (3,),
    "one": ("x", torch.ones(3)),
    "other": ("x", torch.ones(3)),
    "start": ("x", torch.ones(7)),
    "t": NUMBER,
    "ignore_index": WHOLE,
    "seed": (*WHOLE, -1, 2**64),
    "steps": (2.5, "x", -1),
    "span": (math.nan, "x", (0.0, math.inf)),
    "directions": (2.5, "x", 0),
    "top": (2.5, "x", 0),
    "head": (3, "nowhere"),
    "path": (3,),
    "preconditioner": ("x", 3),
    "process_group": (3,),
    "weight_decay": ("x", math.nan, -1.0),
    "settings": (3,),
    "connectivity_spread": ("nowhere", 3),
    "converged": ("nowhere", 3),
    "sharpness_threshold": NUMBER,
    "connectivity_threshold": NUMBER,
    "similarity_threshold": NUMBER,
    **dict.fromkeys(("held_out", "judged_by"), (3,)),
    "lr": NUMBER,
    "scales": (3, ["x"], [math.nan]),
    "dimension": ("x", 2.5, -1),
    "dimensions": (3, ["x"], [2.5]),
    "recipe": (3,),
    "dataset": (3,),
    "orders": (3, ["x"], [2.5]),
    "groups": (3, {}),
}
# Keywords that name what is not of this kind, or are taken for another tool's sake.
IGNORED = {"use_gpu", "fp16", "max_possible_gpu_samples", "full_dataset"}
# What messages say for a name: how it is called where the check is.
SAID = {
    **{"op": "operator", "loss": "loss|criterion", "dataloader": "loader", "data": "data|loader"},
    **{"directions": "directions|count", "held_out": "held_out|loader"},
}
CALLS: list[Callable[..., Any]] = [
    *(getattr(landscape_fast, name) for name in landscape_fast.__all__),
    *(getattr(regularisers, name) for name in regularisers.__all__),
    *(plane_through, random_directions, trajectory_directions),
    *(extreme_eigenpairs, hutchinson, lanczos_quadrature),
    *(power_iteration, settling_trace, compute_hessian_eigenthings),
]


def is_measurement(call: Any) -> bool:
    """Whether it takes arguments to be checked: results and errors hold what they are given."""
    return not dataclasses.is_dataclass(call) and not (
        inspect.isclass(call) and issubclass(call, Exception)
    )


def wrong(argument: inspect.Parameter) -> tuple[Any, ...]:
    """Values that the argument cannot have."""
    kind = str(argument.annotation)
    if argument.name in BY_NAME:
        return BY_NAME[argument.name]
    if re.fullmatch(r"int( \| None)?", kind):
        return tuple(value for value in (*WHOLE, -1) if value is not None or kind == "int")
    if re.fullmatch(r"float( \| None)?", kind):
        return NUMBER
    if re.fullmatch(r"bool( \| None)?", kind):
        return ("yes", 2)
    if kind.startswith("Literal[") or isinstance(argument.default, str):
        return ("nonsense",)
    raise AssertionError(f"add wrong values for {argument.name}: {kind} to BY_NAME")


def mistakes(call: Callable[..., Any]) -> Iterator[str]:
    """What a call does with each wrong argument, where that is not to name it."""
    signature = inspect.signature(call)
    required = {
        name: OWN.get(call, {}).get(name, GIVEN[name])
        for name, argument in signature.parameters.items()
        if argument.default is argument.empty and argument.kind != argument.VAR_KEYWORD
    }
    for name, argument in signature.parameters.items():
        if name in IGNORED or argument.kind == argument.VAR_KEYWORD:
            continue
        for value in wrong(argument):
            given = {key: make() for key, make in required.items()} | {name: value}
            try:
                call(**given)
            except (TypeError, ValueError) as error:
                if not re.search(rf"\b({SAID.get(name, name)})\b", str(error)):
                    yield f"{name}={value!r}: {type(error).__name__}: {error}"
            except Exception as error:
                yield f"{name}={value!r}: {type(error).__name__}: {error}"
            else:
                yield f"{name}={value!r}: accepted"


@pytest.mark.parametrize(
    "call", list(filter(is_measurement, CALLS)), ids=lambda call: call.__name__
)
def test_a_wrong_argument_is_named_before_anything_runs(call):
    found = list(mistakes(call))
    assert not found, "\n".join(found)


def test_a_call_that_checks_nothing_is_found():
    def careless(model: nn.Module, *, steps: int = 3) -> None:
        for _ in range(steps):
            model(0)

    careless.__annotations__ = {"model": "nn.Module", "steps": "int"}
    assert len(list(mistakes(careless))) == len(MODELS) + len(BY_NAME["steps"])
