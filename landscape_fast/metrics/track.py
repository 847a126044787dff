"""The curves of one training run: sharpness, trace and gradient alignment at chosen steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landscape_fast import _native
from landscape_fast.arguments import require_switch, require_whole
from landscape_fast.krylov.eigen import extreme_eigenpairs, require_search
from landscape_fast.linearise.batches import require_loader
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.params import Selection
from landscape_fast.results import TrackPoint

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Column = list[float]


class Tracker:
    r"""Measures the Hessian of a loss at steps of the caller's own training loop.

    Every ``every`` steps it finds the k largest eigenvalues; the gradient of the same loss and how
    much of it lies in the span of their eigenvectors (Gur-Ari, Roberts and Dyer 2018); and the
    trace, as the mean of a few draws with fresh signs for every batch, with a standard error.

    What is measured is the loss over ``data`` in evaluation mode, without what the optimiser adds
    (momentum, weight decay unless given). The operator is made once and follows the parameters.

    Args:
        model: Any module, trained by the caller; left as it is.
        data: Batches, or one batch ``(inputs, targets)`` of tensors. A part of the training data
            is cheaper, and its sharpness is that of this part.
        k: Eigenvalues.
        every: Steps between two points; step 0 is one.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``.
        tol: Residual allowed, relative to the eigenvalue of largest magnitude.
        risk: As of :func:`~landscape_fast.krylov.eigen.extreme_eigenpairs`: below 1, products are
            spent on showing that no larger eigenvalue was missed; 1 spends none.
        warm: Whether a search starts from the last eigenvectors too. For one eigenvalue of a slowly
            moving network that takes fewer products, for several it takes more. With ``risk=1`` it
            may stay with an eigenvalue that another has overtaken; a random start does not.
        draws: For the trace at each point, a product each; 0 for none.
        params: Names or modules to restrict the Hessian and the gradient to; None for all.
        seed: Chooses start vectors and signs.
        max_products: Bound on products for the eigenvalues of one point.
        process_group: See :class:`~landscape_fast.linearise.operators.HessianOperator`.
        **options: Others of that class, as ``weight_decay`` and ``batchnorm``.

    Attributes:
        points: All points so far.

    Raises:
        ValueError: ``every``, ``k`` or ``draws`` is out of range; or as ``HessianOperator``.

    References:
        Gur-Ari, Roberts and Dyer (2018), arXiv:1812.04754. Cohen et al. (2021), arXiv:2103.00065.

    Example:
        Gradient descent on a quadratic loss keeps its sharpness, and its gradient turns into the
        directions of least curvature:

        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> data = (torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))
        >>> tracker = Tracker(model, data, every=2, criterion=torch.nn.MSELoss())
        >>> descent = torch.optim.SGD(model.parameters(), lr=0.2)
        >>> for step in range(4):
        ...     _ = tracker(step)
        ...     descent.zero_grad()
        ...     torch.nn.functional.mse_loss(model(data[0]), data[1]).backward()
        ...     _ = descent.step()
        >>> table = tracker.table()
        >>> table["step"], [round(value, 3) for value in table["eigenvalue_1"]]
        ([0, 2], [4.0, 4.0])
        >>> table["alignment"][0] > table["alignment"][1]
        True
    """

    def __init__(
        self,
        model: nn.Module,
        data: Iterable[Any],
        k: int = 1,
        *,
        every: int = 50,
        criterion: Criterion | None = None,
        loss_fn: LossFunction | None = None,
        tol: float = 1e-2,
        risk: float = 1.0,
        warm: bool = False,
        draws: int = 4,
        params: Selection = None,
        seed: int = 0,
        max_products: int = 200,
        process_group: ProcessGroup | None = None,
        **options: Any,
    ) -> None:
        require_whole(1, every=every)
        require_whole(0, draws=draws)
        require_switch(warm=warm)
        require_search(k, "largest", tol, risk, seed, max_products)
        require_loader(data, "data")
        self._k, self._every, self._draws = k, every, draws
        self._seed = seed
        self._search: dict[str, Any] = {"tol": tol, "risk": risk, "max_products": max_products}
        self._warm = warm
        self._op = HessianOperator(
            model,
            [data] if _is_batch(data) else data,
            criterion=criterion,
            loss_fn=loss_fn,
            params=params,
            process_group=process_group,
            **options,
        )
        if k > self._op.shape[0]:
            raise ValueError(f"k must be at most the number of parameters {self._op.shape[0]}: {k}")
        self._vectors: Tensor | None = None
        self.points: list[TrackPoint] = []

    def __call__(self, step: int) -> TrackPoint | None:
        """Measure if ``step`` is a multiple of ``every``; else return None."""
        require_whole(0, step=step)
        return self.measure(step) if step % self._every == 0 else None

    def measure(self, step: int) -> TrackPoint:
        """Measure at the current parameters, whatever the step."""
        spent = self._op.products
        pairs = extreme_eigenpairs(
            self._op, self._k, start=self._vectors, seed=self._seed, **self._search
        )
        self._vectors = pairs.vectors if self._warm else None
        loss, gradient = self._op.loss_and_gradient()
        size = float(gradient.double().norm())
        cosines = _native.block_dots(gradient[None], pairs.vectors)[0].cpu().abs() / (size or 1.0)
        alignment = min(1.0, float(cosines.norm()))
        trace = self._drawn_trace()
        point = TrackPoint(
            step=step,
            loss=loss,
            gradient_norm=size,
            values=pairs.values,
            residuals=pairs.residuals,
            converged=pairs.converged,
            cosines=cosines,
            alignment=alignment,
            share=alignment**2,
            trace=float(trace.mean()) if len(trace) else math.nan,
            trace_stderr=(
                float(trace.std()) / math.sqrt(len(trace)) if len(trace) > 1 else math.nan
            ),
            products=self._op.products - spent,
            samples=self._op.samples,
        )
        self.points.append(point)
        return point

    def table(self) -> dict[str, Column]:
        """The points as columns of one length, for plots and tables of any library."""
        plain = ("step", "loss", "gradient_norm", "alignment", "share", "trace", "trace_stderr")
        columns = {name: [getattr(point, name) for point in self.points] for name in plain}
        for index in range(self._k):
            for name in ("value", "residual", "cosine"):
                rows = [getattr(point, f"{name}s") for point in self.points]
                title = "eigenvalue" if name == "value" else name
                columns[f"{title}_{index + 1}"] = [float(row[index]) for row in rows]
        columns["converged"] = [point.converged for point in self.points]
        columns["products"] = [point.products for point in self.points]
        return columns

    def _drawn_trace(self) -> Tensor:
        if self._draws == 0:
            return torch.empty(0, dtype=torch.float64)
        first = len(self.points) * self._draws  # of a stream without end: no draw comes twice
        return self._op.random_quadratics(self._draws, seed=self._seed, first=first)


def _is_batch(data: Any) -> bool:
    """Whether this is one batch: a pair of tensors, or tensors by name."""
    items = data.values() if isinstance(data, dict) else data
    whole = isinstance(data, tuple | list | dict)
    return whole and len(data) > 0 and all(isinstance(item, Tensor) for item in items)
