"""A graph of tensor operations laid out over buffers, so that running it allocates nothing."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

aten = torch.ops.aten


_MINUS_ONE = torch.tensor(-1.0)


class Opening(NamedTuple):
    """Gates that are nothing but a sigmoid or tanh of their pre-activations: one sigmoid opens them all.

    It opens a tanh as ``2 σ(2 x) - 1``, for which the pre-activations have to come doubled.
    """

    start: int
    stop: int
    tanhs: tuple[int, ...]  # the ones that are a tanh


def finish_tanh(gate: Tensor) -> None:
    """Makes a tanh of what a sigmoid has left."""
    torch.add(_MINUS_ONE, gate, alpha=2, out=gate)


# The operations that can write into a buffer; any other runs as it is, at the price of an allocation.
_INTO: dict[Any, tuple[Callable[..., Tensor], str]] = {  # and under what name they take it
    aten.add.Tensor: (torch.add, "out"),
    aten.sub.Tensor: (torch.sub, "out"),
    aten.mul.Tensor: (torch.mul, "out"),
    aten.addcmul.default: (torch.addcmul, "out"),
    aten.neg.default: (torch.neg, "out"),
    aten.sigmoid.default: (torch.sigmoid, "out"),
    aten.tanh.default: (torch.tanh, "out"),
    aten.relu.default: (aten.relu.out, "out"),
    aten.sigmoid_backward.default: (aten.sigmoid_backward.grad_input, "grad_input"),
    aten.tanh_backward.default: (aten.tanh_backward.grad_input, "grad_input"),
    aten.threshold_backward.default: (aten.threshold_backward.grad_input, "grad_input"),
}
# Their derivative needs their value alone, which may therefore stand in the place of their argument.
_FROM_VALUE = (aten.sigmoid.default, aten.tanh.default, aten.relu.default)
_ZEROS = (aten.zeros_like.default, aten.zeros.default, aten.new_zeros.default)


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


def lay_out(
    graph: fx.Graph,
    writes: Sequence[fx.Node],
    returns: Sequence[fx.Node] = (),
    overwrites: Mapping[fx.Node, fx.Node] = MappingProxyType({}),
) -> tuple[Callable[..., tuple[Tensor, ...]], int]:
    """A function ``f(*inputs, *outs, *scratch)`` and how many scratch maps it wants.

    It writes the values of `writes` into `outs`, maps that no input may share memory with, and returns those of
    `returns`. `overwrites` are operations whose value replaces an input.
    """
    like = writes[0].meta["val"]
    needed = _needed([*writes, *returns])
    uses = Counter(arg for node in needed for arg in node.all_input_nodes) + Counter(returns)
    home = {node: f"out{i}" for i, node in reversed(list(enumerate(writes))) if _fits(node, like)}
    place: dict[fx.Node, str] = {}
    names: dict[str, Any] = {}
    lines: list[str] = []
    free: list[str] = []
    scratch = 0
    inputs = []

    def code(value: Any) -> str:
        if isinstance(value, fx.Node):
            return place[value]
        if isinstance(value, list | tuple):
            return "[" + ", ".join(map(code, value)) + "]"
        return constant(value)

    def constant(value: Any) -> str:
        names[f"k{len(names)}"] = value
        return f"k{len(names) - 1}"

    for node in graph.nodes:
        if node.op == "placeholder":
            place[node] = node.name
            inputs.append(node.name)
            continue
        if node not in needed:
            continue
        args = [code(a) for a in node.args] + [f"{k}={code(v)}" for k, v in node.kwargs.items()]
        dying = []
        for arg in node.all_input_nodes:
            uses[arg] -= 1
            if not uses[arg] and place[arg].startswith("scratch"):
                dying.append(place[arg])
        if node in overwrites or (_fits(node, like) and (node in home or all(_fits(u, like) for u in node.users))):
            if node in overwrites:
                into = place[overwrites[node]]
            elif node in home:
                into = home[node]
            elif dying:
                into = dying.pop()
            elif free:
                into = free.pop()
            else:
                into, scratch = f"scratch{scratch}", scratch + 1
            call, keyword = _INTO[node.target]
            lines.append(f"{constant(call)}({', '.join(args)}, {keyword}={into})")
            place[node] = into
        else:
            lines.append(f"{node.name} = {constant(node.target)}({', '.join(args)})")
            place[node] = node.name
        free += dying
    lines += [f"out{i}.copy_({place[n]})" for i, n in enumerate(writes) if place[n] != f"out{i}"]
    lines.append(f"return ({''.join(place[n] + ', ' for n in returns)})")
    head = [*inputs, *(f"out{i}" for i in range(len(writes))), *(f"scratch{i}" for i in range(scratch))]
    exec(f"def laid_out({', '.join(head)}):\n    " + "\n    ".join(lines), names)
    return names["laid_out"], scratch


def _fits(node: fx.Node, like: Tensor) -> bool:
    value = node.meta["val"]
    return node.target in _INTO and value.shape == like.shape and value.dtype == like.dtype


def _is_by_sigmoid(node: fx.Node) -> bool:
    on_cpu = node.meta["val"].device.type == "cpu"
    return node.target is aten.sigmoid.default or (on_cpu and node.target is aten.tanh.default)


def _alike(one: Any, other: fx.Node) -> bool:
    if not isinstance(one, fx.Node):
        return False
    a, b = one.meta["val"], other.meta["val"]
    return a.shape == b.shape and a.dtype == b.dtype


def _needed(ends: Sequence[fx.Node]) -> set[fx.Node]:
    needed, todo = set(), list(ends)
    while todo:
        node = todo.pop()
        if node not in needed:
            needed.add(node)
            todo += node.all_input_nodes
    return needed
