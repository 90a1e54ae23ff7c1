"""Converts ConvLSTM and Conv3dLSTM of TorchGeo 0.8 to 0.10.

The layers have the format of ``ndrplz``. Since TorchGeo 0.10, they are followed by a head. In our models, a 1×1
head is the classifier for every pixel, which ``num_classes=K, global_pool=""`` adds.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers import Conv2dLSTM
from ..models import ConvRNNModel
from . import ndrplz
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, OptionError, Source, expect_layer, load_layer

LAYOUT = replace(ndrplz.LAYOUT, source="torchgeo")
OUTER_MODULES = {"input_projection": "projection", "head": "head"}
"""Convolutions around the layers: their names in TorchGeo and in :class:`TorchGeoConvLSTM`."""


class TorchGeoConvLSTM(nn.Module):
    """TorchGeo's ConvLSTM with a head, or Conv3dLSTM: classifies an image series or each of its pixels.

    Args:
        rnn: the recurrent layers, batch-first.
        head: convolution with K output channels, which reads the output of the layers.
        projection: 3-d convolution of the input ``(N, C, T, H, W)`` of a Conv3dLSTM.
        output_mode: ``"pixel"`` for maps of logits, or ``"chip"`` for logits that are pooled over the map.
        return_sequence: whether to return an output for every date, and not only for the last one.
        pooling: pooling of ``output_mode="chip"``: ``"avg"`` or ``"max"``.

    Shapes:
        The input ``(N, T, C, H, W)`` gives ``(N, K, H, W)``, or ``(N, K)`` with ``output_mode="chip"``. With
        `return_sequence`, the output has a second axis of T dates.

    Example:
        >>> model = TorchGeoConvLSTM(Conv2dLSTM(4, 8, 3, batch_first=True), nn.Conv2d(8, 3, 1))
        >>> tuple(model(torch.rand(2, 5, 4, 16, 16), lengths=torch.tensor([5, 2])).shape)
        (2, 3, 16, 16)
    """

    def __init__(
        self,
        rnn: Conv2dLSTM,
        head: nn.Conv2d,
        projection: nn.Conv3d | None = None,
        *,
        output_mode: str = "pixel",
        return_sequence: bool = False,
        pooling: str = "avg",
    ) -> None:
        super().__init__()
        self.output_mode = check.choice("output_mode", output_mode, ("pixel", "chip"))
        self.pooling = check.choice("pooling", pooling, ("avg", "max"))
        self.return_sequence = check.boolean("return_sequence", return_sequence)
        if not rnn.batch_first:
            raise ValueError("rnn must read (N, T, C, H, W), got a layer with batch_first=False; set batch_first=True")
        self.projection, self.rnn, self.head = projection, rnn, head

    def forward(self, x: Tensor, lengths: Tensor | None = None, hx: Any = None) -> Tensor:
        """Returns outputs for each series' last date or for all dates. `lengths` ``(N,)`` are numbers of dates."""
        if self.projection is not None:
            x = self.projection(x.transpose(1, 2)).transpose(1, 2)
        output: Tensor = self.rnn(x, hx)[0]
        if not self.return_sequence:
            last = torch.full((len(x),), x.shape[1], device=x.device) if lengths is None else lengths.to(x.device)
            output = output[torch.arange(len(x), device=x.device), last.long().clamp(1, x.shape[1]) - 1]
        maps = self.head(output.flatten(0, -4))
        if self.output_mode == "chip":
            maps = maps.amax((-2, -1)) if self.pooling == "max" else maps.mean((-2, -1))
        return maps.unflatten(0, output.shape[:-3])

    def linear_head(self) -> dict[str, Tensor]:
        """Returns the weights of a 1×1 head as the state dict of a linear classifier.

        Raises:
            ValueError: the model has a projection or pools its logits, or the kernel of the head is larger than 1×1.
        """
        reasons = ["a 3-d convolution before the layers"] * (self.projection is not None)
        reasons += [f"a head with a kernel of {self.head.kernel_size}"] * (self.head.kernel_size != (1, 1))
        reasons += ["logits that are pooled over the map at every date"] * (self.output_mode == "chip")
        if reasons:
            raise ValueError(
                f"no architecture has {' or '.join(reasons)}, as this {type(self).__name__}. Take the model with its "
                "outputs from convrnn_zoo.interop.load, or convert its layers, without these, by "
                "convrnn_zoo.interop.to_model(model.rnn)"
            )
        return {key: value.reshape(value.shape[:2]) for key, value in self.head.state_dict().items()}


def load(checkpoint: ForeignCheckpoint, **options: Any) -> nn.Module:
    """Loads a ConvLSTM without a head as a batch-first layer, and other models as a :class:`TorchGeoConvLSTM`."""
    around = {key: value for key, value in checkpoint.state.items() if key.partition(".")[0] in OUTER_MODULES}
    layers = {key: value for key, value in checkpoint.state.items() if key not in around}
    has_projection = any(key.startswith("input_projection.") for key in around)
    if options and not has_projection:
        raise OptionError(f"{', '.join(options)}: for a Conv3dLSTM, and {checkpoint.name} is none; leave them out")
    rnn = LAYOUT.load(replace(checkpoint, state=layers), batch_first=True)
    if not around:
        return rnn
    entries = Entries(replace(checkpoint, state=around), "torchgeo")
    entries.dtypes.add(rnn.weight_ih_l0.dtype)
    states = {"head": _take_conv(entries, "head", None, rnn.widths[-1], bias=True)}
    if has_projection:
        states["projection"] = _take_conv(entries, "input_projection", rnn.in_channels, None, bias=rnn.bias)
    entries.finish()
    parts: dict[str, Any] = {}
    for name, state in states.items():
        rows, columns, *kernel = state["weight"].shape
        conv: Any = nn.Conv2d if name == "head" else nn.Conv3d
        padding = tuple(k // 2 for k in kernel)
        module = conv(columns, rows, tuple(kernel), padding=padding, bias="bias" in state, dtype=entries.dtype)
        parts[name] = load_layer(module, state)
    return TorchGeoConvLSTM(rnn, **parts, **options)


def _take_conv(entries: Entries, name: str, rows: int | None, columns: int | None, *, bias: bool) -> dict[str, Tensor]:
    """Takes the weight of a convolution, and its bias if the checkpoint has one or `bias` requires one."""
    space = (None,) * (2 if name == "head" else 3)
    sizes = [entries.axis_size([f"{name}.{end}"], 0, r) for end, r in (("weight", 2 + len(space)), ("bias", 1))]
    rows = rows or max(filter(None, sizes), default=None)
    state = {"weight": entries.take(f"{name}.weight", (rows, columns, *space))}
    if bias or entries.matches(rf"{name}\.bias"):
        state["bias"] = entries.take(f"{name}.bias", (rows,))
    return state


def export(module: nn.Module) -> dict[str, Tensor]:
    """Returns the state dict for TorchGeo's ConvLSTM or Conv3dLSTM."""
    layer = expect_layer("torchgeo", module, Conv2dLSTM, TorchGeoConvLSTM, ConvRNNModel)
    state = LAYOUT.export(getattr(layer, "rnn", layer))
    for name, ours in OUTER_MODULES.items():
        for key, value in getattr(getattr(layer, ours, None), "state_dict", dict)().items():
            is_linear = key == "weight" and value.dim() == 2
            state[f"{name}.{key}"] = (value[..., None, None] if is_linear else value).detach().clone()
    return state


TORCHGEO = Source(
    name="torchgeo",
    title="TorchGeo's ConvLSTM and Conv3dLSTM, https://torchgeo.readthedocs.io/en/stable/api/models.html",
    key=r"cell_list\.\d+\.conv\.weight",
    ranks=(4,),
    key_description="the joint convolution of a layer, with a head",
    second_key=r"head\.(?:weight|bias)",
    load=load,
    options={
        "output_mode": "'pixel' or 'chip', of a Conv3dLSTM ('pixel')",
        "return_sequence": "whether a Conv3dLSTM returns every date (false)",
        "pooling": "'avg' or 'max', of a Conv3dLSTM ('avg')",
    },
    checks={"return_sequence": check.boolean},
    export=export,
    has_head=True,
)
