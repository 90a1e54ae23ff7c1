"""The one function: a model or a layer to a file that needs no PyTorch, or none of this package."""

import copy
import io
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.export import ExportedProgram

from .._atomic import atomic_write
from .._extras import need
from ..layers import ConvRNNCellBase
from ..layers._checks import choice
from ..layers._norm import MapNormed
from ..models import EnsembleForecaster, Forecaster, ZooModel
from ..models.convgru_advection import ConvGRUAdvection
from ..models.e3d_lstm import E3DLSTM
from ..models.mau import MAU
from ..models.mim import MIM
from ..models.phydnet import PhyDNet
from ..models.utae import ImageSeriesModel
from . import _forecasters, _images, _recurrent
from ._check import check, traced_sizes
from ._errors import ExportError
from ._images import ImageModel
from ._metadata import metadata
from ._plan import Plan
from ._recurrent import RecurrentModel
from ._scan import check_version
from ._sizes import ClipModel
from ._write import run_file, run_program, to_onnx, trace

NOT_YET = (ConvGRUAdvection, EnsembleForecaster, E3DLSTM, MAU, MIM, PhyDNet)
"""Forecasters that read noise, and those that the exporters of torch cannot take."""
SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}
DTYPES = {"onnx": (torch.float32, torch.float16, torch.float64), "torch": (torch.float32, torch.float16,
          torch.float64, torch.bfloat16)}  # fmt: skip


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
) -> tuple[Path, ...]:
    """Writes a model as a file that other programs run: ONNX, or a program of ``torch.export``.

    Before it takes its name, the file is run at other sizes than it was exported with, ONNX in onnxruntime, and
    compared with the model. The model is not changed, and exported as in evaluation, on the CPU.

    Args:
        model: a model of the zoo, or a layer or cell of ``convrnn_zoo.layers``.
        path: the file, ``.onnx`` or ``.pt2``.
        form: ``"sequence"``, the whole sequence with the loop over time in the file; or ``"step"``, one frame, the
            state in and out, and no loop. The step form of an encoder–forecaster is two files,
            ``NAME.encoder.onnx`` and ``NAME.forecaster.onnx``, the second of which starts from the first one's state.
        format: ``"onnx"``, or ``"torch"`` for a program that :func:`torch.export.load` reads.
        dtype: of weights, input and output, such as ``torch.float16``; the model's own by default.
        state: in the sequence form, whether the state goes in and comes out, too. It is zero otherwise.
        lengths: in the sequence form, whether the lengths of the sequences are an input; by default where the model
            takes them.
        mask: for a model of image series, whether a mask of the dates that there are is an input, in place of lengths.
        horizon: for a forecaster's sequence form, a fixed horizon. By default it is an input, a whole number.
        size: for a model with an image encoder, a fixed height and width of the frames. By default they are open; those
            of an encoder that cannot be open are those of its ``pretrained_cfg``, and the metadata say so.

    Shapes:
        Open are the batch, the steps, and height and width (in multiples of the ``reduction`` of a model that has one).
        The sequence form has ``input`` ``(N, T, C, *S)``, ``lengths`` ``(N,)`` of int64 or ``mask`` ``(N, T)`` of
        booleans, ``horizon`` of int64 and ``output``, as the model has them; unpooled features of several levels are
        ``output_0``, ``output_1``, …. The step form has ``input`` ``(N, C, *S)`` and ``output``. States are
        ``h_l0_in``, ``c_l0_in``, … in and ``h_l0_out``, … out, with ``_l0_reverse`` for the second direction,
        ``(N, C_l, *S_l)``, numbered on over the levels; the first ones are zeros, of the sizes that the metadata tell.

    Returns:
        The files.

    Raises:
        ExportError: (a ValueError) the model cannot be exported so, or the file would not agree with it.
        ImportError: onnx, onnxscript or onnxruntime are missing; with the command that installs them.
        OSError: the file cannot be written.

    Example:
        >>> import convrnn_zoo, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=1, hidden_channels=4, num_classes=2)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     [file] = convrnn_zoo.export(model, f"{directory}/gru.onnx", form="step")
        >>> file.name
        'gru.onnx'
    """
    choice("form", form, ("sequence", "step"))
    choice("format", format, tuple(SUFFIX))
    path = Path(path)
    if path.suffix != SUFFIX[format]:
        raise ExportError(f"format={format!r} expected a path that ends in {SUFFIX[format]}, got {path.name!r}")
    if format == "onnx":
        need("onnx", "onnx")
        need("onnxscript", "onnx")  # which torch's exporter is built on
        need("onnxruntime", "onnx")
    plan = plan_of(ready(model, format, dtype), form, state, lengths, horizon, size, mask)
    facts = {which: metadata(model, plan, which, form) for which in plan.parts}
    return write(path, format, plan, traced(plan), facts)


def traced(plan: Plan) -> dict[str, ExportedProgram]:
    """The program of each part.

    Raises:
        ExportError: torch cannot make one.
    """
    return {which: trace(part, traced_sizes(plan), plan.least) for which, part in plan.parts.items()}


def plan_of(
    model: nn.Module, form: str, state: bool, lengths: bool | None, horizon: int | None,
    size: tuple[int, int] | None = None, mask: bool = False,
) -> Plan:  # fmt: skip
    """The plan of a form.

    Raises:
        ExportError: the model has no such form, or not with these options.
    """
    if isinstance(model, NOT_YET):
        raise ExportError(f"{type(model).__name__} has no export yet; run it in PyTorch")
    if any(isinstance(cell, MapNormed) and cell.norm_size for cell in model.modules()):
        raise ExportError(f"{type(model).__name__} with norms of one map's size has no export yet; run it in PyTorch")
    owner = type(model).__name__
    if size is not None and not isinstance(model, ClipModel):
        raise ExportError(f"size is for models with an image encoder, and this is a {owner}; leave it out")
    if mask and not isinstance(model, ImageSeriesModel):
        raise ExportError(f"mask is for models of image series, and this is a {owner}; leave it out")
    if horizon is not None and not isinstance(model, Forecaster):
        raise ExportError(f"horizon is for forecasters, and this is a {owner}; leave it out")
    if form == "step":
        if lengths or mask or horizon is not None:
            raise ExportError(
                "lengths, mask and horizon are for the sequence form; leave them out, or take form='sequence'"
            )
        if isinstance(model, ImageModel):
            raise ExportError(f"{owner} reads complete sequences and has no step form; export the sequence form")
        return _recurrent.step(model, size) if isinstance(model, RecurrentModel) else _forecasters.step(model)
    check_version()
    if isinstance(model, ImageModel):
        return _images.plan(model, state, lengths, mask)
    if isinstance(model, Forecaster):
        return _forecasters.sequence(model, state, lengths, horizon)
    if isinstance(model, RecurrentModel) and not isinstance(model, ConvRNNCellBase):
        return _recurrent.sequence(model, state, lengths, size)
    if isinstance(model, ZooModel):
        raise ExportError(f"{owner} has no export yet; its recurrent layers, among its modules, have one")
    raise ExportError(
        f"the sequence form expected a ConvRNNModel, a sequence layer or a forecaster, got {owner}; "
        "export a cell in the step form"
    )


def ready(model: nn.Module, format: str, dtype: torch.dtype | None) -> nn.Module:
    """A copy on the CPU, in evaluation, in the dtype."""
    kinds = {p.dtype for p in model.parameters()}
    if len(kinds) != 1:
        raise ExportError(f"expected a model with parameters of one dtype, got {sorted(map(str, kinds)) or 'none'}")
    if any(p.device.type == "meta" for p in model.parameters()):
        raise ExportError("the model is on the meta device and has no weights; load some first")
    kind = dtype or kinds.pop()
    if kind not in DTYPES[format]:
        allowed = ", ".join(map(str, DTYPES[format]))
        why = "; onnxruntime has no bfloat16 on a CPU, so that a file could not be checked" * (format == "onnx")
        raise ExportError(f"format={format!r} takes {allowed}, got {kind}{why}")
    return copy.deepcopy(model).to("cpu", kind).eval().requires_grad_(False)


def write(
    path: Path, format: str, plan: Plan, programs: Mapping[str, ExportedProgram],
    facts: Mapping[str, Mapping[str, str]],
) -> tuple[Path, ...]:  # fmt: skip
    """Writes every part beside its name, tries them together, and lets them take their names.

    Raises:
        ExportError: the exporter cannot, or what it made does not agree with the model.
        OSError: a file cannot be written.
    """
    files = {which: path.with_suffix(f".{which}{path.suffix}") if which else path for which in plan.parts}
    kind = next(p.dtype for part in plan.parts.values() for p in part.outputs)
    with ExitStack() as stack:
        written = {which: stack.enter_context(atomic_write(file)) for which, file in files.items()}
        for which, part in plan.parts.items():
            if format == "torch":
                buffer = io.BytesIO()
                torch.export.save(programs[which], buffer, extra_files={"metadata.json": json.dumps(facts[which])})
                written[which].write_bytes(buffer.getvalue())
            else:
                need("onnx", "onnx").save(to_onnx(programs[which], part, facts[which]), written[which])
        run = run_program if format == "torch" else run_file
        runs = {which: run(written[which], part) for which, part in plan.parts.items()}
        check(plan, runs, kind, alone=format == "onnx")
    return tuple(files.values())
