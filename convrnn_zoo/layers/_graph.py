"""What is made of the graphs of a step and of its derivative, before they are laid out or compiled."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

aten = torch.ops.aten

# Their derivative needs their value alone, which may therefore stand in the place of their argument.
_FROM_VALUE = (aten.sigmoid.default, aten.tanh.default, aten.relu.default)
_ZEROS = (aten.zeros_like.default, aten.zeros.default, aten.new_zeros.default)


class Opening(NamedTuple):
    """Gates that are nothing but a sigmoid or tanh of their pre-activations: one sigmoid opens them all.

    It opens a tanh as ``2 σ(2 x) - 1``, right to 2e-7, for which the pre-activations have to come doubled.
    """

    start: int
    stop: int
    tanhs: tuple[int, ...]  # the ones that are a tanh


def finish_tanh(gate: Tensor) -> None:
    """Makes a tanh of what a sigmoid has left."""
    torch.add(_MINUS_ONE, gate, alpha=2, out=gate)


_MINUS_ONE = torch.tensor(-1.0)


def lighten(graph: fx.Graph) -> None:
    """Writes every tanh by way of the sigmoid, which Inductor's loops on a CPU take four times as fast."""
    for node in graph.find_nodes(op="call_function", target=aten.tanh.default):
        with graph.inserting_before(node):
            twice = graph.call_function(aten.mul.Tensor, (node.args[0], 2))
            value = graph.call_function(aten.sigmoid.default, (twice,))
            value = graph.call_function(aten.mul.Tensor, (value, 2))
            node.replace_all_uses_with(graph.call_function(aten.sub.Tensor, (value, 1)))
        graph.erase_node(node)


def contract(graph: fx.Graph) -> None:
    """Makes one operation of a product and the sum that alone takes it."""
    for add in graph.find_nodes(op="call_function", target=aten.add.Tensor):
        terms = [a for a in add.args if isinstance(a, fx.Node)]
        for product, other in itertools.permutations(terms if len(terms) == 2 and not add.kwargs else [], 2):
            maps = [other, *product.args]
            alone = product.target is aten.mul.Tensor and len(product.users) == 1 and other is not product
            if alone and all(_alike(m, add) for m in maps):
                with graph.inserting_before(add):
                    add.replace_all_uses_with(node := graph.call_function(aten.addcmul.default, tuple(maps)))
                node.meta = add.meta
                graph.erase_node(add)
                graph.erase_node(product)
                break


def results(graph: fx.Graph) -> list[fx.Node]:
    returned: Any = graph.output_node().args[0]
    return list(returned)


def is_zero(node: fx.Node) -> bool:
    """Whether a result is known to be zero whatever the input."""
    return node.target in _ZEROS


def split_input(graph: fx.Graph, channels: int) -> list[fx.Node]:
    """Makes the parts of the first input's split into `channels` inputs of their own; returns all its inputs now."""
    whole = next(iter(graph.nodes))
    splits = [n for n in whole.users if n.target is aten.split.Tensor and n.args[1:] == (channels, 1)]
    if len(splits) != len(whole.users):
        return [whole]
    parts = []
    with graph.inserting_before(whole):
        for i in range(whole.meta["val"].shape[1] // channels):
            part = graph.placeholder(f"gate_{i}")
            part.meta["val"] = whole.meta["val"][:, :channels]
            parts.append(part)
    for split in splits:
        for item in list(split.users):
            item.replace_all_uses_with(parts[item.args[1]])
            graph.erase_node(item)
        graph.erase_node(split)
    graph.erase_node(whole)
    return parts


class Value(NamedTuple):
    """An operation of the forward graph whose value may be written over a gate, and its like in the backward graph."""

    node: fx.Node
    gate: fx.Node
    other: fx.Node
    again: fx.Node


def values_of(forward: Sequence[fx.Node], backward: Sequence[fx.Node]) -> list[Value]:
    """For each gate, one of `forward`, the end of a chain of operations that alone reads it and all that follows."""
    values = []
    for gate, again in zip(forward, backward, strict=True):
        node, other = gate, again
        while len(node.users) == 1 == len(other.users):
            (node,), (other,) = node.users, other.users
            if node.target is not other.target:
                break
            if node.target in _FROM_VALUE:
                values.append(Value(node, gate, other, again))
                break
    return values


def take_opening(gates: Sequence[fx.Node], values: list[Value]) -> Opening:
    """Takes out of both graphs, and of `values`, the longest run of gates whose value needs nothing but themselves."""
    direct = {v.gate: v for v in values if v.node.args[0] is v.gate and _is_by_sigmoid(v.node)}
    runs = [list(run) for found, run in itertools.groupby(range(len(gates)), lambda i: gates[i] in direct) if found]
    run: list[int] = max(runs, key=len, default=[])
    for i in run:
        value = direct[gates[i]]
        values.remove(value)
        value.node.replace_all_uses_with(value.gate)
        value.other.replace_all_uses_with(value.again)
    tanhs = tuple(i for i in run if direct[gates[i]].node.target is aten.tanh.default)
    return Opening(run[0], run[-1] + 1, tanhs) if run else Opening(0, 0, ())


def read_results(forward: fx.Graph, backward: fx.Graph, same: Mapping[fx.Node, fx.Node]) -> None:
    """Gives the backward graph the results of the forward graph as further inputs, where it computes them again.

    `same` tells which nodes of the forward graph are which of the backward graph: the inputs at least.
    """

    def key(node: fx.Node, name: Callable[[fx.Node], Any]) -> str:
        return repr((node.target, fx.map_arg(node.args, name), fx.map_arg(node.kwargs, name)))

    at = {key(n, lambda arg: arg.name): n for n in reversed(list(backward.nodes)) if n.op == "call_function"}
    same = dict(same)
    for node in forward.nodes:
        if node not in same and all(arg in same for arg in node.all_input_nodes):
            found = at.get(key(node, lambda arg: same[arg].name))
            if found is not None and node.op == "call_function":
                same[node] = found
    *_, last = (n for n in backward.nodes if n.op == "placeholder")
    with backward.inserting_after(last):
        for i, result in reversed(list(enumerate(results(forward)))):
            given = backward.placeholder(f"new_{i}")
            given.meta["val"] = result.meta["val"]
            if result in same:
                same[result].replace_all_uses_with(given)


def _is_by_sigmoid(node: fx.Node) -> bool:
    # Of slices of channels, a tanh on a CPU takes three times as long as its share of the sigmoid and what is left.
    on_cpu = node.meta["val"].device.type == "cpu"
    return node.target is aten.sigmoid.default or (on_cpu and node.target is aten.tanh.default)


def _alike(one: Any, other: fx.Node) -> bool:
    if not isinstance(one, fx.Node):
        return False
    a, b = one.meta["val"], other.meta["val"]
    return a.shape == b.shape and a.dtype == b.dtype
