"""A training step played from a CUDA graph: one launch for the kernels of a whole step.

A step of a narrow network is bound by the launches of its kernels, not by their work. Batches of
one size run the same kernels on the same addresses, so a step is recorded once. What differs
between steps, the rows of the batch and the learning rate, is copied to fixed addresses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Update = Callable[[Tensor, Tensor], Tensor]  # (rows, learning rate) -> loss

_WARM_UP = 3  # steps before the recorded one, in which libraries and the optimiser set up


class GraphedStep:
    """Plays the updates of batches of one size; the first few, and other sizes, run as they come.

    Every call is one step of training, so the first calls are no less than the others.

    Args:
        update: One step; reads nothing but its two arguments and what stays at its address.
        batch_size: Of the steps to record.
        device: A CUDA device.
    """

    def __init__(self, update: Update, batch_size: int, device: torch.device) -> None:
        self._update = update
        self._rows = torch.zeros(batch_size, dtype=torch.long, device=device)
        self._rate = torch.zeros((), dtype=torch.float32, device=device)  # as fused kernels read it
        self._calls = 0
        self._play: Callable[[], Tensor] | None = None

    def __call__(self, rows: Tensor, rate: float) -> Tensor:
        """Make one step with this batch; return its loss."""
        self._rate.fill_(rate)
        if rows.shape != self._rows.shape:
            return self._update(rows, self._rate)
        if self._calls < _WARM_UP:
            self._calls += 1
            return _aside(lambda: self._update(rows, self._rate))
        if self._play is None:
            self._play = _recorded(lambda: self._update(self._rows, self._rate))
        self._rows.copy_(rows)
        return self._play()


def _aside(work: Callable[[], Tensor]) -> Tensor:
    """Run work on another stream, as recording will; what it leaves behind belongs to no stream."""
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        result = work()
    current.wait_stream(stream)
    return result


def _recorded(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Capture the launches of ``work`` without running them; return what plays them."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def play() -> Tensor:
        graph.replay()
        return result.clone()  # the next one overwrites it

    return play
