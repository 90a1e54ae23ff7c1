"""OpenSTL's recurrent models, on frames folded into patches.

Its patches have the pixel before the channel, ours the channel before the pixel; and its cells carry convolutions
that nothing reads. https://github.com/chengtan9907/OpenSTL
"""

from collections.abc import Callable

from torch import nn

from ..layers import _checks as check
from ..models import WeightsError, create_model
from ._checkpoint import ForeignCheckpoint
from ._entries import Entries, fill
from ._links import Found
from ._openstl_networks import NORM, e3d_lstm, lstm, mau, mim, phydnet, predrnn_pp
from ._source import OptionError, Source


def load(
    checkpoint: ForeignCheckpoint,
    *,
    patch_size: int,
    horizon: int = 10,
    tau: int | None = None,
    cell_mode: str | None = None,
    model_mode: str | None = None,
) -> nn.Module:
    """The zoo's model of that name, on frames ``(N, T, C, H, W)`` in place of OpenSTL's patches.

    Args:
        patch_size: pixels of a patch's edge, which the weights do not tell apart from the channels of a frame.
        horizon: frames to forecast when the call does not say; OpenSTL's `aft_seq_length`.
        tau, cell_mode, model_mode: only for a MAU, which requires all three: its weights have the same names and shapes
            whatever they are. OpenSTL's configuration for Moving MNIST has 5, ``"normal"`` and ``"normal"``.
    """
    entries = Entries(checkpoint, "openstl")
    kind = next((kind for pattern, kind in KINDS.items() if entries.having(pattern)), lstm)
    mau_options = {"tau": tau, "cell_mode": cell_mode, "model_mode": model_mode}
    if kind is mau:
        if missing := [f"{name}=" for name, value in mau_options.items() if value is None]:
            raise WeightsError(
                f"{checkpoint.origin} is a MAU, whose weights do not show its {', '.join(missing)}; pass what its "
                "configuration has (tau, a number of steps; cell_mode, 'normal' or 'residual'; model_mode, 'normal' or "
                "'recall')"
            )
        check.choice("cell_mode", cell_mode, ("normal", "residual"))
        check.choice("model_mode", model_mode, ("normal", "recall"))
        modes = {"residual": cell_mode == "residual", "recall": model_mode == "recall"}
        found = mau(entries, patch_size, tau=tau, **modes)
    elif given := [name for name, value in mau_options.items() if value is not None]:
        raise OptionError(f"{', '.join(given)}: options of a MAU, and {checkpoint.origin} is none; leave them out")
    elif kind in UNNORMED and (norms := entries.having(NORM)):
        raise WeightsError(
            f"{checkpoint.origin} has layer norms ({norms[0][0]}, …), which are not read: {UNNORMED[kind]}; train it "
            "with layer_norm=0"
        )
    else:
        found = kind(entries, patch_size)
    dtype = ForeignCheckpoint(found.state, checkpoint.origin).dtype()
    return fill(create_model(found.name, **found.sizes, horizon=horizon, dtype=dtype), found.state)


KINDS: dict[str, Callable[..., Found]] = {
    r"cell_list\.\d+\.conv_(?:c2m|c|om)\.0\.weight|gradient_highway\..*": predrnn_pp,
    r"stlstm_layer(?:_diff)?\.\d+\..*": mim,
    r"cell_list\.\d+\.conv_[st]_next\..*": mau,
    r"cell_list\.\d+\.conv_x\.0\.conv3d\.weight": e3d_lstm,
    r"(?:encoder\.)?(?:phycell|convcell)\..*": phydnet,
}
"""What reads a checkpoint that has such a key; the first counts."""
UNNORMED: dict[Callable[..., Found], str] = {
    predrnn_pp: "OpenSTL's own PredRNN++ fails with them, since its highway norms twice the channels of its norms",
    e3d_lstm: "behind them a memory of zeros, which the zoo leaves out, is not zero",
}
"""Whose norms behind convolutions are refused, and why."""

OPENSTL = Source(
    name="openstl",
    title="OpenSTL, https://github.com/chengtan9907/OpenSTL",
    key=r"(?:cell_list\.\d+\.conv_(?:x|t_next)\.0|cell_list\.\d+\.conv_x\.0\.conv3d|stlstm_layer\.\d+\.conv_x(?:_cc)?\.0|"
    r"(?:encoder\.)?phycell\.cell_list\.0\.(?:F\.conv[12]|convgate))\.weight",
    ranks=(4, 5),
    knows="a convolution of one of its cells",
    load=load,
    options={
        "patch_size": "must be given",
        "horizon": "frames to forecast, its aft_seq_length (10)",
        "tau": "steps that a MAU looks back; must be given for a MAU",
        "cell_mode": "'normal' or 'residual'; must be given for a MAU",
        "model_mode": "'normal' or 'recall'; must be given for a MAU",
    },
)
