"""How a Keras layer was built: from the description in the file, and from the caller's options."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..layers import _checks as check
from ..models import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._keras_layers import ACTIVATIONS

logger = logging.getLogger("convrnn_zoo")

DEFAULTS: dict[str, Any] = {
    "strides": 1,
    "dilation_rate": 1,
    "activation": "tanh",
    "go_backwards": False,
    "merge_mode": "concat",
}
"""What arrays do not tell: Keras's defaults."""
ASKED = ("padding", "recurrent_activation")
"""What arrays do not tell either, and Keras's defaults are no guide: its default padding is ``"valid"`` where
nearly everyone uses ``"same"``, and its recurrent activation was ``"hard_sigmoid"`` before it was ``"sigmoid"``."""
OPTIONS = {
    "layer": "name of the layer, where the file has several, or others with weights beside it",
    "padding": "'same' or 'valid'; must be given for arrays alone",
    "recurrent_activation": "such as 'sigmoid'; must be given for arrays alone",
    **{name: repr(value) for name, value in DEFAULTS.items()},
    "keras_version": "which 'hard_sigmoid' is meant, where the file does not tell",
}
LAYER = re.compile("ConvLSTM[123]D")
BUILT, IN_TRAINING = ("strides", "dilation_rate", "activation"), ("dropout", "recurrent_dropout")


@dataclass(frozen=True)
class Settings:
    """The options of a layer that change its outputs, checked."""

    padding: str
    strides: tuple[int, ...]
    dilation_rate: tuple[int, ...]
    activations: dict[str, Any]
    """For a layer of other activations; none where they are those of the core family."""


def settings(
    checkpoint: ForeignCheckpoint, name: str, ndim: int, bidirectional: bool, given: Mapping[str, Any]
) -> Settings:
    """The options of a layer of `ndim` dimensions: those given before those of the file before Keras's defaults.

    Raises:
        WeightsError: the weights do not tell an option that must be known.
        ValueError: an option that cannot be honoured, with the reason.
    """
    given = dict(given)
    version = given.pop("keras_version", checkpoint.version)
    described = _described(checkpoint, name, ndim)
    options = {**DEFAULTS, **described, **given}
    if missing := [o for o in ASKED if o not in options]:
        raise WeightsError(
            f"{checkpoint.origin} does not tell how its layer was built: pass "
            + " and ".join(f"{o}=" for o in missing)
            + " as the layer had them (padding 'same' or 'valid'; recurrent_activation 'sigmoid', in Keras before 2.3 "
            "'hard_sigmoid' by default), or convert the .keras file, which tells"
        )
    if not described:
        logger.info("%s: taken as Keras has it: %s", checkpoint.origin, {o: options[o] for o in DEFAULTS})
    if options.get("go_backwards"):
        raise ValueError(
            f"{checkpoint.origin}: {name} has go_backwards=True, and one direction here reads forwards; pass "
            "go_backwards=False, flip its input along time before it and its output after it"
        )
    if bidirectional and options.get("merge_mode") != "concat":
        raise ValueError(
            f"{checkpoint.origin}: {name} merges its directions by merge_mode={options.get('merge_mode')!r}, and here "
            "they are concatenated; pass merge_mode='concat' and merge the halves of the output's channels yourself"
        )
    if options["padding"] not in ("same", "valid"):
        raise ValueError(f"padding must be 'same' or 'valid', as Keras has them, got {options['padding']!r}")
    activations: dict[str, Any] = {o: _activation(options[o], version) for o in ("activation", "recurrent_activation")}
    return Settings(
        options["padding"],
        check.ntuple("strides", options["strides"], ndim),
        check.ntuple("dilation_rate", options["dilation_rate"], ndim),
        {} if activations == {"activation": "tanh", "recurrent_activation": "sigmoid"} else activations,
    )


def _described(checkpoint: ForeignCheckpoint, name: str, ndim: int) -> dict[str, Any]:
    """The file's description of the layer; that of a Bidirectional is its layer's, and how it merges."""
    differing: list[str] = []
    try:
        found = list(_recurrent(checkpoint.config))
        named = [about for about in found if about["config"]["name"] == name]
        if not named and len(found) == 1:
            named = found  # files of tf.keras 2 keep a layer's arrays under another name than its own
        if not named:
            return {}
        config = named[0]["config"]
        if named[0]["class_name"] == "Bidirectional":
            inner = config["layer"]["config"]
            back = (config.get("backward_layer") or config["layer"])["config"]
            differing = [o for o in (*ASKED, *BUILT) if inner.get(o) != back.get(o)]
            config = {**inner, "merge_mode": config["merge_mode"]}
        training = {o: config[o] for o in IN_TRAINING if config.get(o)}
        for option in ("strides", "dilation_rate"):
            check.ntuple(option, config.get(option, 1), ndim)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise WeightsError(
            f"{checkpoint.origin}: its description of {name} is not one that Keras writes ({e!r}); save it anew with "
            "model.save, or give its arrays alone with padding= and recurrent_activation="
        ) from e
    if differing:
        raise ValueError(
            f"{checkpoint.origin}: the two directions of {name} differ in {', '.join(differing)}, and here they are "
            "built alike; convert each as a layer of its own"
        )
    if training:
        logger.warning("%s: %s has %s, which acts in training; it is left out", checkpoint.origin, name, training)
    return {o: config[o] for o in (*ASKED, *DEFAULTS) if o in config}


def _recurrent(node: Any) -> Iterator[Mapping[str, Any]]:
    """The descriptions of every ConvLSTM layer in that of a model, a Bidirectional standing for its layer."""
    if isinstance(node, Mapping):
        kind = str(node.get("class_name"))
        if LAYER.fullmatch(kind) or (kind == "Bidirectional" and any(_recurrent(node["config"]["layer"]))):
            yield node
            return
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _recurrent(child)


def _activation(name: Any, version: str | None) -> str:
    if name == "hard_sigmoid":
        major = re.match(r"\d+", str(version))
        if major is None:
            raise WeightsError(
                "hard_sigmoid has the slope 1/5 in Keras 1 and 2 and 1/6 in Keras 3, and the file does not tell which "
                "wrote it: pass keras_version='2' or '3'"
            )
        name = f"hard_sigmoid_keras{'3' if int(major[0][:9]) >= 3 else '2'}"
    if name is None:
        name = "linear"
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(a for a in ACTIVATIONS if not a.startswith("hard_sigmoid_"))
        raise ValueError(f"the activation {name!r} is none that can be honoured; those are {known}, hard_sigmoid")
    return name
