"""Exports a model or a layer to a file that requires neither this package nor, for ONNX, torch."""

import copy
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.export import ExportedProgram

from .._atomic import atomic_write
from .._checks import choice
from .._extras import need
from .._version import __version__
from ..pretrained.state_dict import has_weights, uncompiled
from .backend import TOLERANCES, TRACED_SIZES, compare, dynamic_sizes, load_onnx, load_program, to_onnx, trace
from .forms import make_spec
from .spec import ExportError, ExportSpec, size_rules

SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}
Report = Callable[[str], object]
DTYPES = {"onnx": (torch.float32, torch.float16, torch.float64), "torch": tuple(TOLERANCES)}
LOADERS = {"onnx": load_onnx, "torch": load_program}


def export(
    model: nn.Module,
    path: str | os.PathLike[str],
    form: Literal["sequence", "step"] = "sequence",
    format: Literal["onnx", "torch"] = "onnx",
    *,
    dtype: torch.dtype | None = None,
    state: bool = False,
    lengths: bool | None = None,
    mask: bool = False,
    horizon: int | None = None,
    size: tuple[int, int] | None = None,
    encoded: bool = False,
    progress: bool = False,
) -> tuple[Path, ...]:
    """Exports a model to a file that other programs run: ONNX, or a program of ``torch.export``.

    The file is run with inputs of other sizes than in the export, ONNX files in onnxruntime. It is only kept if its
    outputs equal those of the model, in float32 up to 1e-4 of the largest value. A copy of the model is exported, in
    evaluation mode.

    Files of a forecaster with a preprocessing read and return values in the unit of the data, NaN where unknown, as
    :meth:`~convrnn_zoo.Forecaster.forecast` does. They read all frames that they are given; ``forecast`` reads the last
    ``model.preprocessing.inputs``. A nowcast also returns ``probabilities`` of its thresholds.

    Args:
        model: a model of this package, or a layer or cell of ``convrnn_zoo.layers``.
        path: the file to write, ``.onnx`` or ``.pt2``.
        form: ``"sequence"`` for complete sequences, with the loop over time in the file; or ``"step"`` for one frame,
            with the states as inputs and outputs and no loop. A step of a forecaster with a `horizon` reads a frame and
            returns the forecast after it. Without, an autoregressive forecaster returns the next frame, and an
            encoder-forecaster is two files, ``NAME.encoder.onnx`` and ``NAME.forecaster.onnx``. The second starts from
            the last state of the first.
        format: ``"onnx"``, or ``"torch"`` for a program that :func:`torch.export.load` reads.
        dtype: dtype of weights, inputs and outputs, such as ``torch.float16``; by default the dtype of the model. A
            pool over the steps so far has states of at least float32.
        state: whether the sequence form has the states as inputs and outputs. By default, a sequence starts from the
            model's initial state. With or without states, a pool over time only pools the frames of one call.
        lengths: whether the sequence form has the lengths of sequences as an input; by default if the model takes them.
        mask: whether a model of image series has a mask of the dates as an input, instead of lengths.
        horizon: fixed number of frames that a forecaster forecasts. By default, it is an input of the sequence form.
            Files of ConvGRUAdvection always have a fixed horizon and number of input frames.
        size: fixed height and width of the frames, for ConvGRUAdvection or a model with an image encoder. By default
            they are dynamic, or the size in ``pretrained_cfg`` if the encoder requires a fixed size. The metadata
            contain the reason.
        encoded: whether inputs and outputs of a forecaster are the values of the network, instead of the unit of the
            data.
        progress: whether to print the parts of the export to standard error; that of a nowcast takes a minute.

    Shapes:
        Batch N, steps T and spatial axes S are dynamic; the sizes S are multiples of the model's ``reduction``, if any.
        The sequence form has the inputs ``input`` ``(N, T, C, *S)``, or ``(T, N, C, *S)`` for a layer without
        `batch_first`, and, if the model takes them, ``lengths`` ``(N,)`` (int64) or ``mask`` ``(N, T)`` (booleans),
        ``horizon`` (int64 scalar), ``static`` and ``future``. ``output`` has the shape of the model's output; unpooled
        features of several levels are ``output_0``, ``output_1``, …. The step form has the input ``input``
        ``(N, C, *S)`` and the output ``output``. States ``(N, C_l, *S_l)`` are the inputs ``h_l0_in``, ``c_l0_in``, …
        and the outputs ``h_l0_out``, …; ``_l0_reverse`` is the backward direction. Layers are numbered consecutively
        over all levels. The states of the first step are zeros. Therefore files of models with `learn_initial_state`
        cannot have states. The metadata contain the shapes of the states.

    Returns:
        Paths of the written files.

    Raises:
        ExportError: (a ValueError) the export is not supported, or the file's outputs differ from the model's.
        ImportError: onnx, onnxscript or onnxruntime is not installed. The message has the install command.
        OSError: the file cannot be written.

    Example:
        >>> import convrnn_zoo, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=1, hidden_channels=4, num_classes=2)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     [file] = convrnn_zoo.export(model, f"{directory}/gru.onnx", form="step")
        >>> file.name
        'gru.onnx'
    """
    model = uncompiled(model)
    choice("form", form, ("sequence", "step"))
    choice("format", format, tuple(SUFFIX))
    path = Path(path)
    if path.suffix != SUFFIX[format]:
        raise ExportError(f"format={format!r} expected a path that ends in {SUFFIX[format]}, got {path.name!r}")
    if format == "onnx":
        need("onnx", "onnx")
        need("onnxscript", "onnx")  # which torch's exporter requires
        need("onnxruntime", "onnx")
    options = {"state": state, "lengths": lengths, "mask": mask, "horizon": horizon, "size": size, "encoded": encoded}
    spec = make_spec(copy_model(model, format, dtype), form, **options)
    metadata = {name: make_metadata(model, spec, name, form) for name in spec.graphs}
    report: Report = partial(print, file=sys.stderr, flush=True) if progress else lambda part: None
    report("tracing the model")
    return write(path, format, spec, trace_all(spec), metadata, report)


def copy_model(model: nn.Module, format: str, dtype: torch.dtype | None) -> nn.Module:
    """Returns a copy of a model on the CPU, in evaluation mode and in the dtype of the export."""
    dtypes = {p.dtype for p in model.parameters()}
    names = sorted(map(str, dtypes)) or "none"
    if len(dtypes) != 1:
        raise ExportError(f"expected a model with parameters of one dtype, got {names}")
    is_meta = any(p.is_meta for p in model.parameters())
    if is_meta:
        raise ExportError("the model is on the meta device and has no weights; load some first")
    target = dtype or dtypes.pop()
    if target not in DTYPES[format]:
        allowed = ", ".join(map(str, DTYPES[format]))
        reason = "; onnxruntime has no bfloat16 on a CPU, so that a file could not be checked" * (format == "onnx")
        raise ExportError(f"format={format!r} takes {allowed}, got {target}{reason}")
    return copy.deepcopy(model).to("cpu", target).eval().requires_grad_(False)


def trace_all(spec: ExportSpec) -> dict[str, ExportedProgram]:
    """Exports every graph of a specification to a program of torch.export."""
    sizes = dynamic_sizes(spec, TRACED_SIZES)
    return {name: trace(graph, sizes, spec.min_size, spec.max_size) for name, graph in spec.graphs.items()}


def write(
    path: Path,
    format: str,
    spec: ExportSpec,
    programs: Mapping[str, ExportedProgram],
    metadata: Mapping[str, Mapping[str, str]],
    report: Report,
) -> tuple[Path, ...]:
    """Writes all files of a specification under temporary names, checks them together, and then renames them.

    `report` is called with the name of each part before it begins.
    """
    files = {name: path.with_suffix(f".{name}{path.suffix}") if name else path for name in spec.graphs}
    with ExitStack() as stack:
        temporary = {name: stack.enter_context(atomic_write(file)) for name, file in files.items()}
        for name, graph in spec.graphs.items():
            if format == "torch":
                buffer = io.BytesIO()
                torch.export.save(programs[name], buffer, extra_files={"metadata.json": json.dumps(metadata[name])})
                temporary[name].write_bytes(buffer.getvalue())
            else:
                report(f"converting a graph of {len(programs[name].graph.nodes):,} nodes to ONNX")
                need("onnx", "onnx").save(to_onnx(programs[name], graph, metadata[name]), temporary[name])
        report("comparing the file with the model")
        runners = {name: LOADERS[format](temporary[name], graph) for name, graph in spec.graphs.items()}
        compare(spec, runners, single=format == "onnx")
    return tuple(files.values())


# ---- metadata --------------------------------------------------------------------------------------------------
def make_metadata(model: Any, spec: ExportSpec, name: str, form: str) -> dict[str, str]:
    """Returns the metadata of a file, as in docs/reference/export.md. Values other than strings are JSON."""
    cfg: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    weights, preprocessing = getattr(model, "metadata", None), getattr(model, "preprocessing", None)
    front_end = getattr(model, "front_end", None)
    classes, labels = getattr(model, "num_classes", 0), cfg.get("label_names") or ()
    states = [
        {"name": t.name.removesuffix("_in"), "shape": t.axis_names, "dtype": str(t.dtype)[len("torch.") :], "first": 0}
        for t in spec.graphs[name].inputs
        if t.name.endswith("_in")
    ]
    metadata: dict[str, Any] = {"name": cfg.get("architecture", type(model).__name__)}
    if weights and has_weights(model, weights):
        metadata = {"name": weights.name, "description": weights.description, "licence": weights.license}
        metadata["data"] = weights.trained_on
    metadata["classes"] = list(labels) if len(labels) == classes else classes
    with suppress(ValueError):  # statistics of other channels do not apply
        if (statistics := model.statistics() if hasattr(model, "statistics") else None) is not None:
            metadata |= {key: values.tolist() for key, values in zip(("mean", "std"), statistics, strict=True)}
    metadata |= {"form": form, "part": name, **spec.metadata, "state": states}
    metadata["sizes"] = size_rules(spec.graphs[name], spec)
    metadata["made_by"] = f"convrnn_zoo {__version__}"
    if preprocessing is not None:
        metadata |= {name: getattr(preprocessing, name) for name in ("encoding", "unit", "step")}
        metadata["preprocessing"] = preprocessing.to_json()
    if weights is not None and weights.clips is not None:
        metadata["clips"] = {k: v for k, v in dataclasses.asdict(weights.clips).items() if v is not None}
    if front_end is not None:
        metadata["front_end"] = front_end.to_json()
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in metadata.items() if v}
