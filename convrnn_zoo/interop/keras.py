"""Converts Keras's ConvLSTM1D, ConvLSTM2D and ConvLSTM3D, with a Bidirectional wrapper or not.

Keras has one bias, the channels last, and the gates in the order i, f, c, o.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks as check
from .._hints import some
from ..layers import ConvLSTM
from ..layers.keras import (
    KERAS_ACTIVATIONS,
    ActivatedConvLSTM,
    ResizingConvLSTM,
    keras_conv_lstm,
    keras_variables,
)
from ..pretrained.errors import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, Source, check_exportable, check_string, expect_layer, sum_biases

logger = logging.getLogger("convrnn_zoo")


def load(checkpoint: ForeignCheckpoint, *, layer: str | None = None, **options: Any) -> nn.Module:
    """Loads one ConvLSTM layer as a batch-first ConvLSTM with channels first, which returns all steps.

    A layer is read with its Bidirectional wrapper, as :func:`~convrnn_zoo.layers.keras.keras_conv_lstm` builds it.
    `layer` is its name, if the file has several. Dropout and regularizers are dropped.
    """
    checkpoint = name_layers(checkpoint)
    name, arrays = find_layer(checkpoint, layer)
    *kernel, in_channels, rows = arrays[0]["kernel"].shape
    is_bidirectional = len(arrays) == 2
    module = keras_conv_lstm(
        in_channels,
        rows // 4,
        kernel,
        use_bias="bias" in arrays[0],
        bidirectional=is_bidirectional,
        dtype=arrays[0]["kernel"].dtype,
        **resolve_settings(checkpoint, name, len(kernel), is_bidirectional, options),
    )
    for parameters, variables in zip(keras_variables(module), arrays, strict=True):
        for role, value in variables.items():
            parameters[role].copy_(value.movedim((-1, -2), (0, 1)) if role != "bias" else value)
    return module


def export(module: nn.Module, *, name: str | None = None) -> dict[str, Any]:
    """Returns NumPy arrays by variable path, such as ``conv_lstm_cell/kernel``, for a Keras layer with equal options.

    `name` is the name of the Keras layer, by default ``conv_lstm2d`` (or 1d, 3d). It is only used for a Bidirectional.
    """
    layer = expect_layer("keras", module, ConvLSTM, ActivatedConvLSTM, ResizingConvLSTM)
    is_resizing = isinstance(layer, ResizingConvLSTM)
    rnn, kernels = (layer.rnn, [layer.input_conv.kernel_size]) if is_resizing else (layer, list(layer.kernels))
    one, reasons = (1,) * rnn.ndim, []
    if kernels != list(rnn.hidden_kernels):
        reasons = [f"the kernels {kernels[0]} of the input and {rnn.hidden_kernels[0]} of the state, and it has one"]
    check_exportable("keras", module, reasons, num_layers=1, stride=one, dilation=one, groups=1, padding_mode="zeros")
    if rnn.weight_hh_l0.dtype == torch.bfloat16:
        raise ValueError("NumPy arrays have no bfloat16; export the layer as layer.float()")
    name = name or f"conv_lstm{rnn.ndim}d"
    arrays: dict[str, Any] = {}
    for side, parameters in zip(("forward", "backward"), keras_variables(layer), strict=False):
        path = f"{side}_{name}/conv_lstm_cell" if rnn.bidirectional else "conv_lstm_cell"
        if "bias_hh" in parameters:
            parameters["bias"] = sum_biases(parameters["bias"], parameters.pop("bias_hh"))
        for role, value in parameters.items():
            value = value.movedim((0, 1), (-1, -2)) if role != "bias" else value
            arrays[f"{path}/{role}"] = value.cpu().clone(memory_format=torch.contiguous_format).numpy()
    return arrays


# ---- arrays ----------------------------------------------------------------------------------------------------
PATH = re.compile(r"(?P<layer>(?:.*?/)?)(?P<cell>conv_lst_?m_cell[^/]*/)?(?P<role>kernel|recurrent_kernel|bias)(?::0)?")
UNNAMED = re.compile(
    r"layers/(?P<group>conv_lstm[123]d|bidirectional)(?:_(?P<number>\d{1,6}))?/"
    r"(?P<side>(?:forward_|backward_)?layer/)?cell/(?P<role>kernel|recurrent_kernel|bias)"
)
"""Path of a variable in a ``.keras`` file of Keras 3.0 to 3.5."""
DirectionKeys = tuple[str, dict[str, str]]
"""Path of the variables of one direction, and their keys by role: kernel, recurrent_kernel or bias."""


def name_layers(checkpoint: ForeignCheckpoint) -> ForeignCheckpoint:
    """Replaces the numbers of layers in a ``.keras`` file of Keras 3.0 to 3.5 by their names.

    These versions number the layers of each class in the order in which the configuration lists them. That is not the
    order in which the layers were created, which numbers their default names.
    """
    config = checkpoint.config.get("config")
    layers = config.get("layers") if isinstance(config, Mapping) else None
    names: dict[str, list[str]] = {}
    for node in layers if isinstance(layers, list) else ():
        if isinstance(node, Mapping) and isinstance(node.get("config"), Mapping):
            names.setdefault(str(node.get("class_name")).lower(), []).append(str(node["config"].get("name")))
    state = {}
    for key, value in checkpoint.state.items():
        if m := UNNAMED.fullmatch(key):
            listed, number = names.get(m["group"].replace("_", ""), []), int(m["number"] or 0)
            if number < len(listed):
                if m["side"] == "layer/":  # the layer from which Bidirectional made its two directions
                    continue
                key = f"layers/{listed[number]}/{m['side'] or ''}conv_lstm_cell/{m['role']}"
        state[key] = value
    return replace(checkpoint, state=state)


def find_layer(checkpoint: ForeignCheckpoint, name: str | None) -> tuple[str, list[dict[str, Tensor]]]:
    """Returns the name of a layer (by default the only one) and, for each direction, its kernels and bias by name."""
    layers, others = _group_by_layer(checkpoint.state)
    listed = ", ".join(sorted(layers)) or "none"
    if name is None and len(layers) > 1:
        raise WeightsError(f"{checkpoint.name} has the layers {listed}; pass layer= with the name of one")
    if name is not None and name not in layers:
        raise WeightsError(f"{checkpoint.name} has no ConvLSTM layer {name!r}; it has {listed}")
    layer = name or next(iter(layers), "conv_lstm")
    directions = layers.pop(layer, [("conv_lstm_cell/", {})])
    if name is not None and (dropped := [*layers, *others]):
        logger.info("%s: layer %s read, left out: %s", checkpoint.name, layer, ", ".join(dropped))
        others = []
    state = {key: checkpoint.state[key] for _, keys in directions for key in keys.values()}
    entries = Entries(ForeignCheckpoint(state, checkpoint.name), "keras")
    rank = next((v.dim() for v in state.values() if v.dim() > 2), 4)
    kernels, recurrents = ([keys.get(role, "") for _, keys in directions] for role in ("kernel", "recurrent_kernel"))
    *kernel, _, rows = entries.shape([*recurrents, *kernels], rank)
    filters = entries.shape(recurrents, rank)[-2] or (rows and rows // 4)
    rows = 4 * filters if filters else None
    shapes = {"kernel": (*kernel, entries.shape(kernels, rank)[-2], rows), "recurrent_kernel": (*kernel, filters, rows)}
    shapes |= {"bias": (rows,)} if any("bias" in keys for _, keys in directions) else {}
    arrays = [
        {role: entries.take(keys.get(role, path + role), shape) for role, shape in shapes.items()}
        for path, keys in directions
    ]
    if others:
        text = f"{some(others)}, of layers that are not converted: pass layer={layer!r} to select it"
        entries.errors["besides the recurrent layer"].append(text)
    entries.finish()
    return layer, arrays


def _group_by_layer(state: Mapping[str, Tensor]) -> tuple[dict[str, list[DirectionKeys]], list[str]]:
    """Returns the directions of each recurrent layer by the layer's name, and the keys of all other arrays."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    others: list[str] = []
    for key in state:
        if m := PATH.fullmatch(key):
            cells.setdefault((m["layer"], m["cell"] or ""), {})[m["role"]] = key
        elif not any(part.startswith("seed_generator") for part in key.split("/")[:-1]):
            others.append(key)
    layers: dict[str, dict[str, DirectionKeys]] = {}
    for (path, cell), keys in cells.items():
        recurrent = state.get(keys.get("recurrent_kernel", ""))
        if not cell if recurrent is None else recurrent.dim() == 2:  # arrays of a Dense, LSTM, GRU or SimpleRNN
            others += keys.values()
            continue
        parent, _, last = path.rstrip("/").rpartition("/")
        if side := re.fullmatch(r"(?P<side>forward|backward)_(?P<name>[^/]*)", last):
            sides = layers.setdefault(parent or side["name"], {})
            for end in ("forward", "backward"):  # so that missing arrays are reported
                sides.setdefault(end, (f"{path}{cell}".replace(f"{side['side']}_", f"{end}_"), {}))
            sides[side["side"]] = (path + cell, keys)
        else:
            layers[path.rstrip("/") or "conv_lstm"] = {"only": (path + cell, keys)}
    ends = [path.rpartition("/")[2] for path in layers]
    names = [path if ends.count(name) > 1 else name for path, name in zip(layers, ends, strict=True)]
    return {name: list(sides.values()) for name, sides in zip(names, layers.values(), strict=True)}, others


# ---- settings --------------------------------------------------------------------------------------------------
DEFAULTS: dict[str, Any] = {
    "strides": 1,
    "dilation_rate": 1,
    "activation": "tanh",
    "go_backwards": False,
    "merge_mode": "concat",
}
"""Keras's defaults of options that are not visible in the arrays."""
REQUIRED = ("padding", "recurrent_activation")
"""Options that are not visible in the arrays, and whose Keras defaults are no safe guess: few layers use the default
``padding="valid"``, and versions of Keras differ in the recurrent activation, ``"hard_sigmoid"`` or ``"sigmoid"``."""


def resolve_settings(
    checkpoint: ForeignCheckpoint, name: str, ndim: int, bidirectional: bool, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the activations, padding, strides and dilation of a layer.

    Options of the caller override the configuration in the file, which overrides Keras's defaults.
    """
    is_complete = {*REQUIRED, *DEFAULTS} <= options.keys()
    config = _layer_config(checkpoint, name, ndim, is_complete)
    values = {"keras_version": checkpoint.version, **DEFAULTS, **config, **options}
    if missing := [o for o in REQUIRED if o not in values]:
        raise WeightsError(
            f"{checkpoint.name} does not contain its layer's configuration: pass {'= and '.join(missing)}= as it had "
            "them (padding 'same' or 'valid'; recurrent_activation 'sigmoid', the default of Keras 3, or "
            "'hard_sigmoid', that of earlier versions), or convert the .keras file"
        )
    if not config and not is_complete:
        logger.info("%s: Keras's defaults are used: %s", checkpoint.name, {o: values[o] for o in DEFAULTS})
    if values["go_backwards"]:
        raise ValueError(
            f"{checkpoint.name}: {name} has go_backwards=True, and a single direction here reads forwards; pass "
            "go_backwards=False, flip its input along time before it and its output after it"
        )
    if bidirectional and values["merge_mode"] != "concat":
        raise ValueError(
            f"{checkpoint.name}: {name} merges its directions by merge_mode={values['merge_mode']!r}, and here "
            "they are concatenated; pass merge_mode='concat' and merge the halves of the output's channels yourself"
        )
    if values["padding"] not in ("same", "valid"):
        raise ValueError(f"padding must be 'same' or 'valid', as in Keras, got {values['padding']!r}")
    names = ("activation", "recurrent_activation")
    activations = {o: _activation(values[o], values["keras_version"]) for o in names}
    sizes = {o: check.ntuple(o, values[o], ndim) for o in ("strides", "dilation_rate")}
    return {**activations, "padding": values["padding"], **sizes}


def _layer_config(checkpoint: ForeignCheckpoint, name: str, ndim: int, is_complete: bool) -> dict[str, Any]:
    """Returns a layer's options in the file; for a Bidirectional, its forward layer's options and `merge_mode`.

    The result is empty if the file describes no recurrent layer. If no single description fits `name`, WeightsError is
    raised, or the result is empty for a caller that passed all options (`is_complete`).
    """
    try:
        layers = list(_recurrent_layers(checkpoint.config))
        if not layers:
            return {}
        if len(layers) > 1:  # of a single layer, files of tf.keras 2 store the arrays under another name
            layers = [layer for layer in layers if layer["config"]["name"] in (name, name.rpartition("/")[2])]
        if not layers or any(layer != layers[0] for layer in layers):
            if is_complete:
                return {}
            raise WeightsError(
                f"{checkpoint.name} describes {len(layers) or 'no'} layers that may be {name}: pass all options of "
                f"this layer, {', '.join(f'{o}=' for o in (*REQUIRED, *DEFAULTS))}"
            )
        config = layers[0]["config"]
        if layers[0]["class_name"] == "Bidirectional":
            forward = config["layer"]["config"]
            backward = (config.get("backward_layer") or config["layer"])["config"]
            shared = (*REQUIRED, "strides", "dilation_rate", "activation")
            if differing := [o for o in shared if forward.get(o) != backward.get(o)]:
                raise WeightsError(
                    f"{checkpoint.name}: the two directions of {name} differ in {', '.join(differing)}, and here they "
                    "have the same options; convert each as a layer"
                )
            config = {**forward, "merge_mode": config["merge_mode"]}
        in_training = {o: config[o] for o in ("dropout", "recurrent_dropout") if config.get(o)}
        for option in ("strides", "dilation_rate"):
            check.ntuple(option, config.get(option, 1), ndim)
    except WeightsError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise WeightsError(
            f"{checkpoint.name}: its description of {name} is not one that Keras writes ({e!r}); save it again with "
            "model.save, or pass its arrays with padding= and recurrent_activation="
        ) from e
    if in_training:
        logger.warning("%s: %s has %s, which only acts in training; left out", checkpoint.name, name, in_training)
    return {o: config[o] for o in (*REQUIRED, *DEFAULTS) if o in config}


def _activation(name: Any, version: Any) -> str:
    """Converts the name of an activation in a version of Keras to its name in :data:`KERAS_ACTIVATIONS`."""
    if name == "hard_sigmoid":
        major = re.match(r"\d+", str(version))
        if major is None:
            raise WeightsError(
                "hard_sigmoid has the slope 1/5 in Keras 1 and 2 and 1/6 in Keras 3, and the file does not contain its "
                "version: pass keras_version='2' or '3'"
            )
        return f"hard_sigmoid_keras{'3' if int(major[0][:9]) >= 3 else '2'}"
    name = "linear" if name is None else name
    if not isinstance(name, str) or name not in KERAS_ACTIVATIONS:
        names = ", ".join(a for a in KERAS_ACTIVATIONS if not a.startswith("hard_sigmoid_"))
        raise ValueError(f"the activation {name!r} is not supported; supported are {names}, hard_sigmoid")
    return name


def _recurrent_layers(node: Any) -> Iterator[Mapping[str, Any]]:
    """Yields the configuration of each ConvLSTM layer of a model, or of the Bidirectional wrapper around it."""
    if isinstance(node, Mapping):
        inside = node["config"]["layer"] if node.get("class_name") == "Bidirectional" else node
        if isinstance(inside, Mapping) and re.fullmatch("ConvLSTM[123]D", str(inside.get("class_name"))):
            yield node
            return
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _recurrent_layers(child)


KERAS = Source(
    name="keras",
    title="Keras's ConvLSTM1D, 2D and 3D, https://keras.io/api/layers/recurrent_layers/",
    key=r"(?:.*/)?recurrent_kernel(?::0)?",
    ranks=(3, 4, 5),
    key_description="a recurrent convolution under a variable path of Keras's",
    load=load,
    options={
        "layer": "name of the recurrent layer, if there are several",
        "padding": "'same' or 'valid'; must be given for arrays",
        "recurrent_activation": "such as 'sigmoid'; must be given for arrays",
        **{name: repr(value) for name, value in DEFAULTS.items()},
        "keras_version": "version of 'hard_sigmoid', if the file does not contain it",
    },
    checks={
        "strides": check.sizes,
        "dilation_rate": check.sizes,
        "go_backwards": check.boolean,
        "keras_version": lambda name, value: check_string(name, str(value)),
    },
    export=export,
)
