"""The Frobenius norm of the Hessian or of the Gauss-Newton matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landscape_fast import _native
from landscape_fast.arguments import require_seed, require_switch
from landscape_fast.krylov.allocation import Estimated, Part, require_bounds, sum_until
from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import Selection
from landscape_fast.linearise.rules.precision import Precision
from landscape_fast.results import Norm

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

BLOCK = 8  # vectors that go through the operator together


def frobenius_norm(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    gauss_newton: bool = False,
    rtol: float = 0.05,
    params: Selection = None,
    seed: int = 0,
    max_products: int = 1000,
    memory_budget: int | None = None,
    precision: Precision = "float32",
    process_group: ProcessGroup | None = None,
) -> Norm:
    r"""Frobenius norm of the Hessian of the dataset-level loss: the root of the sum of its squares.

    Averages :math:`\lVert H z \rVert^2`, whose mean over sign vectors z is
    :math:`\lVert H \rVert_F^2 = \sum_i \lambda_i^2`; its variance is
    :math:`2 (\lVert H^2 \rVert_F^2 - \sum_j (H^2)_{jj}^2)`, so a norm that one eigenvalue dominates
    needs the most draws: the relative standard error of the norm is then :math:`1 / \sqrt{2 r}`
    after r draws. The error of the root follows by the delta method.

    Neither PyHessian nor hessian-eigenthings has it. Where the top eigenvalues are wanted too, they
    give most of the sum of squares with no variance.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        gauss_newton: Whether the norm of the Gauss-Newton matrix is wanted instead.
        rtol: Standard error wanted, relative to the norm.
        params: Names or modules to restrict the matrix to; None for all trainable parameters.
        seed: Chooses the sign vectors.
        max_products: Bound on products, one per draw.
        memory_budget: Bytes of data to keep in memory.
        precision: Of the products, see :class:`HessianOperator`; recorded in the result.
        process_group: Processes of ``torch.distributed`` that each hold a share of the data.

    Returns:
        ``value``, ``stderr``, ``interval()``, ``converged``, and ``draws`` of the squared norm.

    Raises:
        ValueError: See :class:`HessianOperator`; or an argument is out of range.

    References:
        Hutchinson (1989), doi:10.1080/03610918908812806, applied to the square of the matrix.

    Example:
        The Hessian of this loss is diagonal, with entries 4 and 3, and needs no average:

        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0], [0.0, 3.0**0.5]]), torch.zeros(2, 1))]
        >>> result = frobenius_norm(model, data, criterion=torch.nn.MSELoss())
        >>> round(result.value, 4), result.converged
        (5.0, True)
    """
    require_bounds(rtol, 0.0, max_products)
    require_switch(gauss_newton=gauss_newton)
    require_seed(seed)
    kind = GGNOperator if gauss_newton else HessianOperator
    op = kind(
        model,
        loader,
        criterion=criterion,
        loss_fn=loss_fn,
        params=params,
        memory_budget=memory_budget,
        precision=precision,
        process_group=process_group,
    )

    def draw(first: int, count: int) -> Tensor:
        signs = torch.empty(count, op.shape[0], dtype=op.dtype, device=op.device)
        _native.signs_(signs, seed, first_row=first)
        products = op(signs)
        return _native.row_dots(products, products).cpu()[:, None]

    # The relative error of a root is half of that of its square.
    drawn = sum_until([Part(draw, 1.0, BLOCK)], rtol=2 * rtol, atol=0.0, max_products=max_products)
    square = Estimated(drawn.draws)
    value = math.sqrt(square.value)
    return Norm(
        value=value,
        stderr=math.sqrt(square.variance) / (2 * value) if value > 0 else 0.0,
        draws=drawn.draws[0][:, 0],
        converged=drawn.converged,
        products=len(drawn.draws[0]),
        samples=op.samples,
        precision=op.precision,
    )
