"""Frames as pictures: strips of input, truth, forecast and difference over time, and the same in motion."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._atomic import atomic_write, check_suffix
from .._extras import need
from ..models import Preprocessing
from ._values import value_range_of

RAIN_LEVELS = (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100)
RAIN_COLOURS = ("#c6dbef", "#9ecae1", "#4292c6", "#08519c", "#41ab5d", "#fed976", "#fd8d3c", "#e31a1c")
HEAVIEST, DRY, UNKNOWN, DPI = "#800060", "#ffffff", "#c8c8c8", 100
WIDTH, MOTION_WIDTH = 12.0, 7.2
"""Of a strip and of pictures in motion, in inches."""
HEADING = 11
"""The size of its letters, in points."""
DIFFERENCE = "forecast − truth"
DRAWN = (".png", ".svg")
"""What the file of a figure may be."""


class Panels(NamedTuple):
    """One sequence: its input, its forecast, and its truth where that is known.

    Frames are ``(T, H, W)`` in the unit of the data; `labels` stand above the frames of input and forecast.
    """

    inputs: Tensor
    forecast: Tensor
    truth: Tensor | None = None
    labels: Sequence[str] | None = None

    def label(self, i: int) -> str:
        """Of the i-th frame: its label, or its number, the last input being 0."""
        if self.labels and i < len(self.labels):
            return self.labels[i]
        return f"{i + 1 - len(self.inputs):+d}".replace("+0", "0")


def new_figure(width: float, height: float, heading: str = "", dpi: int = DPI) -> Any:
    """An empty figure of matplotlib's, in inches."""
    figure = need("matplotlib.figure", "draw").Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    figure.suptitle(heading, fontsize=HEADING)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure as the name says, whole or not at all."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."))


class Paint(NamedTuple):
    """Colours of frames, and what their legend says; where that is no more, a few ticks will do."""

    image: dict[str, Any]
    label: str
    ticks: Mapping[float, str] = {}
    extend: str = "neither"


def paints_of(scale: Preprocessing, value_range: tuple[float, float] | None = None) -> tuple[Paint, Paint]:
    """Returns colors of values and of differences in the unit of the data: steps for rain, else greys over a range."""
    colors = need("matplotlib.colors", "draw")
    maps = need("matplotlib", "draw").colormaps
    unit = f"[{scale.unit}]" if scale.unit else ""
    apart = f"{DIFFERENCE} {unit}".strip()
    signs: dict[float, str] = {-10: "−10", -1: "−1", 0: "0", 1: "1", 10: "10"}
    if scale.unit == "mm/h":
        values = colors.ListedColormap(RAIN_COLOURS).with_extremes(under=DRY, over=HEAVIEST, bad=UNKNOWN)
        differences = maps["RdBu"].with_extremes(bad=UNKNOWN)
        steps = colors.BoundaryNorm(RAIN_LEVELS, len(RAIN_COLOURS))
        symmetric = colors.SymLogNorm(0.5, vmin=-20, vmax=20, base=10)
        rain = Paint({"cmap": values, "norm": steps}, unit, {t: f"{t:g}" for t in RAIN_LEVELS}, "both")
        return rain, Paint({"cmap": differences, "norm": symmetric}, apart, signs)
    low, high = value_range or (0.0, 1.0)
    span = high - low
    return (
        Paint({"cmap": maps["gray"], "vmin": low, "vmax": high}, unit or "brightness"),
        Paint({"cmap": maps["RdBu"], "vmin": -span, "vmax": span}, apart),
    )


def range_of(panels: Panels, scale: Preprocessing) -> tuple[float, float] | None:
    """Returns the range of the colors of one sequence."""
    known = (panels.inputs, panels.forecast if panels.truth is None else panels.truth)
    return value_range_of(scale, torch.cat([x.flatten() for x in known]))


def rows_of(panels: Panels) -> list[tuple[str, dict[int, Tensor]]]:
    """Title and frames of each row, by time: 0 is the first input."""
    known = len(panels.inputs)
    horizon = len(panels.forecast)
    rows = [("input", dict(enumerate(panels.inputs)))]
    forecast = {known + i: f for i, f in enumerate(panels.forecast)}
    if panels.truth is not None:
        rows.append(("truth", {known + i: f for i, f in enumerate(panels.truth[:horizon])}))
    rows.append(("forecast", forecast))
    if panels.truth is not None:
        rows.append((DIFFERENCE, {t: forecast[t] - f for t, f in rows[1][1].items()}))
    return rows


def figure_of(
    rows: Any,
    columns: Sequence[Sequence[int]],
    titles: Any,
    scale: Preprocessing,
    heading: str,
    width: float = WIDTH,
    value_range: tuple[float, float] | None = None,
) -> Any:
    """A figure of rows of frames: column k of row r shows time ``columns[r][k]``; a legend stands below its frames.

    A frame is a difference where the title of its row, or its title, says so.
    """
    paints = paints_of(scale, value_range)
    count = max(map(len, columns))
    first = next(iter(rows[0][1].values()))
    edge = width / max(count, 4)
    height = edge * first.shape[0] / first.shape[1]
    figure = new_figure(edge * count + 0.9, len(rows) * (height + 0.3) + 1.1, heading)
    axes = figure.subplots(len(rows), count, squeeze=False)
    shown: tuple[list[Any], list[Any]] = ([], [])
    for (title, frames), times, line in zip(rows, columns, axes, strict=True):
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_frame_on(False)
        line[0].set_ylabel(title, fontsize=10)
        for axis, t in zip(line, times, strict=False):
            if t in frames:
                difference = DIFFERENCE in (title, titles(t))
                axis.imshow(frames[t].numpy(), interpolation="nearest", **paints[difference].image)
                shown[difference].append(axis)
                axis.set_frame_on(True)
                axis.set_title(titles(t), fontsize=8, pad=2)
    for paint, those in zip(paints, shown, strict=True):
        if those:
            bar = figure.colorbar(
                those[-1].images[0], ax=those, location="bottom", fraction=0.04, aspect=50 if len(those) > 1 else 20,
                pad=0.02, extend=paint.extend,
            )  # fmt: skip
            if paint.ticks:
                bar.set_ticks(list(paint.ticks), labels=list(paint.ticks.values()))
            elif paint is paints[True]:
                bar.locator = need("matplotlib.ticker", "draw").MaxNLocator(4)  # it is short where few frames stand
                bar.update_ticks()
            bar.set_label(paint.label, fontsize=9)
            bar.ax.tick_params(labelsize=8)
    return figure


def pixels_of(figure: Any) -> Any:
    """A figure as Pillow's image."""
    canvas = need("matplotlib.backends.backend_agg", "draw").FigureCanvasAgg(figure)
    canvas.draw()
    return need("PIL.Image", "draw").fromarray(need("numpy", "train").asarray(canvas.buffer_rgba())).convert("RGB")


def strip(panels: Panels, scale: Preprocessing, heading: str = "", most: int = 12) -> Any:
    """One picture: the rows of :func:`rows_of`, a frame a column; of long sequences `most` frames, evenly chosen."""
    rows = rows_of(panels)
    columns = []
    for _, frames in rows:
        times = sorted(frames)
        chosen = torch.linspace(0, len(times) - 1, min(most, len(times))).round().long().tolist()
        columns.append([times[i] for i in chosen])
    return pixels_of(figure_of(rows, columns, panels.label, scale, heading, value_range=range_of(panels, scale)))


def motion(panels: Panels, scale: Preprocessing, heading: str = "") -> list[Any]:
    """A picture for each time: input and truth on the left, input and forecast on the right, the difference behind."""
    rows = rows_of(panels)
    seen = {t: f for title, frames in rows for t, f in frames.items() if title in ("input", "truth")}
    made = {**rows[0][1], **dict(rows)["forecast"]}
    pictures, figure = [], None
    for t in sorted(made):
        known = t < len(panels.inputs)
        parts = [("input" if known else "forecast", made[t])]
        if panels.truth is not None:
            blank = torch.zeros_like(made[t])
            later = dict(rows)[DIFFERENCE].get(t, torch.full_like(blank, torch.nan))
            parts = [("input" if known else "truth", seen.get(t, torch.full_like(blank, torch.nan))), *parts]
            parts.append((DIFFERENCE, blank if known else later))
        title = f"{heading}  {panels.label(t)}".strip()
        if figure is None:
            figure = side_by_side(parts, scale, title, range_of(panels, scale))
        else:  # all stays where it was in the first: to place it is most of the work
            figure.suptitle(title, fontsize=HEADING)
            for axis, (name, frame) in zip(figure.axes, parts, strict=False):  # behind them stand the legends
                axis.title.set_text(name)
                axis.images[0].set_data(frame.numpy())
        pictures.append(pixels_of(figure))
        figure.set_layout_engine("none")
    return pictures


def side_by_side(
    parts: list[tuple[str, Tensor]],
    scale: Preprocessing,
    heading: str,
    value_range: tuple[float, float] | None = None,
) -> Any:
    """Returns a figure of one row, each frame with its title."""
    rows = [("", {i: frame for i, (_, frame) in enumerate(parts)})]
    return figure_of(rows, [list(range(len(parts)))], lambda i: parts[i][0], scale, heading, MOTION_WIDTH, value_range)


def save_video(pictures: Sequence[Any], path: Path, milliseconds: int) -> None:
    """Writes pictures of one size as an MP4, by H.264 where PyAV brings it."""
    av = need("av", "video")
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    width, height = (size - size % 2 for size in pictures[0].size)  # half as many colours as pixels, along each axis
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream(codec, rate=Fraction(1000, milliseconds))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_image(picture.crop((0, 0, width, height)))))
        file.mux(stream.encode())


def save(pictures: Sequence[Any], path: Path, milliseconds: int = 300) -> None:
    """Writes a PNG of the first picture, or a GIF or MP4 of all; whole or not at all.

    Raises:
        ValueError: the name ends otherwise.
        ImportError: the extra `video` is not installed, for an MP4.
    """
    check_suffix(path, (".png", ".gif", ".mp4"))
    first, *others = pictures
    with atomic_write(path) as temporary:
        if path.suffix == ".mp4":
            save_video(pictures, temporary, milliseconds)
        elif path.suffix == ".gif":
            first.save(temporary, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
        else:
            first.save(temporary, "PNG")
