"""Layers of Keras's networks, on tensors with the channels last."""

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers import _checks as check
from ...layers.keras import KERAS_ACTIVATIONS, keras_conv_lstm, keras_variables, same_pads

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **KERAS_ACTIVATIONS,
    "softmax": lambda x: x.softmax(-1), "log_softmax": lambda x: x.log_softmax(-1), "softplus": F.softplus,
    "elu": F.elu, "selu": F.selu, "gelu": F.gelu, "silu": F.silu, "swish": F.silu, "relu6": F.relu6, "mish": F.mish,
    "exponential": torch.exp, "leaky_relu_keras3": lambda x: F.leaky_relu(x, 0.2),
}  # fmt: skip
"""Keras's activations by name."""
Shape = tuple[int, ...]


class KerasLayer(nn.Module):
    """A layer on tensors with the channels last, as in Keras.

    `shape` is that of the input with a batch of 1. `ndim` is the number of spatial axes, for layers that have it in
    their name. `settings` are the options with their defaults, and the fixed arguments of :data:`LAYERS`.
    """

    options: ClassVar[Mapping[str, Any]] = {}
    """Names and defaults of the options that change the output in inference."""
    inputs_count: ClassVar[int] = 1
    """Number of inputs; 0 for two or more, which are passed as a list."""

    def __init__(self, shape: Any, ndim: int = 0, **settings: Any) -> None:
        super().__init__()
        if ndim and len(shape) != ndim + 2:
            raise ValueError(f"it expects an input with {ndim + 2} axes, including the batch, got {len(shape)}")
        self.ndim, self.settings = ndim, {**self.options, **settings}

    def forward(self, x: Any) -> Tensor:
        return x

    def variables(self) -> dict[str, Tensor]:
        """Returns the parameters and statistics by the names of Keras's variables, in their order and layout."""
        return {}

    def output_has_time(self, has_time: bool, rank: int, ndim: int) -> bool:
        """Returns whether the output has a time axis; `rank` is its rank, `ndim` the spatial axes of the network."""
        return has_time and rank > 2


class ConvLSTM(KerasLayer):
    """A ConvLSTM of one direction, or of two for Keras's ``Bidirectional``."""

    options: ClassVar = {
        "filters": None, "kernel_size": None, "strides": 1, "padding": "valid", "dilation_rate": 1,
        "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "return_sequences": False,
        "go_backwards": False,
    }  # fmt: skip

    def __init__(self, shape: Shape, ndim: int, merge_mode: str | None = None, **options: Any) -> None:
        super().__init__(shape, ndim + 1, **options)
        self.ndim, self.merge_mode, settings = ndim, merge_mode, self.settings
        self.return_sequences = check.boolean("return_sequences", settings.pop("return_sequences"))
        self.go_backwards = check.boolean("go_backwards", settings.pop("go_backwards"))
        for name in ("kernel_size", "strides", "dilation_rate"):
            settings[name] = check.ntuple(name, settings[name], ndim)
        check.positive_int("filters", settings["filters"])
        self.rnn = keras_conv_lstm(shape[-1], bidirectional=merge_mode is not None, **settings)

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(-1, 2)
        output, _ = self.rnn(x.flip(1) if self.go_backwards else x)
        if self.merge_mode is None:
            return (output if self.return_sequences else output[:, -1]).movedim(2 if self.return_sequences else 1, -1)
        forward, backward = output.chunk(2, 2)
        if self.return_sequences:
            return MERGES[self.merge_mode]([forward.movedim(2, -1), backward.movedim(2, -1)])
        return MERGES[self.merge_mode]([forward[:, -1].movedim(1, -1), backward[:, 0].movedim(1, -1)])

    def variables(self) -> dict[str, Tensor]:
        directions = keras_variables(self.rnn)
        names = [""] if self.merge_mode is None else ["forward/", "backward/"]
        return {
            f"{name}{role}": _to_keras(value)
            for name, values in zip(names, directions, strict=True)
            for role, value in values.items()
            if role != "bias_hh"
        }

    def output_has_time(self, has_time: bool, rank: int, ndim: int) -> bool:
        return self.return_sequences


def bidirectional(shape: Shape, layer: str = "", merge_mode: str = "concat", **options: Any) -> KerasLayer:
    """Returns a ConvLSTM of two directions."""
    if not str(layer).startswith("ConvLSTM"):
        raise ValueError(f"Bidirectional supports the layers ConvLSTM1D, 2D and 3D, got {layer!r}")
    return make_layer(layer, shape, options, merge_mode=check.choice("merge_mode", merge_mode, BIDIRECTIONAL_MERGES))


class TimeDistributed(KerasLayer):
    """Applies a layer to every frame."""

    def __init__(self, shape: Shape, layer: str = "", **options: Any) -> None:
        super().__init__(shape)
        if len(shape) < 3:
            raise ValueError(f"TimeDistributed expected a time axis, got the shape {shape[1:]}")
        self.layer = make_layer(layer, (shape[0], *shape[2:]), options)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def variables(self) -> dict[str, Tensor]:
        return self.layer.variables()

    def output_has_time(self, has_time: bool, rank: int, ndim: int) -> bool:
        return True


class Conv(KerasLayer):
    """A convolution with `ndim` spatial axes, of which one may be time."""

    options: ClassVar = {
        "filters": None, "kernel_size": None, "strides": 1, "padding": "valid", "dilation_rate": 1, "groups": 1,
        "activation": "linear", "use_bias": True,
    }  # fmt: skip

    def __init__(self, shape: Shape, ndim: int, **options: Any) -> None:
        super().__init__(shape, ndim, **options)
        settings = self.settings
        paddings = ("valid", "same", "causal") if ndim == 1 else ("valid", "same")
        self.padding = check.choice("padding", settings["padding"], paddings)
        self.act = activation(settings["activation"])
        kernel, strides, dilation = (
            check.ntuple(n, settings[n], ndim) for n in ("kernel_size", "strides", "dilation_rate")
        )
        self.conv = getattr(nn, f"Conv{ndim}d")(
            shape[-1], settings["filters"], kernel, strides, 0, dilation, settings["groups"], settings["use_bias"]
        )

    def forward(self, x: Tensor) -> Tensor:
        x, conv = x.movedim(-1, 1), self.conv
        if self.padding == "same":
            x = F.pad(x, same_pads(x.shape[2:], conv.kernel_size, conv.stride, conv.dilation))
        elif self.padding == "causal":
            x = F.pad(x, (conv.dilation[0] * (conv.kernel_size[0] - 1), 0))
        return ACTIVATIONS[self.act](conv(x).movedim(1, -1))

    def variables(self) -> dict[str, Tensor]:
        return _kernel_and_bias(self.conv)


class ConvTranspose(KerasLayer):
    """A transposed convolution with `ndim` spatial axes."""

    options: ClassVar = {
        "filters": None, "kernel_size": None, "strides": 1, "padding": "valid", "activation": "linear", "use_bias": True
    }  # fmt: skip

    def __init__(self, shape: Shape, ndim: int, **options: Any) -> None:
        super().__init__(shape, ndim, **options)
        settings = self.settings
        self.is_same = check.choice("padding", settings["padding"], ("valid", "same")) == "same"
        self.act = activation(settings["activation"])
        kernel, strides = (check.ntuple(n, settings[n], ndim) for n in ("kernel_size", "strides"))
        self.conv = getattr(nn, f"ConvTranspose{ndim}d")(
            shape[-1], settings["filters"], kernel, strides, bias=settings["use_bias"]
        )

    def forward(self, x: Tensor) -> Tensor:
        """The complete output is cropped or zero-padded to n·s pixels, or to n·s + max(k - s, 0) without padding."""
        x, conv = x.movedim(-1, 1), self.conv
        bias, y = conv.bias, getattr(F, f"conv_transpose{self.ndim}d")(x, conv.weight, None, conv.stride)
        pads: list[int] = []
        for n, size, k, s in zip(x.shape[2:], y.shape[2:], conv.kernel_size, conv.stride, strict=True):
            first = max(k - s, 0) // 2 if self.is_same else 0
            length = n * s + (0 if self.is_same else max(k - s, 0))
            pads = [-first, length - size + first, *pads]
        y = F.pad(y, pads).movedim(1, -1)
        return ACTIVATIONS[self.act](y if bias is None else y + bias)

    def variables(self) -> dict[str, Tensor]:
        return _kernel_and_bias(self.conv)


class Dense(KerasLayer):
    """A linear layer on the last axis."""

    options: ClassVar = {"units": None, "activation": "linear", "use_bias": True}

    def __init__(self, shape: Shape, **options: Any) -> None:
        super().__init__(shape, **options)
        settings = self.settings
        self.act = activation(settings["activation"])
        self.linear = nn.Linear(shape[-1], check.positive_int("units", settings["units"]), settings["use_bias"])

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.act](self.linear(x))

    def variables(self) -> dict[str, Tensor]:
        return _kernel_and_bias(self.linear)


class BatchNormalization(KerasLayer):
    """A batch norm of the channels. `momentum` is Keras's: the weight of the old statistics."""

    options: ClassVar = {"epsilon": 1e-3, "momentum": 0.99, "center": True, "scale": True, "axis": -1}

    def __init__(self, shape: Shape, **options: Any) -> None:
        super().__init__(shape, **options)
        _check_axis(shape, self.settings["axis"])
        self.norm = nn.BatchNorm1d(shape[-1], self.settings["epsilon"], 1 - self.settings["momentum"])

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.reshape(-1, x.shape[-1])).reshape(x.shape)

    def variables(self) -> dict[str, Tensor]:
        statistics: Any = {"moving_mean": self.norm.running_mean, "moving_variance": self.norm.running_var}
        return _scale_and_shift(self) | statistics


class LayerNormalization(KerasLayer):
    """A layer norm of the channels."""

    options: ClassVar = {"epsilon": 1e-3, "center": True, "scale": True, "axis": -1}

    def __init__(self, shape: Shape, **options: Any) -> None:
        super().__init__(shape, **options)
        _check_axis(shape, self.settings["axis"])
        self.norm = nn.LayerNorm(shape[-1], self.settings["epsilon"])

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def variables(self) -> dict[str, Tensor]:
        return _scale_and_shift(self)


class Pooling(KerasLayer):
    """A pooling of windows of `ndim` axes. Means leave padding out, as with Keras's backends TensorFlow and JAX."""

    options: ClassVar = {"pool_size": 2, "strides": None, "padding": "valid"}

    def __init__(self, shape: Shape, ndim: int, **options: Any) -> None:
        super().__init__(shape, ndim, **options)
        settings = self.settings
        self.size = check.ntuple("pool_size", settings["pool_size"], self.ndim)
        self.strides = check.ntuple("strides", settings["strides"] or self.size, self.ndim)
        self.is_same = check.choice("padding", settings["padding"], ("valid", "same")) == "same"

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(-1, 1)
        pads = same_pads(x.shape[2:], self.size, self.strides, (1,) * self.ndim) if self.is_same else []
        if self.settings["is_max"]:
            y = getattr(F, f"max_pool{self.ndim}d")(F.pad(x, pads, value=-math.inf), self.size, self.strides)
            return y.movedim(1, -1)
        mean = getattr(F, f"avg_pool{self.ndim}d")
        y = mean(F.pad(x, pads), self.size, self.strides)
        if any(pads):  # padding does not count
            y = y / mean(F.pad(torch.ones_like(x[:1, :1]), pads), self.size, self.strides)
        return y.movedim(1, -1)


class GlobalPooling(KerasLayer):
    """The maximum or the mean over `ndim` axes."""

    options: ClassVar = {"keepdims": False}

    def forward(self, x: Tensor) -> Tensor:
        axes, keepdims = tuple(range(1, self.ndim + 1)), self.settings["keepdims"]
        return x.amax(axes, keepdims) if self.settings["is_max"] else x.mean(axes, keepdims)


class UpSampling(KerasLayer):
    """Enlarges maps by repeating pixels, or bilinearly."""

    options: ClassVar = {"size": 2, "interpolation": "nearest"}

    def __init__(self, shape: Shape, ndim: int, **options: Any) -> None:
        super().__init__(shape, ndim, **options)
        modes = ("nearest", "bilinear") if ndim == 2 else ("nearest",)
        self.size = check.ntuple("size", self.settings["size"], ndim)
        self.mode = check.choice("interpolation", self.settings["interpolation"], modes)

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "nearest":
            for axis, n in enumerate(self.size, start=1):
                x = x.repeat_interleave(n, axis)
            return x
        size = [n * s for n, s in zip(x.shape[1:-1], self.size, strict=True)]
        return F.interpolate(x.movedim(-1, 1), size, mode="bilinear", align_corners=False).movedim(1, -1)


class Padding(KerasLayer):
    """Pads maps with zeros, or crops them. The option has the two sides of every axis, the first axis first."""

    options: ClassVar = {"padding": None, "cropping": None}

    def __init__(self, shape: Shape, ndim: int, padding: Any = None, cropping: Any = None) -> None:
        super().__init__(shape, ndim)
        sides = cropping if padding is None else padding
        sides = [sides] * 2 * ndim if check.is_int(sides) else list(sides)
        sides = [n for n in sides for _ in (0, 1)] if len(sides) == ndim else sides
        if len(sides) != 2 * ndim or any(not check.is_int(n) or n < 0 for n in sides):
            raise ValueError(f"padding and cropping must be whole numbers for both sides of {ndim} axes, got {sides}")
        pads = [n for i in reversed(range(ndim)) for n in sides[2 * i : 2 * i + 2]]
        self.pads = [0, 0, *(pads if cropping is None else [-n for n in pads])]

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pads)


class Flatten(KerasLayer):
    """Flattens everything but the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Reshape(KerasLayer):
    """Reshapes everything but the batch; one size may be -1."""

    options: ClassVar = {"target_shape": None}

    def __init__(self, shape: Shape, target_shape: Any = None) -> None:
        super().__init__(shape)
        self.target = [target_shape] if check.is_int(target_shape) else list(target_shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.target)

    def output_has_time(self, has_time: bool, rank: int, ndim: int) -> bool:
        return rank == ndim + 3 or (rank == 3 and ndim > 1)


class Permute(Reshape):
    """Permutes the axes after the batch, which are counted from 1."""

    options: ClassVar = {"dims": None}

    def __init__(self, shape: Shape, dims: Any = None) -> None:
        super().__init__(shape, dims)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, *self.target)


class RepeatVector(KerasLayer):
    """Repeats a vector along a new time axis."""

    options: ClassVar = {"n": None}

    def __init__(self, shape: Shape, **options: Any) -> None:
        super().__init__(shape, **options)
        if len(shape) != 2:
            raise ValueError(f"it expects an input with 2 axes, including the batch, got {len(shape)}")
        self.n = check.positive_int("n", self.settings["n"])

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1).expand(-1, self.n, -1)

    def output_has_time(self, has_time: bool, rank: int, ndim: int) -> bool:
        return True


class Activation(KerasLayer):
    """An activation."""

    options: ClassVar = {"activation": "linear"}

    def __init__(self, shape: Shape, **options: Any) -> None:
        super().__init__(shape, **options)
        self.act = activation(self.settings["activation"])

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.act](x)


class ReLU(KerasLayer):
    """A ReLU with an upper limit and a slope of negative values."""

    options: ClassVar = {"max_value": None, "negative_slope": 0.0}

    def forward(self, x: Tensor) -> Tensor:
        limit, y = self.settings["max_value"], F.leaky_relu(x, self.settings["negative_slope"])
        return y if limit is None else y.clamp(max=limit)


class LeakyReLU(KerasLayer):
    """A leaky ReLU, with Keras's slope of negative values."""

    options: ClassVar = {"negative_slope": 0.3}

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.settings["negative_slope"])


class Rescaling(KerasLayer):
    """Multiplies by a scale and adds an offset."""

    options: ClassVar = {"scale": 1.0, "offset": 0.0}

    def forward(self, x: Tensor) -> Tensor:
        return x * float(self.settings["scale"]) + float(self.settings["offset"])


class LastFrame(KerasLayer):
    """The last frame of a sequence. Keras has no such layer; it is often a custom one."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]

    def output_has_time(self, has_time: bool, rank: int, ndim: int) -> bool:
        return False


class Merge(KerasLayer):
    """Merges several inputs element by element."""

    inputs_count = 0

    def forward(self, x: list[Tensor]) -> Tensor:
        return MERGES[self.settings["mode"]](x)


class Concatenate(KerasLayer):
    """Concatenates several inputs along an axis."""

    inputs_count = 0
    options: ClassVar = {"axis": -1}

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, self.settings["axis"])


MERGES: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "concat": lambda xs: torch.cat(xs, -1),
    "sum": lambda xs: reduce(torch.add, xs),
    "mul": lambda xs: reduce(torch.mul, xs),
    "ave": lambda xs: reduce(torch.add, xs) / len(xs),
    "max": lambda xs: reduce(torch.maximum, xs),
    "min": lambda xs: reduce(torch.minimum, xs),
    "subtract": lambda xs: xs[0] - xs[1],
}
BIDIRECTIONAL_MERGES = ("concat", "sum", "mul", "ave")
LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Bidirectional": (bidirectional, {}),
    **{
        cls.__name__: (cls, {})
        for cls in (TimeDistributed, Dense, BatchNormalization, LayerNormalization, Flatten, Reshape, Permute,
                    RepeatVector, Activation, ReLU, LeakyReLU, Rescaling, LastFrame, Concatenate)
    },
    **{
        name: (Merge, {"mode": mode})
        for name, mode in (("Add", "sum"), ("Subtract", "subtract"), ("Multiply", "mul"), ("Average", "ave"),
                           ("Maximum", "max"), ("Minimum", "min"))
    },
    **{
        name.format(n): (cls, {"ndim": n, **fixed})
        for n in (1, 2, 3)
        for name, cls, fixed in (
            ("ConvLSTM{}D", ConvLSTM, {}), ("Conv{}D", Conv, {}), ("Conv{}DTranspose", ConvTranspose, {}),
            ("MaxPooling{}D", Pooling, {"is_max": True}), ("AveragePooling{}D", Pooling, {"is_max": False}),
            ("GlobalMaxPooling{}D", GlobalPooling, {"is_max": True}),
            ("GlobalAveragePooling{}D", GlobalPooling, {"is_max": False}),
            ("UpSampling{}D", UpSampling, {}), ("ZeroPadding{}D", Padding, {}), ("Cropping{}D", Padding, {}),
        )
    },
}  # fmt: skip
"""Class and fixed arguments of each supported layer, by its name in Keras."""
WRAPPERS = ("Bidirectional", "TimeDistributed")


def make_layer(name: str, shape: Any, options: Mapping[str, Any], **fixed: Any) -> Any:
    """Builds a layer of :data:`LAYERS` for inputs of a shape."""
    if name not in LAYERS:
        raise ValueError(f"{name!r} is not a supported layer of Keras; supported are {', '.join(LAYERS)}")
    cls, arguments = LAYERS[name]
    if name not in WRAPPERS and (unknown := [o for o in options if o not in cls.options]):
        known = ", ".join(cls.options) or "none"
        raise ValueError(f"{name} has no option {', '.join(map(repr, unknown))}; it has {known}")
    return cls(shape, **arguments, **fixed, **options)


def activation(name: Any) -> str:
    """Checks the name of an activation."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"the activation {name!r} is not supported; supported are {', '.join(ACTIVATIONS)}")
    return name


def _check_axis(shape: Shape, axis: Any) -> None:
    if axis not in (-1, len(shape) - 1):
        raise ValueError(f"axis must be that of the channels, {len(shape) - 1}, got {axis!r}")


def _to_keras(value: Tensor) -> Tensor:
    """Returns a view of a parameter ``(out, in, k…)`` as Keras's ``(k…, in, out)``."""
    return value.movedim((0, 1), (-1, -2)) if value.dim() > 1 else value


def _scale_and_shift(layer: Any) -> dict[str, Tensor]:
    affine = {"gamma": ("scale", layer.norm.weight), "beta": ("center", layer.norm.bias)}
    return {name: value.detach() for name, (option, value) in affine.items() if layer.settings[option]}


def _kernel_and_bias(module: Any) -> dict[str, Tensor]:
    bias = {} if module.bias is None else {"bias": module.bias.detach()}
    return {"kernel": _to_keras(module.weight.detach()), **bias}
