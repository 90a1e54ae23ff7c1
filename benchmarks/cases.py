"""Shapes that are timed."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from convrnn_zoo import layers
from convrnn_zoo.layers import ConvRNNBase


class Case(NamedTuple):
    """A layer and its input: `steps` × `batch` maps of `size`; all kernel axes are equal."""

    name: str
    kind: str
    steps: int
    batch: int
    in_channels: int
    channels: int
    size: tuple[int, ...]
    kernel: int
    num_layers: int = 1
    bidirectional: bool = False
    lengths: tuple[int, int] | None = None  # packed, lengths uniform between these

    @property
    def title(self) -> str:
        """Returns a readable description."""
        size = f"{self.size[0]}{'²³'[len(self.size) - 2]}" if len(self.size) > 1 else f"{self.size[0]}"
        text = f"{self.kind} {self.steps}×{self.batch}, {self.in_channels}→{self.channels}, {size}, {self.kernel}"
        text += f", {self.num_layers} layers" if self.num_layers > 1 else ""
        text += ", both directions" if self.bidirectional else ""
        return text + (f", packed {self.lengths[0]}–{self.lengths[1]}" if self.lengths else "")

    def layer_class(self, package: Any = layers) -> Any:
        """Returns the class of the layer in a package of layers."""
        return getattr(package, f"Conv{len(self.size)}d{self.kind}")

    def layer(self, cls: Any = None) -> ConvRNNBase:
        """Builds a layer with new initial parameters, optionally of another class."""
        return (cls or self.layer_class())(
            self.in_channels, self.channels, self.kernel, num_layers=self.num_layers, bidirectional=self.bidirectional
        )

    def sizes(self) -> list[int]:
        """Returns the batch size of each step."""
        if not self.lengths:
            return [self.batch] * self.steps
        lengths = self._lengths()
        return [int((lengths > t).sum()) for t in range(int(lengths.max()))]

    def padded(self) -> Tensor:
        """Returns the padded input ``(T, N, C, *S)``, the same at every call."""
        steps = int(self._lengths().max()) if self.lengths else self.steps
        generator = torch.Generator().manual_seed(0)
        return torch.randn(steps, self.batch, self.in_channels, *self.size, generator=generator)

    def input(self) -> Tensor | PackedSequence:
        """Returns the input of the layer, packed if the case has lengths."""
        return pack_padded_sequence(self.padded(), self._lengths()) if self.lengths else self.padded()

    def _lengths(self) -> Tensor:
        assert self.lengths is not None
        low, high = self.lengths
        return torch.linspace(high, low, self.batch).round().long()


CASES = [
    Case("wide", "LSTM", 10, 4, 16, 64, (32, 32), 3),
    Case("kernel5", "LSTM", 20, 4, 16, 64, (16, 16), 5),
    Case("large-map", "LSTM", 10, 2, 1, 32, (64, 64), 3),
    Case("tiny", "LSTM", 20, 8, 3, 8, (8, 8), 3),
    Case("tiny-gru", "GRU", 20, 8, 3, 8, (8, 8), 3),
    Case("batch", "LSTM", 20, 16, 64, 64, (16, 16), 3),
    Case("1d", "LSTM", 100, 8, 1, 32, (40,), 5),
    Case("3d", "LSTM", 6, 1, 1, 16, (16, 16, 16), 3),
    Case("deep", "LSTM", 10, 4, 16, 32, (32, 32), 3, num_layers=2, bidirectional=True),
    Case("gru", "GRU", 20, 4, 16, 64, (16, 16), 5),
    Case("peephole", "PeepholeLSTM", 20, 4, 16, 64, (16, 16), 5),
    Case("packed", "LSTM", 40, 16, 16, 32, (16, 16), 3, lengths=(2, 40)),
]
LONG = Case("long", "LSTM", 200, 16, 64, 64, (16, 16), 3)
"""A long sequence for memory. A round takes minutes, so it only runs on request."""
