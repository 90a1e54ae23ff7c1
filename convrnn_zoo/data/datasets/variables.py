"""Variables of frames: channels with different units and encodings, static maps and known future inputs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ...values.preprocessing import Preprocessing
from ..frames import ROLES, DataVariable, ReadOptions


def encoding_fields(source: Any, name: str, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """Returns the preprocessing fields that describe the encoding of `source`, a :class:`DataVariable` or a dataset.

    `mean` and `std` are the statistics of the channels in the training split. `name` appears in error messages.
    """
    fields = {"encoding": source.encoding, "lowest": source.valid_min, "highest": source.valid_max}
    if source.encoding == "log":
        lowest = 0.0 if source.valid_min is None else source.valid_min
        return fields | {"floor": source.floor, "top": source.top, "lowest": lowest}
    if source.encoding == "standardize":
        if not all(s > 0 for s in std):
            raise ValueError(f'{name} is constant in the training split; use encoding = "none", or leave it out')
        return fields | {"mean": tuple(mean), "std": tuple(std)}
    return fields


class Channels(NamedTuple):
    """Frames ``(…, T, C, H, W)`` split into observed, static and future channels."""

    frames: Tensor
    """Observed variables ``(…, T, V, H, W)``."""
    static: Tensor | None
    """Static maps ``(…, S, H, W)``."""
    future: Tensor | None
    """Inputs ``(…, T, F, H, W)`` that are also known at the times to forecast."""


def split_channels(frames: Tensor, values: Preprocessing | None) -> Channels:
    """Splits the channels of frames into observed variables, static maps and known future inputs.

    Args:
        frames: ``(…, T, C, H, W)``, whose channels are the variables, then the future inputs, then the static maps.
        values: preprocessing that lists the variables of each role. If it lists none, all channels are observed.

    Example:
        >>> import torch
        >>> from convrnn_zoo import Variable
        >>> values = Preprocessing(variables=(Variable(name="rain"),), static=(Variable(name="elevation"),))
        >>> parts = split_channels(torch.zeros(2, 5, 2, 8, 8), values)
        >>> tuple(parts.frames.shape), tuple(parts.static.shape), parts.future
        ((2, 5, 1, 8, 8), (2, 1, 8, 8), None)
    """
    if values is None or not values.variables:
        return Channels(frames, None, None)
    names = [v.name for v in (*values.variables, *values.future, *values.static)]
    if frames.shape[-3] != len(names):
        raise ValueError(f"expected {len(names)} channels ({', '.join(names)}), got {frames.shape[-3]}")
    observed, future, static = frames.split([len(values.variables), len(values.future), len(values.static)], dim=-3)
    return Channels(observed, static.select(-4, 0) if values.static else None, future if values.future else None)


def variable_options(values: Preprocessing, options: ReadOptions) -> dict[str, Any]:
    """Returns fields of :class:`ReadOptions` with the variables of a model and the fill values in `options`."""
    fills = {v.name: v.fill_value for v in options.all_variables}
    return {
        role: tuple(
            DataVariable(name=v.name, unit=v.unit or None, fill_value=fills.get(v.name)) for v in getattr(values, role)
        )
        for role in ROLES
    }
