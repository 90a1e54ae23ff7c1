"""Trains ``convgru_advection.nowcast``: ``python -m references.nowcast.train DATA RUN``."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convrnn_zoo import WeightsMetadata
from convrnn_zoo.data import split_in_time
from convrnn_zoo.data.datasets.rain import DAYS, STEP, read_events
from convrnn_zoo.data.formats.radar import COARSEN
from convrnn_zoo.pretrained.state_dict import write_safetensors
from convrnn_zoo.recipes import ForecasterRecipe, Recipe
from convrnn_zoo.train.forecaster import NowcastLogits, exceedance_loss
from convrnn_zoo.train.loop import Trainer
from convrnn_zoo.train.optim import create_optimizer, create_schedule
from convrnn_zoo.train.writing import check_writable, write_weights

from .events import EVENTS, load_event
from .mrms import CodedEvent, encode_rate, rate_by_code, read_mrms
from .opera import read_opera
from .scores import SPLIT, make_metrics, score_nowcast

PLACES = {"train": (750, 2400), "test": (2400, None)}
"""Columns of the MRMS map for training and validation, which do not overlap."""
ROWS = {"train": (0, 1400), "test": (1400, None)}
"""Rows of the OPERA map for training and validation: north and south of about 48° N."""


class ARCHIVES:
    """Description of the data for the metadata."""

    title = "MRMS (2019-06-10), OPERA (2018-08-24, 2024-11-26), KNMI (2010-08-26) and FMI (2016-09-28)"
    task = "precipitation nowcasting"
    url = "https://github.com/pySTEPS/pysteps-data"
    license = "public domain, CC BY 4.0"
    split_words = SPLIT


SIZE = 128
"""Edge of a crop in pixels."""
SHARES = {"mrms": 0.4, "europe": 0.15, "opera": 0.45}
"""Fractions of the batches that are cut from each archive."""
AHEAD = 75
"""Minutes of the longest lead time of a crop."""
MIN_KNOWN = 0.5
"""Minimum fraction of known pixels in a crop."""


class Batch(NamedTuple):
    """Crops ``(N, T, 1, H, W)`` in mm/h and the minutes between frames."""

    frames: Tensor
    minutes: float


def load_archives(directory: Path, split: str, inputs: int) -> dict[str, list[CodedEvent]]:
    """Reads MRMS, OPERA, KNMI and FMI data as pixels of 2 km.

    MRMS and OPERA data are split by regions of the map, the others in time
    (:func:`~convrnn_zoo.data.split_in_time`).

    Raises:
        FileNotFoundError: the directory has no data of any of the four.
    """
    (left, right), (top, bottom) = PLACES[split], ROWS[split]
    archives = {
        "mrms": [CodedEvent(codes[..., left:right].contiguous(), minutes) for codes, minutes in read_mrms(directory)],
        "europe": [
            CodedEvent(encode_rate(split_in_time(event, split, inputs).read()[:, 0]), STEP.total_seconds() / 60)
            for event in read_events(directory, COARSEN, DAYS)
        ],
        "opera": [CodedEvent(codes[:, top:bottom].contiguous(), minutes) for codes, minutes in read_opera(directory)],
    }
    if not any(archives.values()):
        raise FileNotFoundError(f"no archive of MRMS, OPERA, KNMI or FMI below {directory}")
    return {name: events for name, events in archives.items() if events}


class Crops:
    """Random crops of archives for training.

    All crops of a batch are cut from one event, with every frame, every second or every third, and lead times of up to
    :data:`AHEAD` minutes. A crop is sampled up to
    40 times until the fraction of pixels over 0.5 mm/h in its middle frame reaches a random minimum (0.3 to 20 %). Some
    batches are reduced by means of 2×2 or 3×3 pixels, so that storms look like showers. Crops are randomly mirrored and
    transposed, and their rates are multiplied by a random factor. From some crops a random rate is subtracted, which
    leaves small cells.
    """

    def __init__(self, archives: dict[str, list[CodedEvent]], size: int, inputs: int, horizon: int) -> None:
        self.archives, self.size, self.inputs, self.horizon = archives, size, inputs, horizon
        self.rates = rate_by_code()

    def draw(self, n: int, shares: Mapping[str, float]) -> Batch:
        """Samples `n` crops with torch's global generator, from an archive that is chosen in the ratio of `shares`."""
        names = list(self.archives)
        name = names[int(torch.multinomial(torch.tensor([shares[name] for name in names]), 1))]
        events = self.archives[name]
        event = events[int(torch.randint(len(events), ()))]
        slow = event.minutes < 4
        strides = [0.15, 0.5, 0.35] if slow else [0.85, 0.15, 0.0] if event.minutes < 15 else [1.0, 0.0, 0.0]
        stride = int(torch.multinomial(torch.tensor(strides), 1)) + 1
        horizon = min(self.horizon, int(AHEAD // (event.minutes * stride)))
        length = min(self.inputs + horizon, (len(event.codes) - 1) // stride + 1)
        zoom = int(torch.multinomial(torch.tensor([0.55, 0.28, 0.17] if slow else [0.85, 0.15, 0.0]), 1)) + 1
        frames = torch.stack([self._cut(event.codes, length, stride, zoom) for _ in range(n)]).unsqueeze(2)
        return Batch(self._varied(frames), event.minutes * stride)

    def _cut(self, codes: Tensor, length: int, stride: int, zoom: int) -> Tensor:
        edge = self.size * zoom
        tall, wide = codes.shape[1] - edge, codes.shape[2] - edge
        if min(tall, wide) < 0 and zoom == 1:
            raise ValueError(f"expected maps of at least {self.size}×{self.size} pixels, got {tuple(codes.shape[1:])}")
        if min(tall, wide) < 0:
            return self._cut(codes, length, stride, zoom - 1)
        least = 10 ** (-2.5 + 1.8 * float(torch.rand(())))
        for _ in range(40):
            top, left = int(torch.randint(tall + 1, ())), int(torch.randint(wide + 1, ()))
            start = int(torch.randint(len(codes) - (length - 1) * stride, ()))
            middle = codes[start + length // 2 * stride, top : top + edge, left : left + edge]
            if (middle == 255).float().mean() < 1 - MIN_KNOWN and (
                (middle > 71) & (middle < 255)
            ).float().mean() >= least:
                break
        window = codes[start : start + length * stride : stride, top : top + edge, left : left + edge]
        return F.avg_pool2d(self.rates[window.long()], zoom) if zoom > 1 else self.rates[window.long()]

    def _varied(self, frames: Tensor) -> Tensor:
        n = len(frames)
        coins, one = torch.rand(n, 4) < 0.5, (n, 1, 1, 1, 1)
        for axis, coin in ((-1, coins[:, 0]), (-2, coins[:, 1])):
            frames = torch.where(coin.reshape(one), frames.flip(axis), frames)
        frames = torch.where(coins[:, 2].reshape(one), frames.mT, frames)
        frames = frames * (0.4 * torch.randn(one)).exp()
        lost = 1.2 * torch.rand(one) * (torch.rand(one) < 0.3)
        return (frames - lost).clamp_min(0)


def train(data: Path, out: Path, into: Path | None = None, progress: bool = True) -> WeightsMetadata:
    """Trains the recipe ``nowcast`` on the archives and writes its weights with their metadata.

    Args:
        data: directory with the archives to train on and the test events, which are scored once, after training.
        out: directory of the run. It also receives the weights after every round, to compare them on other data.
        into: directory for weights and metadata, as the package stores them; by default they are written to `out`.
        progress: whether to show a progress bar.
    """
    recipe: Any = Recipe.read("nowcast")
    check_writable(out, into, recipe)
    crops = Crops(load_archives(data, "train", recipe.inputs), SIZE, recipe.inputs, recipe.horizon)
    rain = [load_event(data, event) for event in EVENTS]  # before hours of training
    model = train_on(crops, recipe, out, progress=progress)
    write = partial(write_weights, recipe, model.eval(), ARCHIVES, out, into, input_shape=("T", 1, "H", "W"))
    write()  # before the evaluation, which could fail
    return write(metrics=make_metrics(score_nowcast(model, rain)))


@dataclass(kw_only=True, eq=False)
class NowcastTrainer(Trainer):
    """Trains a nowcast on crops, and saves the weights after every round."""

    crops: Crops
    shares: Mapping[str, float]

    def batches(self, done: int, skip: int) -> Iterator[list[tuple[float, Batch]]]:
        """Yields the batches of a round, which torch's global generator samples."""
        steps = range(done + skip, min(done + self.recipe.checkpoint_every, self.recipe.max_steps))
        return ([(1.0, self.crops.draw(self.recipe.batch_size, self.shares))] for _ in steps)

    def compute_loss(self, part: Batch) -> Tensor:
        """Returns the loss of a batch."""
        network = NowcastLogits(self.model)
        return exceedance_loss(self.recipe, self.model, network, part.frames, part.minutes)

    def after_round(self, model: nn.Module) -> None:
        """Saves the weights."""
        assert self.checkpoint is not None
        file = self.checkpoint.with_name(f"update{self.updates:07d}.safetensors")
        write_safetensors(model.state_dict(), file)


def train_on(
    crops: Crops, recipe: ForecasterRecipe, out: Path, *, shares: Mapping[str, float] = SHARES, progress: bool = True
) -> Any:
    """Trains a recipe on crops; an interrupted run continues from its checkpoint in `out`."""
    torch.manual_seed(recipe.seed)
    model: Any = recipe.create_model(horizon=recipe.horizon)
    model = model.to(memory_format=torch.channels_last)
    model.preprocessing = replace(model.preprocessing, inputs=recipe.inputs, horizon=recipe.horizon)
    optimizer = create_optimizer(recipe, model)
    NowcastTrainer(
        recipe=recipe,
        model=model,
        optimizer=optimizer,
        scheduler=create_schedule(recipe, optimizer, recipe.max_steps),
        max_steps=recipe.max_steps,
        crops=crops,
        shares=shares,
        fingerprint=recipe.fingerprint(),
        checkpoint=out / "last.ckpt",
        title=recipe.weights,
        progress=progress,
    ).fit()
    return model


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
