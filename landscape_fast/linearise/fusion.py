"""Fuses the steps of a layer, and of a softmax cross-entropy, in a captured program.

A layer is a convolution, an evaluation-mode normalisation, a residual sum and a relu. One step then
stands for it, forward or backward, and its tangents take one pass over a block instead of five. The
answer is the same up to rounding.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from landscape_fast.linearise.rules.cross_entropy import softmax_gradient
from landscape_fast.linearise.rules.layers import conv_norm, norm, norm_backward

aten = torch.ops.aten

# Operations whose rules make new memory for the tangents of a gradient.
_FRESH = frozenset({aten.convolution_backward.default, aten.avg_pool2d_backward.default})


def fuse(traced: fx.GraphModule, *, convolutions: bool) -> fx.GraphModule:
    """Rewrite the layers of ``traced`` in place, with their convolutions if asked."""
    graph = traced.graph
    for node in list(graph.nodes):
        if node.target is aten.native_batch_norm.default and not node.args[5]:
            _fuse_forward(graph, node, convolutions)
    for node in list(graph.nodes):
        if node.target is aten.native_batch_norm_backward.default and not node.args[7]:
            _fuse_backward(graph, node)
        elif node.target is aten._log_softmax_backward_data.default:
            _fuse_softmax(graph, node)
    graph.eliminate_dead_code()
    return traced


def _fuse_forward(graph: fx.Graph, batch_norm: fx.Node, convolutions: bool) -> None:
    """Normalisation with the convolution before it and the residual sum and relu after it."""
    x, weight, bias, mean, var, _, _, eps = batch_norm.args
    last = _output(batch_norm, 0)
    if last is None or not isinstance(x, fx.Node):
        return
    residual, relu = None, False
    after = _only_user(last)
    if after is not None and _is_plain_sum(after) and _is_relu(_only_user(after)):
        one, other = after.args[:2]
        residual, last = other if one is last else one, after
        after = _only_user(after)
    if _is_relu(after):
        assert after is not None
        last, relu = after, True
    parameters = (weight, bias, mean, var, eps, residual, relu)
    convolved = convolutions and _is_convolution(x) and _norms_alone_read(x, batch_norm)
    with graph.inserting_before(last):
        if convolved:
            pair = graph.call_function(conv_norm, (*_convolution(x), *parameters))
            pair.meta["val"] = (x.meta["val"], last.meta["val"])
            linear = _item(graph, pair, 0)
            result = _item(graph, pair, 1)
            x.replace_all_uses_with(linear)
            # The pattern's own nodes are dead from here, and must not read what comes after them.
            batch_norm.replace_input_with(linear, x)
        else:
            result = graph.call_function(norm, (x, *parameters))
            result.meta["val"] = last.meta["val"]
    last.replace_all_uses_with(result)


def _convolution(node: fx.Node) -> tuple[Any, Any, Any, list[Any]]:
    inputs, filters, bias, *geometry = node.args
    return inputs, filters, bias, list(geometry)


def _fuse_backward(graph: fx.Graph, backward: fx.Node) -> None:
    """Gradient of a normalisation with the relu's mask and the sum of gradients before it."""
    arguments: tuple[Any, ...] = backward.args
    gradient, x, weight, mean, var, _, _, _, eps, mask = arguments
    first: Any = gradient
    second = output = None
    place = backward
    threshold = gradient if gradient.target is aten.threshold_backward.default else None
    if threshold is not None and threshold.args[2] == 0:
        first, output = threshold.args[0], threshold.args[1]
        place = threshold  # others may read the masked gradient before this layer does
        if isinstance(first, fx.Node) and _is_plain_sum(first) and _only_user(first) is threshold:
            summed = first
            first, second = summed.args[:2]
    owned = (_is_owned(first), _is_owned(second))
    with graph.inserting_before(place):
        fused = graph.call_function(
            norm_backward, (first, second, output, x, weight, mean, var, eps, list(mask), owned)
        )
        fused.meta["val"] = (gradient.meta["val"], *backward.meta["val"])
        masked = _item(graph, fused, 0)
        if output is not None:
            assert threshold is not None
            threshold.replace_all_uses_with(masked)
        for user in list(backward.users):
            index: Any = user.args[1]
            user.replace_all_uses_with(_item(graph, fused, index + 1))
            graph.erase_node(user)
    # What is replaced must go at once: who alone reads a gradient is asked again upstream.
    graph.erase_node(backward)
    if output is not None:
        graph.erase_node(gradient)
        if second is not None:
            graph.erase_node(summed)


def _fuse_softmax(graph: fx.Graph, backward: fx.Node) -> None:
    """Gradient of a log-softmax as a function of its input: one step back instead of two."""
    gradient, softmax, dim = backward.args[:3]
    if not isinstance(softmax, fx.Node) or softmax.target is not aten._log_softmax.default:
        return
    logits: Any = softmax.args[0]
    value = backward.meta["val"]
    same = logits.meta["val"].dtype == value.dtype
    if not same or dim not in (-1, value.dim() - 1):
        return
    with graph.inserting_before(backward):
        fused = graph.call_function(softmax_gradient, (gradient, logits))
        fused.meta["val"] = value
    backward.replace_all_uses_with(fused)
    graph.erase_node(backward)


def _item(graph: fx.Graph, node: fx.Node, index: int) -> fx.Node:
    item = graph.call_function(operator.getitem, (node, index))
    item.meta["val"] = node.meta["val"][index]
    return item


def _output(node: fx.Node, index: int) -> fx.Node | None:
    return next((user for user in node.users if user.args[1] == index), None)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_relu(node: fx.Node | None) -> bool:
    return node is not None and node.target is aten.relu.default


def _is_plain_sum(node: fx.Node) -> bool:
    """A sum of two values of one shape, unscaled."""
    if node.target is not aten.add.Tensor or node.kwargs or len(node.args) != 2:
        return False
    shapes = [arg.meta["val"].shape if isinstance(arg, fx.Node) else None for arg in node.args]
    return shapes[0] == shapes[1] and node.args[0] is not node.args[1]


def _is_convolution(node: fx.Node) -> bool:
    return node.target is aten.convolution.default


def _is_owned(gradient: Any) -> bool:
    """Whether one step alone reads a gradient, and its tangents have memory of their own."""
    if not isinstance(gradient, fx.Node) or len(gradient.users) > 1:
        return False
    if gradient.target is not operator.getitem:
        return gradient.target in _FRESH
    source: Any = gradient.args[0]
    if source.target is norm_backward:
        # The first output is the incoming gradient itself, unless a mask makes it another one.
        return bool(gradient.args[1] != 0) or source.args[2] is not None
    return source.target in _FRESH


def _norms_alone_read(x: fx.Node, batch_norm: fx.Node) -> bool:
    """Whether only ``batch_norm`` and gradients of normalisations read the convolution's output."""
    others = set(x.users) - {batch_norm}
    return all(user.target is aten.native_batch_norm_backward.default for user in others)
