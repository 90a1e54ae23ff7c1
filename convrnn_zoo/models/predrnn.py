"""PredRNN, PredRNN v2 and PredRNN++."""

from typing import Any, ClassVar

from torch import Tensor, nn

from ..layers import ConvRNNCellBase
from ..layers._run import Maps
from ..layers.causallstm import CausalLSTMCell, GradientHighwayCell
from ..layers.stlstm import STLSTMCell
from .base import FRAME_CFG, Delta, StackedCells, build_model, register_model, shared_options


def run_stlstms(
    layers: nn.ModuleList, x: Tensor, state: Maps, adapter: nn.Module | None = None
) -> tuple[Tensor, Maps, list[Delta]]:
    """Returns h of the last ST-LSTM cell, the next states ``(h, c, h, c, …, m)``, and the deltas for an adapter."""
    *cells, m = state
    new: list[Tensor] = []
    deltas: list[Delta] = []
    for i, layer in enumerate(layers):
        x, c, m, *delta = layer(x, (*cells[2 * i : 2 * i + 2], m), return_deltas=True)
        new += [x, c]
        deltas += [(adapter(delta[0]), adapter(delta[1]))] if adapter is not None else []
    return x, (*new, m), deltas


class PredRNN(StackedCells):
    """A stack of ST-LSTM cells; their second memory m passes through all layers and then to the next step.

    Arguments are those of :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`; all layers have one width.

    Example:
        >>> model = PredRNN(hidden_channels=[4, 4], kernel_size=3, patch_size=2)
        >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    cell: ClassVar[type[ConvRNNCellBase]] = STLSTMCell
    has_one_width = True
    memories: ClassVar[tuple[str, ...]] = ("m",)

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        x, new, _ = run_stlstms(self.layers, x, state)
        return self.head(x), new


class PredRNNv2(PredRNN):
    """:class:`PredRNN` with an adapter for the decoupling loss, which keeps the memories c and m different.

    ``model(..., return_aux=True).deltas`` contains the increments of c and m in each step and layer, as outputs of the
    adapter. The adapter is a 1×1 convolution. An increment has shape ``(N, channels, H/p, W/p)`` for patches of p×p
    pixels. The paper's loss is 0.1 times the mean over channels of the absolute cosine similarity of both increments.

    Example:
        >>> model = PredRNNv2(hidden_channels=4, num_layers=2, kernel_size=3, patch_size=2)
        >>> x = torch.rand(1, 5, 1, 8, 8)
        >>> forecast, warmup, deltas = model(x[:, :3], teacher=x[:, 3:], return_aux=True)
        >>> tuple(forecast.shape), tuple(warmup.shape), len(deltas)  # 4 steps of 2 layers
        ((1, 2, 1, 8, 8), (1, 2, 1, 8, 8), 8)
        >>> apart = torch.stack([torch.cosine_similarity(c.flatten(2), m.flatten(2), dim=2).abs() for c, m in deltas])
        >>> loss = (torch.cat([warmup, forecast], 1) - x[:, 1:]).square().mean() + 0.1 * apart.mean()
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adapter = nn.Conv2d(self.widths[0], self.widths[0], 1, bias=False).to(self.head.weight)

    def advance_with_deltas(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps, list[Delta]]:
        x, new, deltas = run_stlstms(self.layers, x, state, self.adapter)
        return self.head(x), new, deltas


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def predrnn(pretrained: bool = False, **kwargs: Any) -> PredRNN:
    """PredRNN: four 128-channel ST-LSTM layers on 4×4 patches, 23,838,720 parameters as in OpenSTL.

    Maps frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``; height and width are multiples of the patch size. The
    model reads each forecast frame to forecast the next. Wang et al. 2017, table 1,
    https://proceedings.neurips.cc/paper/2017/hash/e5f6ad6ce374177eef023bf5d0c018b6-Abstract.html. Published by OpenSTL
    on Moving MNIST after 200 epochs, 10 input and 10 forecast frames: MSE 23.97.
    """
    return build_model(PredRNN, "predrnn", pretrained, **kwargs)


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def predrnn_v2(pretrained: bool = False, **kwargs: Any) -> PredRNNv2:
    """PredRNN v2, with an adapter for the decoupling loss: four 128-channel ST-LSTM layers, 23,855,104 parameters.

    Inputs and arguments are those of :func:`predrnn`. Wang et al. 2023, https://arxiv.org/abs/2103.09504. See
    :class:`~convrnn_zoo.models.predrnn.PredRNNv2` for the loss.
    """
    return build_model(PredRNNv2, "predrnn_v2", pretrained, **kwargs)


class PredRNNPP(PredRNN):
    """A stack of at least two causal LSTM cells with a gradient highway between the first and the second.

    The unused kernel ``conv_o`` of OpenSTL's cells is left out.
    """

    cell = CausalLSTMCell
    min_layers = 2
    memories = ("m", "z")  # z is that of the highway
    group_patterns: ClassVar[dict[str, Any]] = {
        **PredRNN.group_patterns,
        "blocks": [(r"^layers\.(\d+)", None), (r"^highway", (0,))],
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first: Any = self.layers[0]
        options = {**shared_options(first), "zoneout": first.zoneout[0]}
        highway = GradientHighwayCell(self.widths[0], self.widths[0], first.kernel_size, **options)
        self.highway = highway.to(self.head.weight)

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        *cells, m, z = state
        new: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            if i == 1:
                x = z = self.highway(x, z)
            x, c, m = layer(x, (*cells[2 * i : 2 * i + 2], m))
            new += [x, c]
        return self.head(x), (*new, m, z)


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def predrnn_pp(pretrained: bool = False, **kwargs: Any) -> PredRNNPP:
    """PredRNN++: four 128-channel causal LSTM layers and a gradient highway on 4×4 patches, 35,307,520 parameters.

    OpenSTL's code builds 38,584,320 parameters; 3,276,800 of them are never used and are left out here. Inputs and
    arguments are those of :func:`predrnn`, without layer norms. Wang et al. 2018, https://arxiv.org/abs/1804.06300.
    Published by OpenSTL on Moving MNIST after 200 epochs, 10 input and 10 forecast frames: MSE 22.06, MAE 69.58, SSIM
    .9509; after 2000 epochs: MSE 14.07, MAE 48.91, SSIM .9698.
    """
    return build_model(PredRNNPP, "predrnn_pp", pretrained, **kwargs)
