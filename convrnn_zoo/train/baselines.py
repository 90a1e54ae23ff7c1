"""Forecasts without a model, which a trained one has to beat."""

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .._extras import need

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
    need("cv2", "nowcast")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pysteps prints its settings when imported, and warns where it copes
        pysteps = need("pysteps", "nowcast")
        motion_of, drift = pysteps.motion.get_method("LK"), pysteps.nowcasts.get_method("extrapolation")
        frames = inputs.double().movedim(2, 1).flatten(0, 1).numpy()  # (N·C, T, H, W)
        made = torch.stack([torch.from_numpy(drift(x[-1], motion_of(x), horizon)) for x in frames])
    made = made.unflatten(0, (inputs.shape[0], inputs.shape[2])).movedim(1, 2).to(inputs.dtype)
    return torch.where(made.isnan(), last_frame(inputs, horizon), made)


BASELINES: Mapping[str, Baseline] = {"last frame": last_frame, "zero": zero, "extrapolation": extrapolation}
"""By their names; one whose package is not installed is left out of an evaluation."""
