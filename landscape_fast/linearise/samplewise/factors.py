"""Second derivative of a loss in the network's outputs, as weighted orthogonal directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape_fast.linearise.program import Slot, Step, filled, start
from landscape_fast.linearise.quadratic import TailProgram
from landscape_fast.linearise.samplewise.layouts import Layout
from landscape_fast.linearise.stops import STOPS

aten = torch.ops.aten

MOST_CLASSES = 64  # up to which the softmax's second derivative is decomposed
WIDEST = 512  # outputs of one row whose dense second derivative is decomposed


@dataclass(frozen=True, slots=True)
class Factors:
    r"""Row n's second derivative: sum over q, r of ``values[n, q, r]`` times a direction squared.

    The outputs of a row fall into Q groups of C that the loss does not couple.
    """

    values: Tensor  # (B, Q, R) float64, of either sign
    vectors: Tensor | None  # (B, Q, C, R) float64, unit columns; None where they are known
    order: Tensor  # (B, Q, C): where the outputs lie in the flattened tensor of them
    dim: int | None  # of the outputs that C is; None for all, or for each alone
    p: Tensor | None = None  # (B, Q, C): column c is e_c - p; else, without vectors, C is 1
    mass: Tensor | None = None  # (B, Q, 1), a of a (diag p - p p^T)

    def apply(self, block: Tensor) -> Tensor:
        """The second derivative times a tensor like the outputs."""
        flat = block.reshape(-1).double()[self.order]
        if self.p is not None and self.mass is not None:
            found = self.mass * self.p * (flat - (self.p * flat).sum(2, keepdim=True))
        elif self.vectors is None:
            found = self.values * flat
        else:
            inner = (self.vectors * flat[..., None]).sum(2) * self.values
            found = (self.vectors * inner[:, :, None]).sum(3)
        out = torch.empty(block.numel(), dtype=torch.float64, device=block.device)
        out[self.order.reshape(-1)] = found.reshape(-1)
        return out.reshape(block.shape)

    @staticmethod
    def joined(parts: Sequence[Factors]) -> Factors:
        """Those of several batches whose outputs have one shape, all rows in order."""

        def cat(name: str) -> Any:
            tensors = [getattr(part, name) for part in parts]
            return None if tensors[0] is None else torch.cat(tensors)

        names = ("values", "vectors", "order", "p", "mass")
        return Factors(**{name: cat(name) for name in names}, dim=parts[0].dim)

    def directions(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Chosen directions scaled by the root of their weight: (K, b, Q * C) float64.

        Args:
            rows: (b,).
            columns: (b, K), indices into Q * R.
        """
        b, k = columns.shape
        _, groups, rank = self.values.shape
        size = self.order.shape[2]
        q, r = columns // rank, columns % rank
        scale = self.values[rows[:, None], q, r].abs().sqrt()  # (b, K)
        out = scale.new_zeros(b, k, groups, size)
        if self.p is not None:
            found = -self.p[rows[:, None], q]  # (b, K, C)
            others = (1 + found.gather(2, r[..., None])).clamp_min(0)
            found.scatter_(2, r[..., None], others)
            found *= (scale / found.norm(dim=2).clamp_min(1e-150))[..., None]
        elif self.vectors is None:
            found = scale[..., None]
        else:
            found = self.vectors[rows[:, None], q, :, r] * scale[..., None]
        line = torch.arange(b, device=rows.device)[:, None]
        out[line, torch.arange(k, device=rows.device), q] = found
        return out.reshape(b, k, -1).transpose(0, 1)


class Tail:
    """A loss run up to the network's outputs, and from there on as a function of them.

    Args:
        program: The summed loss, with its cut.
        inputs: One value per placeholder.
    """

    def __init__(self, program: TailProgram, inputs: Sequence[Tensor]) -> None:
        values, _ = start(program, inputs, [])
        behind = {program.cut}
        self.steps: list[Step] = []
        for step in program.steps:
            if step.slot != program.cut and slots_of(step.args) & behind:
                behind.add(step.slot)
                self.steps.append(step)
        held = {program.cut}.union(*(slots_of(step.args) for step in self.steps))
        with torch.no_grad():
            for step in program.steps:
                if step.slot not in behind or step.slot == program.cut:
                    values[step.slot] = _called(step, values)
                for slot in step.dead:
                    values[slot] = values[slot] if slot in held else None
        (end,) = program.outputs
        assert end is not None
        self._values, self._end = values, end
        self.cut = program.cut
        self.outputs: Tensor = values[program.cut].detach()

    def loss(self, value: Tensor, slot: int | None = None) -> Tensor:
        """The loss as a function of the outputs, or of a value between them and the loss."""
        values, known = list(self._values), self.cut if slot is None else slot
        values[known] = value
        for step in self.steps:
            if step.slot != known:
                values[step.slot] = _called(step, values)
        return values[self._end]


def _curvature(tail: Tail, at: Tensor) -> Callable[[Tensor], Tensor]:
    """Products with the second derivative of the loss at some outputs, by double backward."""
    outputs = at.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(tail.loss(outputs), outputs, create_graph=True)

    def product(direction: Tensor) -> Tensor:
        if not slope.requires_grad:
            return torch.zeros_like(direction)
        (found,) = torch.autograd.grad(
            slope, outputs, direction.to(slope.dtype), retain_graph=True, materialize_grads=True
        )
        return found.double()

    return product


def factors_of(
    program: TailProgram, inputs: Sequence[Tensor], layout: Layout, rows: int
) -> Factors:
    """Run a loss on a batch and factor its second derivative in the network's outputs.

    Args:
        program: The summed loss, with its cut.
        inputs: One value per placeholder.
        layout: Of the rows in the outputs.
        rows: Of the batch.

    Raises:
        ValueError: The loss couples rows, or more than 512 outputs of one row.
    """
    tail = Tail(program, inputs)
    product = _curvature(tail, tail.outputs)
    generator = torch.Generator().manual_seed(0)
    shape, device = tail.outputs.shape, tail.outputs.device
    probe = torch.randn(shape, generator=generator, dtype=torch.float64).to(device)
    exact = product(probe)
    eps = torch.finfo(tail.outputs.dtype).eps
    # Where a network is very sure, what is left of the curvature is a difference of rounded numbers
    # as large as the curvature of one that is not.
    unsure = _curvature(tail, torch.zeros_like(tail.outputs))(probe).abs().max().nan_to_num(0, 0)
    allowed = 10 * eps**0.75 * float(exact.abs().max()) + 10 * eps * float(unsure)
    for attempt in (_of_softmax, _of_elements, _of_rows):
        factors = attempt(tail, product, layout, rows)
        if factors is not None and float((factors.apply(probe) - exact).abs().max()) <= allowed:
            return factors
    raise ValueError("the loss couples the outputs of different rows, or too many of one row")


def _called(step: Step, values: list[Any]) -> Any:
    out = step.target(*(filled(item, values) for item in step.args), **step.kwargs)
    return out.detach() if step.target in STOPS else out


def slots_of(item: Any) -> set[int]:
    """Places of the values that an argument, or a list of them, reads."""
    if isinstance(item, Slot):
        return {item.index}
    return {slot for part in item for slot in slots_of(part)} if isinstance(item, list) else set()


def grouped(shape: torch.Size, layout: Layout, rows: int, dim: int | None) -> Tensor:
    """Flat positions of the outputs as (B, Q, C): C along ``dim``, or everything in C."""
    places = torch.arange(shape.numel()).reshape(shape)
    if dim is None:
        return layout.apart(places, rows).reshape(rows, 1, -1)
    size = shape[dim]
    places = places.movedim(dim, -1)
    moved = Layout(layout.dim - (dim < layout.dim), layout.outer, layout.inner)
    return moved.apart(places, rows).reshape(rows, -1, size)


def _of_softmax(
    tail: Tail,
    product: Callable[[Tensor], Tensor],  # noqa: ARG001
    layout: Layout,
    rows: int,
) -> Factors | None:
    """A loss linear in the log-softmax: a (diag p - p p^T), with minus the sum of slopes as a."""
    steps = [step for step in tail.steps if tail.cut in slots_of(step.args)]
    if len(steps) != 1 or steps[0].target is not aten._log_softmax.default:
        return None
    dim = steps[0].args[1] % tail.outputs.dim()
    if dim == layout.dim:
        return None
    log_p = tail.outputs.detach().log_softmax(dim).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(tail.loss(log_p, steps[0].slot), log_p)
    order = grouped(tail.outputs.shape, layout, rows, dim)
    p = tail.outputs.detach().double().softmax(dim).reshape(-1)[order]
    a = -slope.double().reshape(-1)[order].sum(2, keepdim=True)
    if p.shape[2] > MOST_CLASSES:
        rest = p.sum(2, keepdim=True) - p
        norms = rest.square() + p.square().sum(2, keepdim=True) - p.square()
        return Factors(a * p * norms, None, order, dim, p, a)
    # As the Laplacian of a graph, so that entries near a certain class keep their digits.
    edges = p[..., None] * p[..., None, :]
    edges.diagonal(dim1=-2, dim2=-1).zero_()
    values, vectors = torch.linalg.eigh(torch.diag_embed(edges.sum(-1)) - edges)
    return Factors(_settled(values) * a, vectors, order, dim)


def _of_elements(
    tail: Tail, product: Callable[[Tensor], Tensor], layout: Layout, rows: int
) -> Factors | None:
    """A loss that couples no two outputs."""
    order = grouped(tail.outputs.shape, layout, rows, None).transpose(1, 2)
    ones = torch.ones_like(tail.outputs, dtype=torch.float64)
    return Factors(product(ones).reshape(-1)[order], None, order, None)


def _of_rows(
    tail: Tail, product: Callable[[Tensor], Tensor], layout: Layout, rows: int
) -> Factors | None:
    """A loss that couples outputs of one row: one product per output, all rows at once."""
    order = grouped(tail.outputs.shape, layout, rows, None)
    if order.shape[2] > WIDEST:
        return None
    columns = []
    for column in range(order.shape[2]):
        unit = torch.zeros(order.numel(), dtype=torch.float64, device=order.device)
        unit[order[:, 0, column]] = 1
        columns.append(product(unit.reshape(tail.outputs.shape)).reshape(-1)[order])
    matrix = torch.stack(columns, -1)  # (B, 1, C, C)
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    return Factors(_settled(values), vectors, order, None)


def _settled(values: Tensor) -> Tensor:
    """Eigenvalues (..., C), those that are rounding of the others set to zero."""
    sizes = values.abs()
    eps = torch.finfo(values.dtype).eps * values.shape[-1]
    return values * (sizes > eps * sizes.amax(-1, keepdim=True))
