"""Exports graphs to programs of torch.export and to ONNX files, runs the files and compares them with the model."""

import inspect
import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from .._extras import need
from .graph import fast_shapes
from .spec import Axis, ExportError, ExportSpec, GraphSpec, Runner, Runners, Sizes, Values

OPSET = 18  # the exporter's own version; for another one it converts the graph and loses the content of loops
MAX_SIZE = 2**31 - 1  # torch 2.6 requires an upper bound
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Maximum difference between file and model for each dtype, as a fraction of the model's largest value."""
TRACED_SIZES = {"batch": 2, "time": 4, "horizon": 3, "length": 3, "depth": 3, "height": 4, "width": 5}
CHECKED_SIZES = (
    {"batch": 3, "time": 5, "horizon": 4, "length": 5, "depth": 4, "height": 3, "width": 6},
    {"batch": 4, "time": 3, "horizon": 5, "length": 7, "depth": 5, "height": 6, "width": 3},
)
SINGLE_SIZES = {"batch": 1, "time": 1, "horizon": 1, "length": 4, "depth": 3, "height": 3, "width": 4}
"""Sizes of one sequence of one step. A program of torch.export may reject them, since torch specializes on 1."""
TURNED_OVER = 1e-3
"""Maximum share of values that rounding may turn over in outputs with jumps."""
_EXPORT_LOCK = threading.Lock()  # torch's exporters are not thread-safe


# ---- export ----------------------------------------------------------------------------------------------------
class _NamedArguments(nn.Module):
    """Wraps the module of a graph so that torch finds the names of the graph's inputs in the signature of `forward`."""

    def __init__(self, graph: GraphSpec) -> None:
        super().__init__()
        self.module = graph.module
        parameters = [inspect.Parameter(t.name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for t in graph.inputs]
        signature = inspect.Signature(parameters)

        def forward(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
            return self.module(**signature.bind(*args, **kwargs).arguments)

        forward.__signature__ = signature  # type: ignore[attr-defined]
        self.forward = forward


def trace(graph: GraphSpec, sizes: Sizes, min_size: Sizes, max_size: Sizes) -> ExportedProgram:
    """Exports a graph to a program of torch.export, in which every :class:`Axis` of an input is dynamic."""
    limits = {name: (min_size.get(name, 1), max_size.get(name, MAX_SIZE)) for name in sizes}
    dims = {name: Dim(name, min=low, max=high) for name, (low, high) in limits.items() if high > low}
    values: dict[str, Any] = {t.name: t.sample(sizes) for t in graph.inputs}
    shapes: dict[str, Any] = {}
    for tensor in graph.inputs:
        shapes[tensor.name] = {
            i: _dynamic(a, limits) if a.inferred else dims[a.size] if a.factor == 1 else a.factor * dims[a.size]
            for i, a in enumerate(tensor.axes)
            if isinstance(a, Axis) and a.size in dims
        }
        if tensor.name == "horizon":
            low, high = limits["horizon"]
            shapes["horizon"] = Dim.DYNAMIC if high == MAX_SIZE else Dim.DYNAMIC(min=low, max=high)
    problem = "torch.export cannot export this model"
    with _EXPORT_LOCK, torch.no_grad(), fast_shapes(), _as_export_error(problem):
        program = torch.export.export(_NamedArguments(graph).eval(), (), values, dynamic_shapes=shapes, strict=False)
    return _remove_unused(program)


def _remove_unused(program: ExportedProgram) -> ExportedProgram:
    """Removes assertions of dtypes, and the nodes that only they used, such as the first step before a loop."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def _dynamic(axis: Axis, limits: Mapping[str, tuple[int, int]]) -> Any:
    """Returns the dimension of an axis whose range torch infers, with the limits of its size if there are any."""
    high = limits[axis.size][1] * axis.factor + (limits[axis.plus][1] if axis.plus else 0)
    return Dim.DYNAMIC if limits[axis.size][1] == MAX_SIZE else Dim.DYNAMIC(max=high)


@contextmanager
def _as_export_error(problem: str) -> Iterator[None]:
    """Context manager that turns every exception into an ExportError with the first line of its message."""
    try:
        yield
    except Exception as e:
        line = next(filter(None, map(str.strip, str(e).splitlines())), "")
        raise ExportError(f"{problem}: {type(e).__name__}: {line[:400]}") from e


def to_onnx(program: ExportedProgram, graph: GraphSpec, metadata: Mapping[str, str]) -> Any:
    """Converts a program to an ONNX model with the names and the axes of `graph`."""
    onnx = need("onnx", "onnx")
    inputs, outputs = [t.name for t in graph.inputs], [t.name for t in graph.outputs]
    with _EXPORT_LOCK, fast_shapes(), _as_export_error("the ONNX exporter of torch cannot export this model"):
        exported = torch.onnx.export(
            program,
            (),
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,
        )
        assert exported is not None
        _simplify(exported.model)
        model = exported.model_proto
    _drop_wrong_biases(model)
    _clean(model)
    values = [*model.graph.input, *model.graph.output]
    for value, tensor in zip(values, [*graph.inputs, *graph.outputs], strict=True):
        if value.name != tensor.name:
            raise ExportError(f"the ONNX exporter of torch named {tensor.name} {value.name}; upgrade torch")
        shape = value.type.tensor_type.shape
        shape.Clear()
        for name in tensor.axis_names:
            shape.dim.add(**{"dim_param" if isinstance(name, str) else "dim_value": name})
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = "convrnn_zoo", ""
    with _as_export_error("the ONNX exporter of torch wrote an invalid graph"):
        onnx.checker.check_model(model)  # onnxruntime infers the shapes, also those of loops that use outer sizes
    return model


def _simplify(model: Any) -> None:
    """Folds constants and removes duplicates in an ONNX model of onnx_ir.

    The exporter's own optimization also searches for patterns, in a time that grows with the square of the nodes.
    """
    optimizer, passes = need("onnxscript.optimizer", "onnx"), need("onnx_ir.passes.common", "onnx")
    optimizer.inline(model)
    optimizer.fold_constants(model, onnx_shape_inference=False)
    for simplify in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.NameFixPass(),
    ):
        simplify(model)


def _subgraphs(graph: Any) -> Iterator[Any]:
    """Yields an ONNX graph and the graphs of its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _subgraphs(attribute.g)


def _drop_wrong_biases(model: Any) -> None:
    """Removes the biases that onnxscript 0.7 adds to 3-d convolutions without one: zeros of a shape ``(C, 2)``."""
    wrong = {i.name for i in model.graph.initializer if len(i.dims) != 1}
    for graph in _subgraphs(model.graph):
        for node in graph.node:
            if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in wrong:
                del node.input[2]


def _clean(model: Any) -> None:
    """Removes information about the machine, inferred sizes and unused constants from an ONNX model."""
    graphs = list(_subgraphs(model.graph))
    used = {name for g in graphs for node in g.node for name in node.input} | {o.name for g in graphs for o in g.output}
    for graph in graphs:
        del graph.value_info[:]
        graph.doc_string = ""
        for item in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
            del item.metadata_props[:]
            item.doc_string = ""
        constants = [i for i in graph.initializer if i.name in used]
        del graph.initializer[:]
        graph.initializer.extend(constants)
    for function in model.functions:
        del function.metadata_props[:]


# ---- run -------------------------------------------------------------------------------------------------------
def load_program(path: Path, graph: GraphSpec) -> Runner:
    """Loads a program of torch.export as a function from inputs by name to outputs by name."""
    module = torch.export.load(io.BytesIO(path.read_bytes())).module()
    return _by_name(graph, lambda values: module(**values))


def load_onnx(path: Path, graph: GraphSpec) -> Runner:
    """Loads an ONNX file into onnxruntime, as a function from inputs by name to outputs by name."""
    onnxruntime = need("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    with _as_export_error("onnxruntime rejects the file, which was removed"):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def call(values: Values) -> list[Tensor]:
        arrays = {name: torch.as_tensor(value).numpy() for name, value in values.items()}
        return [torch.from_numpy(y) for y in session.run(None, arrays)]

    return _by_name(graph, call)


def _by_name(graph: GraphSpec, call: Callable[[Values], Any]) -> Runner:
    def run(values: Values) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs = call({t.name: values[t.name] for t in graph.inputs})
        return {t.name: y for t, y in zip(graph.outputs, outputs, strict=True)}

    return run


# ---- check -----------------------------------------------------------------------------------------------------
def dynamic_sizes(spec: ExportSpec, values: Mapping[str, int]) -> dict[str, int]:
    """Returns `values` for the dynamic sizes of a specification, increased where it requires larger sizes."""
    tensors = [t for graph in spec.graphs.values() for t in graph.inputs]
    names = {size for t in tensors for a in t.axes if isinstance(a, Axis) for size in (a.size, a.plus)}
    names |= {t.name for t in tensors if t.name == "horizon"}
    return {n: values[n] + max(0, spec.min_size.get(n, 1) - 3) for n in values if n in names}


def compare(spec: ExportSpec, runners: Runners, *, single: bool) -> float:
    """Returns the largest difference of files and model for inputs of new sizes, as a fraction of the largest value.

    `single` also compares N = T = 1. Raises ExportError for a difference above the tolerance of the dtype.
    """
    dtypes = {p.dtype for graph in spec.graphs.values() for p in graph.module.parameters()}
    dtypes |= {t.dtype for graph in spec.graphs.values() for t in graph.outputs}
    tolerance = max(TOLERANCES[dtype] for dtype in dtypes & TOLERANCES.keys())
    largest = 0.0
    for values in (*CHECKED_SIZES, SINGLE_SIZES) if single else CHECKED_SIZES:
        sizes = {"time": values["time"], "horizon": values["horizon"], **dynamic_sizes(spec, values)}
        sizes = {name: min(value, spec.max_size.get(name, value)) for name, value in sizes.items()}
        try:
            with torch.no_grad():
                comparisons = list(spec.check_run(runners, sizes))
        except ExportError:
            raise
        except Exception as e:
            raise ExportError(f"the exported file does not run at {sizes}; {type(e).__name__}: {str(e)[:300]}") from e
        for name, actual, expected in comparisons:
            difference = _difference(spec, name, actual, expected, sizes)
            if not difference <= tolerance:
                raise ExportError(
                    f"the exported file differs from the model by {difference:.1e} of the largest value of {name} at "
                    f"{sizes}, more than {tolerance:.0e}"
                )
            largest = max(largest, difference)
    return largest


def _difference(spec: ExportSpec, name: str, actual: Tensor, expected: Tensor, sizes: Sizes) -> float:
    """Returns the difference of an output as a fraction of its largest value; jumps may turn over single values."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ExportError(
            f"the exported file returns {tuple(actual.shape)} {actual.dtype} as {name} at {sizes}, and the "
            f"model {tuple(expected.shape)} {expected.dtype}"
        )
    if not torch.equal(actual.isnan(), expected.isnan()):
        raise ExportError(f"the exported file has NaN elsewhere than the model, in {name} at {sizes}")
    actual, expected = (x.double().nan_to_num(0) for x in (actual, expected))
    differences = (actual - expected).abs() / max(float(expected.abs().max()), 1e-3)
    if name in spec.decided:
        rank = max(1, int(differences.numel() * (1 - TURNED_OVER)))  # quantile takes no more than 2**24 values
        return float(differences.flatten().kthvalue(rank).values)
    return float(differences.max())
