"""Programs of ExecuTorch, which phones and other devices without Python run."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.export import ExportedProgram

from .._extras import need
from .spec import Axis, ExportError, ExportSpec, GraphSpec, Runner, Sizes, Values

MAX_SIZES = {"batch": 1, "time": 64, "horizon": 24, "length": 64, "depth": 16, "height": 128, "width": 128}
"""Default upper bounds of sizes: ExecuTorch plans the memory of all tensors for the largest size."""

TOLERANCE = 1e-5
"""Maximum difference between program and model, as a fraction of the model's largest value."""


def bound_sizes(spec: ExportSpec, requested: Mapping[str, int], *, has_loop: bool) -> ExportSpec:
    """Returns a specification with a maximum of each dynamic size, in units of its multiple.

    With a loop, only the numbers of steps are dynamic, because the states of a loop of ExecuTorch have one size.

    Raises:
        ExportError: a name is unknown, or a maximum is below the smallest size that the model supports.
    """
    factors: dict[str, int] = {}
    for graph in spec.graphs.values():
        for axis in (a for t in graph.inputs for a in t.axes if isinstance(a, Axis)):
            factors[axis.size] = max(factors.get(axis.size, 1), axis.factor)
        if any(t.name == "horizon" for t in graph.inputs):
            factors["horizon"] = 1
    if unknown := sorted(requested.keys() - factors.keys()):
        raise ExportError(f"max_sizes may have the keys {', '.join(sorted(factors))}, got {unknown[0]!r}")
    limits: dict[str, int] = {}
    for name, factor in factors.items():
        smallest = spec.min_size.get(name, 1)
        if name in requested and requested[name] < smallest * factor:
            raise ExportError(f"max_sizes[{name!r}] must be at least {smallest * factor}, got {requested[name]}")
        limits[name] = max(smallest, requested.get(name, MAX_SIZES[name]) // factor)
    fixed = {name: value for name, value in limits.items() if has_loop and name not in ("time", "horizon")}
    return dataclasses.replace(spec, max_size=limits, min_size={**spec.min_size, **fixed})


def limit(sizes: Sizes, limits: Sizes) -> dict[str, int]:
    """Returns sizes of which none exceeds its limit."""
    return {name: min(value, limits.get(name, value)) for name, value in sizes.items()}


def to_executorch(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """Lowers a program of torch.export; XNNPACK runs the operations that it supports.

    Raises:
        ExportError: ExecuTorch does not support an operation of the program.
    """
    exir = need("executorch.exir", "executorch")
    xnnpack = need("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch")
    operations = need("executorch.backends.xnnpack.partition.config", "executorch").ALL_PARTITIONER_CONFIGS
    # XNNPACK claims all resizing, and then rejects some of it.
    others = [operation for operation in operations if operation.__name__ != "BilinearResize2dConfig"]
    constants = {"metadata": json.dumps(dict(metadata), ensure_ascii=False)}
    _replace_sorts(program)
    # Of outputs of loops, whose sizes are upper bounds, ExecuTorch has no views.
    has_loop = any(node.target is torch.ops.higher_order.scan for node in program.graph.nodes)
    config = exir.ExecutorchBackendConfig(remove_view_copy=not has_loop)
    error: Exception | None = None
    for partitioners in ([xnnpack.XnnpackPartitioner(configs=others)], []):
        try:  # some operations can only be lowered without XNNPACK
            edge = exir.to_edge_transform_and_lower(program, partitioner=partitioners, constant_methods=constants)
            return edge.to_executorch(config).buffer
        except Exception as e:
            error = e
    line = next(filter(None, map(str.strip, str(error).splitlines())), "")
    raise ExportError(f"ExecuTorch cannot run this model: {type(error).__name__}: {line[:300]}") from error


def _replace_sorts(program: ExportedProgram) -> None:
    """Replaces sorting, for which ExecuTorch has no kernel, with the selection of as many values as there are."""
    aten = torch.ops.aten
    for node in program.graph.nodes:
        if node.target not in (aten.sort.default, aten.sort.stable):
            continue
        arguments = dict(zip(("self", "dim", "descending"), node.args, strict=False), **node.kwargs)
        dim, values = arguments.get("dim", -1), arguments["self"].meta["val"]
        node.target = aten.topk.default
        node.args = (arguments["self"], values.shape[dim], dim, arguments.get("descending", False))
        node.kwargs = {}
    program.graph_module.recompile()


def load_executorch(path: Path, graph: GraphSpec) -> Runner:
    """Loads a program into the runtime of ExecuTorch, as a function from inputs by name to outputs by name."""
    runtime = need("executorch.runtime", "executorch")
    program = runtime.Runtime.get().load_program(path.read_bytes(), verification=runtime.Verification.Minimal)
    method = program.load_method("forward")

    def run(values: Values) -> dict[str, torch.Tensor]:
        inputs = [values[t.name] for t in graph.inputs]
        outputs = method.execute([x.contiguous() if isinstance(x, torch.Tensor) else x for x in inputs])
        return {t.name: y.clone() for t, y in zip(graph.outputs, outputs, strict=True)}

    run.program = program  # type: ignore[attr-defined]  # the method refers to its memory
    return run
