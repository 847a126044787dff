"""What the second-order matrices of a dataset-level loss have in common as operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_fast import _native
from landscape_fast.arguments import require_seed, require_whole
from landscape_fast.linearise.agreement import finite
from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.dataset_loss import measured_loss, require_count, summed_gradient
from landscape_fast.linearise.definition import Definition
from landscape_fast.linearise.engines import Engine, require_options
from landscape_fast.linearise.forecast import forecast
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace, Selection
from landscape_fast.linearise.processes import Processes
from landscape_fast.linearise.progress import Progress
from landscape_fast.linearise.rules.precision import Precision, check_precision, products_in
from landscape_fast.linearise.sampled_targets import SampledTargets
from landscape_fast.linearise.state import evaluation, measurable
from landscape_fast.linearise.structure import rows
from landscape_fast.linearise.weight_decay import Decay, WeightDecay
from landscape_fast.results import Estimate

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator
    from torch.distributed import ProcessGroup

Choice = Callable[..., tuple[Engine, str | None]]


class DatasetOperator:
    """A symmetric matrix that is a sum over batches of second derivatives, divided once.

    Args:
        model: See :class:`~landscape_fast.linearise.operators.HessianOperator`, also for the rest.
        loader: Iterable of batches.
        objective: The loss.
        choose: Finds the engine that multiplies.
        params: Selected parameters.
        memory_budget: Bytes of data to keep.
        values_budget: Bytes of the primal pass to keep.
        engine: Which engine is wanted.
        weight_decay: Rates of the penalty on the weights.
        batchnorm: Which statistics batch normalisation uses.
        precision: Of matrix products and convolutions inside a product.
        process_group: Processes that share the data.
        progress: Whether long products show how far they are.
        sampled: What is differentiated instead of the loss, on targets drawn from the model.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        objective: Objective,
        choose: Choice,
        *,
        params: Selection,
        memory_budget: int | None,
        values_budget: int | None,
        engine: str,
        weight_decay: Decay,
        batchnorm: str,
        precision: Precision,
        process_group: ProcessGroup | None = None,
        progress: bool | None = None,
        sampled: SampledTargets | None = None,
    ) -> None:
        self._processes = Processes(process_group)
        self._objective, self._sampled = objective, sampled
        self._batchnorm, self._precision = batchnorm, precision
        self.products = 0
        self.progress = Progress(type(self).__name__, progress and self._processes.rank == 0)
        with self._processes.together():
            require_options(engine, batchnorm, values_budget, progress)
            self._model = measurable(model)
            self.space = ParameterSpace(self._model, params)
            self.shape = (self.space.size, self.space.size)
            self.dtype, self.device = self.space.dtype, self.space.device
            check_precision(precision, self.dtype, self.device)
            self.precision = precision if self.dtype == torch.float32 else "float64"
            self._decay = WeightDecay(self._model, self.space, weight_decay)
        self._processes.require_same(
            [*self.space.tensors, *self._model.parameters(), *self._model.buffers()],
            "parameters or buffers of model",
        )
        with evaluation(self._model, self._batchnorm):
            with self._processes.together():
                self._batches = Batches(loader, device=self.device, memory_budget=memory_budget)
                if batchnorm == "train":
                    self._batches.require_resident("batchnorm='train'")
                if sampled is not None:
                    self._batches.require_resident("monte_carlo")
                here = measured_loss(self._model, objective, self.space, self._batches)
                self._counts = here[1]
            self._number_rows_and_batches()
            self._divide(*self._processes.sums(*here))
            self._choose = partial(
                choose, engine, self._model, sampled or objective, self.space, values_budget
            )
            with self._processes.together():
                self._take_engine()
                if precision != "float32" and self.engine != "captured":
                    raise ValueError(
                        f"precision={precision!r} needs the captured engine, but: "
                        f"{self.engine_note or 'engine=' + repr(engine)}"
                    )
                self._batches.accept()  # a loss may have overwritten the first batch
        self._definition = Definition(self._model, function=objective.function)

    def __repr__(self) -> str:
        kind, n = type(self).__name__, self.shape[0]
        return f"{kind}(n={n}, samples={self.samples}, engine={self.engine!r})"

    @property
    def engine(self) -> str:
        """Which engine serves: ``"captured"`` or ``"autograd"``."""
        return self._engine.name

    @property
    def slow_operations(self) -> tuple[str, ...]:
        """Captured operations that only the general, slower rule serves."""
        return self._engine.slow_operations

    @property
    def kept_bytes(self) -> int:
        """Bytes of the primal pass that are kept between products."""
        return self._engine.kept_bytes

    def __call__(self, block: Tensor | Mapping[str, Tensor]) -> Any:
        """Multiply the matrix with each row of a block.

        Args:
            block: (K, n), or (n,), or a dict of parameter-shaped tensors.

        Returns:
            The products, in the form and dtype of ``block``.

        Raises:
            ValueError: The block's last size is not n.
            FloatingPointError: A product is not finite.
        """
        if isinstance(block, Mapping):
            return self.space.to_dict(self(self.space.to_vector(block)))
        with self._multiplying():
            vectors = self._vectors(block)
            out = torch.zeros_like(vectors)
            with self._processes.same_vectors(vectors):
                parts, dots = self.space.views(out), self.space.split(vectors)
                for index, batch in self._numbered():
                    products = self._engine.multiply(batch, dots, index)
                    for part, product in zip(parts, products, strict=True):
                        if product is not None:
                            part.add_(product)
            self._processes.sum_(out)
            self.products += len(vectors)
            finite(out).div_(self._normaliser)
            self._decay.add_products(out, vectors)
            return out.reshape(block.shape).to(block.dtype)

    def quadratic(self, block: Tensor) -> Tensor:
        """``v^T M v`` for each row v of ``block`` (K, n): (K,) float64, on the block's device."""
        with self._multiplying():
            vectors = self._vectors(block)
            total = torch.zeros(len(vectors), dtype=torch.float64, device=self.device)
            with self._processes.same_vectors(vectors):
                dots = self.space.split(vectors)
                for index, batch in self._numbered():
                    total += self._engine.quadratic(batch, dots, index)
            self._processes.sum_(total)
            self.products += len(vectors)
            return finite(total) / self._normaliser + self._decay.forms(vectors)

    def random_quadratics(self, draws: int, *, seed: int, first: int = 0) -> Tensor:
        """Unbiased estimates of the trace, each from sign vectors drawn anew for every batch.

        ``E[v^T H_b v] = tr H_b`` holds for each batch alone, so fresh signs per batch average the
        probe noise within one pass over the data, at the cost of a product with one shared probe.

        Args:
            draws: Number of estimates.
            seed: Chooses the signs.
            first: Index of the first estimate; estimate i depends on ``(seed, i)`` alone.

        Returns:
            (draws,) float64 on the CPU.
        """
        require_whole(0, draws=draws, first=first)
        require_seed(seed)
        self._processes.require_same_numbers("draws, seed or first", draws, seed, first)
        with self._multiplying():
            signs = torch.empty(draws, self.shape[0], dtype=self.dtype, device=self.device)
            total = torch.zeros(draws, dtype=torch.float64, device=self.device)
            with self._processes.together():
                for number, (index, batch) in enumerate(self._numbered(), self._first_batch):
                    for draw in range(draws):
                        # Estimate i owns rows i * batches to (i + 1) * batches, of all processes:
                        # none share their signs.
                        row = (first + draw) * self._batch_count + number
                        _native.signs_(signs[draw : draw + 1], seed, first_row=row)
                    total += self._engine.quadratic(batch, self.space.split(signs), index)
            self._processes.sum_(total)
        self.products += draws
        return finite(total).cpu() / self._normaliser + self._decay.trace()

    def loss_and_gradient(self) -> tuple[float, Tensor]:
        """The loss at the current parameters and its gradient (n,), in the operator's dtype."""
        with evaluation(self._model, self._batchnorm):
            with self._processes.together():
                batches = self.progress.over(self._batches, self.products)
                value, gradient = summed_gradient(self._model, self._objective, self.space, batches)
            (value,) = self._processes.sums(value)
            out = self._processes.sum_(gradient).div_(self._normaliser).to(self.dtype)[None]
            self._decay.add_products(out, self.space.flatten(self.space.tensors).detach()[None])
        return value / self._normaliser + self._decay.penalty(), finite(out)[0]

    def estimate(self, products: int, *, block: int = 1) -> Estimate:
        """Seconds and bytes that ``products`` vectors in blocks of ``block`` would take.

        Makes one product that may include set-up (a trace, values that are then kept), and a timed
        one. Vectors and products of these two blocks count in ``products``.

        Args:
            products: Number of vectors asked about.
            block: Vectors multiplied together.

        Raises:
            ValueError: ``products`` or ``block`` is less than 1.
        """
        return forecast(self, products, block, self._batches.nbytes)

    def __matmul__(self, columns: Any) -> Any:
        """``op @ M`` with vectors as the columns of M (n, K), as scipy and curvlinops have it."""
        if isinstance(columns, np.ndarray):
            return (self @ torch.from_numpy(np.ascontiguousarray(columns))).cpu().numpy()
        return self(columns.T.contiguous()).T if columns.dim() == 2 else self(columns)

    def to_scipy(self) -> LinearOperator:
        """This operator for ``scipy.sparse.linalg``: float64 or float32 arrays on the host."""
        from scipy.sparse.linalg import LinearOperator  # half a second that few callers need

        kind = np.float64 if self.dtype == torch.float64 else np.float32
        return LinearOperator(
            shape=self.shape, matvec=self.__matmul__, matmat=self.__matmul__, dtype=kind
        )

    @contextmanager
    def _multiplying(self) -> Iterator[None]:
        with evaluation(self._model, self._batchnorm), products_in(self._precision):
            yield
        # What passes change themselves does not count.
        self._definition = Definition(self._model, function=self._objective.function)

    def _numbered(self) -> Iterator[tuple[int | None, Any]]:
        """The batches of one pass, with an index where every pass yields the same ones."""
        self._objective.require_unchanged()
        if self._definition.changed():
            require_count(self._model, self._objective, self._batches, self._counts)
            self._take_engine()
        self._engine.refresh()
        first_row = self._first_row
        for index, batch in enumerate(self.progress.over(self._batches, self.products)):
            yield index if self._batches.resident else None, self._with_targets(batch, first_row)
            first_row += rows(batch) or 0

    def _take_engine(self) -> None:
        first = self._with_targets(next(iter(self._batches)), self._first_row)
        self._engine, self.engine_note = self._choose(first)

    def _with_targets(self, batch: Any, first_row: int) -> Any:
        """A batch as the engine wants it: with its own targets, or with drawn ones."""
        return batch if self._sampled is None else self._sampled.draw(self._model, batch, first_row)

    def _vectors(self, block: Tensor) -> Tensor:
        if not isinstance(block, Tensor):
            raise TypeError(f"block must be a torch.Tensor, got {type(block).__name__}")
        if block.shape[-1:] != self.shape[1:] or block.dim() > 2:
            raise ValueError(f"block must be (K, {self.shape[0]}), got {tuple(block.shape)}")
        return block.detach().to(self.device, self.dtype).reshape(-1, self.shape[0])

    def _number_rows_and_batches(self) -> None:
        """Rows and batches are numbered through the processes, in the order of their ranks."""
        counts = (self._batches.samples, len(self._batches))
        self._first_row, self._first_batch = self._processes.before(*counts)
        self.samples, self._batch_count = (int(n) for n in self._processes.sums(*counts))

    def _divide(self, total: float, counts: float) -> None:
        if not counts > 0:
            raise ValueError(f"the loader holds no valid target: the loss divides by {counts}")
        self._normaliser = self._objective.normaliser(counts)
        self.loss = total / self._normaliser + self._decay.penalty()
