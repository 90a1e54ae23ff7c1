"""A forecast of the frames of files, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from ..train.apply import data_of, load_forecaster
from ..train.pictures import Panels, motion, save, strip
from ..train.radar import COARSEN
from ._frames import read_frames


def draw_forecast(
    name: str,
    files: Sequence[Path],
    out: Path,
    *,
    recipe: str | None = None,
    inputs: int | None = None,
    horizon: int | None = None,
) -> str:
    """Forecasts what follows the first frames of the files and draws it; returns a line that says what was drawn.

    Args:
        name: weights, or the file of a record.
        files: one array, GIF or video, or radar files.
        out: ``.png`` for a strip, ``.gif`` for motion.
        recipe: of the weights; the record's by default.
        inputs: frames to read, the recipe's number by default; those after them are shown as the truth.
        horizon: frames to forecast, the recipe's number by default.

    Raises:
        ValueError: files, name or model will not do.
    """
    if out.suffix not in (".png", ".gif"):
        raise ValueError(f"{out}: expected a name that ends in .png or .gif")
    model, chosen, record = load_forecaster(name, recipe)
    ahead = horizon or chosen.horizon
    frames, labels = read_frames(files, COARSEN, add=ahead)
    read = min(inputs or chosen.inputs, len(frames))
    scale = data_of(chosen).scale
    made = model.forecast(frames[:read], ahead)
    truth = frames[read : read + ahead]
    unknown = frames[read - 1].isnan()  # the radars' range, which the model knows nothing of
    panels = Panels(
        frames[:read], made.masked_fill(unknown, float("nan")), truth if len(truth) else None, labels,
    )  # fmt: skip
    heading = f"{record.name}: {files[0].name}"
    pictures = [strip(panels, scale, heading)] if out.suffix == ".png" else motion(panels, scale, heading)
    save(pictures, out)
    return f"{out}: {read} frames read, {ahead} forecast, {len(truth)} of them known{errors(panels, scale.unit)}"


def errors(panels: Panels, unit: str) -> str:
    """The mean squared error where the truth is known, beside that of the last frame; nothing where it is not."""
    if panels.truth is None:
        return ""
    known = len(panels.truth)
    ours = (panels.forecast[:known] - panels.truth).square().nanmean()
    still = (panels.inputs[-1] - panels.truth).square().nanmean()
    return f"; mean squared error {ours:.3g}, the last frame's {still:.3g}" + (f" ({unit})²" if unit else "")
