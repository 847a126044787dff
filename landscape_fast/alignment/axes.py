"""Which axes of values and parameters run over the same hidden units.

An axis is a product of *factors*: a flattened image runs over channels times positions, the width
of a transformer over heads times entries of a head. Factors that an operation puts beside each
other are joined; where an axis is cut, its factor splits for all who share it. A factor is *still*
where its entries mean something by their place: inputs, outputs, positions.
"""

from __future__ import annotations

from collections.abc import Sequence

Axis = tuple[int, ...]  # factors, the slowest first; entries of size 1 are left out
Axes = tuple[Axis, ...]  # of a tensor


class UnmatchedError(Exception):
    """Two axes that an operation puts together cannot be cut alike."""


class Factors:
    """Factors of axes: joined, split and held still as a network is read."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._parts: dict[int, Axis] = {}
        self._sizes: list[int] = []
        self._still: dict[int, str] = {}

    def new(self, size: int) -> Axis:
        """An axis of one fresh factor."""
        if size == 1:
            return ()
        self._parent.append(len(self._parent))
        self._sizes.append(size)
        return (len(self._parent) - 1,)

    def fresh(self, shape: Sequence[int], still: str | None = None) -> Axes:
        """Fresh axes of a tensor, held still for a reason if one is given."""
        axes = tuple(self.new(size) for size in shape)
        if still is not None:
            self.hold(axes, still)
        return axes

    def of(self, axis: Axis) -> Axis:
        """The factors of ``axis`` as they are now."""
        found: list[int] = []
        for factor in axis:
            root = self._root(factor)
            found += self.of(self._parts[root]) if root in self._parts else (root,)
        return tuple(found)

    def size(self, factor: int) -> int:
        """Number of entries of a factor as :meth:`of` gives it."""
        return self._sizes[factor]

    def sizes(self, axis: Axis) -> tuple[int, ...]:
        """Of the factors of ``axis``."""
        return tuple(self._sizes[factor] for factor in self.of(axis))

    def why_still(self, factor: int) -> str | None:
        """Why the factor may not be permuted; None if it may."""
        return self._still.get(factor)

    def hold(self, axes: Sequence[Axis], reason: str) -> None:
        """Let nothing permute these axes; a reason given earlier stands."""
        for axis in axes:
            for factor in self.of(axis):
                self._still.setdefault(factor, reason)

    def join(self, one: Axis, other: Axis) -> None:
        """Let two axes run over the same units.

        Raises:
            UnmatchedError: Their factors have no common cut.
        """
        done = 0
        while True:
            first, second = self.of(one), self.of(other)
            if done == min(len(first), len(second)):
                if len(first) != len(second):
                    raise UnmatchedError(f"{self.sizes(one)} and {self.sizes(other)}")
                return
            a, b = first[done], second[done]
            if self._sizes[a] == self._sizes[b]:
                self._unite(a, b)
                done += 1
            elif self._sizes[a] > self._sizes[b]:
                self.cut(a, self._sizes[b])
            else:
                self.cut(b, self._sizes[a])

    def cut(self, factor: int, slow: int) -> None:
        """Split a factor into a slow one of the given size and a fast one.

        Raises:
            UnmatchedError: The size does not divide the factor's.
        """
        size = self._sizes[factor]
        if size % slow:
            raise UnmatchedError(f"{size} is no multiple of {slow}")
        parts = (*self.new(slow), *self.new(size // slow))
        self._parts[factor] = parts
        if factor in self._still:
            self.hold([parts], self._still[factor])

    def regroup(self, axes: Sequence[Axis], shape: Sequence[int]) -> Axes:
        """Axes of the same entries in another shape.

        Raises:
            UnmatchedError: An axis of the new shape begins or ends inside a factor.
        """
        flat = tuple(factor for axis in axes for factor in axis)
        found: list[Axis] = []
        for size in shape:
            axis: list[int] = []
            left = size
            while left > 1:
                flat = self.of(flat)
                head = flat[0]
                if self._sizes[head] > left:
                    self.cut(head, left)
                    continue
                if left % self._sizes[head]:
                    raise UnmatchedError(f"{left} is no multiple of {self._sizes[head]}")
                left //= self._sizes[head]
                axis.append(head)
                flat = flat[1:]
            found.append(tuple(axis))
        return tuple(found)

    def _root(self, factor: int) -> int:
        while self._parent[factor] != factor:
            self._parent[factor] = factor = self._parent[self._parent[factor]]
        return factor

    def _unite(self, one: int, other: int) -> None:
        if one == other:
            return
        reason = self._still.get(one) or self._still.get(other)
        self._parent[other] = one
        if reason is not None:
            self._still[one] = reason
