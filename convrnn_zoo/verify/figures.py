"""Figures of frames (input, truth, forecast, difference), of ensembles, of scores by lead time, and of losses."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from .._atomic import atomic_write, check_suffix
from .._extras import need
from ..values.preprocessing import Encoding, Preprocessing, Variable
from ..values.steps import Step
from ..values.units import format_lead_time, is_rain, time_unit
from .evaluation import Evaluation
from .metrics import find_value_range

RAIN_LEVELS = (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100)
RAIN_COLOURS = ("#c6dbef", "#9ecae1", "#4292c6", "#08519c", "#41ab5d", "#fed976", "#fd8d3c", "#e31a1c")
HEAVIEST, DRY, UNKNOWN, DPI = "#800060", "#ffffff", "#c8c8c8", 100
WIDTH, MOTION_WIDTH = 12.0, 7.2
"""Widths of strips and of animations in inches."""
MANY, FEW = 12, 6
"""Largest numbers of frames in a row, of forecasts and of ensembles."""
HEADING = 11
"""Font size of the title in points."""
DIFFERENCE = "forecast − truth"
FIGURES = (".png", ".svg")
"""Suffixes of figures."""


Rows = Mapping[str, Mapping[int, Tensor]]
"""Frames ``(H, W)`` by their numbers, by the titles of the rows of a figure."""


class Panels(NamedTuple):
    """Frames of one sequence to plot: input, forecast and optional truth, ``(T, C, H, W)`` in the units of the targets.

    `labels` are the titles of the input frames, then of the forecast frames. A frame without a label is titled by its
    lead time, with `step` minutes, ``"month"`` or ``"year"`` between frames.
    """

    inputs: Tensor
    forecast: Tensor
    truth: Tensor | None = None
    labels: Sequence[str] = ()
    step: Step | None = None

    def label(self, i: int) -> str:
        """Returns the title of frame `i`, counted from the first input frame."""
        return title_frame(i, self.labels, self.step, len(self.inputs))

    def split(self, values: Preprocessing, heading: str) -> Iterator[tuple[Encoding, str, Rows, dict[str, Any]]]:
        """Yields the encoding of each target, a heading, its rows, and the ranges of :func:`draw_frames`.

        A row maps frame numbers (0: first input) to frames ``(H, W)``.
        """
        frames, first = (self.inputs, self.forecast, self.truth), len(self.inputs)
        for target, title, inputs, forecast, truth in split_targets(values, heading, *frames):
            rows, difference, truth = {}, torch.zeros(1), forecast if truth is None else truth[: len(forecast)]
            if self.truth is not None:
                difference = forecast[: len(truth)] - truth
                rows = {"truth": truth, "forecast": forecast, DIFFERENCE: difference}
            rows = {name: dict(enumerate(row, first)) for name, row in (rows or {"forecast": forecast}).items()}
            yield (
                target,
                title,
                {"input": dict(enumerate(inputs)), **rows},
                {
                    "value_range": find_value_range(target, torch.cat([inputs.flatten(), truth.flatten()])),
                    "max_difference": difference.nan_to_num(0, 0, 0).abs().max().item() if difference.numel() else 0.0,
                },
            )


def title_frame(i: int, labels: Sequence[str], step: Step | None, first: int = 0) -> str:
    """Returns the title of frame `i`: its label, or by default its lead time, with `first` frames before it."""
    return labels[i] if i < len(labels) else format_lead_time(i + 1 - first, step)


def split_targets(values: Preprocessing, heading: str, *frames: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Yields the encoding of each target, a heading, and its channel of each of `frames` ``(…, C, H, W)``, or None.

    The heading ends with the name of a target; channels without names are averaged.
    """
    for i, target in enumerate(values.target_variables):
        is_named = isinstance(target, Variable)
        title = f"{heading}: {target.name}".removeprefix(": ") if isinstance(target, Variable) else heading
        yield target, title, *(x if x is None else x.select(-3, i) if is_named else x.mean(-3) for x in frames)


def new_figure(width: float, height: float, heading: str = "", dpi: int = DPI) -> Any:
    """Returns an empty matplotlib figure; sizes are in inches."""
    figure = need("matplotlib.figure", "draw").Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    figure.suptitle(heading, fontsize=HEADING)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure atomically, in the format of the suffix."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."))


def choose_paints(
    scale: Encoding, value_range: tuple[float, float] | None, max_difference: float | None = None
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Returns the color scales of values, differences and probabilities: arguments of ``imshow`` and of the color bar.

    Rain in mm/h has discrete colors. Other values have continuous colors over `value_range`, which are grey for
    brightness, and their differences have colors up to `max_difference`.
    """
    colors, maps = need("matplotlib.colors", "draw"), need("matplotlib", "draw").colormaps
    signed, viridis = (maps[name].with_extremes(bad=UNKNOWN) for name in ("RdBu", "viridis"))
    probability = {"cmap": viridis, "vmin": 0, "vmax": 1}, {"label": "probability"}
    unit = f"[{scale.unit}]" if scale.unit else ""
    apart: dict[str, Any] = {"label": f"{DIFFERENCE} {unit}".strip()}
    values: dict[str, Any]
    if is_rain(scale.unit):
        rain = colors.ListedColormap(RAIN_COLOURS).with_extremes(under=DRY, over=HEAVIEST, bad=UNKNOWN)
        values = {"cmap": rain, "norm": colors.BoundaryNorm(RAIN_LEVELS, len(RAIN_COLOURS))}
        bar: dict[str, Any] = {"label": unit, "ticks": RAIN_LEVELS, "format": format_tick, "extend": "both"}
        difference = {"norm": colors.SymLogNorm(0.5, vmin=-20, vmax=20, base=10)}
        apart |= {"ticks": (-10, -1, 0, 1, 10), "format": format_tick}
    else:
        low, high = value_range or (0.0, 1.0)
        colours = maps["plasma" if scale.unit else "gray"].with_extremes(bad=UNKNOWN if scale.unit else DRY)
        values, bar = {"cmap": colours, "vmin": low, "vmax": high}, {"label": unit or "brightness"}
        end = max_difference or high - low
        difference = {"vmin": -end, "vmax": end}
        apart["ticks"] = need("matplotlib.ticker", "draw").MaxNLocator(4)
    return {"values": (values, bar), "difference": ({"cmap": signed, **difference}, apart), "probability": probability}


def format_tick(value: float, position: int) -> str:
    """Returns the label of a color bar for a value."""
    return f"{value:g}".replace("-", "−")


def draw_frames(
    rows: Rows,
    titles: Callable[[int], str],
    scale: Encoding,
    heading: str,
    most: int = MANY,
    width: float = WIDTH,
    value_range: tuple[float, float] | None = None,
    max_difference: float | None = None,
) -> Any:
    """Returns a figure with one row of frames for each title in `rows`, and color bars at the bottom.

    A row shows at most `most` evenly spaced frames. The color scale is that of differences if the frame or its
    row has the title :data:`DIFFERENCE`, and that of probabilities if the title of the row begins with ``P(``.
    """
    columns = [spread_evenly(sorted(frames), most) for frames in rows.values()]
    count = max(map(len, columns))
    first = next(iter(next(iter(rows.values())).values()))
    edge = width / max(count, 4)
    figure = new_figure(edge * count + 0.9, len(rows) * (edge * first.shape[0] / first.shape[1] + 0.3) + 1.1, heading)
    paints = choose_paints(scale, value_range, max_difference)
    shown: dict[str, list[Any]] = {name: [] for name in paints}
    axes = figure.subplots(len(rows), count, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for (row, frames), times, line in zip(rows.items(), columns, axes, strict=True):
        line[0].set_ylabel(row, fontsize=10)
        for axis, t in zip(line, times, strict=False):
            title = titles(t)
            kind = "difference" if DIFFERENCE in (row, title) else "probability" if row.startswith("P(") else "values"
            axis.imshow(frames[t].numpy(), interpolation="nearest", **paints[kind][0])
            axis.set_frame_on(True)
            axis.set_title(title, fontsize=8, pad=2)
            shown[kind].append(axis)
    for kind, those in ((kind, those) for kind, those in shown.items() if those):
        place: dict[str, Any] = {"location": "bottom", "fraction": 0.04, "pad": 0.02}
        place["aspect"] = 50 if len(those) > 1 else 20
        bar = figure.colorbar(those[-1].images[0], ax=those, **place, **paints[kind][1])
        bar.ax.xaxis.label.set_fontsize(9)
        bar.ax.tick_params(labelsize=8)
    return figure


def render(figure: Any) -> Any:
    """Renders a matplotlib figure as a Pillow image."""
    canvas = need("matplotlib.backends.backend_agg", "draw").FigureCanvasAgg(figure)
    canvas.draw()
    return need("PIL.Image", "draw").fromarray(numpy.asarray(canvas.buffer_rgba())).convert("RGB")


def stack_images(images: Sequence[Any]) -> Any:
    """Joins Pillow images of equal width vertically into one."""
    return need("PIL.Image", "draw").fromarray(numpy.concatenate([numpy.asarray(image) for image in images]))


def spread_evenly(times: Sequence[int], most: int) -> list[int]:
    """Selects at most `most` evenly spaced times.

    Example:
        >>> spread_evenly(range(9), 3)
        [0, 4, 8]
    """
    return [times[i] for i in torch.linspace(0, len(times) - 1, min(most, len(times))).round().long().tolist()]


def draw_strip(
    parts: Iterable[tuple[Encoding, str, Rows, dict[str, Any]]], titles: Callable[[int], str], most: int = MANY
) -> Any:
    """Returns one image of several targets: each has an encoding, a heading, rows and ranges of :func:`draw_frames`."""
    figures = [draw_frames(rows, titles, scale, title, most, **ranges) for scale, title, rows, ranges in parts]
    return stack_images(list(map(render, figures)))


def strip(panels: Panels, values: Preprocessing, heading: str = "") -> Any:
    """Plots input, truth, forecast and difference of each target as one image, at most 12 frames in a row."""
    return draw_strip(panels.split(values, heading), panels.label)


def animate(panels: Panels, values: Preprocessing, heading: str = "") -> list[Any]:
    """Plots one image for each frame: truth, forecast and difference of each target next to each other."""
    films = [_plot_motion(panels, *part) for part in panels.split(values, heading)]
    return [stack_images(images) for images in zip(*films, strict=True)]


def _plot_motion(panels: Panels, scale: Encoding, heading: str, rows: Rows, ranges: Any) -> list[Any]:
    images, figure = [], None
    unknown = torch.full(panels.forecast.shape[-2:], torch.nan)
    for t in range(len(panels.inputs) + len(panels.forecast)):
        frame, names = rows["input"].get(t), [name for name in rows if name != "input"]
        if frame is not None:
            parts = [(DIFFERENCE, frame * 0) if name == DIFFERENCE else ("input", frame) for name in names]
        else:
            parts = [(name, rows[name].get(t, unknown)) for name in names]
        figure = figure or side_by_side(parts, scale, heading, **ranges)
        figure.suptitle(f"{heading}  {panels.label(t)}".strip(), fontsize=HEADING)
        for axis, (name, frame) in zip(figure.axes, parts, strict=False):  # further axes are legends
            axis.title.set_text(name)
            axis.images[0].set_data(frame.numpy())
        images.append(render(figure))
        figure.set_layout_engine("none")  # the layout stays, since computing it takes most of the time
    return images


def side_by_side(parts: Sequence[tuple[str, Tensor]], scale: Encoding, heading: str, **ranges: Any) -> Any:
    """Returns a figure of one row from pairs of title and frame; `ranges` are those of :func:`draw_frames`."""
    rows = {"": {i: frame for i, (_, frame) in enumerate(parts)}}
    return draw_frames(rows, lambda i: parts[i][0], scale, heading, width=MOTION_WIDTH, **ranges)


def save_video(pictures: Sequence[Any], path: Path, milliseconds: int) -> None:
    """Writes images of one size as an MP4 video, encoded as H.264 if PyAV includes the codec, or else as MPEG-4."""
    av = need("av", "video")
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    width, height = (size - size % 2 for size in pictures[0].size)  # half as many colours as pixels, along each axis
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream(codec, rate=Fraction(1000, milliseconds))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_image(picture.crop((0, 0, width, height)))))
        file.mux(stream.encode())


def save_images(pictures: Sequence[Any], path: Path, milliseconds: int = 300) -> None:
    """Writes the first image as PNG, or all images as GIF or MP4, atomically. An MP4 needs the extra `video`."""
    check_suffix(path, (".png", ".gif", ".mp4"))
    options: dict[str, Any] = {}
    if path.suffix == ".gif":
        options = {"save_all": True, "append_images": pictures[1:], "duration": milliseconds, "loop": 0}
    with atomic_write(path) as temporary:
        if path.suffix == ".mp4":
            save_video(pictures, temporary, milliseconds)
        else:
            pictures[0].save(temporary, path.suffix[1:].upper(), **options)


def draw_scores(evaluation: Evaluation, path: Path, heading: str, step: Step | None = None) -> None:
    """Writes a figure of every metric by lead time and of the reliability diagrams, atomically.

    Each method has a line. Frames are a `step` apart, in minutes or in a calendar unit; None shows numbers of frames.
    """
    unit, size = ("frames", 1.0) if step is None else time_unit(step)
    spacing = 1.0 if step is None or isinstance(step, str) else step / size
    plots: list[tuple[str, str, dict[str, Any]]] = []  # of title, label of the axis, and lines
    for name, values in evaluation.scores["forecast"].items():
        times = [t * spacing for t in range(1, len(values) + 1)]
        lines = {method: (times, by[name]) for method, by in evaluation.scores.items()}
        plots.append((name, f"lead time in {unit}{'s' * isinstance(step, str)}", lines))
    for threshold, diagram in evaluation.reliability.items():
        lines = {"forecast": (diagram["forecast"], diagram["observed"]), "": ([0, 1], [0, 1])}
        plots.append((f"reliability, ≥ {threshold}", "forecast probability", lines))
    columns = min(len(plots), 4)
    rows = -(-len(plots) // columns)
    figure = new_figure(3.6 * columns, 2.8 * rows, heading)
    for i, (title, label, lines) in enumerate(plots, 1):
        axis = figure.add_subplot(rows, columns, i)
        for method, line in lines.items():
            style: dict[str, Any] = {"marker": "."} if method else {"color": "grey", "linewidth": 0.5}
            axis.plot(*line, label=method, **style)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(label, fontsize=8)
    figure.axes[0].legend(fontsize=8)
    save_figure(figure, path)


def draw_losses(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Writes a figure of the training loss and the validation loss by number of updates, atomically."""
    figure = new_figure(6.0, 4.0)
    axis = figure.subplots()
    for key, name in {"loss": "training", "validation_loss": "validation"}.items():
        if key in history[0]:
            axis.plot([row["updates"] for row in history], [row[key] for row in history], marker=".", label=name)
    axis.set(xlabel="updates", ylabel="loss")
    axis.legend(fontsize=8)
    save_figure(figure, path)


def probability_title(threshold: float, unit: str) -> str:
    """Returns the title of a row of probabilities that a threshold is reached."""
    return f"P(≥ {threshold:g} {unit})".replace(" )", ")")


def probability_strip(
    probabilities: Tensor,
    values: Preprocessing,
    thresholds: Sequence[float],
    labels: Sequence[str] = (),
    heading: str = "",
) -> Any:
    """Plots the probabilities that thresholds are reached as one image, with a row for each threshold and target.

    `probabilities` are ``(T, thresholds, H, W)``, or ``(T, C, thresholds, H, W)`` for several targets. The other
    arguments are those of :func:`ensemble_strip`.
    """
    if probabilities.dim() == 4:
        probabilities = probabilities.unsqueeze(1)
    parts: Any = (
        (
            scale,
            title,
            {probability_title(t, scale.unit): dict(enumerate(p[:, k])) for k, t in enumerate(thresholds)},
            {},
        )
        for scale, title, p in split_targets(values, heading, probabilities.transpose(1, 2))
    )
    return draw_strip(parts, partial(title_frame, labels=labels, step=values.step), FEW)


def ensemble_rows(members: Tensor, thresholds: Sequence[float], truth: Tensor | None, unit: str) -> dict[str, Tensor]:
    """Returns the rows ``(T, H, W)`` of an ensemble's figure by title; `std` is the standard deviation."""
    unknown = members.isnan()
    reached = {
        probability_title(t, unit): (members >= t).float().masked_fill(unknown, torch.nan).mean(0) for t in thresholds
    }
    rows = {"mean": members.mean(0), "std": members.std(0, correction=min(1, len(members) - 1)), **reached}
    return rows if truth is None else {"truth": truth, **rows}


def ensemble_strip(
    members: Tensor,
    values: Preprocessing,
    *,
    threshold: float | Sequence[float],
    truth: Tensor | None = None,
    labels: Sequence[str] = (),
    heading: str = "",
) -> Any:
    """Plots an ensemble over time as one image: mean, standard deviation and the probabilities of thresholds.

    Each target has its own rows, of at most six evenly spaced lead times.

    Args:
        members: ``(M, T, H, W)``, or ``(M, T, C, H, W)`` for several targets, in the unit of the data.
        values: the model's `preprocessing`, for targets and units.
        threshold: one or several, in the unit of the data, such as 1 mm/h.
        truth: ``(T, H, W)`` or ``(T, C, H, W)``, if it is known.
        labels: titles of the T frames; by default their lead times.
        heading: title of the figure.
    """
    thresholds = (threshold,) if isinstance(threshold, int | float) else threshold
    if members.dim() == 4:
        members, truth = members.unsqueeze(2), None if truth is None else truth.unsqueeze(1)
    parts = (
        (
            scale,
            title,
            {k: dict(enumerate(x)) for k, x in ensemble_rows(part, thresholds, observed, scale.unit).items()},
            {"value_range": find_value_range(scale, part if observed is None else observed)},
        )
        for scale, title, part, observed in split_targets(values, heading, members, truth)
    )
    return draw_strip(parts, partial(title_frame, labels=labels, step=values.step), FEW)
