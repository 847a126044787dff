r"""Whether the found Ritz values are the extreme eigenvalues, asked of a random block.

Let V be the Ritz vectors wanted at the upper end and :math:`A_V` the compression of A to their
complement. Nothing above :math:`\mu` is missing if :math:`\lambda_{\max}(A_V) < \mu`. Of that
complement the rest of the search space X, with Ritz values :math:`\theta_i < \mu` and coupling g to
the frontier F, is known. Its Schur complement leaves the same question for an operator on the
complement of X alone (B: the compression of A to it):

.. math:: S = B + F^\top \Gamma F, \quad \Gamma = \sum_i g_i g_i^\top / (\mu - \theta_i),
    \qquad \lambda_{\max}(A_V) < \mu \iff \lambda_{\max}(S) < \mu.

A random orthonormal block Z of w rows in a space of dimension d meets a given unit vector u with

.. math:: P(\lVert Z u \rVert \le s) \le (d/2)^{w/2} s^w / \Gamma(w/2 + 1).

Otherwise, in block Lanczos from Z with projection T and coupling K to what is not multiplied, an
eigenvalue x of S above all Ritz values of T belongs to a vector with components v in the block
Krylov space and g behind it, :math:`(x - T) v = K g`, :math:`\lVert v \rVert^2 + \lVert g \rVert^2
\le 1`, whose first w entries are longer than s. The largest x that allows this bounds S. With one
row this is the bound from Lanczos polynomials of van Dorsselaer, Hochstenbach and van der Vorst
(1999), https://ir.cwi.nl/pub/4505.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape_fast.krylov.space import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whether an eigenvalue above the wanted ones is missing at one end of the spectrum."""

    theta: Tensor  # Ritz values that are not wanted at this end
    y: Tensor  # (m, l) their coefficients
    sign: int  # 1 for the upper end, -1 for the lower
    level: float  # the last wanted value, times sign
    slack: float  # error allowed in it
    risk: float  # probability with which the answer may be wrong
    width: int  # rows of the random block
    limit: int  # bound on the products of the search space


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a random block showed."""

    complete: bool  # nothing above level + slack is missing
    next_close: bool  # an eigenvalue within the slack of the level follows, or may follow
    missing: bool  # something above was found; the space holds it now


def examine(space: SearchSpace, question: Question) -> Answer:
    """Iterate a random block orthogonal to the search space until it decides.

    What it finds stays in the space, unless it decides nothing and memory is short.
    """
    sign, slack, first = question.sign, question.slack, space.multiplied
    theta = sign * question.theta
    nearest = float(theta.max()) if len(theta) else -math.inf
    low, high = question.level - slack, question.level + slack
    close = nearest >= low
    mu = high if close else low
    dimension = space.dimension - first
    if dimension == 0:
        return Answer(complete=True, next_close=close, missing=False)
    coupling = space.coupling.T @ question.y
    gamma = sign * (coupling / (mu - theta).clamp_min(slack / 8)) @ coupling.T
    aside = space.set_aside(gamma)
    width = space.append_random(question.width)
    s = _radius(width, dimension, question.risk)
    late, complete, missing = 0, False, False
    while True:
        space.multiply(space.frontier, aside)
        t, frame = torch.linalg.eigh(sign * space.chain(aside))
        k = frame.T @ (sign * space.coupling[first:])
        found = float(t[-1])
        missing = found > high
        close = close or found >= low
        complete = not missing and _excluded(t, frame, k, s, width, high)
        apart = complete and not close and found < low and _excluded(t, frame, k, s, width, low)
        late += complete
        full = space.room < space.frontier + len(aside.rows)
        spent = full or space.products + space.frontier > question.limit
        # Where the next eigenvalue lies costs no more than two products after the rest is settled.
        if missing or (complete and (apart or close or late > 2)) or spent or space.frontier == 0:
            break
    if not (missing or complete) and space.room < space.capacity // 2:
        space.cut(first)
        aside.forget_chain()
    space.take_back(aside)
    return Answer(complete=complete, next_close=close or not apart, missing=missing)


def _radius(width: int, dimension: int, risk: float) -> float:
    """The s above: a fixed direction has less of a random block with probability ``risk``."""
    log = (math.log(risk) + math.lgamma(width / 2 + 1)) / width + math.log(2 / dimension) / 2
    return math.exp(log)


def _excluded(t: Tensor, frame: Tensor, k: Tensor, s: float, width: int, x: float) -> bool:
    """Whether no eigenvalue lies at or above x, given the block's Ritz decomposition.

    Args:
        t: (c,) Ritz values, ascending.
        frame: (c, c) their coefficients, those in the starting block first.
        k: (c, r) their coupling to rows that have not been multiplied.
        s: Components in the starting block that count as impossible.
        width: w.
        x: The bound.
    """
    if x < float(t[-1]):
        return False
    if k.shape[1] == 0:
        return True  # the space of the block is invariant
    if x == float(t[-1]):
        return False
    v = frame @ (k / (x - t)[:, None])
    root = torch.linalg.cholesky(v.T @ v + torch.eye(v.shape[1], dtype=v.dtype))
    inner = torch.linalg.solve_triangular(root, v[:width].T, upper=False)
    return float(torch.linalg.matrix_norm(inner, 2)) <= s
