"""Passes over pieces of the data, summed; on CUDA played again as graphs.

A small network is bound by the launches of its kernels, not by their work. A piece that stays in
memory always runs the same kernels on the same addresses, so its pass is recorded once for each
number of vectors (a CUDA graph) and then played with one launch. Vectors are copied to fixed
addresses first, and a graph adds to sums at fixed addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from landscape_fast.linearise.agreement import worst
from landscape_fast.linearise.residency import Prepared
from landscape_fast.linearise.second_derivative import Tangents

Pass = Callable[[Prepared, Sequence[Tensor]], Tangents]

MOST_FRAMES = 4  # kinds and numbers of vectors with graphs; others run as they come
AGREEMENT = 1e-3  # of a graph with the pass it was recorded from, where kernels use atomics


class Recorder(Protocol):
    """What turns work on fixed addresses into something that repeats it."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Take down ``work`` and return what plays it."""
        ...


class CudaRecorder:
    """CUDA graphs that share the memory of their intermediate values: they play one at a time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture the launches of ``work``, without running them."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            work()
        self._pool = self._pool or graph.pool()
        return graph.replay


def recorder_for(device: torch.device) -> Recorder | None:
    """A recorder where launches can be recorded; None elsewhere."""
    return CudaRecorder() if device.type == "cuda" else None


class _Frame:
    """Fixed addresses for a block of vectors and for the sums over pieces."""

    def __init__(self, dots: Sequence[Tensor]) -> None:
        self.dots = [torch.empty_like(dot, memory_format=torch.contiguous_format) for dot in dots]
        self.sums: Tangents | None = None

    def load(self, dots: Sequence[Tensor]) -> None:
        for fixed, dot in zip(self.dots, dots, strict=True):
            fixed.copy_(dot)
        for sum_ in self.sums or ():
            if sum_ is not None:
                sum_.zero_()

    def add(self, found: Tangents) -> None:
        if self.sums is None:
            self.sums = [None if part is None else torch.zeros_like(part) for part in found]
        for sum_, part in zip(self.sums, found, strict=True):
            if part is not None:
                assert sum_ is not None, "the same products are zero for every piece"
                sum_.add_(part)

    def copies(self) -> Tangents:
        return [None if sum_ is None else sum_.clone() for sum_ in self.sums or ()]


class Passes:
    """Sums of what passes over pieces return.

    Args:
        device: Where they run.

    Attributes:
        graphs: Passes recorded so far.
        note: Why nothing is recorded any more; None where nothing went wrong.
    """

    def __init__(self, device: torch.device) -> None:
        self._recorder = recorder_for(device)
        self._frames: dict[tuple[str, int], _Frame] = {}
        self.graphs = 0
        self.note: str | None = None

    def stop(self, note: str) -> None:
        """Record nothing any more, and give back the fixed memory."""
        if self._recorder is not None:
            self._recorder, self.note = None, note
            self._frames.clear()

    def sum(
        self, kind: str, pieces: Iterable[Prepared], dots: Sequence[Tensor], run: Pass
    ) -> Tangents:
        """Sum ``run(piece, dots)`` over pieces.

        Args:
            kind: Names ``run``: passes of one kind and one piece are the same.
            pieces: Of the data.
            dots: (K, *shape) per parameter.
            run: One pass; None among its parts where they are zero for every piece.
        """
        frame = self._frame(kind, dots)
        total: Tangents | None = None
        for piece in pieces:
            if frame is not None and piece.stays and self._recorder is not None:
                self._play((kind, len(dots[0])), piece, frame, run)
                continue
            found = run(piece, dots)
            total = found if total is None else _added(total, found)
        if frame is not None and frame.sums is not None:
            total = frame.copies() if total is None else _added(total, frame.copies())
        return total or []

    def _frame(self, kind: str, dots: Sequence[Tensor]) -> _Frame | None:
        """The frame for such a block, with the block in it; None where nothing is recorded."""
        key = kind, len(dots[0])
        if self._recorder is None or (key not in self._frames and len(self._frames) == MOST_FRAMES):
            return None
        frame = self._frames.setdefault(key, _Frame(dots))
        frame.load(dots)
        return frame

    def _play(self, key: tuple[str, int], piece: Prepared, frame: _Frame, run: Pass) -> None:
        """Add the pass of a piece to the frame: the first two times run, then played."""
        if piece.graphs.get(key) is not None:
            piece.graphs[key]()
            return

        def work() -> None:
            frame.add(run(piece, frame.dots))

        before = frame.copies() if key in piece.seen else None
        work()
        if before is None:
            piece.seen.add(key)  # a pass that is not repeated need not be recorded
        else:
            self._record(key, piece, frame, work, before)

    def _record(
        self,
        key: tuple[str, int],
        piece: Prepared,
        frame: _Frame,
        work: Callable[[], None],
        before: Tangents,
    ) -> None:
        """Record ``work``, which has just run, and hold the graph to what it did."""
        assert self._recorder is not None
        assert frame.sums is not None
        after = frame.copies()
        try:
            graph = self._recorder.record(work)
            _restore(frame.sums, before)
            graph()
            error = _difference(frame.sums, after)
        except RuntimeError as problem:  # no memory, or an operation that waits for the host
            self.stop(f"a pass cannot be recorded: {problem}")
        else:
            if error <= AGREEMENT:
                piece.graphs[key] = graph
                self.graphs += 1
                return
            self.stop(f"a graph differs by {error:.1e} from the pass it was recorded from")
        _restore(frame.sums, after)


def _added(total: Tangents, found: Tangents) -> Tangents:
    return [
        part if sum_ is None else sum_ if part is None else sum_ + part
        for sum_, part in zip(total, found, strict=True)
    ]


def _restore(sums: Tangents, values: Tangents) -> None:
    for sum_, value in zip(sums, values, strict=True):
        if sum_ is not None and value is not None:
            sum_.copy_(value)


def _difference(ours: Tangents, theirs: Tangents) -> float:
    """Largest relative difference of two sums."""
    largest = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if one is not None and other is not None:
            size = float(other.norm())
            error = float((one - other).norm())
            largest = worst(largest, error / size if size > 0 else error)
    return largest
