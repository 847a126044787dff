"""Which values of a program move, which are read by tangents, and when each is last used."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from torch import fx

from landscape_fast.linearise.rules import READS_ARGUMENTS, READS_SHAPES


def moving(
    nodes: list[fx.Node],
    starts: set[fx.Node],
    fixed: frozenset[Any],
    muted: Mapping[fx.Node, set[fx.Node]],
) -> set[fx.Node]:
    """Nodes whose values move when the values of ``starts`` do."""
    moving = set(starts)
    for node in nodes:
        sources = set(node.all_input_nodes) - muted.get(node, set())
        if node.target not in fixed and sources & moving:
            moving.add(node)
    return moving


def wanted(
    nodes: list[fx.Node],
    moving: set[fx.Node],
    ends: set[fx.Node],
    muted: Mapping[fx.Node, set[fx.Node]],
) -> set[fx.Node]:
    """Nodes whose tangents reach ``ends``."""
    wanted = set(ends)
    for node in reversed(nodes):
        if node in wanted and node in moving and node.op == "call_function":
            wanted |= set(node.all_input_nodes) - muted.get(node, set())
    return wanted


def read(nodes: list[fx.Node], pushed: set[fx.Node]) -> set[fx.Node]:
    """Nodes whose values the tangent rules of ``pushed`` nodes read."""
    read: set[fx.Node] = set()
    for node in nodes:
        if node in pushed and node.op == "call_function" and node.target is not operator.getitem:
            if node.target not in READS_SHAPES:
                read |= set(node.all_input_nodes)
            if node.target not in READS_SHAPES | READS_ARGUMENTS:
                read.add(node)
    return read


def needed(nodes: list[fx.Node], read: set[fx.Node]) -> set[fx.Node]:
    """``read`` and all that it is computed from."""
    needed = set(read)
    for node in reversed(nodes):
        if node in needed:
            needed |= set(node.all_input_nodes)
    return needed


def last_uses(nodes: list[fx.Node], kept: set[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """For each node, those that nobody reads after it."""
    last = {source: node for node in nodes for source in (node, *node.all_input_nodes)}
    dead: dict[fx.Node, list[fx.Node]] = {node: [] for node in nodes}
    for source, node in last.items():
        if source not in kept:
            dead[node].append(source)
    return dead
