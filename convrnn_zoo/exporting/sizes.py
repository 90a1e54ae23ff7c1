"""Rules for the sizes of an input: in the metadata, and as nodes of an ONNX file that fail for a wrong size."""

from collections.abc import Iterator, Mapping
from typing import Any

from .._extras import need
from .spec import Axis, ExportSpec, GraphSpec

Rules = Mapping[str, Mapping[str, int]]


def size_rules(graph: GraphSpec, spec: ExportSpec) -> dict[str, dict[str, int]]:
    """Returns, for the dynamic axes of the input frames, the ``multiple``, ``minimum`` and ``maximum`` of the size."""
    rules: dict[str, dict[str, int]] = {}
    for axis in next((t.axes for t in graph.inputs if t.name == "input"), ()):
        if not isinstance(axis, Axis) or axis.name != axis.size:
            continue
        rule = {} if axis.factor == 1 else {"multiple": axis.factor}
        if spec.min_size.get(axis.size, 1) > 1:
            rule["minimum"] = axis.factor * spec.min_size[axis.size]
        if axis.size in spec.max_size:
            rule["maximum"] = axis.factor * spec.max_size[axis.size]
        if rule:
            rules[axis.name] = rule
    return rules


def check_sizes(model: Any, rules: Rules) -> None:
    """Adds nodes to an ONNX model that fail for a wrong size of the input, and whose names state the rule.

    ONNX has no assertions, but runtimes report the name of a node that fails. Each node gathers from a list of one
    zero: element 0 if the size is valid, else an element that does not exist. The input is reshaped to its own shape
    plus these zeros, so that the checks run first.
    """
    if not rules:
        return
    onnx = need("onnx", "onnx")
    graph, node = model.graph, onnx.helper.make_node
    axes = [d.dim_param for d in graph.input[0].type.tensor_type.shape.dim]
    _rename_input(graph, "input", "rule/input")
    constants: dict[str, Any] = {"rule/zeros": [0]}
    nodes, shape = [node("Shape", ["input"], ["rule/shape"])], "rule/shape"
    for axis, rule in rules.items():
        size = f"rule/{axis}"
        constants[f"{size}/axis"] = axes.index(axis)
        nodes.append(node("Gather", ["rule/shape", f"{size}/axis"], [size]))
        for name, value in rule.items():
            limit, wrong, zero, text = f"{size}/{name}", f"{size}/{name}/wrong", f"{size}/{name}/zero", name
            constants[limit] = value
            if name == "multiple":
                text = "a multiple of"
                nodes.append(node("Mod", [size, limit], [wrong]))
            else:
                text = "at least" if name == "minimum" else "at most"
                smaller, larger = (size, limit) if name == "minimum" else (limit, size)
                nodes.append(node("Less", [smaller, larger], [f"{wrong}/bool"]))
                nodes.append(node("Cast", [f"{wrong}/bool"], [wrong], to=onnx.TensorProto.INT64))
            nodes.append(node("Gather", ["rule/zeros", wrong], [zero], name=f"{axis} must be {text} {value}"))
            nodes.append(node("Add", [shape, zero], [f"{zero}/sum"]))
            shape = f"{zero}/sum"
    nodes.append(node("Reshape", ["input", shape], ["rule/input"]))
    for name, value in constants.items():
        dims, values = ([len(value)], value) if isinstance(value, list) else ([], [value])
        graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, dims, values))
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *others])


def _rename_input(graph: Any, old: str, new: str) -> None:
    for subgraph in subgraphs(graph):
        for node in subgraph.node:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new


def subgraphs(graph: Any) -> Iterator[Any]:
    """Yields an ONNX graph and the graphs of its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from subgraphs(attribute.g)
