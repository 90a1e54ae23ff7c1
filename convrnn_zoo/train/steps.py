"""STEPS, the field's stochastic nowcast, made by pysteps: what probabilities of rain are compared with."""

import contextlib
import io
import warnings
from typing import Any

import torch
from torch import Tensor

from .._extras import need
from ..data.rain_events import quiet_pysteps

DRY, DRIEST = -15.0, 0.1
"""What dry pixels are in dB, and the rate in mm/h from which on rain is rain: those of pysteps' examples."""

np: Any = need("numpy", "cli")


def steps(
    frames: Tensor, horizon: int, *, members: int = 20, minutes: float = 5.0, kilometres: float = 2.0, seed: int = 0
) -> Tensor:
    """An ensemble of nowcasts by pysteps' STEPS as its examples set it up: ``(members, horizon, H, W)`` in mm/h.

    Args:
        frames: ``(T, H, W)`` in mm/h, three or more; unknown pixels are read as dry.
        horizon: frames to forecast.
        members: of the ensemble.
        minutes: from one frame to the next.
        kilometres: a pixel's edge.
        seed: of the noise.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Bowler, N. E. et al. (2006). STEPS: A probabilistic precipitation forecasting scheme which merges an
        extrapolation nowcast with downscaled NWP. https://doi.org/10.1256/qj.04.100
    """
    pysteps = quiet_pysteps()
    to_db = pysteps.utils.transformation.dB_transform
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rate, _ = to_db(frames.nan_to_num(0).double().numpy(), threshold=DRIEST, zerovalue=DRY)
        threshold = float(10 * np.log10(DRIEST))
        made = pysteps.nowcasts.get_method("steps")(
            rate[-3:],
            pysteps.motion.get_method("LK")(rate),
            horizon,
            n_ens_members=members,
            n_cascade_levels=6,
            precip_thr=threshold,
            kmperpixel=kilometres,
            timestep=minutes,
            noise_method="nonparametric",
            vel_pert_method="bps",
            mask_method="incremental",
            seed=seed,
        )
        made, _ = to_db(made, threshold=threshold, inverse=True)
    return torch.as_tensor(np.asarray(made), dtype=torch.float32)
