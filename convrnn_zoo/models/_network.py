"""The network of the core family: a convolutional RNN, and a classifier where one is asked for."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..layers import ConvRNNBase
from ._base import unname_classes
from ._classifying import Classifier
from ._masked import run_masked
from ._sequences import POOLS, Lengths, check_format, check_lengths, check_pool, chosen_layers, in_graph, pack, unpack


class ConvRNNModel(Classifier):
    """A convolutional RNN with an optional classifier, on batch-first sequences.

    Args:
        layer: the layer's class, such as :class:`~convrnn_zoo.layers.Conv2dLSTM`.
        in_chans: channels of the input.
        hidden_channels: channels of the state, or a list of one a layer.
        kernel_size: kernel of every convolution: an int, one an axis, or a list of one tuple a layer.
        num_classes: outputs of the classifier; 0 for none.
        global_pool: ``"avg"``, ``"max"`` or ``"last"`` pools over the steps and pixels that there are, never over
            padding; ``""`` keeps every step and pixel. None, the default, pools what has a classifier by its
            average, keeps sequences that have none, and averages a lone frame, as timm's image models do.
        drop_rate: dropout before the classifier.
        device, dtype: where and as what the parameters are made.
        **layer_args: options of the layer: `num_layers`, `bidirectional`, `hidden_kernel_size`, `padding_mode`, …

    Shapes:
        input ``(N, T, C, *S)``, one frame each ``(N, C, *S)``, or a PackedSequence; `lengths` ``(N,)`` when the
        sequences of a tensor are of unequal length. With F features (``num_features``):

        ================  ===========================================  ======================
        num_classes       unpooled                                     pooled
        ================  ===========================================  ======================
        0                 features ``(N, T, F, *S)``, packed if so     features ``(N, F)``
        K                 logits ``(N, T, K, *S)``, packed if so       logits ``(N, K)``
        ================  ===========================================  ======================

        One frame gives the same without T.

    Example:
        >>> from convrnn_zoo.layers import Conv2dLSTM
        >>> model = ConvRNNModel(Conv2dLSTM, in_chans=3, hidden_channels=16, num_classes=5, bidirectional=True)
        >>> tuple(model(torch.randn(2, 7, 3, 8, 8), lengths=[7, 4]).shape)
        (2, 5)
    """

    def __init__(
        self,
        layer: type[ConvRNNBase],
        in_chans: int = 3,
        hidden_channels: int | Sequence[int] = 64,
        kernel_size: int | Sequence[int] | Sequence[Sequence[int]] = 3,
        num_classes: int = 0,
        global_pool: str | None = None,
        drop_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **layer_args: Any,
    ) -> None:
        super().__init__()
        self.rnn = layer(
            in_chans, hidden_channels, kernel_size, batch_first=True, device=device, dtype=dtype, **layer_args
        )
        self.in_chans, self.drop_rate, self.ndim = in_chans, drop_rate, self.rnn.ndim
        self.head_drop = nn.Dropout(drop_rate)
        self.head: nn.Module = nn.Identity()
        self.global_pool = check_pool(global_pool)
        self.reset_classifier(num_classes)

    @property
    def num_features(self) -> int:
        """Channels of the output of the last layer."""
        return self.rnn.widths[-1] * self.rnn.num_directions

    head_hidden_size = num_features

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels and reduction of each layer's output."""
        widths = [w * self.rnn.num_directions for w in self.rnn.widths]
        return [{"num_chs": w, "reduction": 1, "module": f"rnn.l{i}", "index": i} for i, w in enumerate(widths)]

    def input_weights(self) -> list[str]:
        """Keys of the parameters whose axis 1 is the input's channels."""
        return [f"rnn.weight_ih_l0{end}" for end in ("", "_reverse")[: self.rnn.num_directions]]

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Parameters by depth, for layer-wise learning rates: the input's weights, then each layer."""
        return {"stem": r"^rnn\.(?:weight|bias)_ih_l0", "blocks": r"^rnn\.\w+_l(\d+)"}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that should not decay, beyond the biases."""
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training recomputes what is inside a layer, for less memory and more time."""
        self.rnn.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """The classifier: a linear layer, or an identity when there are no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh classifier of `num_classes`, whose classes have no names yet; the pooling stays unless given."""
        if not isinstance(num_classes, int) or num_classes < 0:
            raise ValueError(f"num_classes must be a whole number of at least 0 (no classifier), got {num_classes!r}")
        if global_pool is not None:
            self.global_pool = check_pool(global_pool)
        self.num_classes = num_classes
        like = next(self.rnn.parameters())
        place: Any = {"device": like.device, "dtype": like.dtype}
        self.head = nn.Linear(self.num_features, num_classes, **place) if num_classes else nn.Identity()
        self.head.train(self.training)
        unname_classes(self)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops the layers above the highest of `indices`, and the classifier with `prune_head`."""
        take = chosen_layers(self.rnn.num_layers, indices)
        features = self.num_features
        self.rnn.keep_layers(max(take) + 1)
        if prune_head:
            self.reset_classifier(0, "")
        elif self.num_classes and self.num_features != features:
            self.reset_classifier(self.num_classes)
        return take

    def forward(self, x: Tensor | PackedSequence, hx: Any = None, lengths: Lengths | None = None) -> Any:
        """Features or logits; see the class for the forms."""
        features, _ = self.forward_sequence(x, hx, lengths)
        return self.forward_head(features, lengths=lengths)

    def forward_sequence(
        self, x: Tensor | PackedSequence, hx: Any = None, lengths: Lengths | None = None
    ) -> tuple[Any, Any]:
        """``(features, state)``, unpooled: give the state back with the next chunk and the chunks equal the whole.

        In a bidirectional model the second direction starts anew at the end of every chunk.

        Example:
            >>> from convrnn_zoo.layers import Conv1dGRU
            >>> model = ConvRNNModel(Conv1dGRU, in_chans=2, hidden_channels=4).eval()
            >>> x = torch.randn(1, 6, 2, 10)
            >>> first, state = model.forward_sequence(x[:, :4])
            >>> second, state = model.forward_sequence(x[:, 4:], state)
            >>> torch.allclose(torch.cat([first, second], dim=1), model(x), atol=1e-6)
            True
        """
        outputs, state = self._forward_layers(x, hx, lengths)
        return outputs[-1], state

    def forward_features(self, x: Tensor | PackedSequence, hx: Any = None, lengths: Lengths | None = None) -> Any:
        """The output of the last layer, unpooled."""
        return self.forward_sequence(x, hx, lengths)[0]

    def forward_intermediates(
        self,
        x: Tensor | PackedSequence,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        hx: Any = None,
        lengths: Lengths | None = None,
    ) -> Any:
        """The output of each layer of `indices`, and with it, unless `intermediates_only`, that of the last."""
        check_format(output_fmt)
        take = chosen_layers(self.rnn.num_layers, indices)
        outputs, _ = self._forward_layers(x, hx, lengths, depth=max(take) + 1 if stop_early else None)
        intermediates = [outputs[i] for i in take]
        return intermediates if intermediates_only else (outputs[-1], intermediates)

    def forward_head(self, x: Any, pre_logits: bool = False, lengths: Lengths | None = None) -> Any:
        """Pools features and classifies them; with `pre_logits` the features alone, pooled."""
        packed = isinstance(x, PackedSequence)
        frame = not packed and x.dim() == self.rnn.ndim + 2
        usual = "avg" if self.num_classes or frame else ""
        kind = usual if self.global_pool is None else self.global_pool
        if kind:
            if packed:
                x, lengths = unpack(x)
            elif frame:
                x = x.unsqueeze(1)
            lengths = None if lengths is None else check_lengths(lengths, *x.shape[:2])
            return self.classify_pooled(POOLS[kind](x, lengths, self.rnn.num_directions), pre_logits)
        if pre_logits:
            return x
        if packed:
            return PackedSequence(self._classify(x.data, axis=1), *x[1:])
        return self._classify(x, axis=1 if frame else 2)

    def classify_pooled(self, pooled: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of pooled features ``(N, num_features)``; with `pre_logits` these."""
        return pooled if pre_logits else self.head(self.head_drop(pooled))

    def _classify(self, x: Tensor, axis: int) -> Tensor:
        return self.head(self.head_drop(x).movedim(axis, -1)).movedim(-1, axis) if self.num_classes else x

    def _forward_layers(
        self, x: Tensor | PackedSequence, hx: Any, lengths: Lengths | None, depth: int | None = None
    ) -> tuple[list[Any], Any]:
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths came with a PackedSequence, which has its own; pass one of the two")
            return self.rnn.forward_layers(x, hx, depth)
        if not isinstance(x, Tensor) or x.dim() not in (self.rnn.ndim + 2, self.rnn.ndim + 3):
            space = self.rnn.space
            raise ValueError(
                f"{type(self).__name__} of {type(self.rnn).__name__} expected sequences (N, T, C, {space}), frames "
                f"(N, C, {space}) or a PackedSequence, got {tuple(x.shape) if isinstance(x, Tensor) else type(x)}; "
                "add the missing axes, first N, then T"
            )
        if x.dim() == self.rnn.ndim + 2:
            if lengths is not None:
                raise ValueError(f"lengths came with one frame each, {tuple(x.shape)}; pass sequences (N, T, C, …)")
            outputs, state = self.rnn.forward_layers(x.unsqueeze(1), hx, depth)
            return [y.squeeze(1) for y in outputs], state
        if lengths is not None:
            lengths = check_lengths(lengths, *x.shape[:2])
        if lengths is None or x.shape[0] == 0:
            return self.rnn.forward_layers(x, hx, depth)
        if in_graph():
            return run_masked(self.rnn, x, hx, lengths, depth)
        outputs, state = self.rnn.forward_layers(pack(x, lengths), hx, depth)
        return [unpack(y, x.shape[1])[0] for y in outputs], state
