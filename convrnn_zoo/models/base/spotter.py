"""Spotting of words in continuous sound."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import _checks as check
from ..._hints import some
from ...values.log_mel import as_float_samples
from .classification import find_labels
from .model import reference_tensor
from .stream import Stream


class Spot(NamedTuple):
    """A word that was found in a sound."""

    seconds: float
    """End of the window with the highest probability."""
    label: str
    probability: float


class Spotter:
    """Finds words in a sound that arrives piece by piece, such as from a microphone.

    The classifier reads windows of the sound. A window of W seconds begins every W / `windows` seconds, with a state of
    zero, as in training: a state that comes from earlier sound would be unknown to the classifier. The windows overlap,
    and are read together as a batch of one :class:`~convrnn_zoo.Stream`. A window whose highest probability reaches the
    threshold begins a search: the best window of the next W / 2 seconds is the word. The search for the next word
    begins W / 2 seconds after the end of that window. A word is thus reported W / 2 seconds after its first window.
    Call :meth:`finish` when the sound ends, for a word at its end.

    Args:
        model: an audio classifier of one direction with a front end, in evaluation mode.
        threshold: lowest probability of a word; by default that of the weights, ``model.metadata.threshold``.
        seconds: length W of a window; by default one second.
        windows: number of windows that are read at the same time.
        ignore: labels that are no words, such as that of all other words in training.

    Raises:
        ValueError: the model has no front end or no classifier, or :class:`~convrnn_zoo.Stream` rejects it; or there is
            no threshold, or one that is no probability above 0; or `seconds` is no multiple of `windows` steps of the
            front end, or `ignore` has other labels than the model.

    Example:
        >>> import convrnn_zoo
        >>> model = convrnn_zoo.create_model("audio_convrnn.arabic_commands", pretrained=True).eval()
        >>> spotter, silence = Spotter(model), torch.zeros(8000)
        >>> [spot for _ in range(5) for spot in spotter(silence, 16000)]
        []
        >>> round(spotter.seconds_read, 1)
        2.5
        >>> spotter.finish()
        []
    """

    def __init__(
        self,
        model: Any,
        threshold: float | None = None,
        *,
        seconds: float = 1.0,
        windows: int = 10,
        ignore: Sequence[str] = (),
    ) -> None:
        self.stream = Stream(model)
        self.front_end: Any = getattr(model, "front_end", None)
        if self.front_end is None or not getattr(model, "num_classes", 0):
            hint = "set model.front_end = convrnn_zoo.LogMel(...) as in training"
            raise ValueError(f"Spotter expected an audio classifier: a model with a front end and classes; {hint}")
        stored = model.metadata and model.metadata.threshold
        if (threshold := stored if threshold is None else threshold) is None:
            raise ValueError("the weights have no threshold; pass threshold, such as 0.5")
        self.threshold = check.number("threshold", threshold, positive=True)
        if self.threshold > 1:
            raise ValueError(f"threshold must be a probability above 0 and at most 1, got {threshold}")
        self.windows = check.positive_int("windows", windows)
        steps = check.number("seconds", seconds, positive=True) / self.front_end.hop
        self.stride = round(steps / self.windows)
        """Number of steps from the start of one window to the start of the next."""
        if not self.stride or abs(self.stride * self.windows - steps) > 1e-6 * steps:
            least = f"{self.windows * self.front_end.hop:g}"
            raise ValueError(
                f"seconds must be a multiple of {least}, which is windows={self.windows} times the step of the front "
                f"end, got {seconds:g}"
            )
        self.labels: list[str] = find_labels(model)
        if isinstance(ignore, str) or (unknown := {*ignore} - {*self.labels}):
            got = ignore if isinstance(ignore, str) else sorted(unknown)
            raise ValueError(f"ignore must be a list of the model's labels, {some(self.labels)}; got {got}")
        self.ignore = frozenset(ignore)
        self.reset()

    def reset(self) -> None:
        """Forgets the sound so far."""
        self.stream.reset()
        self.rest, self.steps = torch.zeros(0), 0
        self.best: Spot | None = None
        self.until = self.resume = 0.0

    @property
    def seconds_read(self) -> float:
        """Seconds of the sound so far."""
        return (self.steps * self.front_end.hop_length + len(self.rest)) / self.front_end.rate

    def __call__(self, wave: Any, rate: int) -> list[Spot]:
        """Reads the next piece of the sound, and returns the words whose search has ended.

        Args:
            wave: samples ``(samples,)`` of any number, as for :meth:`~convrnn_zoo.LogMel.encode`.
            rate: sample rate in Hz, which must be that of the front end.
        """
        return [spot for window in self.read(wave, rate) for spot in self.decide(*window)]

    def decide(self, seconds: float, probabilities: Tensor) -> list[Spot]:
        """Returns the word whose search ended before a window of :meth:`read`, if there is one, and goes on with it."""
        half, spots = self.windows * self.stride * self.front_end.hop / 2, []
        if self.best is not None and seconds > self.until:
            spots.append(self.best)
            self.resume, self.best = self.best.seconds + half, None
        probability, i = probabilities.max(0)
        spot = Spot(seconds, self.labels[int(i)], float(probability))
        if spot.label in self.ignore:
            return spots
        if self.best is not None:
            self.best = max(self.best, spot, key=lambda s: s.probability)
        elif spot.probability >= self.threshold and seconds > self.resume:
            self.best, self.until = spot, seconds + half
        return spots

    def finish(self) -> list[Spot]:
        """Returns the word whose search has not ended at the end of the sound, if there is one, and resets."""
        spots = [] if self.best is None else [self.best]
        self.reset()
        return spots

    @torch.no_grad()
    def read(self, wave: Any, rate: int) -> Iterator[tuple[float, Tensor]]:
        """Reads the next piece, and yields the end in seconds and the probabilities ``(K,)`` of each window."""
        model, length = self.stream.model, self.windows * self.stride
        wave = as_float_samples(torch.as_tensor(wave))
        if not wave.numel() and not len(self.rest):
            return
        steps, self.rest = self.front_end.encode_piece(torch.cat([self.rest.to(wave), wave]), rate)
        x = model.normalize(steps).to(reference_tensor(model))
        while len(x):
            count = min(len(x), self.stride - self.steps % self.stride)  # up to the end or the start of a window
            logits = self.stream(x[:count].expand(self.windows, *x[:count].shape))
            x, self.steps = x[count:], self.steps + count
            if self.steps % self.stride:
                continue
            ended = self.steps // self.stride % self.windows
            if int(self.stream.steps[ended]) == length:
                seconds = ((self.steps - 1) * self.front_end.hop_length + self.front_end.size) / rate
                yield seconds, logits[ended].float().softmax(0).cpu()
            self.stream.reset([ended])
