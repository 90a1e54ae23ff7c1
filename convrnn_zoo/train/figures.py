"""Figures: strips and animations of input, truth, forecast and difference, ensembles, and scores by lead time."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._atomic import atomic_write, check_suffix
from .._extras import need
from ..pretrained.preprocessing import Encoding
from ._values import find_value_range
from .metrics import Evaluation

RAIN_LEVELS = (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100)
RAIN_COLOURS = ("#c6dbef", "#9ecae1", "#4292c6", "#08519c", "#41ab5d", "#fed976", "#fd8d3c", "#e31a1c")
HEAVIEST, DRY, UNKNOWN, DPI = "#800060", "#ffffff", "#c8c8c8", 100
WIDTH, MOTION_WIDTH = 12.0, 7.2
"""Widths of strips and of animations in inches."""
HEADING = 11
"""Font size of the title in points."""
DIFFERENCE = "forecast − truth"
DRAWN = (".png", ".svg")
"""Suffixes of figures."""


class Panels(NamedTuple):
    """One sequence: its input, its forecast, and its truth if it is known.

    Frames are ``(T, H, W)`` in the unit of the data; `labels` are the titles of the frames of input and forecast.
    """

    inputs: Tensor
    forecast: Tensor
    truth: Tensor | None = None
    labels: Sequence[str] | None = None

    def label(self, i: int) -> str:
        """Returns the label of a frame, or its number, counted from the last input as 0."""
        if self.labels and i < len(self.labels):
            return self.labels[i]
        return f"{i + 1 - len(self.inputs):+d}".replace("+0", "0")


def new_figure(width: float, height: float, heading: str = "", dpi: int = DPI) -> Any:
    """Returns an empty matplotlib figure; sizes are in inches."""
    figure = need("matplotlib.figure", "draw").Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    figure.suptitle(heading, fontsize=HEADING)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure atomically, in the format of the suffix."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."))


class Paint(NamedTuple):
    """Colors of frames and their legend."""

    image: dict[str, Any]
    label: str
    ticks: Mapping[float, str] = {}
    extend: str = "neither"


def paints_for(scale: Encoding, value_range: tuple[float, float] | None = None) -> tuple[Paint, Paint]:
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


def color_range(panels: Panels, scale: Encoding) -> tuple[float, float] | None:
    """Returns the range of the colors of one sequence."""
    known = (panels.inputs, panels.forecast if panels.truth is None else panels.truth)
    return find_value_range(scale, torch.cat([x.flatten() for x in known]))


def rows_of(panels: Panels) -> list[tuple[str, dict[int, Tensor]]]:
    """Returns the title and the frames of each row, by time from the first input as 0."""
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
    scale: Encoding,
    heading: str,
    width: float = WIDTH,
    value_range: tuple[float, float] | None = None,
) -> Any:
    """Returns a figure of rows of frames: column k of row r shows time ``columns[r][k]``; legends are at the bottom.

    A frame is a difference if its title or the title of its row is :data:`DIFFERENCE`.
    """
    paints = paints_for(scale, value_range)
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
                bar.locator = need("matplotlib.ticker", "draw").MaxNLocator(4)
                bar.update_ticks()
            bar.set_label(paint.label, fontsize=9)
            bar.ax.tick_params(labelsize=8)
    return figure


def pixels_of(figure: Any) -> Any:
    """Converts a figure to Pillow's image."""
    canvas = need("matplotlib.backends.backend_agg", "draw").FigureCanvasAgg(figure)
    canvas.draw()
    return need("PIL.Image", "draw").fromarray(need("numpy", "train").asarray(canvas.buffer_rgba())).convert("RGB")


def strip(panels: Panels, scale: Encoding, heading: str = "", most: int = 12) -> Any:
    """Plots the rows of :func:`rows_of` as one image, with at most `most` frames, evenly spaced."""
    rows = rows_of(panels)
    columns = []
    for _, frames in rows:
        times = sorted(frames)
        indices = torch.linspace(0, len(times) - 1, min(most, len(times))).round().long().tolist()
        columns.append([times[i] for i in indices])
    return pixels_of(figure_of(rows, columns, panels.label, scale, heading, value_range=color_range(panels, scale)))


def motion(panels: Panels, scale: Encoding, heading: str = "") -> list[Any]:
    """Plots one image for each time: truth, forecast and difference side by side."""
    rows = rows_of(panels)
    known_frames = {t: f for title, frames in rows for t, f in frames.items() if title in ("input", "truth")}
    forecast_frames = {**rows[0][1], **dict(rows)["forecast"]}
    pictures, figure = [], None
    for t in sorted(forecast_frames):
        known = t < len(panels.inputs)
        parts = [("input" if known else "forecast", forecast_frames[t])]
        if panels.truth is not None:
            blank = torch.zeros_like(forecast_frames[t])
            later = dict(rows)[DIFFERENCE].get(t, torch.full_like(blank, torch.nan))
            parts = [("input" if known else "truth", known_frames.get(t, torch.full_like(blank, torch.nan))), *parts]
            parts.append((DIFFERENCE, blank if known else later))
        title = f"{heading}  {panels.label(t)}".strip()
        if figure is None:
            figure = side_by_side(parts, scale, title, color_range(panels, scale))
        else:  # the layout stays, since computing it takes most of the time
            figure.suptitle(title, fontsize=HEADING)
            for axis, (name, frame) in zip(figure.axes, parts, strict=False):  # further axes are legends
                axis.title.set_text(name)
                axis.images[0].set_data(frame.numpy())
        pictures.append(pixels_of(figure))
        figure.set_layout_engine("none")
    return pictures


def side_by_side(
    parts: list[tuple[str, Tensor]],
    scale: Encoding,
    heading: str,
    value_range: tuple[float, float] | None = None,
) -> Any:
    """Returns a figure of one row, each frame with its title."""
    rows = [("", {i: frame for i, (_, frame) in enumerate(parts)})]
    return figure_of(rows, [list(range(len(parts)))], lambda i: parts[i][0], scale, heading, MOTION_WIDTH, value_range)


def save_video(pictures: Sequence[Any], path: Path, milliseconds: int) -> None:
    """Writes images of one size as an MP4, with H.264 if PyAV includes it."""
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
    """Writes a PNG of the first image, or a GIF or MP4 of all, atomically.

    Raises:
        ValueError: another suffix.
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


def curves(evaluation: Evaluation, path: Path, heading: str) -> None:
    """Plots every metric by lead time, with a line for each method, and reliability diagrams; the file is atomic."""
    scores, reliability = evaluation.scores, evaluation.reliability
    names = list(scores["forecast"])
    count = len(names) + len(reliability)
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = new_figure(3.6 * columns, 2.8 * rows, heading)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, name in zip(axes, names, strict=False):
        for method, by in scores.items():
            axis.plot(range(1, len(by[name]) + 1), by[name], marker=".", label=method)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("lead time in frames", fontsize=8)
    for axis, (threshold, diagram) in zip(axes[len(names) :], reliability.items(), strict=False):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
        axis.plot(diagram["forecast"], diagram["observed"], marker=".")
        axis.set_title(f"reliability, > {threshold}", fontsize=10)
        axis.set_xlabel("forecast probability", fontsize=8)
    for axis in axes[count:]:
        axis.set_visible(False)
    axes[0].legend(fontsize=8)
    save_figure(figure, path)


def draw_losses(updates: Sequence[float], losses: Mapping[str, Sequence[float]], path: Path) -> None:
    """Plots losses of training by the number of updates; the file is written atomically."""
    figure = new_figure(6.0, 4.0)
    axis = figure.subplots()
    for name, values in losses.items():
        axis.plot(updates, values, marker=".", label=name)
    axis.set(xlabel="updates", ylabel="loss")
    axis.legend(fontsize=8)
    save_figure(figure, path)


def ensemble_rows(members: Tensor, threshold: float, truth: Tensor | None, unit: str) -> dict[str, Tensor]:
    """Returns the rows of a figure of an ensemble by their titles: ``(T, H, W)`` each.

    Example:
        >>> rows = ensemble_rows(torch.tensor([0.0, 2.0, 4.0]).reshape(3, 1, 1, 1), 1.0, None, "mm/h")
        >>> {title: round(float(frames), 3) for title, frames in rows.items()}
        {'mean': 2.0, 'spread': 2.0, 'P(over 1 mm/h)': 0.667}
    """
    exceeded = (members > threshold).float().masked_fill(members.isnan(), torch.nan).mean(0)
    spread = members.std(0) if len(members) > 1 else torch.zeros_like(members[0])
    rows = {"mean": members.mean(0), "spread": spread, f"P(over {threshold:g} {unit})".replace(" )", ")"): exceeded}
    return rows if truth is None else {"truth": truth, **rows}


def ensemble_strip(
    members: Tensor,
    scale: Encoding,
    *,
    threshold: float,
    truth: Tensor | None = None,
    heading: str = "",
    most: int = 6,
) -> Any:
    """Plots an ensemble over time as Pillow's image: its mean, its spread and the probability to exceed a threshold.

    Args:
        members: ``(M, T, H, W)`` in the unit of the data.
        scale: the model's `preprocessing`, for the unit.
        threshold: in the unit of the data, such as 1 mm/h.
        truth: ``(T, H, W)``, if it is known.
        heading: title of the figure.
        most: number of lead times to show, evenly spaced.
    """
    rows = ensemble_rows(members, threshold, truth, scale.unit)
    length = members.shape[1]
    times = torch.linspace(0, length - 1, min(most, length)).round().long().tolist()
    values, _ = paints_for(scale, find_value_range(scale, members if truth is None else truth))
    values = values._replace(label=scale.unit or "brightness")
    viridis = need("matplotlib", "draw").colormaps["viridis"].with_extremes(bad=UNKNOWN)
    probability = Paint({"cmap": viridis, "vmin": 0, "vmax": 1}, "")
    edge = WIDTH / max(len(times), 4)
    height = edge * members.shape[-2] / members.shape[-1]
    figure = new_figure(edge * len(times) + 1.6, len(rows) * (height + 0.3) + 0.6, heading)
    axes = figure.subplots(len(rows), len(times), squeeze=False)
    for (title, frames), line in zip(rows.items(), axes, strict=True):
        paint = probability if title.startswith("P(") else values
        for axis, t in zip(line, times, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            axis.imshow(frames[t].numpy(), interpolation="nearest", **paint.image)
            axis.set_title(f"+{t + 1}", fontsize=8, pad=2)
        line[0].set_ylabel(title, fontsize=10)
        bar = figure.colorbar(line[0].images[0], ax=list(line), fraction=0.04, extend=paint.extend)
        bar.set_label(paint.label, fontsize=9)
        bar.ax.tick_params(labelsize=8)
    return pixels_of(figure)
