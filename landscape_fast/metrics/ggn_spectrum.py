"""The whole spectrum of a Gauss-Newton matrix by the Gram matrix of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_whole, require_whole_or_none
from landscape_fast.linearise.gauss_newton_rows import GaussNewtonRows
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.params import Selection
from landscape_fast.metrics.trace import trace
from landscape_fast.results import GGNSpectrum

ROUNDING = 16  # machine epsilons of the model that a singular value of the rows may be off by
CHUNK = 4096  # columns that are multiplied in float64 at a time


def ggn_spectrum(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    params: Selection = None,
    rtol_omitted: float = 1e-7,
    max_rows: int | None = 4096,
    vectors: int = 0,
    memory_budget: int | None = None,
    rows_memory: int = 2**30,
) -> GGNSpectrum:
    r"""All eigenvalues of the Gauss-Newton matrix of the dataset-level loss.

    :math:`G = \frac{1}{N} \sum_n J_n^\top A_n J_n` has rank at most samples times outputs. With
    :math:`A_n = \sum_c s_c s_c^\top` it is :math:`B^\top B` for the rows
    :math:`J_n^\top s_c / \sqrt N` of B, and the Gram matrix :math:`B B^\top` has the same non-zero
    eigenvalues, all of them, exactly. No probe, no iteration. Where there are more rows than
    parameters, G itself is made instead.

    Rows are left out, those of least output curvature first, up to ``rtol_omitted`` of it and
    beyond ``max_rows``. The trace of what was left out is then measured (exactly, by
    :func:`~landscape_fast.metrics.trace.trace`), and bounds the error of everything.

    Cost: one backward pass of one sample per row, times the passes over B that ``rows_memory``
    asks for; ``rows ** 2 * n`` multiplications; an eigendecomposition of rows by rows in float64.
    For thousands of samples of many classes take :func:`spectral_density` of a ``GGNOperator``,
    or :func:`top_eigs`.

    Args:
        model: Any module; measured in evaluation mode and left untouched.
        loader: Iterable of batches, the first of at least two rows.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        params: Names or modules to restrict G to; None for all trainable parameters.
        rtol_omitted: Share of the curvature of the outputs that may be left out; 0 for none.
        max_rows: Most rows of the Gram matrix; None for no limit. Costs its square in memory and
            its cube in time.
        vectors: Eigenvectors wanted, from the largest eigenvalue on.
        memory_budget: Bytes of data to keep in memory, where they must fit.
        rows_memory: Bytes of rows to hold at a time. Beyond it parameters are cut into ranges, and
            the rows are made anew for each.

    Returns:
        ``values``, ``rank``, ``trace``, ``omitted_trace``, ``vectors``, and bounds
        ``effective_rank(damping)`` and ``logdet(damping)``.

    Raises:
        ValueError: An argument is out of range; the loss cannot be cut into a network and a loss of
            its outputs, or couples rows; or rows would be left out of a loss that is not convex in
            the outputs, where their trace is no bound.

    References:
        Schraudolph (2002), doi:10.1162/08997660260028683. Papyan (2019), arXiv:1901.08244.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(3, 1, bias=False)
        >>> data = [(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.zeros(2, 1))]
        >>> found = ggn_spectrum(model, data, criterion=torch.nn.MSELoss())
        >>> found.values.round(decimals=5), found.rank, found.dimension
        (tensor([4., 1.], dtype=torch.float64), 2, 3)
    """
    require_number(least=0, below=1, rtol_omitted=rtol_omitted)
    require_whole_or_none(1, max_rows=max_rows)
    require_whole(0, vectors=vectors)
    require_whole(1, rows_memory=rows_memory)
    loss: dict[str, Any] = {"criterion": criterion, "loss_fn": loss_fn, "params": params}
    rows = GaussNewtonRows(
        model, loader, **loss, memory_budget=memory_budget, rtol_omitted=rtol_omitted
    )
    n = rows.space.size
    whole = n <= rows.kept and (max_rows is None or n <= max_rows)
    if not whole and max_rows is not None:
        rows.keep_largest(max_rows)
    signs = rows.signs
    if rows.kept < rows.total and (signs < 0).any():
        raise ValueError(
            "the loss is not convex in the outputs, so that no row can be left out: "
            "rtol_omitted=0, and max_rows=None or smaller data"
        )
    if whole:
        values, basis = _of_matrix(rows, signs)
    else:
        values, basis = _of_gram(rows, signs, rows_memory)
    eps = ROUNDING * torch.finfo(rows.space.dtype).eps
    largest = float(values.abs().max()) if len(values) else 0.0
    rounding = max(eps**2, len(values) * torch.finfo(torch.float64).eps) * largest
    rank = int((values.abs() > rounding).sum())
    if vectors > rank:
        raise ValueError(f"vectors={vectors} are wanted, but G has rank {rank} to rounding")
    found = float(values.sum())
    everything, omitted = found, 0.0
    if rows.kept < rows.total:
        everything = trace(
            model, rows.loader, **loss, gauss_newton=True, rtol=0.0, rtol_omitted=0.0
        ).value
        # A difference of two traces that are rounded in different orders.
        omitted = max(0.0, everything - found) + eps * everything
    return GGNSpectrum(
        values=values,
        dimension=n,
        rank=rank,
        rounding=rounding,
        trace=everything,
        omitted_trace=omitted,
        rows=rows.kept,
        all_rows=rows.total,
        samples=rows.samples,
        vectors=_vectors(rows, basis[:vectors], whole, rows_memory) if vectors else None,
    )


def _of_matrix(rows: GaussNewtonRows, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of G made as a matrix (n, n), descending, and its eigenvectors as rows."""
    n, first = rows.space.size, 0
    matrix = torch.zeros(n, n, dtype=torch.float64, device=rows.space.device)
    for part in rows.by_sample():
        wide = part.double()
        sign = signs[first : first + len(part), None].to(wide.device)
        matrix.addmm_(wide.T, sign * wide)
        first += len(part)
    values, columns = torch.linalg.eigh((matrix + matrix.T) / 2)
    values = _settled(values, signs)
    return values.flip(0).cpu(), columns.T.flip(0)


def _of_gram(rows: GaussNewtonRows, signs: Tensor, memory: int) -> tuple[Tensor, Tensor]:
    """Non-zero eigenvalues of G from ``B B^T``, descending, and C with eigenvectors ``C B``."""
    count = len(signs)
    if not count:
        return torch.zeros(0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64)
    gram = torch.zeros(count, count, dtype=torch.float64, device=rows.space.device)
    for _, part in _ranges(rows, memory):
        for chunk in part.split(CHUNK, dim=1):
            wide = chunk.double()
            gram.addmm_(wide, wide.T)
    squares, columns = torch.linalg.eigh((gram + gram.T) / 2)
    # B = columns sqrt(squares) (orthonormal rows), so that with signs D the matrix B^T D B has the
    # eigenvalues of sqrt(squares) columns^T D columns sqrt(squares).
    roots = squares.clamp_min(0).sqrt()
    inverse = roots.clamp_min(float(roots.max()) * 1e-30 + 1e-300).reciprocal()
    values, turned = squares, torch.eye(count, dtype=torch.float64, device=gram.device)
    if (signs < 0).any():
        inner = columns.T @ (signs.to(gram.device)[:, None] * columns)
        values, turned = torch.linalg.eigh(roots[:, None] * inner * roots)
    # Of more rows than parameters the rest are zeros of the Gram matrix, and none of G.
    used = values.abs().argsort(descending=True)[: rows.space.size]
    used = used[values[used].argsort(descending=True)]
    coefficients = (columns * inverse) @ turned[:, used]
    return _settled(values, signs)[used].cpu(), coefficients.T


def _settled(values: Tensor, signs: Tensor) -> Tensor:
    """Of a sum of squares no eigenvalue is negative but by rounding."""
    return values if (signs < 0).any() else values.clamp_min(0)


def _ranges(rows: GaussNewtonRows, memory: int) -> Iterator[tuple[slice, Tensor]]:
    """The rows by ranges of parameters that fit into ``memory`` bytes."""
    width = max(1, memory // max(1, rows.kept * rows.space.dtype.itemsize))
    for start in range(0, rows.space.size, width):
        stop = min(start + width, rows.space.size)
        yield slice(start, stop), rows.columns(start, stop)


def _vectors(rows: GaussNewtonRows, basis: Tensor, whole: bool, memory: int) -> Tensor:
    """Unit eigenvectors (k, n) in the dtype of the parameters' space."""
    if whole:
        return basis.to(rows.space.dtype)
    out = torch.empty(len(basis), rows.space.size, dtype=rows.space.dtype, device=rows.space.device)
    for place, part in _ranges(rows, memory):
        for chunk, into in zip(
            part.split(CHUNK, dim=1), out[:, place].split(CHUNK, dim=1), strict=True
        ):
            into.copy_(basis @ chunk.double())
    return out
