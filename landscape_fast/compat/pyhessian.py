"""PyHessian's class and plot: change the import, keep the script.

    from landscape_fast.compat.pyhessian import hessian, get_esd_plot

Differs from PyHessian in: docs/compat.md has the table.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from landscape_fast.arguments import require_number, require_whole
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.linearise.plain_operations import PlainOperations
from landscape_fast.linearise.second_derivative import twice_differentiable
from landscape_fast.linearise.state import evaluation, measurable
from landscape_fast.metrics.trace import trace
from landscape_fast.randomness import kept_random_states

Vector = list[Tensor]  # one tensor per parameter, in its shape


class hessian:  # noqa: N801 - PyHessian's name
    """Spectrum of the Hessian of a model's loss, with the interface of PyHessian 0.1.

    The model is measured in evaluation mode, where its parameters are, and left as it was.

    Args:
        model: Any module; ``DataParallel`` is unwrapped.
        criterion: ``criterion(model(inputs), targets)``.
        data: One batch ``(inputs, targets)``.
        dataloader: Batches, instead of ``data``.
        cuda: Taken for PyHessian's sake; the data are moved to the model, wherever it is.
        seed: Chooses all that is random.

    Attributes:
        params: The trainable parameters.
        gradsH: The gradient of the loss with respect to each; for a single batch with its graph.
        device: Of the model, as a string.
        full_dataset: Whether a ``dataloader`` was given.
        evidence: The result behind the last answer: residuals, standard errors, convergence.

    Raises:
        ValueError: Not exactly one of ``data`` and ``dataloader`` is given; or as
            :class:`~landscape_fast.linearise.operators.HessianOperator`.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1))
        >>> spectrum = hessian(model, torch.nn.MSELoss(), data=batch, cuda=False)
        >>> values, vectors = spectrum.eigenvalues(top_n=2)
        >>> [round(value, 4) for value in values], round(float(np.mean(spectrum.trace())), 4)
        ([4.0, 1.0], 5.0)
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        data: Sequence[Any] | None = None,
        dataloader: Iterable[Any] | None = None,
        cuda: bool = True,  # noqa: ARG002
        *,
        seed: int = 0,
    ) -> None:
        if (data is None) == (dataloader is None):
            raise ValueError("exactly one of data and dataloader must be given")
        self.model = model
        self.criterion = criterion
        self.full_dataset = data is None
        self.data = dataloader if data is None else data
        inner = measurable(model)
        first = next(inner.parameters(), None)
        if first is None:
            raise ValueError("model has no parameter")
        place = first.device
        self.device = str(place)
        self.evidence: Any = None
        self._seed = seed
        loader: Iterable[Any] = [tuple(data)] if data is not None else dataloader or ()
        with kept_random_states():
            batches = Batches(loader, device=place)
        self._loader = list(batches) if batches.resident else loader
        if data is not None:
            self.inputs, self.targets = self._loader[0]  # type: ignore[index]

    @cached_property
    def _operator(self) -> HessianOperator:
        return HessianOperator(self.model, self._loader, criterion=self.criterion)

    @property
    def params(self) -> Vector:
        """The trainable parameters, as they are when first asked for."""
        return list(self._operator.space.tensors)

    @cached_property
    def gradsH(self) -> Vector:  # noqa: N802 - PyHessian's name
        """The gradient by parameter; for a single batch it can be differentiated again."""
        if self.full_dataset:
            return self._split(self._operator.loss_and_gradient()[1])
        with evaluation(self.model), twice_differentiable(self.model), PlainOperations():
            loss = self.criterion(self.model(self.inputs), self.targets)
            return list(
                torch.autograd.grad(loss, self.params, create_graph=True, materialize_grads=True)
            )

    def eigenvalues(
        self,
        maxIter: int = 100,
        tol: float = 1e-3,
        top_n: int = 1,
    ) -> tuple[list[float], list[Vector]]:
        """The ``top_n`` eigenvalues of largest magnitude, in descending order of it.

        Args:
            maxIter: Products allowed per eigenvalue.
            tol: Bound on the residual, relative to the largest magnitude.
            top_n: Eigenvalues wanted.

        Returns:
            Eigenvalues, and unit eigenvectors as lists of tensors of the parameters' shapes.

        Raises:
            ValueError: An argument is out of range.
        """
        require_whole(1, maxIter=maxIter)
        require_whole(1, most=self._operator.shape[0], top_n=top_n)
        self.evidence = extreme_eigenpairs(
            self._operator,
            top_n,
            which="magnitude",
            tol=tol,
            seed=self._seed,
            max_products=max(maxIter * top_n, 2 * top_n + 1),
        )
        self._warn_unless_converged("eigenvalues")
        vectors = [self._split(vector) for vector in self.evidence.vectors]
        return self.evidence.values.tolist(), vectors

    def trace(
        self,
        maxIter: int = 100,
        tol: float = 1e-3,
    ) -> list[float]:
        """Numbers whose mean is the trace; a single one where it is exact.

        Args:
            maxIter: Products allowed.
            tol: Standard error wanted, relative to the trace; ``evidence`` says what it became.

        Raises:
            ValueError: An argument is out of range.
        """
        require_whole(1, maxIter=maxIter)
        require_number(least=0, tol=tol)
        self.evidence = trace(
            self.model,
            self._loader,
            criterion=self.criterion,
            rtol=tol,
            max_products=max(2, maxIter),
            seed=self._seed,
        )
        self._warn_unless_converged("the trace")
        return list(self.evidence.draws.tolist())

    def density(
        self,
        iter: int = 100,
        n_v: int = 1,
    ) -> tuple[list[list[float]], list[list[float]]]:
        """Nodes and weights of the spectral density, a list per start.

        Args:
            iter: Lanczos steps, cut at the number of parameters.
            n_v: Random starts.

        Returns:
            Eigenvalues and their weights, which are real, not negative, and sum to 1.

        Raises:
            ValueError: An argument is out of range.
        """
        require_whole(1, iter=iter, n_v=n_v)
        self.evidence = lanczos_quadrature(self._operator, starts=n_v, steps=iter, seed=self._seed)
        return self.evidence.nodes.tolist(), self.evidence.weights.tolist()

    def dataloader_hv_product(self, v: Sequence[Tensor]) -> tuple[float, Vector]:
        """``v^T H v`` and ``H v`` for a vector as a list of tensors of the parameters' shapes."""
        vector = self._operator.space.flatten(list(v))[None]
        product = self._operator(vector)
        return float((product.double() * vector).sum()), self._split(product[0])

    def _warn_unless_converged(self, what: str) -> None:
        if not self.evidence.converged:
            warnings.warn(
                f"{what} did not reach tol; raise maxIter or tol (see .evidence)",
                RuntimeWarning,
                stacklevel=3,
            )

    def _split(self, vector: Tensor) -> Vector:
        return list(self._operator.space.split(vector))


def density_generate(
    eigenvalues: ArrayLike,
    weights: ArrayLike,
    num_bins: int = 10000,
    sigma_squared: float = 1e-5,
    overhead: float = 0.01,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A density on a grid: Gaussians at the eigenvalues, as PyHessian's function of this name.

    Args:
        eigenvalues: (r, m) of r starts.
        weights: (r, m), theirs.
        num_bins: Points of the grid.
        sigma_squared: Variance of a Gaussian, times the width of the grid if that is above 1.
        overhead: How far the grid reaches beyond the mean extreme eigenvalues.

    Returns:
        The density, of integral 1, and the grid, (num_bins,) each.
    """
    nodes, masses = (np.atleast_2d(np.asarray(a, dtype=float)) for a in (eigenvalues, weights))
    low, high = nodes.min(1).mean() - overhead, nodes.max(1).mean() + overhead
    grid = np.linspace(low, high, num_bins)
    variance = sigma_squared * max(1.0, high - low)
    density = np.zeros(num_bins)
    for node, mass in zip(nodes.ravel(), masses.ravel(), strict=True):
        density += mass * np.exp(-((grid - node) ** 2) / (2 * variance))
    return density / (density.sum() * (grid[1] - grid[0])), grid


def get_esd_plot(eigenvalues: ArrayLike, weights: ArrayLike) -> None:
    """Draw the density of :meth:`hessian.density` on a logarithmic axis into ``example.pdf``.

    Args:
        eigenvalues: (r, m) of r starts.
        weights: (r, m), theirs.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        error.add_note("get_esd_plot draws with matplotlib: pip install matplotlib")
        raise
    density, grid = density_generate(eigenvalues, weights)
    figure = Figure(layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.semilogy(grid, density + 1e-7)
    axes.set_xlabel("Eigenvalue", fontsize=14)
    axes.set_ylabel("Density (log scale)", fontsize=14)
    axes.set_xlim(float(np.min(eigenvalues)) - 1, float(np.max(eigenvalues)) + 1)
    figure.savefig("example.pdf")
