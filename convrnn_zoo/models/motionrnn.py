"""MotionRNN: a PredRNN with MotionGRUs between its layers."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..layers._run import Maps
from ..layers.motiongru import MotionGRUCell, MotionHighwaySTLSTMCell
from .base import FRAME_CFG, StackedCells, build_model, odd_kernel, register_model


class MotionUnit(nn.Module):
    r"""Module that moves the maps h ``(N, C, H, W)`` of a layer for the next layer: ``x, (f, d) = unit(h, (f, d))``.

    (f, d) is the state of a MotionGRU. The MotionGRU runs on maps of half the size and a quarter of the channels. H and
    W are even. (``*`` is a convolution, ``⊙`` an element-wise product.)

    .. math::
        y, (f', d') &= \mathrm{MotionGRU}(\mathrm{Enc}(h), (f, d)) \\
        g &= σ(W * [\mathrm{Dec}(y), h] + b) \\
        x &= g ⊙ \mathrm{Dec}(y) + (1 - g) ⊙ h

    Enc is a convolution of stride 2, and Dec a transposed convolution of kernel 4 and stride 2. `kernel_size`, an odd
    number, is the kernel of Enc and of W. The kernels of the MotionGRU are 3×3.
    """

    def __init__(self, channels: int, kernel_size: int, **factory: Any) -> None:
        super().__init__()
        inner, edge = channels // 4, kernel_size // 2
        self.encode = nn.Conv2d(channels, inner, kernel_size, 2, edge, **factory)
        self.motion = MotionGRUCell(inner, **factory)
        self.decode = nn.ConvTranspose2d(inner, channels, 4, 2, 1, **factory)
        self.gate = nn.Conv2d(2 * channels, channels, kernel_size, 1, edge, **factory)

    def forward(self, h: Tensor, state: Any = None) -> tuple[Tensor, Maps]:
        moved, state = self.motion(self.encode(h), state)
        moved = self.decode(moved)
        gate = self.gate(torch.cat([moved, h], dim=1)).sigmoid()
        return gate * moved + (1 - gate) * h, state


class MotionPredRNN(StackedCells):
    """A stack of ST-LSTM cells with a MotionGRU after each cell except the last, and a motion highway.

    The memory m of the cells passes through all layers, then to the next step. On the highway, each cell also reads the
    unmoved h of the previous cell; the first cell reads a 1×1 convolution of the frame. Sizes and connections follow
    the authors' code, https://github.com/thuml/MotionRNN. The gate that fuses the moved maps has the kernel size of the
    cells. A cell also reads the moved maps as its h in the next step. Only the :class:`MotionUnit` modules have biases.
    The initial states are zeros; the authors' code samples them at random, also in evaluation.

    Arguments are those of :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`. There are at least two layers
    of one width, a multiple of 4; `kernel_size` is odd; height and width of frames are multiples of twice `patch_size`.

    References:
        Wu, H. et al. (2021). MotionRNN: A Flexible Model for Video Prediction with Spacetime-Varying Motions.
        https://arxiv.org/abs/2103.02243

    Example:
        >>> model = MotionPredRNN(hidden_channels=[4, 4], kernel_size=3, patch_size=2)
        >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    cell = MotionHighwaySTLSTMCell
    memories = ("m",)
    has_one_width, min_layers = True, 2
    group_patterns: ClassVar[dict[str, Any]] = {
        **StackedCells.group_patterns,
        "stem": r"^layers\.0\.weight_ih|^highway",
        "blocks": r"^(?:layers|motions)\.(\d+)",
    }

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = 64,
        kernel_size: int = 5,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_chans, hidden_channels, kernel_size, *args, **kwargs)
        width = self.widths[0]
        if width % 4:
            raise ValueError(f"hidden_channels must be a multiple of 4, got {width}: motion has a quarter")
        self.reduction *= 2
        head = self.head
        del self.head
        self.highway = nn.Conv2d(self.folded_in, width, 1, bias=False).to(head.weight)
        self.motions: Any = nn.ModuleList(MotionUnit(width, odd_kernel(kernel_size)) for _ in self.widths[1:]).to(
            head.weight
        )
        self.head = head  # after the motions, since it is the last to run

    def state_sizes(self) -> dict[str, tuple[int, int]]:
        size = self.motions[0].motion.out_channels, 2
        motions = [f"{name}_l{i}" for i in range(len(self.motions)) for name in MotionGRUCell.states]
        return super().state_sizes() | dict.fromkeys(motions, size)

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        cells = 2 * len(self.widths)
        m, motions = state[cells], state[cells + 1 :]
        new: list[Tensor] = []
        new_motions: list[Tensor] = []
        v = self.highway(x)
        for i, layer in enumerate(self.layers):
            pair = slice(2 * i, 2 * i + 2)
            x, c, m = layer(x, (*state[pair], m, v))
            v = x
            if i < len(self.motions):
                x, motion = self.motions[i](x, motions[pair])
                new_motions += motion
            new += [x, c]
        return self.head(x), (*new, m, *new_motions)


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 16, "num_layers": 2})
def motionrnn_predrnn(pretrained: bool = False, **kwargs: Any) -> MotionPredRNN:
    """MotionRNN on PredRNN: four 64-channel ST-LSTM layers with MotionGRUs on 4×4 patches, 6,852,161 parameters.

    The authors' code has as many parameters. Inputs are those of :func:`~convrnn_zoo.models.predrnn.predrnn`, but
    height and width are multiples of twice the patch size. Wu et al. 2021, https://arxiv.org/abs/2103.02243.
    """
    return build_model(MotionPredRNN, "motionrnn_predrnn", pretrained, **kwargs)
