"""Forecasts without a model, which a trained one has to beat."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..data.rain_events import quiet, quiet_pysteps

DRY, DRIEST = -15.0, 0.1
"""What dry pixels are in dB, and the rate in mm/h from which on rain is rain: those of pysteps' examples."""
Baseline = Callable[[Tensor, int], Tensor]
"""Makes frames ``(N, horizon, C, H, W)`` of input frames ``(N, T, C, H, W)``, both in the unit of the data."""


def last_frame(inputs: Tensor, horizon: int) -> Tensor:
    """The last input frame, repeated.

    Example:
        >>> last_frame(torch.arange(3.0).reshape(1, 3, 1, 1, 1), 2).flatten().tolist()
        [2.0, 2.0]
    """
    return inputs[:, -1:].expand(-1, horizon, -1, -1, -1)


def zero(inputs: Tensor, horizon: int) -> Tensor:
    """Frames of zeros."""
    return torch.zeros_like(inputs[:, :1]).expand(-1, horizon, -1, -1, -1)


def extrapolation(inputs: Tensor, horizon: int) -> Tensor:
    """Extrapolation of rain in mm/h by pysteps: the last input frame moves on as the input frames did.

    The motion is estimated by Lucas and Kanade's method, and the advection follows it backwards (semi-Lagrangian). A
    pixel whose value would come from outside the frame keeps that of the last input frame: by every error that is
    better than to call it dry.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Pulkkinen, S. et al. (2019). Pysteps: an open-source Python library for probabilistic precipitation nowcasting
        (v1.0). https://doi.org/10.5194/gmd-12-4185-2019
    """
    pysteps = quiet_pysteps()
    with quiet():
        motion_of, drift = pysteps.motion.get_method("LK"), pysteps.nowcasts.get_method("extrapolation")
        frames = inputs.double().movedim(2, 1).flatten(0, 1).numpy()  # (N·C, T, H, W)
        made = torch.stack([torch.from_numpy(drift(x[-1], motion_of(x), horizon)) for x in frames])
    made = made.unflatten(0, (inputs.shape[0], inputs.shape[2])).movedim(1, 2).to(inputs.dtype)
    return torch.where(made.isnan(), last_frame(inputs, horizon), made)


def steps(frames: Tensor, horizon: int, members: int = 20) -> Tensor:
    """An ensemble of nowcasts by pysteps' STEPS as its examples set it up: ``(members, horizon, H, W)`` in mm/h.

    It is the field's stochastic nowcast: what probabilities of rain are compared with. It reads three or more frames
    ``(T, H, W)`` in mm/h, five minutes apart and with pixels of 2 km; what is not known is read as dry.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Bowler, N. E. et al. (2006). STEPS: A probabilistic precipitation forecasting scheme which merges an
        extrapolation nowcast with downscaled NWP. https://doi.org/10.1256/qj.04.100
    """
    pysteps = quiet_pysteps()
    to_db = pysteps.utils.transformation.dB_transform
    with quiet():
        rate, _ = to_db(frames.nan_to_num(0).double().numpy(), threshold=DRIEST, zerovalue=DRY)
        threshold = 10 * math.log10(DRIEST)
        made = pysteps.nowcasts.get_method("steps")(
            rate[-3:],
            pysteps.motion.get_method("LK")(rate),
            horizon,
            n_ens_members=members,
            n_cascade_levels=6,
            precip_thr=threshold,
            kmperpixel=2.0,
            timestep=5.0,
            noise_method="nonparametric",
            vel_pert_method="bps",
            mask_method="incremental",
            seed=0,
        )
        made, _ = to_db(made, threshold=threshold, inverse=True)
    return torch.as_tensor(made, dtype=torch.float32)


BASELINES: Mapping[str, Baseline] = {"last frame": last_frame, "zero": zero, "extrapolation": extrapolation}
"""By their names; one whose package is not installed is left out of an evaluation."""
