"""Extreme eigenpairs by block Lanczos with full re-orthogonalisation and thick restart."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape_fast import _native
from landscape_fast.krylov.basis import Basis, combine, row_norms
from landscape_fast.krylov.operator import SymmetricOperator
from landscape_fast.results import Eigenpairs

WHICH = ("largest", "smallest", "magnitude", "both")


def extreme_eigenpairs(
    op: SymmetricOperator,
    k: int = 1,
    *,
    which: str = "largest",
    tol: float = 1e-3,
    seed: int = 0,
    block: int = 1,
    max_products: int = 1000,
    basis_size: int | None = None,
) -> Eigenpairs:
    r"""Find k eigenpairs at the ends of the spectrum, certified by true residuals.

    A pair counts as converged when :math:`\lVert A v - \lambda v \rVert \le \text{tol}\,
    |\lambda_1|`, with :math:`\lambda_1` the eigenvalue of largest magnitude met, from products
    made for the purpose after the iteration; each eigenvalue of A nearest to a reported value is
    then at most that far from it. A residual proves that a pair is an eigenpair, not that it is
    among the extreme ones; a random start misses a direction with probability zero, and sees
    a multiple eigenvalue at most ``block`` times unless the space becomes invariant.

    Args:
        op: Symmetric operator on vectors of length n.
        k: Pairs wanted, at most n.
        which: ``"largest"`` (descending), ``"smallest"`` (ascending), ``"magnitude"`` (descending
            absolute value), or ``"both"``: half from each end, descending, the odd one on top.
        tol: Residual allowed, relative to the largest magnitude; never below ten roundings.
        seed: Chooses the start vectors.
        block: Vectors multiplied together. More of them see more copies of a multiple eigenvalue
            and use batched products better, at the price of more products.
        max_products: Bound on products, the certifying ones included.
        basis_size: Rows of memory for the basis, n elements each; restarts when full.

    Returns:
        Pairs sorted as asked. With ``converged=False`` they are the best found.

    Raises:
        ValueError: An argument is out of range.

    References:
        Wu and Simon (2000), thick restart, doi:10.1137/S0895479898334605.
        Golub and Underwood (1977), block Lanczos.

    Example:
        >>> from landscape_fast.krylov.operator import DenseOperator
        >>> op = DenseOperator(torch.diag(torch.tensor([3.0, -5.0, 1.0])).double())
        >>> extreme_eigenpairs(op, 2, which="magnitude").values.round(decimals=6)
        tensor([-5.,  3.], dtype=torch.float64)
    """
    n = op.shape[0]
    _check(n, k, which, tol, block, max_products, basis_size)
    block = min(block, n)
    capacity = min(n, max(basis_size or max(3 * k + 12, 30), k + 2 * block))
    search = _Search(op, capacity + block, block, seed)
    target = tol

    while True:
        search.grow()
        theta, y = torch.linalg.eigh(search.projection)
        scale = float(theta.abs().max())
        allowed = max(tol, 10 * torch.finfo(op.dtype).eps) * scale
        wanted = _order(theta, k, which)
        estimates = search.residuals(y[:, wanted])
        exhausted = search.products + block + k > max_products
        enough = len(theta) >= k
        if exhausted or search.complete or (enough and (estimates <= target * scale).all()):
            pairs = _certify(op, combine(y[:, wanted].T, search.vectors), which, allowed, search)
            if pairs.converged or exhausted or search.complete:
                return pairs
            target *= 0.5  # the estimate was optimistic: ask more of it before certifying again
        if capacity < n and search.size + block > capacity:
            keep = _order(theta, min(k + max(block, (capacity - k) // 3), len(theta) - 1), which)
            search.restart(theta[keep], y[:, keep])


class _Search:
    """A Krylov space with the projection of A on it, kept exactly as the products gave it."""

    def __init__(self, op: SymmetricOperator, capacity: int, block: int, seed: int) -> None:
        like = torch.empty(0, op.shape[0], dtype=op.dtype, device=op.device)
        self._op = op
        self._basis = Basis(min(capacity, op.shape[0]), like, seed=seed)
        self._basis.start(block)
        self._coupling = torch.zeros(0, 0, dtype=torch.float64)  # last block -> appended block
        self._scale = 0.0
        self.projection = torch.zeros(0, 0, dtype=torch.float64)
        self.products = 0

    @property
    def size(self) -> int:
        return len(self.projection)

    @property
    def complete(self) -> bool:
        """The space is all of R^n, so the projection is the operator itself."""
        return self.size == self._op.shape[0]

    @property
    def vectors(self) -> Tensor:
        """Basis rows that have been multiplied, (size, n)."""
        return self._basis.rows[: self.size]

    def grow(self) -> None:
        """Multiply the newest block, project it, and append what is left as the next block."""
        fresh = self._basis.rows[self.size :]
        width, before = len(fresh), self.size
        image = self._op(fresh)
        self.products += width
        self._scale = max(self._scale, float(row_norms(image).max()))
        coefficients = self._basis.project_out(image)
        grown = torch.zeros(before + width, before + width, dtype=torch.float64)
        grown[:before, :before] = self.projection
        grown[before:] = coefficients
        grown[:, before:] = coefficients.T
        corner = coefficients[:, before:]
        grown[before:, before:] = (corner + corner.T) / 2
        self.projection = grown
        self._coupling = self._basis.extend(image, self._scale)

    def residuals(self, y: Tensor) -> Tensor:
        """Residual norms that the space predicts for coefficients ``y`` (size, k)."""
        return (self._coupling.T @ y[self.size - len(self._coupling) :]).norm(dim=0)

    def restart(self, theta: Tensor, y: Tensor) -> None:
        """Keep the Ritz vectors with coefficients ``y`` (size, l) and the newest block."""
        self._basis.compress(y.T, keep_last=self._basis.size - self.size)
        self.projection = torch.diag(theta)


def _certify(
    op: SymmetricOperator, vectors: Tensor, which: str, allowed: float, search: _Search
) -> Eigenpairs:
    """Rayleigh-Ritz on the found vectors with products of their own, and their true residuals."""
    image = op(vectors)
    search.products += len(vectors)
    projection = _native.block_dots(vectors, image).cpu()
    theta, y = torch.linalg.eigh((projection + projection.T) / 2)
    order = _order(theta, len(theta), which)
    theta, rotation = theta[order], y[:, order].T
    vectors, image = combine(rotation, vectors), combine(rotation, image)
    _native.block_update_(image, torch.diag(theta).to(op.device), vectors)
    residuals = row_norms(image).cpu()
    return Eigenpairs(
        values=theta,
        vectors=vectors,
        residuals=residuals,
        tolerance=allowed,
        converged=bool((residuals <= allowed).all()),
        products=search.products,
        samples=op.samples,
    )


def _order(theta: Tensor, k: int, which: str) -> Tensor:
    """Indices of the k wanted among ascending ``theta``, in the order they are reported."""
    ascending = torch.arange(len(theta))
    if which == "smallest":
        return ascending[:k]
    if which == "largest":
        return ascending.flip(0)[:k]
    if which == "magnitude":
        return theta.abs().argsort(descending=True, stable=True)[:k]
    k = min(k, len(theta))
    top, bottom = k - k // 2, k // 2
    return torch.cat([ascending[len(theta) - top :], ascending[:bottom]]).sort().values.flip(0)


def _check(
    n: int,
    k: int,
    which: str,
    tol: float,
    block: int,
    max_products: int,
    basis_size: int | None,
) -> None:
    if not isinstance(k, int):
        raise TypeError(f"k must be a whole number, got {k!r}")
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and the number of parameters {n}, got {k}")
    if which not in WHICH:
        raise ValueError(f"which must be one of {', '.join(WHICH)}, got {which!r}")
    if not tol > 0:
        raise ValueError(f"tol must be positive, got {tol}")
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    if max_products < 2 * k + block:
        raise ValueError(f"max_products must be at least 2 k + block, got {max_products}")
    if basis_size is not None and basis_size < k + 2 * block and basis_size < n:
        raise ValueError(f"basis_size must be at least k + 2 block, got {basis_size}")
