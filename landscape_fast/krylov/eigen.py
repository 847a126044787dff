"""Extreme eigenpairs by block Lanczos with full re-orthogonalisation and thick restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape_fast.arguments import (
    require_choice,
    require_number,
    require_seed,
    require_whole,
    require_whole_or_none,
)
from landscape_fast.krylov.adapter import as_operator
from landscape_fast.krylov.certificate import certified
from landscape_fast.krylov.completeness import Question, examine
from landscape_fast.krylov.ends import WHICH, Ends
from landscape_fast.krylov.operator import SymmetricOperator
from landscape_fast.krylov.space import SearchSpace
from landscape_fast.results import Eigenpairs

MOST_ROWS = 500  # of a basis; beyond, the small dense problems would cost as much as products
CHEAP = 40  # products that an examination may always cost; else as many as the search
ROUNDINGS = 10  # of one product: what no residual can be expected to fall below
# Residuals from the recurrence are off by some roundings; near these, products of their own count.
RECURRENCE = 100 * ROUNDINGS


def extreme_eigenpairs(
    op: Any,
    k: int = 1,
    *,
    which: str = "largest",
    tol: float = 1e-3,
    risk: float = 0.01,
    seed: int = 0,
    block: int = 1,
    start: Tensor | None = None,
    max_products: int = 1000,
    basis_size: int | None = None,
    basis_memory: int = 2**30,
    eps: float | None = None,
) -> Eigenpairs:
    r"""Find k eigenpairs at the ends of the spectrum, certified, all copies of each.

    A pair counts as converged when :math:`\lVert A v - \lambda v \rVert \le \text{tol}\,
    |\lambda_1|`, with :math:`\lambda_1` the eigenvalue of largest magnitude met; an eigenvalue of A
    is then at most that far from the reported one. Residuals come from the products of the
    iteration by linearity, and from products made for the purpose where ``tol`` is so small that
    rounding would show.

    A residual proves that a pair is an eigenpair, not that it is among the extreme ones: from its
    start a search sees one copy of a multiple eigenvalue. So after convergence a random block
    orthogonal to all that was searched is iterated until it shows a larger eigenvalue, and the
    search goes on with it, or until it excludes one: with probability at least ``1 - risk`` over
    that block, the i-th reported value is within ``tol |lambda_1|`` of the i-th extreme eigenvalue,
    counted with multiplicity (:mod:`landscape_fast.krylov.completeness`).

    Args:
        op: Symmetric operator on vectors of length n, or what
            :func:`~landscape_fast.krylov.adapter.as_operator` takes.
        k: Pairs wanted, at most n.
        which: ``"largest"`` (descending), ``"smallest"`` (ascending), ``"magnitude"`` (descending
            absolute value), or ``"both"``: half from each end, descending, the odd one on top.
        tol: Residual allowed, relative to the largest magnitude; never below ten roundings.
        risk: Probability with which ``complete`` may be wrong; 1 leaves the examination out.
        seed: Chooses the random vectors.
        block: Random vectors to start from, multiplied together. 0 starts from ``start`` alone,
            each vector mixed with a little of a random one, so that no eigenvector is orthogonal to
            it: the fewest products where ``start`` is good, but where it lies along a lower
            eigenvector that pair may converge first, which only the examination then notices.
        start: Vectors (p, n) whose span the search starts from as well.
        max_products: Bound on products, those of the certificate included.
        basis_size: Rows of memory for the basis, n elements each; the search restarts when they
            are full. By default as many as ``basis_memory`` holds, at most 500.
        basis_memory: Bytes for the basis where ``basis_size`` is None; at least the
            ``k + 2 block + 8`` rows that a search needs are taken.
        eps: Relative rounding of a product; None for that of the dtype.

    Returns:
        Pairs sorted as asked. With ``converged=False`` they are the best found.

    Raises:
        ValueError: An argument is out of range.

    References:
        Wu and Simon (2000), thick restart, doi:10.1137/S0895479898334605.
        Golub and Underwood (1977), block Lanczos.
        van Dorsselaer, Hochstenbach and van der Vorst (1999), https://ir.cwi.nl/pub/4505.
        Kuczynski and Wozniakowski (1992), doi:10.1137/0613066.

    Example:
        >>> from landscape_fast.krylov.operator import DenseOperator
        >>> op = DenseOperator(torch.diag(torch.tensor([3.0, -5.0, 1.0, 3.0])).double())
        >>> found = extreme_eigenpairs(op, 3, which="magnitude")
        >>> found.values.round(decimals=6), found.complete
        (tensor([-5.,  3.,  3.], dtype=torch.float64), True)
    """
    require_search(k, which, tol, risk, seed, max_products, basis_memory, block)
    op = as_operator(op)
    n = op.shape[0]
    if k > n:
        raise ValueError(f"k must be at most the number of parameters {n}, got {k}")
    if block == 0 and start is None:
        raise ValueError("block must be at least 1 where no start is given, got 0")
    width = max(1, block)
    least = k + 2 * width + 8
    require_whole_or_none(min(k + 2 * width, n), basis_size=basis_size)
    eps = torch.finfo(op.dtype).eps if eps is None else eps
    require_number(least=0, eps=eps)
    if basis_size is None:
        itemsize = torch.finfo(op.dtype).bits // 8
        basis_size = min(max(basis_memory // (n * itemsize), least), max(MOST_ROWS, 2 * least))
    space = SearchSpace(op, basis_size, seed)
    if start is not None:
        space.append(start, mixed=block == 0)
    if block or not space.frontier:
        space.append_random(max(1, min(block, n - space.frontier)))
    rounding = ROUNDINGS * eps
    ends = [-1, 1] if risk < 1 else []
    tol = max(tol, rounding)
    return _Search(space, k, which, tol, rounding, risk, max_products, ends).run(op)


@dataclass(slots=True)
class _Search:
    space: SearchSpace
    k: int
    which: str
    tol: float
    rounding: float
    risk: float
    max_products: int
    open_ends: list[int]  # signs of the ends that remain to be examined
    cluster_cut: bool = False
    width: int = 1  # of the next random block
    attempts: int = 0
    settled: int | None = None  # products when the pairs were first good, or good once more

    def run(self, op: SymmetricOperator) -> Eigenpairs:
        """Grow the space until the wanted pairs are certified or the products are spent."""
        space, k, target = self.space, self.k, self.tol
        own = self.tol < RECURRENCE * torch.finfo(op.dtype).eps  # products of their own certify
        limit = self.max_products - (k if own else 0)
        count = space.frontier
        while True:
            space.multiply(min(count, max(1, limit - space.products)))
            while True:
                theta, y = torch.linalg.eigh(space.projection)
                scale = float(theta.abs().max())
                ends = Ends.of(theta, k, self.which)
                residuals = space.residuals(theta[ends.order], y[:, ends.order])
                good = len(residuals) == k and bool((residuals <= target * scale).all())
                if not good or not self.open_ends or not self._affordable(limit):
                    break
                if space.room < self._least_room():
                    self._restart(theta, y)
                    continue
                self._examine(theta, y, ends, scale, limit)
            whole = space.multiplied == space.dimension
            over = whole or space.products >= limit
            if good or over:
                found = self._report(op, theta, y, ends, residuals, scale, own)
                if found.converged or over:
                    return found
                target *= 0.5  # rounding hid something: ask more before certifying again
            if space.room < space.frontier:
                self._restart(theta, y)
                theta, y = torch.linalg.eigh(space.projection)
                ends = Ends.of(theta, k, self.which)
            count = self._next(y, ends, target * scale)

    def _affordable(self, limit: int) -> bool:
        """Whether memory and products allow another examination."""
        space = self.space
        if self.settled is None:
            self.settled = space.products
        if space.multiplied == space.dimension:
            return True
        least = self.k + 1 + space.frontier + self._least_room()
        fits = space.room == space.dimension or least <= space.capacity
        return fits and space.products + self.width <= min(limit, self._allowance())

    def _allowance(self) -> int:
        assert self.settled is not None
        return self.settled + max(CHEAP, self.settled)

    def _examine(self, theta: Tensor, y: Tensor, ends: Ends, scale: float, limit: int) -> None:
        """Examine one end. What is found changes the space; what is not closes the end."""
        sign = self.open_ends[-1]
        level = ends.level(theta, sign)
        if level is None:
            self.open_ends.pop()
            return
        others = ends.others(len(theta), sign)
        self.attempts += 1
        answer = examine(
            self.space,
            Question(
                theta=theta[others],
                y=y[:, others],
                sign=sign,
                level=level,
                slack=self.tol * scale,
                # The risks of all attempts add up to no more than the risk asked for.
                risk=self.risk / 2**self.attempts,
                width=self.width,
                limit=min(limit, self._allowance()),
            ),
        )
        if answer.missing:
            self.width, self.settled = min(2 * self.width, self.k), None
            self.open_ends, self.cluster_cut = [-1, 1], False
        elif answer.complete:
            self.open_ends.pop()
            self.cluster_cut |= answer.next_close

    def _least_room(self) -> int:
        """Rows that an examination needs: a random block and a few images of it."""
        return min(4 * self.width, self.space.dimension)

    def _restart(self, theta: Tensor, y: Tensor) -> None:
        """Keep the wanted Ritz vectors and some more, and the frontier."""
        space = self.space
        spare = space.capacity - self.k - space.frontier
        keep = self.k + max(1, min(spare // 3, spare - self._least_room()))
        space.compress(y[:, Ends.of(theta, min(keep, len(theta) - 1), self.which).order])

    def _next(self, y: Tensor, ends: Ends, allowed: float) -> int:
        """How many frontier rows to multiply, which lie first."""
        space = self.space
        if space.frontier == 0:
            return space.append_random(max(1, self.k - space.multiplied))
        if len(ends.order) < self.k:
            return space.frontier
        return space.aim(y[:, ends.order], 0.5 * allowed)

    def _report(
        self,
        op: SymmetricOperator,
        theta: Tensor,
        y: Tensor,
        ends: Ends,
        residuals: Tensor,
        scale: float,
        own: bool,
    ) -> Eigenpairs:
        space = self.space
        values, vectors = theta[ends.order], space.vectors(y[:, ends.order])
        known = ends.cut(theta, self.tol * scale)
        if own:
            values, vectors, residuals = certified(op, vectors, self.which)
            space.products += len(vectors)
        return Eigenpairs(
            values=values,
            vectors=vectors,
            residuals=residuals,
            tolerance=self.tol * scale,
            converged=bool((residuals <= self.tol * scale).all()),
            products=space.products,
            samples=op.samples,
            complete=not self.open_ends and self.risk < 1,
            cluster_cut=space.dimension > self.k and (self.cluster_cut or known),
            risk=self.risk,
            rounding=self.rounding * scale,
        )


def require_search(
    k: int,
    which: str,
    tol: float,
    risk: float,
    seed: int,
    max_products: int,
    basis_memory: int = 1,
    block: int = 1,
) -> None:
    """Check what :func:`extreme_eigenpairs` takes, but for what depends on the operator.

    Raises:
        ValueError: An argument is out of range.
        TypeError: It is of the wrong kind.
    """
    require_whole(1, k=k, basis_memory=basis_memory)
    require_whole(0, block=block)
    require_whole(1, max_products=max_products)
    if max_products < (least := 2 * k + max(1, block)):
        raise ValueError(
            f"max_products must be at least {least} for k = {k}, got {max_products}; and k is at "
            "most the number of parameters"
        )
    require_choice(WHICH, which=which)
    require_number(above=0, tol=tol)
    require_number(above=0, most=1, risk=risk)
    require_seed(seed)
