"""Nowcasts of rain as probabilities: from a recipe and radar archives to weights."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import split_in_time
from ..data.mrms import CodedEvent, code_of_rate, rate_of_code, read_mrms
from ..data.rain_events import EVENTS, TEST_DAYS, load_event
from ..data.readers.radar import COARSEN, STEP, read_events
from ..models import Weights
from ..models.convgru_advection import THRESHOLDS
from ..pretrained.state_dict import write_safetensors
from .fit import fingerprint
from .nowcast_scores import SPLIT, metrics_of, score_nowcast
from .optimizers import fit_updates
from .recipe import NowcastRecipe
from .weights import check_writable, write_weights

PLACES = {"train": (750, 2400), "test": (2400, None)}
"""Columns of the map of MRMS from which windows are cut: what is learnt and what is validated on lie apart."""


class ARCHIVES:
    """What the record tells of the data."""

    title = "MRMS (2019-06-10), KNMI (2010-08-26) and FMI (2016-09-28)"
    task = "precipitation nowcasting"
    url = "https://github.com/pySTEPS/pysteps-data"
    license = "public domain, CC BY 4.0"
    where = "pysteps.datasets.download_pysteps_data(DIR) brings them, or clone https://github.com/pySTEPS/pysteps-data"
    split_words = SPLIT


WEIGHTS_OF_LEVELS = (1.0, 1.0, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0, 3.0)
"""Of the cross-entropy at each threshold: hard rain is rare."""
SEEN = 0.5
"""Share of a crop that must be known."""


class Batch(NamedTuple):
    """Crops ``(N, T, 1, H, W)`` in mm/h and the minutes from one frame to the next."""

    frames: Tensor
    minutes: float


def load_archives(directory: Path, split: str, inputs: int) -> dict[str, list[CodedEvent]]:
    """MRMS, KNMI and FMI below a directory, at 2 km: of MRMS a part of the map, of the others a part in time
    (:func:`~convrnn_zoo.data.split_in_time`); the days of the test are left out.

    Raises:
        FileNotFoundError: neither is there.
    """
    left, right = PLACES[split]
    found = {
        "mrms": [CodedEvent(codes[..., left:right].contiguous(), minutes) for codes, minutes in read_mrms(directory)],
        "europe": [
            CodedEvent(code_of_rate(split_in_time(event, split, inputs).read()[:, 0]), STEP.total_seconds() / 60)
            for event in read_events(directory, COARSEN)
            if not {f"{time:%Y-%m-%d}" for time in event.datetimes or []} & {day.isoformat() for day in TEST_DAYS}
        ],
    }
    if not any(found.values()):
        raise FileNotFoundError(f"no archive of MRMS, KNMI or FMI below {directory}")
    return {name: events for name, events in found.items() if events}


class Crops:
    """Crops of archives, as training draws them.

    A batch comes from one event, every one, two or three frames of it. A crop has at least so much rain as is drawn
    for it, from a few pixels to a fifth of all. Crops of MRMS are also seen from afar (means of 2×2 or 3×3 pixels),
    where storms look like showers; all are mirrored and transposed, made stronger or weaker, and some lose a part of
    every rate, which leaves small cells.
    """

    def __init__(self, archives: dict[str, list[CodedEvent]], size: int, inputs: int, horizon: int) -> None:
        self.archives, self.size, self.inputs, self.horizon = archives, size, inputs, horizon
        self.rates = rate_of_code()

    def draw(self, n: int, from_mrms: float) -> Batch:
        """`n` crops, from MRMS with that probability; random by torch's global generator."""
        name = "mrms" if "europe" not in self.archives or torch.rand(()) < from_mrms else "europe"
        events = self.archives.get(name) or next(iter(self.archives.values()))
        event = events[int(torch.randint(len(events), ()))]
        slow = event.minutes < 4
        stride = int(torch.multinomial(torch.tensor([0.15, 0.5, 0.35] if slow else [0.85, 0.15, 0.0]), 1)) + 1
        length = min(self.inputs + self.horizon, (len(event.codes) - 1) // stride + 1)
        zoom = int(torch.multinomial(torch.tensor([0.55, 0.28, 0.17] if slow else [0.85, 0.15, 0.0]), 1)) + 1
        frames = torch.stack([self._cut(event.codes, length, stride, zoom) for _ in range(n)]).unsqueeze(2)
        return Batch(self._varied(frames), event.minutes * stride)

    def _cut(self, codes: Tensor, length: int, stride: int, zoom: int) -> Tensor:
        edge = self.size * zoom
        tall, wide = codes.shape[1] - edge, codes.shape[2] - edge
        if min(tall, wide) < 0:
            return self._cut(codes, length, stride, zoom - 1)
        least = 10 ** (-2.5 + 1.8 * float(torch.rand(())))
        for _ in range(40):
            top, left = int(torch.randint(tall + 1, ())), int(torch.randint(wide + 1, ()))
            start = int(torch.randint(len(codes) - (length - 1) * stride, ()))
            middle = codes[start + length // 2 * stride, top : top + edge, left : left + edge]
            if (middle == 255).float().mean() < 1 - SEEN and ((middle > 71) & (middle < 255)).float().mean() >= least:
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


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """The mean binary cross-entropy of logits ``(…, 11, H, W)`` of exceeding the thresholds, where the truth
    ``(…, H, W)`` is known."""
    known = truth.isfinite().unsqueeze(-3)
    levels = torch.tensor(THRESHOLDS, device=truth.device)[:, None, None]
    weights = torch.tensor(WEIGHTS_OF_LEVELS, device=truth.device)[:, None, None] * known
    exceeds = (truth.nan_to_num(0).unsqueeze(-3) >= levels).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, exceeds, weight=weights, reduction="sum") / known.sum().clamp_min(
        1
    )


def train_nowcast(recipe: NowcastRecipe, *, data: Any, out: Path, into: Path | None, progress: bool) -> Weights:
    """Trains a nowcast and writes its weights with their record; see :func:`~convrnn_zoo.train.tasks.train`.

    Below `data` lie the archives to learn from and the events of the test, which are scored once, at the end. Weights
    are also written after every round, into `out`, so that rounds can be compared on what is neither.
    """
    if not isinstance(data, Path):
        raise FileNotFoundError(f"expected a directory of the data, got {data!r}; pass --data DIR: {ARCHIVES.where}")
    check_writable(into or out, recipe)
    crops = Crops(load_archives(data, "train", recipe.inputs), recipe.size, recipe.inputs, recipe.horizon)
    rain = [load_event(data, event) for event in EVENTS]  # before hours of training
    model = train_on(crops, recipe, out, progress)
    scores = score_nowcast(model.eval(), rain)
    return write_weights(recipe, model, ARCHIVES, metrics_of(scores), out, into, input_shape=("T", 1, "H", "W"))


def train_on(crops: Crops, recipe: NowcastRecipe, out: Path, progress: bool = True) -> Any:
    """The model of a recipe trained on crops; an interrupted run goes on from its checkpoint in `out`."""
    torch.manual_seed(recipe.seed)
    model: Any = recipe.create_model(horizon=recipe.horizon).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.preprocessing = replace(model.preprocessing, inputs=recipe.inputs, horizon=recipe.horizon)

    def batches(updates: range) -> Iterator[Batch]:
        return (crops.draw(recipe.batch_size, recipe.from_mrms) for _ in updates)

    def loss(_: nn.Module, batch: Batch) -> Tensor:
        horizon = batch.frames.shape[1] - recipe.inputs
        chosen = torch.randperm(horizon)[: recipe.lead_times].sort().values.tolist()
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            made = model.exceedance(batch.frames[:, : recipe.inputs], horizon, batch.minutes, chosen)
        return cross_entropy(made.logits.float(), batch.frames[:, recipe.inputs :][:, chosen])

    def keep(updates: int) -> None:
        write_safetensors(model.state_dict(), out / f"update{updates:07d}.safetensors")

    run, checkpoint = fingerprint(recipe), out / "last.ckpt"
    fit_updates(model, recipe, batches, loss, run=run, checkpoint=checkpoint, progress=progress, after_round=keep)
    return model
