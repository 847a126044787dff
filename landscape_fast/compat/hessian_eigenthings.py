"""The function of pytorch-hessian-eigenthings 0.x, which its 1.0 removed.

    from landscape_fast.compat.hessian_eigenthings import compute_hessian_eigenthings

Differs from the original in: docs/compat.md has the table.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_choice, require_number, require_whole
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.linearise.objective import Criterion
from landscape_fast.linearise.operators import HessianOperator

WHICH = {"LM": "magnitude", "LA": "largest", "SA": "smallest"}
OPTIONS: dict[str, dict[str, Any]] = {
    "power_iter": {
        "power_iter_steps": 20,
        "power_iter_err_threshold": 1e-4,
        "momentum": 0.0,
        "init_vec": None,
        "to_numpy": True,
    },
    "lanczos": {
        "which": "LM",
        "max_steps": 20,
        "tol": 1e-6,
        "num_lanczos_vectors": None,
        "init_vec": None,
    },
}


def compute_hessian_eigenthings(
    model: nn.Module,
    dataloader: Iterable[Any],
    loss: Criterion,
    num_eigenthings: int = 10,
    full_dataset: bool = True,
    mode: str = "power_iter",
    use_gpu: bool = True,  # noqa: ARG001
    fp16: bool = False,  # noqa: ARG001
    max_possible_gpu_samples: int = 2**16,  # noqa: ARG001
    **kwargs: Any,
) -> tuple[Any, Any]:
    """Extreme eigenvalues and eigenvectors of the Hessian of the loss over the data.

    Both modes are served by block Lanczos with true residuals.

    Args:
        model: Any module; measured in evaluation mode where it is, and left as it was.
        dataloader: Batches ``(inputs, targets)``.
        loss: ``loss(model(inputs), targets)``.
        num_eigenthings: Eigenpairs wanted.
        full_dataset: Must be true: a matrix that changes with every product has no eigenvalues.
        mode: ``"power_iter"`` or ``"lanczos"``: which keywords are taken.
        use_gpu: Taken for the original's sake; the data are moved to the model.
        fp16: Likewise; vectors stay in the precision that makes ``tol`` reachable.
        max_possible_gpu_samples: Likewise; a batch that does not fit goes through in parts.
        **kwargs: For ``"power_iter"``: ``power_iter_steps`` (20, products per pair),
            ``power_iter_err_threshold`` (1e-4, the residual relative to the largest magnitude),
            ``momentum`` (without effect), ``init_vec``, ``to_numpy``. For ``"lanczos"``: ``which``
            (``"LM"``, ``"LA"``, ``"SA"``), ``max_steps`` (20), ``tol`` (1e-6),
            ``num_lanczos_vectors``, ``init_vec``.

    Returns:
        Eigenvalues (k,) and unit eigenvectors (k, n) as numpy arrays (tensors where
        ``to_numpy=False``), by descending magnitude, for ``"LA"`` descending, ``"SA"`` ascending.

    Raises:
        ValueError: ``mode``, ``which`` or ``full_dataset`` asks for what is not offered; or as
            :class:`~landscape_fast.linearise.operators.HessianOperator`.
        TypeError: A keyword is unknown.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))]
        >>> values, vectors = compute_hessian_eigenthings(model, data, torch.nn.MSELoss(), 2)
        >>> values.round(4), vectors.shape
        (array([4., 1.]), (2, 2))
    """
    require_choice(tuple(OPTIONS), mode=mode)
    require_whole(1, num_eigenthings=num_eigenthings)
    unknown = sorted(set(kwargs) - set(OPTIONS[mode]))
    if unknown:
        raise TypeError(f"mode={mode!r} takes no {unknown[0]}; it takes {', '.join(OPTIONS[mode])}")
    if not full_dataset:
        raise ValueError(
            "full_dataset=False multiplies with another matrix every time, which has no "
            "eigenvalues; pass a dataloader of the part of the data that you mean"
        )
    options = {**OPTIONS[mode], **kwargs}
    which = options.get("which", "LM")
    require_choice(tuple(WHICH), which=which)
    op = HessianOperator(model, dataloader, criterion=loss)
    require_whole(1, most=op.shape[0], num_eigenthings=num_eigenthings)
    rows = options.get("num_lanczos_vectors")
    named = ("power_iter_steps", "power_iter_err_threshold")
    named = named if mode == "power_iter" else ("max_steps", "tol")
    steps, tol = (options[name] for name in named)
    require_whole(1, **{named[0]: steps})
    require_number(above=0, **{named[1]: tol})
    per_step = num_eigenthings if mode == "power_iter" else rows or 2 * num_eigenthings + 1
    start = options["init_vec"]
    found = extreme_eigenpairs(
        op,
        num_eigenthings,
        which=WHICH[which],
        tol=tol,
        start=None if start is None else _row(start, op),
        max_products=max(steps * per_step, 2 * num_eigenthings + 1),
    )
    if not found.converged:
        warnings.warn(
            f"largest residual {float(found.residuals.max()):.1e} is above {found.tolerance:.1e} "
            f"after {found.products} products; allow more steps",
            RuntimeWarning,
            stacklevel=2,
        )
    if not options.get("to_numpy", True):
        return found.values, found.vectors
    return found.values.numpy(), found.vectors.cpu().numpy()


def _row(vector: Any, op: HessianOperator) -> Tensor:
    return torch.as_tensor(np.asarray(vector)).to(op.device, op.dtype).reshape(1, -1)
