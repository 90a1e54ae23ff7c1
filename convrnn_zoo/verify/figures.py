"""Figures of frames (input, truth, forecast, difference), of ensembles, of scores by lead time, and of losses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
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
        return self.labels[i] if i < len(self.labels) else format_lead_time(i + 1 - len(self.inputs), self.step)

    def split(self, values: Preprocessing, heading: str) -> Iterator[tuple["Panels", Encoding, str]]:
        """Yields the frames ``(T, H, W)`` of each target, its encoding and a heading with its name."""
        for i, (target, title) in enumerate(name_targets(values, heading)):
            frames: Any = (self.inputs, self.forecast, self.truth)
            parts: Any = [None if x is None else shown_channel(x, i, target) for x in frames]
            yield self._replace(inputs=parts[0], forecast=parts[1], truth=parts[2]), target, title

    def rows(self) -> dict[str, dict[int, Tensor]]:
        """Returns the rows of one target by title. A row maps frame numbers (0: first input) to frames ``(H, W)``."""
        known = len(self.inputs)
        inputs, forecast = dict(enumerate(self.inputs)), dict(enumerate(self.forecast, known))
        if self.truth is None:
            return {"input": inputs, "forecast": forecast}
        truth = dict(enumerate(self.truth[: len(self.forecast)], known))
        difference = {t: forecast[t] - frame for t, frame in truth.items()}
        return {"input": inputs, "truth": truth, "forecast": forecast, DIFFERENCE: difference}

    def ranges(self, scale: Encoding) -> dict[str, Any]:
        """Returns the lowest and the highest value of the colors of one target, and its largest difference."""
        truth = self.forecast if self.truth is None else self.truth
        difference = (self.forecast[: len(truth)] - truth).nan_to_num(0, 0, 0).abs()
        known = torch.cat([self.inputs.flatten(), truth.flatten()])
        return {
            "value_range": find_value_range(scale, known),
            "max_difference": difference.max().item() if len(truth) else 0.0,
        }


def shown_channel(frames: Tensor, number: int, target: Encoding) -> Tensor:
    """Returns the channel of a named target in frames ``(…, C, H, W)``, or the mean of channels without names."""
    return frames.select(-3, number) if isinstance(target, Variable) else frames.mean(-3)


def name_targets(values: Preprocessing, heading: str) -> list[tuple[Encoding, str]]:
    """Returns the encoding of each target, and `heading` followed by the target's name if it has one."""
    targets = values.target_variables
    return [(t, f"{heading}: {t.name}".removeprefix(": ") if isinstance(t, Variable) else heading) for t in targets]


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
    values: tuple[dict[str, Any], dict[str, Any]]
    if is_rain(scale.unit):
        rain = colors.ListedColormap(RAIN_COLOURS).with_extremes(under=DRY, over=HEAVIEST, bad=UNKNOWN)
        steps = colors.BoundaryNorm(RAIN_LEVELS, len(RAIN_COLOURS))
        symmetric = colors.SymLogNorm(0.5, vmin=-20, vmax=20, base=10)
        bar: dict[str, Any] = {"ticks": RAIN_LEVELS, "format": format_tick, "extend": "both"}
        values, difference = ({"cmap": rain, "norm": steps}, {"label": unit, **bar}), {"norm": symmetric}
        apart |= {"ticks": (-10, -1, 0, 1, 10), "format": format_tick}
    else:
        low, high = value_range or (0.0, 1.0)
        colours = maps["plasma" if scale.unit else "gray"].with_extremes(bad=UNKNOWN if scale.unit else DRY)
        values = {"cmap": colours, "vmin": low, "vmax": high}, {"label": unit or "brightness"}
        end = max_difference or high - low
        difference = {"vmin": -end, "vmax": end}
        apart |= {"ticks": need("matplotlib.ticker", "draw").MaxNLocator(4)}
    return {"values": values, "difference": ({"cmap": signed, **difference}, apart), "probability": probability}


def format_tick(value: float, position: int) -> str:
    """Returns the label of a color bar for a value."""
    return f"{value:g}".replace("-", "−")


def draw_frames(
    rows: Mapping[str, Mapping[int, Tensor]],
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


def strip(panels: Panels, values: Preprocessing, heading: str = "") -> Any:
    """Plots input, truth, forecast and difference of each target as one image, at most 12 frames in a row."""
    parts = panels.split(values, heading)
    return stack_images(
        [render(draw_frames(p.rows(), p.label, scale, title, **p.ranges(scale))) for p, scale, title in parts]
    )


def animate(panels: Panels, values: Preprocessing, heading: str = "") -> list[Any]:
    """Plots one image for each frame: truth, forecast and difference of each target next to each other."""
    films = [_plot_motion(part, scale, title) for part, scale, title in panels.split(values, heading)]
    return [stack_images(images) for images in zip(*films, strict=True)]


def _plot_motion(panels: Panels, scale: Encoding, heading: str) -> list[Any]:
    rows, images, figure = panels.rows(), [], None
    unknown = torch.full_like(panels.forecast[0], torch.nan)
    names = ("forecast",) if panels.truth is None else ("truth", "forecast", DIFFERENCE)
    for t in range(len(panels.inputs) + len(panels.forecast)):
        if (frame := rows["input"].get(t)) is not None:
            parts = [(DIFFERENCE, frame * 0) if name == DIFFERENCE else ("input", frame) for name in names]
        else:
            parts = [(name, rows[name].get(t, unknown)) for name in names]
        figure = figure or side_by_side(parts, scale, heading, **panels.ranges(scale))
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
    first, *others = pictures
    with atomic_write(path) as temporary:
        if path.suffix == ".mp4":
            save_video(pictures, temporary, milliseconds)
        elif path.suffix == ".gif":
            first.save(temporary, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
        else:
            first.save(temporary, "PNG")


def draw_scores(evaluation: Evaluation, path: Path, heading: str, step: Step | None = None) -> None:
    """Writes a figure of every metric by lead time and of the reliability diagrams, atomically.

    Each method has a line. Frames are a `step` apart, in minutes or in a calendar unit; None shows numbers of frames.
    """
    unit, size = ("frames", 1.0) if step is None else time_unit(step)
    spacing = 1.0 if step is None or isinstance(step, str) else step / size
    scores, reliability = evaluation.scores, evaluation.reliability
    names = list(scores["forecast"])
    count = len(names) + len(reliability)
    columns = min(count, 4)
    figure = new_figure(3.6 * columns, 2.8 * -(-count // columns), heading)
    axes = [figure.add_subplot(-(-count // columns), columns, i + 1) for i in range(count)]
    for axis, name in zip(axes, names, strict=False):
        for method, by in scores.items():
            axis.plot([t * spacing for t in range(1, len(by[name]) + 1)], by[name], marker=".", label=method)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(f"lead time in {unit}{'s' * isinstance(step, str)}", fontsize=8)
    for axis, (threshold, diagram) in zip(axes[len(names) :], reliability.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
        axis.plot(diagram["forecast"], diagram["observed"], marker=".")
        axis.set_title(f"reliability, ≥ {threshold}", fontsize=10)
        axis.set_xlabel("forecast probability", fontsize=8)
    axes[0].legend(fontsize=8)
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


def title_frames(labels: Sequence[str], values: Preprocessing) -> Callable[[int], str]:
    """Returns a function of the titles of forecast frames: the `labels`, or by default their lead times."""
    return labels.__getitem__ if labels else lambda t: format_lead_time(t + 1, values.step)


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
    titles, images = title_frames(labels, values), []
    for i, (scale, title) in enumerate(name_targets(values, heading)):
        part = shown_channel(probabilities.transpose(1, 2), i, scale)
        rows = {probability_title(p, scale.unit): dict(enumerate(part[:, k])) for k, p in enumerate(thresholds)}
        images.append(render(draw_frames(rows, titles, scale, title, FEW)))
    return stack_images(images)


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
    titles, images = title_frames(labels, values), []
    for i, (scale, title) in enumerate(name_targets(values, heading)):
        part, observed = shown_channel(members, i, scale), None if truth is None else shown_channel(truth, i, scale)
        rows = {k: dict(enumerate(x)) for k, x in ensemble_rows(part, thresholds, observed, scale.unit).items()}
        value_range = find_value_range(scale, part if observed is None else observed)
        images.append(render(draw_frames(rows, titles, scale, title, FEW, value_range=value_range)))
    return stack_images(images)
