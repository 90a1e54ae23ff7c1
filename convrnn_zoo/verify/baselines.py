"""Baselines: forecasts without a trained model, for comparison."""

import importlib.util
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._extras import need, need_pyproj, quiet
from ..data import CroppedSequences, Frames
from ..values.preprocessing import Encoding
from ..values.steps import Step, mean_minutes
from ..values.units import is_rain

logger = logging.getLogger(__name__)
Baseline = Callable[[Tensor, int], Tensor]
"""Forecasts frames ``(N, horizon, C, H, W)`` from frames ``(N, T, C, H, W)``, both in the unit of the data.

An ensemble has members, ``(M, N, horizon, C, H, W)``.
"""
DRY, DRIEST, THRESHOLD_DECIBELS = -15.0, 0.1, -10.0
"""Value of dry pixels in dB, and the lowest rain rate in mm/h and in dB, as in pysteps' examples."""
CASCADE_LEVELS, ANVIL_RADIUS = 6, 25
"""Number of scales of S-PROG, ANVIL and STEPS, and radius of ANVIL's windows in pixels."""
READ = 64
"""Number of frames that a climatology reads at once."""
MIN_EDGE, MIN_WET = 32, 0.001
"""Smallest edge of a map in pixels, and smallest fraction of wet pixels, that pysteps' methods read reliably."""


def quiet_pysteps(module: str = "") -> Any:
    """Imports pysteps, or its submodule `module`, and suppresses the output of the import.

    Raises ImportError if pysteps or OpenCV is not installed.
    """
    with quiet():
        if importlib.util.find_spec("pyproj"):  # which pysteps imports
            need_pyproj()
        pysteps = need("pysteps", "nowcast")
        need("cv2", "nowcast")
        return importlib.import_module(f"pysteps.{module}") if module else pysteps


def last_frame(inputs: Tensor, horizon: int) -> Tensor:
    """Repeats the last input frame.

    Example:
        >>> last_frame(torch.arange(3.0).reshape(1, 3, 1, 1, 1), 2).flatten().tolist()
        [2.0, 2.0]
    """
    return inputs[:, -1:].expand(-1, horizon, -1, -1, -1)


def zero(inputs: Tensor, horizon: int) -> Tensor:
    """Returns frames of zeros."""
    return torch.zeros_like(inputs[:, :1]).expand(-1, horizon, -1, -1, -1)


def extrapolation(inputs: Tensor, horizon: int) -> Tensor:
    """Extrapolates rain in mm/h with pysteps: the last input frame is moved by the motion of the input frames.

    The motion is estimated by the Lucas-Kanade method, and the advection is semi-Lagrangian, backward in time. Pixels
    whose rain would come from outside the frame keep the value of the last input frame. For these pixels, zero rain
    would have a higher error.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Pulkkinen, S. et al. (2019). Pysteps: an open-source Python library for probabilistic precipitation nowcasting
        (v1.0). https://doi.org/10.5194/gmd-12-4185-2019
    """
    pysteps = quiet_pysteps()
    with quiet():
        find_motion, extrapolate = pysteps.motion.get_method("LK"), pysteps.nowcasts.get_method("extrapolation")

    def forecast(rate: Any) -> Any:
        last = torch.as_tensor(rate[-1])
        if not last.isfinite().any():  # which pysteps does not extrapolate
            return last.expand(horizon, *last.shape)
        return extrapolate(rate[-1], find_motion(rate), horizon)

    return _each_map(inputs, horizon, forecast)


def sprog(inputs: Tensor, horizon: int) -> Tensor:
    """Forecasts rain in mm/h by pysteps' S-PROG: rain is advected, and its small scales fade before the large ones.

    The last three frames, in dB, are separated into 6 scales. Each is an autoregressive process of second order, with
    coefficients from these frames. Maps with almost no rain or less than 32×32 pixels are extrapolated.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Seed, A. W. (2003). A Dynamic and Spatial Scaling Approach to Advection Forecasting.
        https://doi.org/10.1175/1520-0450(2003)042%3C0381:ADASSA%3E2.0.CO;2
    """
    return _run_pysteps("sprog", inputs, horizon, 3, in_decibels=True)


def anvil(inputs: Tensor, horizon: int) -> Tensor:
    """Forecasts rain in mm/h by pysteps' ANVIL: autoregressive processes of local growth and decay at 6 scales.

    It reads the last four frames. Maps with almost no rain or less than 32×32 pixels are extrapolated.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Pulkkinen, S. et al. (2020). Nowcasting of Convective Rainfall Using Volumetric Radar Observations.
        https://doi.org/10.1109/TGRS.2020.2984594
    """
    order = min(2, inputs.shape[1] - 2)
    options: Any = {"ar_order": order, "n_cascade_levels": CASCADE_LEVELS, "ar_window_radius": ANVIL_RADIUS}
    return _run_pysteps("anvil", inputs, horizon, order + 2, **options)


def linda(inputs: Tensor, horizon: int, *, minutes: float = 5.0, pixel_km: float = 2.0) -> Tensor:
    """Forecasts rain in mm/h by pysteps' LINDA: an autoregressive process of growth and decay, and smoothing.

    It reads the last three frames, `minutes` apart with pixels of `pixel_km`, and takes seconds per forecast. Both
    processes are estimated for the complete map; LINDA's other form, with separate ones for 15 cells, takes three times
    as long. Maps with almost no rain or less than 32×32 pixels are extrapolated.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Pulkkinen, S. et al. (2021). Lagrangian INtegro-Difference equation model with Autoregression for Precipitation
        Nowcasting. https://doi.org/10.1109/TGRS.2021.3121626
    """
    options: Any = {"kmperpixel": pixel_km, "timestep": minutes, "feature_method": "domain", "add_perturbations": False}
    return _run_pysteps("linda", inputs, horizon, 3, **options)


def steps(
    inputs: Tensor,
    horizon: int,
    members: int = 20,
    *,
    minutes: float = 5.0,
    pixel_km: float = 2.0,
    seed: int = 0,
    fill: bool = True,
) -> Tensor:
    """Returns an ensemble of rain in mm/h by pysteps' STEPS, ``(members, N, horizon, C, H, W)``.

    STEPS is S-PROG with noise that replaces the scales which faded, and with perturbed motion. The members are random.
    The options are those of pysteps' examples. It reads the last three frames, `minutes` apart with pixels of
    `pixel_km`. Maps with almost no rain or less than 32×32 pixels are extrapolated. Without `fill`, pixels whose rain
    would come from outside the frame are NaN.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Bowler, N. E. et al. (2006). STEPS: A probabilistic precipitation forecasting scheme which merges an
        extrapolation nowcast with downscaled NWP. https://doi.org/10.1256/qj.04.100
    """
    return _run_pysteps(
        "steps",
        inputs,
        horizon,
        3,
        in_decibels=True,
        members=members,
        fill=fill,
        n_ens_members=members,
        kmperpixel=pixel_km,
        timestep=minutes,
        noise_method="nonparametric",
        vel_pert_method="bps",
        mask_method="incremental",
        seed=seed,
    )


def _run_pysteps(
    name: str,
    inputs: Tensor,
    horizon: int,
    count: int,
    *,
    in_decibels: bool = False,
    members: int | None = None,
    fill: bool = True,
    **options: Any,
) -> Tensor:
    """Runs a method of pysteps for each map, with its latest `count` frames; unknown values of these count as dry.

    Methods `in_decibels` read and return dB, and separate the frames into scales.
    Maps that pysteps' methods cannot use are extrapolated, with the same forecast for all members. These are dry maps,
    small ones, and maps that do not change.
    """
    pysteps = quiet_pysteps()
    with quiet():
        find_motion, run = pysteps.motion.get_method("LK"), pysteps.nowcasts.get_method(name)
    transform = pysteps.utils.transformation.dB_transform
    options |= {"n_cascade_levels": CASCADE_LEVELS, "precip_thr": THRESHOLD_DECIBELS} if in_decibels else {}

    def forecast(rate: Any) -> Any:
        frames = torch.from_numpy(rate)
        known = frames.nan_to_num(0)
        wet = (known[-3:] >= DRIEST).double().mean((1, 2)).min()
        is_still = bool((known[-3:] == known[-1]).all())  # of which no process of second order can be estimated
        if is_still or not _is_usable(len(frames), frames.shape[1:]) or wet < MIN_WET:
            one = extrapolation(frames[None, :, None], horizon)[0, :, 0]
            return one if members is None else one.expand(members, *one.shape)
        decibels = transform(known.numpy(), threshold=DRIEST, zerovalue=DRY)[0]
        read = decibels if in_decibels else known.numpy()
        result = run(read[-count:], find_motion(decibels), horizon, **options)
        return transform(result, threshold=THRESHOLD_DECIBELS, inverse=True)[0] if in_decibels else result

    return _each_map(inputs, horizon, forecast, fill)


def _is_usable(frames: int, size: Sequence[int]) -> bool:
    """Returns whether pysteps' methods other than the extrapolation read maps of this number and size."""
    return frames >= 3 and min(size) >= MIN_EDGE


def _each_map(inputs: Tensor, horizon: int, forecast: Callable[[Any], Any], fill: bool = True) -> Tensor:
    """Runs `forecast` for the maps ``(T, H, W)`` of each sequence and channel, as an array.

    `forecast` returns ``(horizon, H, W)``, or ``(members, horizon, H, W)``. With `fill`, NaN becomes the value of the
    last input frame.
    """
    with quiet():
        maps = inputs.double().movedim(2, 1).flatten(0, 1).numpy()  # (N·C, T, H, W)
        out = torch.stack([torch.as_tensor(forecast(rate)) for rate in maps], -4)
    out = out.unflatten(-4, (inputs.shape[0], inputs.shape[2])).movedim(-4, -3).to(inputs.dtype)
    return torch.where(out.isnan(), last_frame(inputs, horizon), out) if fill else out


def name_seasons(dates: Sequence[Any], step: Step) -> list[str]:
    """Returns the month of each date if steps are longer than 27 days, its day from a day on, or else its time of day.

    A leap day, which is rare, counts as the day before.
    """
    minutes = mean_minutes(step)
    form = "%m" if minutes > 27 * 1440 else "%m-%d" if minutes > 1439 else "%H:%M"
    return [date.strftime(form).replace("02-29", "02-28") for date in dates]


def sum_seasons(files: Iterable[Frames], step: Step) -> dict[str, Tensor]:
    """Returns the number and the sum of the known values of each pixel by season; see :func:`name_seasons`."""
    sums: dict[str, Tensor] = {}
    for frames in files:
        keys = name_seasons(frames.dates, step)
        for start in range(0, len(frames), READ):
            for key, frame in zip(keys[start:], frames.read(start, start + READ), strict=False):
                known = frame.isfinite()
                sums[key] = sums.get(key, 0) + torch.stack([known, frame.where(known, 0)]).double()
    return sums


class Climatology:
    """Forecasts the mean of the training frames of the same month, day of the year or time of the day, at each pixel.

    Frames more than 27 days apart are averaged by month, those at least a day apart by day, and others by time of day.
    A pixel that is unknown in all frames of a month, day or time has the mean of its other values; if it has none, that
    of the map.
    """

    def __init__(self, train: CroppedSequences, test: CroppedSequences, step: Step) -> None:
        self.test, self.step = test, step
        sums = sum_seasons(train.files, step)
        number, total = torch.stack(list(sums.values())).sum(0)
        whole = total.sum((-2, -1), keepdim=True) / number.sum((-2, -1), keepdim=True)
        pixel = torch.where(number > 0, total / number, whole)
        self.means = {key: torch.where(n > 0, values / n, pixel).float() for key, (n, values) in sums.items()}

    def __call__(self, sampled: Tensor, horizon: int) -> Tensor:
        """Returns the forecasts ``(N, horizon, C, H, W)`` of sequences that are sampled by their numbers."""
        forecasts, window = [], self.test.window
        for file, start, top, left in self.test.places[sampled].tolist():
            frames = self.test.files[file]
            first = start - frames.start + self.test.length - horizon
            keys = name_seasons(frames.between(first, first + horizon).dates, self.step)
            maps = torch.stack([self.means[key] for key in keys])
            forecasts.append(maps[..., top : top + window.height, left : left + window.width])
        return torch.stack(forecasts)


def find_climatology(train: Any, test: Any) -> Climatology | None:
    """Returns the climatology of the training split, or None if it is not defined for the test split.

    It needs dated frames of one size in memory, and training frames of all months, days or times of the test split.
    """
    if not (isinstance(train, CroppedSequences) and isinstance(test, CroppedSequences)):
        return None
    files = [*train.files, *test.files]
    step, is_read = next((f.step for f in files if f.step), None), all(f.is_loaded and f.is_dated for f in files)
    if step is None or not is_read or len({f.size for f in files}) > 1:
        return None
    climatology = Climatology(train, test, step)
    keys = {key for frames in test.files for key in name_seasons(frames.dates, step)}
    return climatology if keys <= climatology.means.keys() else None


def choose_baselines(
    targets: Sequence[Encoding], sample: Tensor, *, minutes: float = 5.0, pixel_km: float = 2.0, members: int = 0
) -> dict[str, Baseline]:
    """Returns the baselines by name: ``"last frame"``, and those that apply to the encodings and units of the targets.

    ``"zero"`` needs targets in mm/h, or targets that have no unit and are not standardized. The methods of pysteps need
    targets in mm/h and pysteps: ``"extrapolation"``, and for at least three input frames of 32×32 pixels ``"S-PROG"``,
    ``"ANVIL"``, ``"LINDA"``, and ``"STEPS"`` with that number of `members`, if it is not 0. The extrapolation is tried
    on the input frames `sample`; without pysteps, a warning is logged. `minutes` between frames and the edge of a
    pixel, `pixel_km`, are settings of LINDA and STEPS.
    """
    baselines: dict[str, Baseline] = {"last frame": last_frame}
    if all(is_rain(t.unit) or (not t.unit and t.encoding != "standardize") for t in targets):
        baselines["zero"] = zero
    if all(is_rain(t.unit) for t in targets):
        scales: Any = {"minutes": minutes, "pixel_km": pixel_km}
        try:
            extrapolation(sample, 1)
        except ImportError as e:
            logger.warning("the extrapolation and other methods of pysteps are left out: %s", e)
        else:
            baselines["extrapolation"] = extrapolation
            if _is_usable(sample.shape[1], sample.shape[-2:]):
                baselines |= {"S-PROG": sprog, "ANVIL": anvil, "LINDA": partial(linda, **scales)}
                if members:
                    baselines["STEPS"] = partial(steps, members=members, **scales)
    return baselines
