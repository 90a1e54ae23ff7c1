"""A graph of tensor operations laid out over buffers, so that running it allocates nothing."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

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


def _needed(ends: Sequence[fx.Node]) -> set[fx.Node]:
    needed, todo = set(), list(ends)
    while todo:
        node = todo.pop()
        if node not in needed:
            needed.add(node)
            todo += node.all_input_nodes
    return needed
