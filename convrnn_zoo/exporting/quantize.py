"""Quantization of exported files to int8, calibrated on sequences."""

import json
import logging
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .._atomic import atomic_write
from .._extras import need
from ..layers import _checks as check
from .spec import ExportError, named_length

Feeds = dict[str, Any]
MIN_WEIGHTS = 64
"""Number of weights of a convolution below which it stays in float32, such as the filters of a motion estimate."""


def quantize(
    path: str | os.PathLike[str], output: str | os.PathLike[str], sequences: Iterable[Any], *, first_float: int = 0
) -> Path:
    """Quantizes the convolutions of an exported file to int8, for onnxruntime.

    The weights and the inputs of convolutions become 8-bit integers; the states, the gates and the conversion of units
    stay in float32. The ranges of the inputs are measured while the file runs on the `sequences`, with its own states.
    Convolutions in the loop of a sequence file stay in float32. Smaller files are certain. Whether they are faster
    depends on the processor, and the scores may get worse: compare both files on data of your own.

    Args:
        path: ONNX file in float32, in the step form, for encoder-forecasters one exported with a `horizon`; or of a
            nowcast.
        output: the file to write.
        sequences: calibration data; each sequence has the frames ``(T, N, C, *S)`` as the file reads them, T steps of
            N sequences. A few dozen real sequences are sufficient.
        first_float: number of convolutions, from the input on, that stay in float32.

    Returns:
        Path of the written file.

    Raises:
        ExportError: the file has no input of frames or no convolutions outside of loops; all would stay in float32;
            or there are no sequences, or their shape or dtype is not that of the file.

    Example:
        >>> import convrnn_zoo, numpy as np
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=1, hidden_channels=16, num_classes=2)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     [file] = convrnn_zoo.export(model, f"{directory}/gru.onnx", form="step")
        ...     sequences = np.random.default_rng(0).normal(size=(3, 9, 1, 1, 12)).astype(np.float32)
        ...     quantize(file, f"{directory}/gru.int8.onnx", sequences).name
        'gru.int8.onnx'
    """
    onnx, quantization = need("onnx", "onnx"), need("onnxruntime.quantization", "onnx")
    path, output = Path(path), Path(output)
    model = onnx.load(path)
    others = [v.name for v in model.graph.input[1:] if not v.name.endswith("_in")]
    if model.graph.input[0].name != "input" or others:
        problem = f"the inputs {', '.join(others)}" if others else "no input of frames"
        raise ExportError(f"{path.name} has {problem}; export a step, for some forecasters with a horizon")
    sizes = {i.name: math.prod(i.dims) for i in model.graph.initializer}
    convolutions = [
        n for n in model.graph.node if n.op_type == "Conv" and sizes.get(n.input[1], 0) >= MIN_WEIGHTS
    ]  # fmt: skip
    if not convolutions:
        raise ExportError(f"{path.name} has no convolutions outside of loops; export a step")
    if not 0 <= check.whole_number("first_float", first_float) < len(convolutions):
        last = len(convolutions) - 1
        raise ExportError(f"first_float must be from 0 to {last}, which leaves a convolution, got {first_float}")
    for i, node in enumerate(convolutions):
        node.name = node.name or f"conv_{i}"
    reader = _Reader(path, sequences)
    options = {"ActivationSymmetric": False, "WeightSymmetric": True, "EnableSubgraph": False}
    with tempfile.TemporaryDirectory() as directory, atomic_write(output) as temporary, _without_advice():
        named = Path(directory, "named.onnx")
        onnx.save(model, named)
        quantization.quantize_static(
            str(named), str(temporary), reader, quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            nodes_to_quantize=[node.name for node in convolutions[first_float:]], op_types_to_quantize=["Conv"],
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            extra_options=options,
        )  # fmt: skip
        quantized = onnx.load(temporary)
        properties = {p.key: p.value for p in model.metadata_props}
        onnx.helper.set_model_props(quantized, properties | {"quantized": json.dumps({"weights": "int8"})})
        onnx.save(quantized, temporary)
    return output


@contextmanager
def _without_advice() -> Iterator[None]:
    """Context without the warning of onnxruntime that recommends a preprocessing, which would rename the tensors."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def run_sequence(session: Any, frames: Iterable[Any]) -> Iterator[tuple[Feeds, Feeds]]:
    """Runs a step file on frames, from zero states, or a sequence file on all frames at once.

    Yields the inputs and the outputs of each call by name.
    """
    first, *states = session.get_inputs()
    names = [o.name for o in session.get_outputs()]
    if first.type != "tensor(float)":
        raise ExportError(f"the file reads {first.type}; export it in float32")
    if not states:
        frames = [torch.stack([torch.as_tensor(frame) for frame in frames], 1).numpy()]
    values: Feeds = {}
    for frame in frames:
        frame = torch.as_tensor(frame).float().numpy()
        fixed = [d for d in zip(first.shape, frame.shape, strict=False) if isinstance(d[0], int) and d[0] != d[1]]
        if len(frame.shape) != len(first.shape) or fixed:
            raise ExportError(f"the file reads frames of {first.shape}, got {list(frame.shape)}")
        if not values:
            sizes: Mapping[Any, int] = dict(zip(first.shape, frame.shape, strict=True))
            for s in states:
                shape: Any = [named_length(d, sizes) if isinstance(d, str) else d for d in s.shape]
                values[s.name] = torch.zeros(shape).numpy()
        feeds = {first.name: frame, **values}
        outputs = dict(zip(names, session.run(None, feeds), strict=True))
        yield feeds, outputs
        values = {s.name: outputs[s.name.removesuffix("_in") + "_out"] for s in states}


class _Reader:
    """Calibration data of onnxruntime: the inputs of each call, of which the states come from running the file."""

    def __init__(self, path: Path, sequences: Iterable[Any]) -> None:
        onnxruntime = need("onnxruntime", "onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.steps = (feeds for frames in sequences for feeds, _ in run_sequence(session, frames))
        self.first: Feeds | None = next(self.steps, None)
        if self.first is None:
            raise ExportError("sequences has no frames to calibrate on; pass real sequences")

    def get_next(self) -> Feeds | None:
        """Returns the inputs of the next step, or None at the end."""
        feeds, self.first = self.first or next(self.steps, None), None
        return feeds
