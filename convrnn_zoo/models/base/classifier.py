"""Base classes of sequence classifiers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ... import _checks as check
from ..._hints import warn
from ...layers import ConvRNNBase
from ...values.tensors import to_tensor
from .classification import Prediction, check_names, classify_sampled, encode_sound
from .lengths import POOLS, Lengths, check_pool, check_sequences, is_frame, pool, with_padding, without_padding
from .model import HeadedModel, reference_tensor


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
        return self.forward_head(self.forward_sequence(x, hx, lengths)[0], lengths=lengths)

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
        inputs, mask = self._prepare(x, lengths)
        outputs, state = self.run_layers(inputs, hx, None, mask)
        return self._features([with_padding(y, x) for y in outputs]), state

    def _forward_maps(
        self, x: Any, depth: int | None, hx: Any = None, lengths: Lengths | None = None
    ) -> tuple[Any, list[Any]]:
        inputs, mask = self._prepare(x, lengths)
        outputs, _ = self.run_layers(inputs, hx, len(self.feature_info) if depth is None else depth, mask)
        maps = [with_padding(y, x) for y in outputs]
        return self._features(maps), maps

    def _prepare(self, x: Any, lengths: Lengths | None) -> tuple[Any, Tensor | None]:
        """Checks the input, and returns it as :meth:`run_layers` reads it, with its mask."""
        owner, like = type(self).__name__, reference_tensor(self)
        lengths = check_sequences(owner, x, lengths, self.ndim, self.in_chans, like)
        return without_padding(x.unsqueeze(1) if is_frame(x, self.ndim) else x, lengths)

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
        if kind := self.resolve_pool(is_frame(levels[0], self.ndim)):
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
        items: Any = recordings if isinstance(recordings, Sequence) or hasattr(recordings, "ndim") else list(recordings)
        axes = getattr(items, "ndim", self.ndim + 3)
        if axes < self.ndim + 3 and not (axes == 3 and items.shape[2] == self.in_chans):  # N recordings (T, C)
            got = check.describe(items)
            raise ValueError(f"recordings must be a list of recordings, got one, {got}; pass one recording as [x]")
        names = check_names(names, len(items))
        clips = self.metadata.clips if self.metadata and self.ndim == 2 else None
        tensors = [to_tensor(name, x) for name, x in zip(names, items, strict=True)]
        if clips is not None:
            tensors = [clips.apply(x) if x.dim() == 4 and x.numel() else x for x in tensors]
        return classify_sampled(self, tensors, names=names, batch_size=batch_size)

    def classify_sound(
        self, waves: Iterable[Any], rate: int, *, names: Sequence[str] | None = None, batch_size: int = 64
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
        sounds: Any = waves if isinstance(waves, Sequence) or hasattr(waves, "ndim") else list(waves)
        if getattr(waves, "ndim", 2) < 2:
            raise ValueError(f"waves must be a list of sounds, got one, {check.describe(waves)}; pass [wave]")
        names = check_names(names, len(sounds))
        encoded = [encode_sound(self, name, wave, rate) for name, wave in zip(names, sounds, strict=True)]
        return self.classify(encoded, names=names, batch_size=batch_size)


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

    def run_layers(
        self, x: Tensor | PackedSequence, hx: Any, depth: int | None, mask: Tensor | None = None
    ) -> tuple[list[Any], Any]:
        if depth is not None:
            return self.rnn.forward_layers(x, hx, depth, mask)
        output, state = self.rnn(x, hx, mask=mask)
        return [output], state

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
