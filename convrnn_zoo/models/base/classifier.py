"""Base classes of sequence classifiers."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_sequence

from ... import _checks as check
from ..._hints import warn
from ...layers import ConvRNNBase
from ...layers._base import SPACE
from ...values.tensors import to_tensor
from .lengths import POOLS, Lengths, check_pool, check_sequences, pool, run_padded
from .model import HeadedModel, evaluating, reference_tensor

FAR = 100.0
"""Distance from the mean of the training data, in standard deviations, that suggests values in another unit."""


class Prediction(NamedTuple):
    """Predicted class of one recording, with the probability of every class."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Classifier(HeadedModel):
    """Base class of models that read sequences ``(N, T, C, *S)``, with an optional classifier.

    A subclass defines :meth:`run_layers`, ``head_drop`` (a dropout module before the head) and the methods and
    attributes that :class:`~convrnn_zoo.models.base.model.HeadedModel` requires.
    """

    directions: int
    """Number of directions whose last steps the pool ``"last"`` reads."""

    def forward(self, x: Tensor | PackedSequence, hx: Any = None, lengths: Lengths | None = None) -> Any:
        """Returns features or logits; see :class:`~convrnn_zoo.ConvRNNModel` for their shapes.

        Args:
            x: sequences ``(N, T, C, *S)``, one frame per sequence ``(N, C, *S)``, or a PackedSequence.
            hx: the initial state, as :meth:`forward_sequence` returns it; zeros by default.
            lengths: number of steps of each padded sequence, ``(N,)``, each from 1 to T; pass it by name.
        """
        return self.forward_head(self.forward_features(x, hx, lengths), lengths=lengths)

    def forward_features(self, x: Tensor | PackedSequence, hx: Any = None, lengths: Lengths | None = None) -> Any:
        """Returns the unpooled output of the last layer; a model with several levels returns a list of outputs."""
        return self.forward_sequence(x, hx, lengths)[0]

    def forward_sequence(
        self, x: Tensor | PackedSequence, hx: Any = None, lengths: Lengths | None = None
    ) -> tuple[Any, Any]:
        """Returns ``(features, state)``, unpooled; pass the state with the next chunk to continue the sequence.

        In a bidirectional model, the backward direction starts again at the end of every chunk.

        Example:
            >>> from convrnn_zoo import ConvRNNModel, Conv1dGRU
            >>> model = ConvRNNModel(Conv1dGRU, in_chans=2, hidden_channels=4).eval()
            >>> x = torch.randn(1, 6, 2, 10)
            >>> first, state = model.forward_sequence(x[:, :4])
            >>> second, state = model.forward_sequence(x[:, 4:], state)
            >>> torch.allclose(torch.cat([first, second], dim=1), model(x), atol=1e-6)
            True
        """
        outputs, state = self._forward_layers(x, hx, lengths)
        return self._features(outputs), state

    def _forward_maps(
        self, x: Any, depth: int | None, hx: Any = None, lengths: Lengths | None = None
    ) -> tuple[Any, list[Any]]:
        outputs, _ = self._forward_layers(x, hx, lengths, len(self.feature_info) if depth is None else depth)
        return self._features(outputs), outputs

    def _forward_layers(
        self, x: Any, hx: Any, lengths: Lengths | None, depth: int | None = None
    ) -> tuple[list[Any], Any]:
        """Checks the input, and returns the outputs and the state as :meth:`run_layers` does."""
        owner, like = type(self).__name__, reference_tensor(self)
        lengths = check_sequences(owner, x, lengths, self.ndim, self.in_chans, like)
        if isinstance(x, Tensor) and x.dim() == self.ndim + 2:
            outputs, state = self.run_layers(x.unsqueeze(1), hx, depth)
            return [y.squeeze(1) for y in outputs], state
        return run_padded(partial(self.run_layers, hx=hx, depth=depth), x, lengths)

    def run_layers(
        self, x: Tensor | PackedSequence, hx: Any, depth: int | None, mask: Tensor | None = None
    ) -> tuple[list[Any], Any]:
        """Returns a list with the output of each layer or level, and the state.

        The list has at least the first `depth` outputs. If `depth` is None, it has at least those of which the features
        are computed. A `mask` ``(N, T)`` is true where a padded sequence has a step. Compiled and exported models read
        the mask in place of packed sequences.
        """
        raise NotImplementedError(f"{type(self).__name__} must define run_layers")

    def forward_head(self, x: Any, pre_logits: bool = False, lengths: Lengths | None = None) -> Any:
        """Pools features and classifies them; with `pre_logits`, returns the inputs of the classifier.

        Raises:
            ValueError: the model has several levels and a classifier, but no pool.
        """
        levels = x if isinstance(x, list) else [x]
        is_frame = isinstance(levels[0], Tensor) and levels[0].dim() == self.ndim + 2
        if kind := self.resolve_pool(is_frame):
            pooled = torch.cat([pool(y, kind, lengths, self.directions, self.ndim) for y in levels], 1)
            return self.classify_pooled(pooled, pre_logits)
        if pre_logits or not self.num_classes:
            return x
        if len(levels) > 1:
            raise ValueError(f"{len(levels)} levels have no logits of every pixel; set a global_pool of {[*POOLS]}")

        return self.map_pixels(self.classify_pooled, levels[0])

    def map_pixels(self, function: Callable[[Tensor], Tensor], x: Any) -> Any:
        """Applies a function of features ``(…, C)`` to every pixel of maps ``(N, T, C, *S)``, which may be packed."""
        if isinstance(x, PackedSequence):
            return PackedSequence(self.map_pixels(function, x.data), *x[1:])
        channels = -self.ndim - 1
        return function(x.movedim(channels, -1)).movedim(-1, channels)

    def classify_pooled(self, pooled: Tensor, pre_logits: bool = False) -> Tensor:
        """Returns logits for features ``(…, num_features)``, or the inputs of the classifier if `pre_logits`."""
        return pooled if pre_logits else self.head(self.head_drop(pooled))

    def _features(self, outputs: list[Any]) -> Any:
        """Selects the features among the outputs of the layers or levels."""
        return outputs[-1]

    def resolve_pool(self, frame: bool) -> str:
        """Returns the name of the pool for sequences or, if `frame`, for single frames; empty for no pool."""
        return ("avg" if self.num_classes or frame else "") if self.global_pool is None else self.global_pool

    @torch.no_grad()
    def classify(
        self, recordings: Iterable[Any] | Tensor, *, names: Sequence[str] | None = None, batch_size: int = 64
    ) -> list[Prediction]:
        """Predicts the class of each recording.

        Recordings have any length and the unit of the training data; values far from the training data give a warning.
        Frames of uint8 are divided by 255 if the model was trained on frames from 0 to 1. Pass clips as they are
        stored: their frames are selected, resized and cropped as in training (``model.metadata.clips``). The labels are
        those of the weights, or class numbers if the weights have none. The call runs in evaluation mode; call
        ``eval()`` before several threads classify at once.

        Args:
            recordings: tensors or arrays, each ``(T, C, *S)``, or ``(T, C)`` if a map is one pixel.
            names: names of the recordings in error messages; ``"recording 0"`` and so on by default.
            batch_size: recordings per batch. Maps of one batch must have the same size.

        Raises:
            ValueError: the model has no classifier or no pool; two labels are equal; there is not one name for each
                recording; or a recording has a wrong shape or values that are not finite.

        Example:
            >>> import convrnn_zoo
            >>> model = convrnn_zoo.create_model("convlstm1d_bi_1layer.japanese_vowels", pretrained=True)
            >>> first, second = model.classify([torch.zeros(9, 12), torch.ones(20, 12)])
            >>> first.label, round(sum(first.probabilities.values()), 3)
            ('speaker 7', 1.0)
        """
        items = recordings if isinstance(recordings, Tensor | Sequence) else list(recordings)
        names = _check_names(names, len(items))
        clips = self.metadata.clips if self.metadata and self.ndim == 2 else None
        tensors = [to_tensor(name, x) for name, x in zip(names, items, strict=True)]
        if clips is not None:
            tensors = [clips.apply(x) if x.dim() == 4 and x.numel() else x for x in tensors]
        return self.classify_sampled(tensors, names=names, batch_size=batch_size)

    @torch.no_grad()
    def classify_sampled(
        self, recordings: Sequence[Any], *, names: Sequence[str], batch_size: int = 64
    ) -> list[Prediction]:
        """Predicts the class of each recording, as :meth:`classify`; clips have the frames of training already."""
        if not self.num_classes:
            raise ValueError("the model has no classifier; load weights with one, or train one with num_classes")
        if not self.resolve_pool(frame=False):
            raise ValueError('classify needs a pool, got global_pool=""; set model.global_pool = "avg"')
        labels, like = self._labels(), reference_tensor(self)
        sequences = [self._sequence(name, x) for name, x in zip(names, recordings, strict=True)]
        self._warn_of_scale(names, sequences)
        predictions = []
        with evaluating(self):
            for start in range(0, len(sequences), check.positive_int("batch_size", batch_size)):
                part = sequences[start : start + batch_size]
                if len(sizes := {tuple(x.shape[2:]) for x in part}) > 1:
                    hint = "resize them, or pass batch_size=1"
                    raise ValueError(f"expected recordings with maps of one size, got {sorted(sizes)}; {hint}")
                x = self.normalize(pad_sequence(part, batch_first=True)).to(like)
                scores = self(x, lengths=[len(x) for x in part]).float().softmax(1).cpu()
                for name, p in zip(names[start:], scores, strict=False):
                    if not torch.isfinite(p).all():
                        hint = "check the unit of the values, or use dtype float32"
                        raise ValueError(f"{name}: the model returns NaN in {like.dtype}; {hint}")
                    best = int(p.argmax())
                    probabilities = dict(zip(labels, p.tolist(), strict=True))
                    predictions.append(Prediction(labels[best], float(p[best]), probabilities))
        return predictions

    def classify_sound(
        self, waves: Sequence[Any], rate: int, *, names: Sequence[str] | None = None, batch_size: int = 64
    ) -> list[Prediction]:
        """Predicts the class of each sound; the model's front end converts sounds to sequences.

        Args:
            waves: a tensor or array ``(samples,)`` per sound: floats on the scale of -1 to 1, as from
                :func:`convrnn_zoo.data.read_sound`, or integers (uint8, int16, int32), as from SciPy.
            rate: sample rate in Hz, which must be that of the front end.
            names, batch_size: as for :meth:`classify`.

        Raises:
            ValueError: the model has no front end, there is not one name for each sound, or
                :meth:`~convrnn_zoo.LogMel.encode` rejects a recording.

        Example:
            >>> import convrnn_zoo
            >>> model = convrnn_zoo.create_model("audio_convrnn.fsdd", pretrained=True)
            >>> [prediction] = model.classify_sound([torch.zeros(4000)], 8000)
            >>> prediction.label in model.pretrained_cfg["label_names"]
            True
        """
        if getattr(waves, "ndim", 2) < 2:
            raise ValueError(f"waves must be a list of sounds, got one, {check.describe(waves)}; pass [wave]")
        names = _check_names(names, len(waves))
        encoded = [self.encode_sound(name, wave, rate) for name, wave in zip(names, waves, strict=True)]
        return self.classify(encoded, names=names, batch_size=batch_size)

    def encode_sound(self, name: str, wave: Any, rate: int) -> Tensor:
        """Returns the sequence ``(T, C, 1)`` that the front end computes from a sound; errors contain its `name`."""
        if self.front_end is None:
            hint = "set model.front_end = convrnn_zoo.LogMel(...), or pass sequences (T, C, ...) as in training"
            raise ValueError(f"{name} is sound, and this model has no front end: {hint}")
        try:
            wave = to_tensor("the recording", wave)
            return self.front_end.encode(wave.float() if wave.is_floating_point() else wave, rate)
        except (TypeError, ValueError) as e:
            raise type(e)(f"{name}: {e}") from e

    def _labels(self) -> list[str]:
        """Returns the labels of the weights, or class numbers if there are none."""
        labels = list(self.pretrained_cfg.get("label_names") or ())
        if len(labels) != self.num_classes:
            return [str(i) for i in range(self.num_classes)]
        if duplicates := sorted({label for label in labels if labels.count(label) > 1}):
            hint = 'make them unique in model.pretrained_cfg["label_names"]'
            raise ValueError(f"the model's label_names contain {', '.join(duplicates)} more than once; {hint}")
        return labels

    def _sequence(self, name: str, recording: Any) -> Tensor:
        """Checks a recording ``(T, C, *S)``, or ``(T, C)`` if a map is one pixel, and returns it as ``(T, C, *S)``."""
        x, ndim = to_tensor(name, recording), self.ndim
        if x.dtype == torch.uint8 and ndim == 2:
            statistics = self.statistics()
            if statistics is None or bool((torch.stack(statistics).abs() <= 1).all()):
                x = x.float() / 255
        x = x.float()
        if x.dim() == 2 and x.shape[1] == self.in_chans:
            x = x.reshape(*x.shape, *(1,) * ndim)
        if x.dim() != ndim + 2 or x.shape[1] != self.in_chans or 0 in x.shape:
            hint = (
                "pass one recording as a list, [x]" if x.dim() < ndim + 2 else "`convrnn-zoo info` describes the input"
            )
            got = f"got {tuple(x.shape)}; {hint}"
            raise ValueError(f"{name}: expected a sequence (T, {self.in_chans}, {SPACE[ndim]}), {got}")
        if not torch.isfinite(x).all():
            raise ValueError(f"{name}: contains NaN or Inf; fill or remove them before classifying")
        return x

    def _warn_of_scale(self, names: Sequence[str], sequences: Sequence[Tensor]) -> None:
        """Warns if values are so far from the training data that they are probably in another unit."""
        if self.statistics() is None:
            return
        for name, x in zip(names, sequences, strict=True):
            if (distance := float(self.normalize(x).abs().max())) > FAR:
                warn(
                    f"{name}: values from {x.min():g} to {x.max():g} are up to {distance:,.0f} standard deviations "
                    "from the mean of the training data; pass them in its unit (frames of video from 0 to 1)"
                )
                return


def _check_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Returns the names of `count` recordings, by default ``"recording 0"`` and so on."""
    names = [f"recording {i}" for i in range(count)] if names is None else list(names)
    if len(names) != count:
        raise ValueError(f"names must have one name per recording, {count} in total, got {len(names)}")
    return names


class RecurrentClassifier(Classifier):
    """Base class of classifiers whose features are the output of one module of recurrent layers, ``rnn``.

    A subclass builds ``rnn`` and then calls :meth:`add_classifier`.
    """

    rnn: ConvRNNBase
    pixels = 1
    """Number of pixels of a map whose channels are separate features; 1 if all pixels share their features."""

    def add_classifier(self, num_classes: int, global_pool: str | None, drop_rate: float) -> None:
        """Adds the pool, the dropout and the head."""
        self.drop_rate, self.global_pool = check.probability("drop_rate", drop_rate), check_pool(global_pool)
        self.head_drop, self.directions = nn.Dropout(drop_rate), self.rnn.num_directions
        self.reset_classifier(num_classes)

    @property
    def num_features(self) -> int:
        """Number of features of the last layer: channels times directions times `pixels`."""
        return int(self.feature_info[-1]["num_chs"])

    head_hidden_size = num_features

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Number of features and reduction of each layer's output, for timm."""
        widths = [w * self.rnn.num_directions * self.pixels for w in self.rnn.widths]
        return [{"num_chs": w, "reduction": 1, "module": f"rnn.l{i}", "index": i} for i, w in enumerate(widths)]

    def make_head(self, num_classes: int) -> nn.Module:
        like = reference_tensor(self.rnn)
        return nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)

    def _keep_maps(self, count: int, prune_head: bool) -> None:
        features = self.num_features
        self.rnn.keep_layers(count)
        if prune_head:
            self.reset_classifier(0, "")
        elif self.num_classes and self.num_features != features:
            warn(f"the head is random, because it reads {self.num_features} features in place of {features}; train it")
            self.reset_classifier(self.num_classes)
