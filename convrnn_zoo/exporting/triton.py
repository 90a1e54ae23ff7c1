"""Model repositories of Triton Inference Server, whose sequence batcher keeps the states of the step form."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from .._extras import need
from ..layers import _checks as check
from .export import export
from .forms import streaming_form
from .spec import ExportError, named_length

MAX_BATCH_SIZE = 8
IDLE_SECONDS = 3600
"""Time after which the server discards the states of a sequence without requests."""
TYPES = {
    "FLOAT": "TYPE_FP32",
    "FLOAT16": "TYPE_FP16",
    "DOUBLE": "TYPE_FP64",
    "INT64": "TYPE_INT64",
    "BOOL": "TYPE_BOOL",
}
"""Types of Triton by the name of the ONNX type."""


def export_triton(
    model: nn.Module, directory: str | os.PathLike[str], *, name: str | None = None,
    form: str | None = None, sizes: Mapping[str, int] | None = None, max_batch_size: int = MAX_BATCH_SIZE,
    idle_seconds: int = IDLE_SECONDS, **options: Any,
) -> Path:  # fmt: skip
    """Writes a model repository of Triton Inference Server: ``NAME/config.pbtxt`` and ``NAME/1/model.onnx``.

    In the step form, a request is one frame, and the server keeps the states of each sequence between its requests
    (`sequence_batching` with implicit `state`). A client sends a sequence id with its frames and marks the first one as
    the start. A forecaster returns a forecast after each frame. Models without a step form are exported in the sequence
    form, without states.

    Args:
        model: as for :func:`export`.
        directory: the model repository; it may contain other models.
        name: name of the model in the repository; by default that of its weights, or of its architecture.
        form: ``"step"`` or ``"sequence"``; by default the step form if the model has one.
        max_batch_size: largest number of requests that the server computes at once.
        idle_seconds: time without requests after which the server discards the states of a sequence.
        sizes: size of each dynamic axis of the frames, such as ``{"height": 128, "width": 160}``. Needed for the step
            form, because a state of the server has one size.
        **options: further arguments of :func:`export`.

    Returns:
        Path of the written ``config.pbtxt``.

    Raises:
        ExportError: as for :func:`export`; or the directory has a model of this name.

    References:
        https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/implicit_state_management.html

    Example:
        >>> import convrnn_zoo, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=1, hidden_channels=4, num_classes=2)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = export_triton(model, directory, name="gestures", sizes={"length": 16})
        ...     "sequence_batching" in path.read_text()
        True
    """
    form, options["horizon"] = streaming_form(model, form, options.get("horizon"))
    weights = (getattr(model, "pretrained_cfg", None) or {}).get("architecture", type(model).__name__)
    tag = (getattr(model, "pretrained_cfg", None) or {}).get("tag")
    name = name or (f"{weights}.{tag}" if tag else weights)
    target = Path(directory, name)
    if target.exists():
        raise ExportError(f"{target} exists; pass another name, or remove it")
    version = target / "1"
    version.mkdir(parents=True)
    try:
        (path,) = export(model, version / "model.onnx", form, **options)  # type: ignore[arg-type]
        onnx = need("onnx", "onnx")
        text = configuration(onnx.load(path), name, max_batch_size, idle_seconds, sizes or {})
        (target / "config.pbtxt").write_text(text, encoding="utf-8")
    except BaseException:
        shutil.rmtree(target)
        raise
    return target / "config.pbtxt"


def configuration(onnx_model: Any, name: str, max_batch_size: int, idle_seconds: int, sizes: Mapping[str, int]) -> str:
    """Returns the ``config.pbtxt`` of an exported ONNX model."""
    graph, metadata = onnx_model.graph, {p.key: p.value for p in onnx_model.metadata_props}
    first, *others = [d.dim_param for d in graph.input[0].type.tensor_type.shape.dim]
    if first not in ("batch", ""):
        raise ExportError(f"Triton batches the first axis, and that of the file is {first}; pass batch_first=True")
    axes = {*others} - {""}
    if unknown := sorted(sizes.keys() - axes):
        raise ExportError(f"sizes may have the keys {', '.join(sorted(axes))}, got {unknown[0]!r}")
    check.positive_int("max_batch_size", max_batch_size)
    check.positive_int("idle_seconds", idle_seconds)
    rules = json.loads(metadata.get("sizes", "{}"))
    for axis, size in sizes.items():
        check.positive_int(f"sizes[{axis!r}]", size)
        rule = {"multiple": 1, "minimum": 1, "maximum": size, **rules.get(axis, {})}
        if size % rule["multiple"] or not rule["minimum"] <= size <= rule["maximum"]:
            raise ExportError(f"sizes[{axis!r}] must meet {rules[axis]}, the rule of the file, got {size}")
    has_state = any(v.name.endswith("_in") for v in graph.input)
    lines = [f"name: {_quote(name)}", 'backend: "onnxruntime"', f"max_batch_size: {max_batch_size}"]
    for kind, values, end in (("input", graph.input, "_in"), ("output", graph.output, "_out")):
        for value in values:
            if not (has_state and value.name.endswith(end)):
                fields = {"name": _quote(value.name), "data_type": _type(value), "dims": _dims(value, sizes, has_state)}
                if not fields["dims"]:  # one number per request
                    fields |= {"dims": [1], "reshape": ["shape: []"]}
                lines += _message(kind, **fields)
    if has_state:
        outputs = {v.name: v for v in graph.output}
        lines += ["sequence_batching {", f"  max_sequence_idle_microseconds: {idle_seconds * 10**6}"]
        for value in graph.input:
            if value.name.endswith("_in"):
                state, dims = value.name.removesuffix("_in"), _dims(value, sizes, has_state)
                if f"{state}_out" not in outputs:
                    raise ExportError(f"the file has no output {state}_out; export the step form")
                initial = {"data_type": _type(value), "dims": dims, "zero_data": "true", "name": _quote(state)}
                fields = {"input_name": _quote(value.name), "output_name": _quote(f"{state}_out")}
                fields |= {"data_type": _type(value), "dims": dims}
                text = _message("state", **fields, initial_state=_message("initial_state", **initial)[1:-1])
                lines += [f"  {line}" for line in text]
        lines.append("}")
    for key in ("unit", "step", "classes", "values"):
        if key in metadata:
            value = metadata[key]
            lines += ["parameters {", f'  key: "{key}"', f"  value {{ string_value: {_quote(value)} }}", "}"]
    return "\n".join(lines) + "\n"


def _dims(value: Any, sizes: Mapping[str, int], has_state: bool) -> list[int]:
    """Returns the dimensions after the batch; -1 where they are dynamic."""
    dims = []
    for d in value.type.tensor_type.shape.dim[1:]:
        length = named_length(d.dim_param, sizes) if d.dim_param else d.dim_value
        if length is None and has_state:
            axis = d.dim_param.partition("/")[0]
            raise ExportError(f"the states of a sequence have one size: pass sizes with {axis!r}")
        dims.append(-1 if length is None else length)
    return dims


def _type(value: Any) -> str:
    return TYPES[need("onnx", "onnx").TensorProto.DataType.Name(value.type.tensor_type.elem_type)]


def _quote(text: str) -> str:
    return json.dumps(text)


def _message(kind: str, **fields: Any) -> list[str]:
    """Returns the lines of a message in the text format of protocol buffers."""
    lines = [f"{kind} {{"]
    for name, value in fields.items():
        if isinstance(value, list) and all(isinstance(v, int) for v in value):
            lines.append(f"  {name}: [{', '.join(map(str, value))}]")
        elif isinstance(value, list):
            lines += [f"  {name} {{", *(f"  {line}" for line in value), "  }"]
        else:
            lines.append(f"  {name}: {value}")
    return [*lines, "}"]
