"""Reads minicubes of EarthNet2021: Sentinel-2 images with elevation and daily weather."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..files import FileError
from .numpy import read_arrays

DAYS = 5
"""Days between two images."""
_AXES = {"highresdynamic": "(H, W, C, T)", "highresstatic": "(H, W, C)", "mesodynamic": "(H, W, 5, days)"}


class MiniCube(NamedTuple):
    """A minicube of EarthNet2021, an image every five days. Values are scaled as in the files, NaN where missing."""

    frames: Tensor
    """Reflectance of the bands blue, green, red and near infrared, from 0 to about 1: ``(T, 4, H, W)``."""
    mask: Tensor
    """1 where a pixel is unusable, such as in clouds, and 0 where it is clear: ``(T, 1, H, W)``."""
    elevation: Tensor
    """Elevation: ``(1, H, W)``."""
    daily: Tensor
    """Weather of every day on the 2×2 grid cells of the images: ``(days, 5, 2, 2)``.

    The variables are precipitation, pressure, and the mean, minimum and maximum of the temperature.
    """

    def weather(self, extremes: bool = False) -> Tensor:
        """Returns the weather between images, ``(days / 5, 5, H, W)``: the means of five days.

        With `extremes`, the minimum temperature is the minimum of the five days, and the maximum their maximum.
        Missing values count as 0, as in the code of both networks.
        """
        days = self.daily.nan_to_num(0)[: len(self.daily) // DAYS * DAYS].unflatten(0, (-1, DAYS))
        steps = days.mean(1)
        if extremes:
            steps[:, 3], steps[:, 4] = days[:, :, 3].amin(1), days[:, :, 4].amax(1)
        size: Any = self.frames.shape[-2:]
        return torch.nn.functional.interpolate(steps, size, mode="nearest")


def read_minicube(context: str | os.PathLike[str], target: str | os.PathLike[str] | None = None) -> MiniCube:
    """Reads a minicube of EarthNet2021 from its ``.npz`` file.

    Args:
        context: the file of a training cube, or the file ``context_….npz`` of a test cube.
        target: the file ``target_….npz`` of a test cube, whose images follow those of the context.

    Raises:
        FileError: a file is damaged, or lacks an array of EarthNet2021.
    """
    context = Path(context)
    arrays = _read(context, ("highresdynamic", "highresstatic", "mesodynamic"))
    images, elevation, daily = (torch.from_numpy(array.astype("float32")) for array in arrays)
    images = images.permute(3, 2, 0, 1)
    if target is not None:
        (after,) = _read(Path(target), ("highresdynamic",))
        following = torch.from_numpy(after.astype("float32")).permute(3, 2, 0, 1)
        if following.shape[1:] != images.shape[1:]:
            raise FileError(f"{target}: expected images {tuple(images.shape[1:])}, got {tuple(following.shape[1:])}")
        images = torch.cat([images, following])
    middle = [slice(n // 2 - 1, n // 2 + 1) for n in daily.shape[:2]]
    mask = images[:, -1:].nan_to_num(1.0)
    return MiniCube(images[:, :4], mask, elevation[..., 0][None], daily[tuple(middle)].permute(3, 2, 0, 1))


def _read(path: Path, names: tuple[str, ...]) -> list[Any]:
    arrays = read_arrays(path)
    for name in names:
        shape: tuple[int, ...] = getattr(arrays.get(name), "shape", ())
        is_known = len(shape) == _AXES[name].count(",") + 1 and 0 not in shape
        is_known &= name != "highresdynamic" or (is_known and shape[2] >= 5)
        is_known &= name != "mesodynamic" or (is_known and shape[2] == 5)
        if not is_known:
            got = f"an array {shape}" if name in arrays else f"only {', '.join(arrays) or 'no array'}"
            raise FileError(f"{path}: expected a minicube of EarthNet2021 with {name} {_AXES[name]}, got {got}")
    return [arrays[name] for name in names]
