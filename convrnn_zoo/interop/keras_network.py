"""Converts networks of Keras with ConvLSTMs and other layers, from ``.keras`` files and ``.h5`` files with a config.

No code in a file is run: a ``Lambda`` or a custom layer raises an error with its name.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.keras import KERAS_ACTIVATIONS
from ..models import create_model
from ..models.base.keras_layers import ACTIVATIONS, LAYERS, WRAPPERS
from ..pretrained.errors import WeightsError
from ..pretrained.limits import check_arguments
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries

logger = logging.getLogger("convrnn_zoo")

DROPPED = re.compile(r"(Spatial)?Dropout([123]D)?|AlphaDropout|Gaussian(Dropout|Noise)|ActivityRegularization|Identity")
"""Layers that only act in training."""
IGNORED = re.compile(
    r".*_(initializer|regularizer|constraint)|name|trainable|dtype|seed|dropout|recurrent_dropout|momentum|unroll"
    r"|implementation|zero_output_for_mask|unit_forget_bias|synchronized|renorm.*|batch_(input_)?shape|input_(shape|dim|length)|lora_.*"
)
"""Options that do not change the output in inference."""
LayerEntry = list[Any]
"""``[name, type, [inputs], [option, value, …], …]``, as in :class:`~convrnn_zoo.models.keras_network.KerasNetwork`."""


def describes_network(config: Mapping[str, Any]) -> bool:
    """Returns whether a configuration is that of a network, and not only of one ConvLSTM that returns its sequence.

    A ConvLSTM that returns the last step only is a network too, since the layers of this package return all steps.
    """
    layers = config.get("config", {})
    layers = layers.get("layers") if isinstance(layers, Mapping) else layers
    if not isinstance(layers, list):
        return False
    layers = [layer for layer in layers if not isinstance(layer, Mapping) or layer.get("class_name") != "InputLayer"]
    if len(layers) != 1 or not isinstance(layers[0], Mapping) or not isinstance(layers[0].get("config"), Mapping):
        return len(layers) > 1
    [layer] = layers
    if layer.get("class_name") == "Bidirectional" and isinstance(layer["config"].get("layer"), Mapping):
        layer = layer["config"]["layer"]
    is_layer = re.fullmatch("ConvLSTM[123]D", str(layer.get("class_name"))) is not None
    return not is_layer or layer.get("config", {}).get("return_sequences") is False


def load_network(checkpoint: ForeignCheckpoint, last_frame: str | None = None) -> nn.Module:
    """Loads a network as a ``keras_network``.

    `last_frame` is the type of a custom layer that returns the last frame.
    """
    name = checkpoint.name
    try:
        layers, input_size = read_network(checkpoint, last_frame)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as e:
        raise WeightsError(
            f"{name}: its configuration is not one that Keras writes ({e!r}); save it again with model.save"
        ) from e
    try:
        args = check_arguments({"layers": layers, "input_size": input_size}, name)
    except WeightsError as e:
        raise WeightsError(f"{e}; larger layers of Keras are not converted") from e
    try:
        sizes: Any = create_model("keras_network", **args, device="meta")
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
    entries = Entries(checkpoint, "keras")
    arrays = group_arrays(checkpoint, sizes.names)
    taken: list[dict[str, Tensor]] = []
    for layer, keras_name in zip(sizes.layers, sizes.names, strict=True):
        roles = {role: tuple(value.shape) for role, value in layer.variables().items()}
        keys = _keys_by_role(arrays.get(keras_name, []), list(roles))
        taken.append({
            role: entries.take(keys.get(role, f"{keras_name}/{role}"), shape) for role, shape in roles.items()
        })  # fmt: skip
    entries.finish()
    model: Any = create_model("keras_network", **args, dtype=entries.dtype)
    with torch.no_grad():
        for layer, values in zip(model.layers, taken, strict=True):
            for role, variable in layer.variables().items():
                variable.copy_(values[role])
    return model


# ---- arrays ----------------------------------------------------------------------------------------------------
def group_arrays(checkpoint: ForeignCheckpoint, names: Sequence[str]) -> dict[str, list[str]]:
    """Returns the keys of the arrays of each layer, by the layer's name.

    Some versions of Keras 3 store arrays under names that are derived from the types of the layers.
    """
    by_name: dict[str, list[str]] = {}
    by_type: dict[str, list[str]] = {}
    types = _names_by_type(checkpoint.config)
    for key in checkpoint.state:
        parts = key.split("/")[:-1]
        parts = parts[1:] if parts[:1] == ["layers"] else parts
        for by_group, candidates in ((by_name, {n: n for n in names}), (by_type, types)):
            if part := next((part for part in parts if part in candidates), None):
                by_group.setdefault(candidates[part], []).append(key)
    is_named = sum(map(len, by_name.values())) == len(checkpoint.state)
    return by_name if is_named or len(by_name) >= len(by_type) else by_type


def _names_by_type(config: Mapping[str, Any]) -> dict[str, str]:
    """Maps names such as ``conv2d_1``, for the second Conv2D, to the names of layers."""
    counts: dict[str, int] = {}
    names = {}
    for layer in _layers(config):
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", str(layer["class_name"])).lower()
        n = counts[kind] = counts.get(kind, -1) + 1
        names[f"{kind}_{n}" if n else kind] = _layer_name(layer)
    return names


def _keys_by_role(keys: Sequence[str], roles: Sequence[str]) -> dict[str, str]:
    """Returns the keys of a layer by the names of its variables. Some files number the variables instead."""
    keys_by_role = {}
    for key in keys:
        *path, role = key.split("/")
        side = next((s for s in ("forward", "backward") for part in path if part.startswith(f"{s}_")), None)
        if role.isdecimal() and int(role) < len(roles):
            role = roles[int(role)]
        keys_by_role[f"{side}/{role}" if side and f"{side}/{role}" in roles else role] = key
    return keys_by_role


# ---- configuration ---------------------------------------------------------------------------------------------
def _layers(config: Mapping[str, Any]) -> list[Any]:
    content = config["config"]
    layers = content["layers"] if isinstance(content, Mapping) else content
    if not isinstance(layers, list) or not all(isinstance(layer.get("config"), Mapping) for layer in layers):
        raise TypeError("expected a list of layers")
    return layers


def _layer_name(layer: Mapping[str, Any]) -> str:
    name = layer["config"].get("name", layer.get("name"))
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a layer, got {name!r}")
    return name


def read_network(checkpoint: ForeignCheckpoint, last_frame: str | None) -> tuple[list[LayerEntry], list[Any]]:
    """Returns the layers and the input size of a network, as arguments of ``keras_network``."""
    config, file = checkpoint.config, checkpoint.name
    if config.get("class_name") not in ("Sequential", "Functional", "Model"):
        raise ValueError(
            f"{file}: its model is a {config.get('class_name')!r}, whose code is not in the file; Sequential and "
            "Functional models are supported. Pass layer= with the name of a recurrent layer to convert only that"
        )
    is_sequential = config["class_name"] == "Sequential"
    nodes: dict[str, LayerEntry] = {}
    aliases: dict[str, str] = {}
    previous, sizes = "input", []
    for layer in _layers(config):
        kind, options, name = str(layer["class_name"]), layer["config"], _layer_name(layer)
        if "float16" in str(options.get("dtype")) and not nodes:
            logger.warning("%s: Keras computes it in float16, and the converted network in float32", file)
        if name in nodes or name in aliases:
            raise TypeError(f"two layers have the name {name!r}")
        if shape := options.get("batch_shape") or options.get("batch_input_shape"):
            sizes.append(shape)
        if kind == "InputLayer":
            aliases[name] = "input"
            continue
        inputs = [previous] if is_sequential else _inbound(layer, f"{file}: layer {name!r} ({kind})")
        if DROPPED.fullmatch(kind):
            [aliases[name]] = inputs
        else:
            try:
                entry = _convert_layer(kind, options, checkpoint.version, last_frame)
            except ValueError as e:
                raise ValueError(
                    f"{file}: layer {name!r} ({kind}) is not supported: {e}. Pass layer= with the name of a recurrent "
                    "layer to convert only that"
                ) from e
            nodes[name] = [name, *entry[:1], inputs, *entry[1:]]
        previous = name
    if not sizes and (shape := config.get("build_input_shape") or config["config"].get("build_input_shape")):
        sizes.append(shape)
    outputs = [previous] if is_sequential else _ends(config["config"]["output_layers"])
    input_count = 1 if is_sequential else len(_ends(config["config"]["input_layers"]))
    if len(outputs) != 1 or input_count != 1 or not sizes:
        raise ValueError(
            f"{file}: expected a network with one input of known shape and one output, got {input_count} inputs, "
            f"{len(outputs)} outputs and {len(sizes) or 'no'} shapes; call the model on data before model.save"
        )
    if not any(entry[1].startswith("ConvLSTM") or "ConvLSTM" in str(entry[3:]) for entry in nodes.values()):
        raise ValueError(f"{file}: its network has no ConvLSTM; other networks are not converted")
    return list(_sorted_layers(outputs[0], nodes, aliases)), list(sizes[0])[1:]


def _sorted_layers(output: str, nodes: Mapping[str, LayerEntry], aliases: Mapping[str, str]) -> Iterator[LayerEntry]:
    """Yields the layers that the output depends on, each after its inputs."""
    done, active = set[str](), set[str]()

    def resolve(name: str) -> str:
        for _ in range(len(aliases) + 1):
            if name not in aliases:
                return name
            name = aliases[name]
        raise TypeError(f"the layer {name!r} is its own input")

    def visit(name: str) -> Iterator[LayerEntry]:
        if name == "input" or name in done:
            return
        if name in active:
            raise TypeError(f"the layer {name!r} is its own input")
        active.add(name)
        name_, kind, inputs, *options = nodes[name]
        inputs = [resolve(i) for i in inputs]
        for source in inputs:
            yield from visit(source)
        done.add(name)
        yield [name_, kind, inputs, *options]

    yield from visit(resolve(output))


def _ends(ends: Any) -> list[str]:
    """Returns the names in ``["name", 0, 0]`` or ``[["name", 0, 0], …]``."""
    return [ends[0]] if isinstance(ends[0], str) else [end[0] for end in ends]


def _inbound(layer: Mapping[str, Any], place: str) -> list[str]:
    """Returns the names of the layers whose outputs a layer of a functional model reads."""
    calls = layer["inbound_nodes"]
    if len(calls) != 1:
        raise ValueError(f"{place} is called {len(calls)} times; layers that are called once are supported")
    if isinstance(calls[0], Mapping):  # since Keras 3
        arguments = calls[0].get("kwargs") or {}
        histories = list(_histories(calls[0]["args"], place))
    else:
        links = [[calls[0]]] if isinstance(calls[0][0], str) else [calls[0]]
        histories = [link[:3] for link in links[0]]
        arguments = {k: v for link in links[0] for k, v in (link[3] if len(link) > 3 else {}).items()}
    if other := [key for key, value in arguments.items() if key != "training" and value is not None]:
        raise ValueError(f"{place} is called with {', '.join(other)}; layers with only inputs are supported")
    if not histories or any(list(history[1:]) != [0, 0] for history in histories):
        raise ValueError(f"{place} reads the second call or output of a layer, which is not supported")
    return [str(history[0]) for history in histories]


def _histories(node: Any, place: str) -> Iterator[Any]:
    """Yields ``[layer, call, output]`` of each tensor among the arguments of a call; raises ValueError for others."""
    if isinstance(node, Mapping) and node.get("class_name") == "__keras_tensor__":
        yield node["config"]["keras_history"]
    elif isinstance(node, list):
        for child in node:
            yield from _histories(child, place)
    else:
        raise ValueError(
            f"{place} is called with {str(node)[:80]}, which is not supported. Pass layer= with the name of a "
            "recurrent layer to convert only that"
        )


# ---- layers ----------------------------------------------------------------------------------------------------
def _convert_layer(kind: str, config: Mapping[str, Any], version: Any, last_frame: str | None) -> list[Any]:
    """Returns ``[type, [option, value, …], …]`` of a layer, without options that have Keras's default."""
    if kind == last_frame and last_frame:
        return ["LastFrame"]
    if kind == "Lambda":
        raise ValueError("it contains code, which is not run; replace it by a layer of Keras")
    if kind in WRAPPERS:
        inner = config["layer"]
        inner_kind, inner_config = str(inner["class_name"]), inner["config"]
        if DROPPED.fullmatch(inner_kind):
            return ["Activation"]
        if backward := config.get("backward_layer"):
            changed = [o for o in LAYERS["ConvLSTM2D"][0].options if backward["config"].get(o) != inner_config.get(o)]
            if [o for o in changed if o != "go_backwards"]:
                raise ValueError(f"its two directions differ in {', '.join(changed)}")
        if kind == "Bidirectional" and not re.fullmatch("ConvLSTM[123]D", inner_kind):
            raise ValueError(f"it wraps a {inner_kind}; supported are ConvLSTM1D, 2D and 3D")
        if kind == "Bidirectional" and inner_config.get("go_backwards"):
            raise ValueError("go_backwards=True in its forward direction")
        inner_kind, *options = _convert_layer(inner_kind, inner_config, version, last_frame)
        merge = [["merge_mode", str(config.get("merge_mode"))]] if kind == "Bidirectional" else []
        return [kind, ["layer", inner_kind], *merge, *options]
    if kind in ("Softmax", "ELU"):
        kind, config = "Activation", {"activation": kind.lower(), **config}
    if kind == "LeakyReLU":
        config = {"negative_slope": config.get("alpha", 0.3), **{k: v for k, v in config.items() if k != "alpha"}}
    if kind not in LAYERS or kind == "LastFrame":
        raise ValueError("it is no layer of Keras that this package knows")
    known, options = LAYERS[kind][0].options, []
    for name, value in config.items():
        value = _flatten(value)
        if name == "data_format":
            if value not in (None, "channels_last"):
                raise ValueError(f"{name}={value!r}; expected 'channels_last'")
        elif name in ("activation", "recurrent_activation"):
            value = keras_activation(value, version, ACTIVATIONS)
            if value != known.get(name):
                options.append([name, value])
        elif name in known:
            values = value if isinstance(value, list) else [value]
            if any(v != known[name] for v in values):
                options.append([name, *values])
        elif not (IGNORED.fullmatch(name) or _is_neutral(name, value)):
            raise ValueError(f"it has {name}={value!r}")
    return [kind, *options]


def _flatten(value: Any) -> Any:
    """Returns ``((1, 2), (3, 4))`` as ``[1, 2, 3, 4]``; other values are not changed."""
    if not isinstance(value, list | tuple):
        return value
    return [v for part in value for v in (_flatten(part) if isinstance(part, list | tuple) else [part])]


def _is_neutral(name: str, value: Any) -> bool:
    """Returns whether an option has no effect with this value."""
    if name == "axis":  # of a softmax
        return value == -1
    if name in ("alpha", "dilation_rate"):
        return value in (1, 1.0) or (isinstance(value, list) and set(value) == {1})
    return value in (None, False, 0, 0.0, [], {})


def keras_activation(name: Any, version: Any, known: Mapping[str, Any] = KERAS_ACTIVATIONS) -> str:
    """Converts the name of an activation in a version of Keras to its name in `known`."""
    if name == "hard_sigmoid":
        major = re.match(r"\d+", str(version))
        if major is None:
            raise WeightsError(
                "hard_sigmoid has the slope 1/5 in Keras 1 and 2 and 1/6 in Keras 3, and the file does not contain its "
                "version: pass keras_version='2' or '3'"
            )
        return f"hard_sigmoid_keras{'3' if int(major[0][:9]) >= 3 else '2'}"
    name = "linear" if name is None else f"{name}_keras3" if name == "leaky_relu" else name
    if not isinstance(name, str) or name not in known:
        names = ", ".join(a for a in known if not a.startswith("hard_sigmoid_"))
        raise ValueError(f"the activation {name!r} is not supported; supported are {names}, hard_sigmoid")
    return name
