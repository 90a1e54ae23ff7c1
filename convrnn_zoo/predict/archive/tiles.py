"""Tiles of large maps, with a halo as wide as the receptive field of the network."""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...layers.motiongru import MotionGRUCell
from ...layers.trajgru import TrajGRUCell
from ...models import Ensemble, Forecaster

LENGTHS = (32, 128, 512)
"""Lengths of the maps on which a receptive field is measured, in pixels of the smallest map of the network."""
WIDTH = 4
"""Width of these maps, in the same pixels."""


class Tile(NamedTuple):
    """Part of a map: the rows and columns to read, and those of them to keep."""

    rows: slice
    columns: slice
    inner_rows: slice
    inner_columns: slice

    def crop(self, maps: Tensor) -> Tensor:
        """Removes the halo of maps ``(…, H, W)``."""
        return maps[..., self.inner_rows, self.inner_columns]

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the map that the tile covers without its halo."""
        return tuple(
            slice(read.start + inner.start, read.start + inner.stop)
            for read, inner in ((self.rows, self.inner_rows), (self.columns, self.inner_columns))
        )  # type: ignore[return-value]


def split_edge(length: int, tile: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Yields for each tile along an edge the part to read, and the part of it to keep.

    Example:
        >>> list(split_edge(10, 6, 2))
        [(slice(0, 8, None), slice(0, 6, None)), (slice(4, 10, None), slice(2, 6, None))]
    """
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        first = max(start - halo, 0)
        yield slice(first, min(stop + halo, length)), slice(start - first, stop - first)


def split_map(size: tuple[int, int], tile: int | None, halo: int) -> list[Tile]:
    """Returns the tiles of a map ``(H, W)``; a single one if `tile` is None."""
    by_edge = [list(split_edge(length, tile or length, halo)) for length in size]
    return [Tile(rows, columns, *inner) for rows, inner_rows in by_edge[0] for columns, *inner in
            ((columns, inner_rows, inner_columns) for columns, inner_columns in by_edge[1])]  # fmt: skip


def find_halo(model: Forecaster, inputs: int, horizon: int, has_members: bool = False) -> int:
    """Returns the radius in pixels of the receptive field of a forecast, a multiple of the model's `reduction`.

    The forecast at a pixel depends on no pixel that is farther away. To measure this, a square of the input is NaN: the
    forecast is NaN at all pixels that read it.

    Raises:
        ValueError: the forecast at a pixel depends on the complete map, or on its position in the map. This is so for
            models that estimate or predict a motion, that normalize or attend over the map, that have a parameter for
            each pixel, or that read noise of the size of the map; and for padding that is circular.
    """
    name = model.pretrained_cfg.get("architecture", type(model).__name__)
    moves = any(isinstance(m, TrajGRUCell | MotionGRUCell) for m in model.modules())
    if model.default_step or moves or (has_members and isinstance(model, Ensemble)):
        reason = "reads noise of the size of the map" if has_members and not moves else "moves pixels over the map"
        raise ValueError(f"tile: {name} {reason}, so that tiles would differ from the complete map; omit the option")
    double = copy.deepcopy(model).cpu().double().eval()
    with torch.no_grad():
        radius = max(_measure(double, inputs, horizon, is_row, name) for is_row in (False, True))
        halo = -(-radius // model.reduction) * model.reduction
        if not all(_is_equal_in_parts(double, inputs, horizon, halo, is_row) for is_row in (False, True)):
            raise ValueError(
                f"tile: the forecast of {name} depends on the position in the map, so that tiles would differ from the "
                "complete map; omit the option"
            )
    return halo


def _measure(model: Forecaster, inputs: int, horizon: int, is_row: bool, name: str) -> int:
    """Returns how many pixels the receptive field extends along the rows or the columns."""
    edge = model.reduction
    for length in LENGTHS:
        middle = (length // 2) * edge
        reached = _find_reached(model, inputs, horizon, length, middle, is_row)
        at_end = _find_reached(model, inputs, horizon, length, 0, is_row)
        first, last = int(reached[0]), int(reached[-1])
        if first > 0 and last < length * edge - 1 and int(at_end[-1]) < length * edge - 1:
            return max(middle - first, last - (middle + edge - 1))
    raise ValueError(
        f"tile: the forecast of {name} at a pixel depends on pixels at a distance of {LENGTHS[-1] * edge // 2} or "
        "more, so that tiles would differ from the complete map; omit the option"
    )


def _find_reached(model: Forecaster, inputs: int, horizon: int, length: int, at: int, is_row: bool) -> Tensor:
    """Returns the positions along a strip whose forecast reads the square at the position `at`."""
    strips = _make_strips(model, inputs, horizon, length, is_row)
    for values in strips.values():
        values.zero_().narrow(-1 if is_row else -2, at, model.reduction).fill_(torch.nan)
    y = _forecast(model, horizon, strips)
    return y.isnan().any(-2 if is_row else -1).flatten(0, -2).any(0).nonzero().flatten()


def _is_equal_in_parts(model: Forecaster, inputs: int, horizon: int, halo: int, is_row: bool) -> bool:
    """Returns whether the forecast of a part of a strip equals that of the complete strip, without a halo."""
    axis, edge = -1 if is_row else -2, model.reduction
    strips = _make_strips(model, inputs, horizon, halo // edge + 4, is_row)
    complete = _forecast(model, horizon, strips)
    part = _forecast(model, horizon, {k: v.narrow(axis, edge, v.shape[axis] - edge) for k, v in strips.items()})
    inner = complete.shape[axis] - edge - halo
    complete, part = (x.narrow(axis, x.shape[axis] - inner, inner) for x in (complete, part))
    return torch.allclose(part, complete, rtol=1e-9, atol=1e-9 * float(complete.abs().max()))


def _make_strips(model: Forecaster, inputs: int, horizon: int, length: int, is_row: bool) -> dict[str, Tensor]:
    """Returns random frames and known inputs, of a few rows or columns and `length` pixels of the smallest map."""
    generator, edge = torch.Generator().manual_seed(0), model.reduction
    size = (WIDTH * edge, length * edge) if is_row else (length * edge, WIDTH * edge)
    shapes = {"x": (inputs, model.in_chans), "static": (model.static_chans,)}
    shapes["future"] = (inputs + horizon, model.future_chans)
    options: Any = {"generator": generator, "dtype": torch.float64}
    return {name: torch.rand(1, *shape, *size, **options) for name, shape in shapes.items() if all(shape)}


def _forecast(model: Forecaster, horizon: int, strips: dict[str, Tensor]) -> Tensor:
    known = {name: values for name, values in strips.items() if name != "x"}
    result: Tensor = model(strips["x"], horizon, **known)
    return result
