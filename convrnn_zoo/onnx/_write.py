"""A part of an export as a program of torch.export, and as an ONNX graph with names, sizes and metadata."""

import inspect
import io
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from .._extras import need
from ._errors import ExportError
from ._plan import Axis, Part, Run, Sizes

_EITHER_WAY = inspect.Parameter.POSITIONAL_OR_KEYWORD
_OPSET = 18  # the exporter's own; of another it converts the graph, and forgets what is inside loops
_MOST = 2**31 - 1  # of a size: torch 2.6 takes no size without a bound
_ONE_AT_A_TIME = threading.Lock()  # torch's exporters are not made for threads


class _Called(nn.Module):
    """A part as a module whose arguments have the names of its inputs, which torch takes from the signature."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part.module
        signature = inspect.Signature([inspect.Parameter(p.name, _EITHER_WAY) for p in part.inputs])

        def forward(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
            return self.part(**signature.bind(*args, **kwargs).arguments)

        forward.__signature__ = signature  # type: ignore[attr-defined]
        self.forward = forward


def trace(part: Part, sizes: Sizes, least: Sizes) -> ExportedProgram:
    """The program of a part, with every size open that its ports name.

    Raises:
        ExportError: torch cannot; with its reason.
    """
    opened = {name: Dim(name, min=least.get(name, 1), max=_MOST) for name in sizes}
    values: dict[str, Any] = {p.name: p.draw(sizes) for p in part.inputs}
    shapes: dict[str, Any] = {}
    for port in part.inputs:
        shapes[port.name] = {
            i: Dim.DYNAMIC if a.free else opened[a.size] if a.factor == 1 else a.factor * opened[a.size]
            for i, a in enumerate(port.axes)
            if isinstance(a, Axis)
        }
        if port.name == "horizon":  # a number and no tensor, so that it can be a size
            values["horizon"], shapes["horizon"] = sizes["horizon"], Dim.DYNAMIC
    with _ONE_AT_A_TIME, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch warns of its own parts
        try:
            return torch.export.export(_Called(part).eval(), (), values, dynamic_shapes=shapes, strict=False)
        except Exception as e:
            raise ExportError(f"torch.export cannot take this model: {_first_line(e)}") from e


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:400] if lines else ''}"


def to_onnx(program: ExportedProgram, part: Part, metadata: Mapping[str, str]) -> Any:
    """The ONNX graph of a program.

    Raises:
        ExportError: the exporter cannot; with its reason.
    """
    onnx = need("onnx", "onnx")
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = torch.onnx.export(
                program,
                (),
                input_names=[p.name for p in part.inputs],
                output_names=[p.name for p in part.outputs],
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
            assert made is not None
            graph = made.model_proto
        except Exception as e:
            raise ExportError(f"the ONNX exporter of torch cannot take this model: {_first_line(e)}") from e
    _tidy(graph)
    for value, port in zip([*graph.graph.input, *graph.graph.output], [*part.inputs, *part.outputs], strict=True):
        if value.name != port.name:
            raise ExportError(f"the ONNX exporter of torch named {port.name} {value.name}; upgrade torch")
        shape = value.type.tensor_type.shape
        shape.Clear()
        for name in port.names:
            axis = shape.dim.add()
            if isinstance(name, str):
                axis.dim_param = name
            else:
                axis.dim_value = name
    onnx.helper.set_model_props(graph, dict(metadata))
    graph.producer_name, graph.producer_version = "convrnn_zoo", ""
    try:
        onnx.checker.check_model(graph, full_check=True)
    except Exception as e:
        raise ExportError(f"what the ONNX exporter of torch made is no sound graph: {_first_line(e)}") from e
    return graph


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _tidy(model: Any) -> None:
    """Takes out what tells of the machine that exported, guesses at sizes, and constants that nothing reads."""
    graphs = list(_graphs(model.graph))
    read = {name for g in graphs for node in g.node for name in node.input} | {o.name for g in graphs for o in g.output}
    for graph in graphs:
        del graph.value_info[:]
        graph.doc_string = ""
        for owner in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
            del owner.metadata_props[:]
            owner.doc_string = ""
        kept = [i for i in graph.initializer if i.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)
    for function in model.functions:
        del function.metadata_props[:]


def run_program(path: Path, part: Part) -> Run:
    """A program in a file as a function of its inputs by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.load(io.BytesIO(path.read_bytes())).module()
    return _named(part, lambda given: module(**given))


def run_file(path: Path, part: Part) -> Run:
    """An ONNX file as a function of its inputs by name."""
    onnxruntime = need("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as e:
        raise ExportError(f"onnxruntime does not take the file, so it was not kept: {_first_line(e)}") from e

    def call(given: dict[str, Any]) -> list[Tensor]:
        arrays = {k: v.numpy() if isinstance(v, Tensor) else v for k, v in given.items()}
        if "horizon" in arrays:
            arrays["horizon"] = torch.tensor(arrays["horizon"]).numpy()
        return [torch.from_numpy(y) for y in session.run(None, arrays)]

    return _named(part, call)


def _named(part: Part, call: Callable[[dict[str, Any]], Any]) -> Run:
    def run(given: dict[str, Tensor]) -> dict[str, Tensor]:
        values = {p.name: given[p.name].item() if p.name == "horizon" else given[p.name] for p in part.inputs}
        with torch.no_grad():
            return {p.name: y for p, y in zip(part.outputs, call(values), strict=True)}

    return run
