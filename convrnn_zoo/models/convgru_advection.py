"""Nowcasts of rain: estimated motion moves the rain, and ConvGRU layers forecast its growth and decay."""

from typing import Any

from ..pretrained.builder import build_model
from ..pretrained.registry import register_model
from .base.forecaster import FRAME_CFG
from .nowcast.network import ConvGRUAdvection


@register_model(cfg=FRAME_CFG)
def convgru_advection(pretrained: bool = False, **kwargs: Any) -> ConvGRUAdvection:
    """Rain nowcasts by estimated motion and ConvGRU layers for growth and decay: 504,962 parameters.

    Maps rain rates ``(N, T, C, H, W)`` in mm/h, NaN where unknown, to rates ``(N, horizon, C, H, W)``. Height and width
    are multiples of 8; ``forecast`` takes maps of any size and returns ensembles with ``members=20``, and
    ``probabilities`` returns the probabilities of reaching rates.
    Rain is advected as in Ritvanen et al. 2023, https://doi.org/10.1109/JSTARS.2023.3238016, and Zhang et al. 2023,
    https://doi.org/10.1038/s41586-023-06184-4; the layers are those of Ballas et al. 2016,
    https://arxiv.org/abs/1511.06432.

    Args:
        in_chans (1), hidden_channels ((32, 64)), horizon (12).
    """
    return build_model(ConvGRUAdvection, "convgru_advection", pretrained, **kwargs)
