"""Networks of Keras layers around ConvLSTMs, built from a list of layers."""

import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import _checks as check
from ..pretrained.builder import build_model
from ..pretrained.registry import register_model
from .base.forecaster import check_no_classes
from .base.keras_layers import ConvLSTM, make_layer
from .base.model import ZooModel


class KerasNetwork(ZooModel):
    """A network of Keras layers around ConvLSTMs, for inference.

    ``convrnn-zoo convert model.keras`` writes such models.

    Tensors have the channels in front, as in all models of the zoo; within the network they are last, as in Keras, so
    that the weights of layers after a ``Flatten`` fit.

    Args:
        layers: a list ``[name, type, [inputs], [option, value, …], …]`` for each layer. `type` is the name of the layer
            in Keras; `inputs` are names of previous layers, or ``"input"``. The last layer is the output. The first
            option of a wrapper, ``layer``, is the type of the wrapped layer, whose options follow.
        input_size: shape of an input without the batch in Keras's order, such as ``[14, 100, 100, 1]``. None for sizes
            that may vary.
        in_chans, num_classes: the channels of the input, and 0; they follow from the layers.
        device, dtype: of the parameters.

    Shapes:
        input ``(N, T, C, *S)``; the output is ``(N, T, C, *S)``, ``(N, C, *S)``, ``(N, T, K)`` or ``(N, K)``.

    Example:
        >>> layers = [["lstm", "ConvLSTM2D", ["input"], ["filters", 4], ["kernel_size", 3], ["padding", "same"]],
        ...           ["output", "Conv2D", ["lstm"], ["filters", 2], ["kernel_size", 1]]]
        >>> model = KerasNetwork(layers, [None, 8, 9, 1]).eval()
        >>> tuple(model(torch.rand(3, 5, 1, 8, 9)).shape)
        (3, 2, 8, 9)
    """

    def __init__(
        self, layers: Sequence[Any] = (), input_size: Sequence[int | None] = (), in_chans: int | None = None,
        num_classes: int = 0, device: torch.device | str | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_no_classes(num_classes)
        if not layers or len(input_size) < 2:
            raise ValueError("expected layers and the input_size; convrnn-zoo convert model.keras writes such a model")
        self.num_classes, self.input_size = 0, tuple(input_size)
        self.in_chans = check.positive_int("input_size[-1]", input_size[-1])
        if in_chans not in (None, self.in_chans):
            raise ValueError(f"in_chans must be {self.in_chans}, that of the layers, got {in_chans}")
        self.layers, self.edges, names = nn.ModuleList(), [], ["input"]
        # Convolutions without padding shrink maps, so that examples of open sizes are not small.
        example = [check.positive_int("input_size", 64 if n is None else n) for n in self.input_size]
        example[0] = min(example[0], 8) if self.input_size[0] is None else example[0]
        values: list[Any] = [torch.empty(1, *example, device="meta")]
        has_time, ndim = [True], next(self._dimensions(layers), len(example) - 2)
        for entry in layers:
            name, kind, inputs, options = _parse_entry(entry)
            if name in names or any(i not in names for i in inputs):
                raise ValueError(f"layer {name!r} must have a new name and previous inputs, got the inputs {inputs}")
            index = [names.index(i) for i in inputs]
            xs: Any = [values[i] for i in index]
            try:
                with torch.device("meta"):
                    probe = make_layer(kind, tuple(xs[0].shape), options)
                if (probe.inputs_count == 1) != (len(xs) == 1):
                    raise ValueError(f"it expects {'one input' if probe.inputs_count else 'several'}, got {inputs}")
                value = _probe(probe, xs if not probe.inputs_count else xs[0])
                with nullcontext() if device is None else torch.device(device):
                    self.layers.append(make_layer(kind, tuple(xs[0].shape), options))
            except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, OverflowError) as e:
                raise ValueError(f"layer {name!r} ({kind}) cannot be built: {e}") from e
            self.edges.append(index)
            values.append(value)
            names.append(name)
            has_time.append(probe.output_has_time(has_time[index[0]], value.dim(), ndim))
        self.names, self.has_time, self.ndim = names[1:], has_time[-1], ndim
        self.num_features = values[-1].shape[-1]
        self.to(dtype=dtype)

    @staticmethod
    def _dimensions(layers: Sequence[Any]) -> Iterator[int]:
        """Yields the number of spatial axes of each ConvLSTM among the layers, also of wrapped ones."""
        for entry in layers:
            _, kind, _, options = _parse_entry(entry)
            if m := re.fullmatch(r"ConvLSTM([123])D", str(options.get("layer", kind))):
                yield int(m[1])

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output for sequences ``(N, T, C, *S)``, or ``(N, T, C)`` for an input of vectors."""
        sizes = self.input_size
        rank = len(sizes) + 1
        x = x.movedim(2, -1) if x.dim() == rank > 3 else x
        if x.dim() != rank or any(n not in (None, size) for n, size in zip(sizes, x.shape[1:], strict=True)):
            *space, channels = ("any" if n is None else n for n in sizes)
            expected = ", ".join(map(str, ("N", space[0], channels, *space[1:]) if rank > 3 else ("N", *sizes)))
            got = tuple(x.movedim(-1, 2).shape if x.dim() == rank > 3 else x.shape)
            raise ValueError(f"{type(self).__name__} expected an input ({expected}), got {got}; reshape or crop it")
        values = [x]
        for layer, index in zip(self.layers, self.edges, strict=True):
            inputs = [values[i] for i in index]
            values.append(layer(inputs[0] if layer.inputs_count == 1 else inputs))
        y = values[-1]
        return y.movedim(-1, 2 if self.has_time else 1) if y.dim() > 3 or (y.dim() == 3 and not self.has_time) else y

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {"stem": r"^layers\.0\.", "blocks": [(r"^layers\.(\d+)\.", None)]}


def _parse_entry(entry: Any) -> tuple[str, str, list[str], dict[str, Any]]:
    """Returns name, type, inputs and options of a layer; an option with several values is a tuple."""
    try:
        name, kind, inputs, *settings = entry
        options = {o: values[0] if len(values) == 1 else tuple(values) for o, *values in settings}
        if all(isinstance(text, str) for text in (name, kind, *inputs, *options)) and inputs:
            return name, kind, list(inputs), options
    except (TypeError, ValueError):
        pass
    raise ValueError(f"a layer must be [name, type, [inputs], [option, value], …], got {str(entry)[:200]}")


def _probe(layer: Any, x: Any) -> Tensor:
    """Returns the output for an input on the meta device. Of a sequence, a ConvLSTM reads only the first frame."""
    with torch.no_grad():
        if not isinstance(layer, ConvLSTM):
            return layer.eval()(x)
        y: Tensor = layer(x[:, :1])
        return y.expand(-1, x.shape[1], *y.shape[2:]) if layer.return_sequences else y


@register_model(cfg={"input_size": (1, 64, 64)}, is_listed=False)
def keras_network(pretrained: bool = False, **kwargs: Any) -> KerasNetwork:
    """A converted network of Keras.

    Args:
        layers, input_size; see :class:`~convrnn_zoo.models.keras_network.KerasNetwork`.
    """
    if size := kwargs.get("input_size"):
        kwargs.setdefault("in_chans", size[-1])
    return build_model(KerasNetwork, "keras_network", pretrained, **kwargs)
