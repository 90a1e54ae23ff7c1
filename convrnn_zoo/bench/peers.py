"""The schemes that are timed side by side.

A scheme is a function ``build(case) -> forward`` or None where it cannot do the case; ``forward(x)`` takes what
``case.input()`` gives and returns the output sequence, differentiable in ``forward.parameters()`` (a module's).

``--peer name=DIR`` enters another one: ``DIR`` is put first on the import path, and ``DIR/convrnn_peer.py`` holds
such a ``build``; `case` has the fields of :class:`convrnn_zoo.bench.cases.Case`.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from convrnn_zoo.layers import ConvRNNBase, set_fused
from convrnn_zoo.layers._conv import same_conv
from convrnn_zoo.layers._joined import joined
from convrnn_zoo.layers._scan import scan, scan_packed

from .cases import Case

Forward = Callable[[Any], Tensor]
Build = Callable[[Case], Any]


class Ours(nn.Module):
    """The layer as it is."""

    def __init__(self, case: Case, fused: bool = False) -> None:
        super().__init__()
        self.layer, self.fused = case.layer(), fused

    def forward(self, x: Any) -> Tensor:
        before = set_fused(self.fused)
        try:
            y, _ = self.layer(x)
        finally:
            set_fused(before)
        return y.data if isinstance(y, PackedSequence) else y


class Plain(nn.Module):
    """A convolution of the input and one of the state at every step, under ordinary autograd."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layer = case.layer()

    def forward(self, x: Any) -> Tensor:
        return self.sequence(x, None)[0]

    def sequence(self, x: Any, hx: list[tuple[Tensor, ...]] | None) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """The data of the output, and the last states, from the first states `hx`: one a layer and direction."""
        layer, sizes, last = self.layer, None, []
        if isinstance(x, PackedSequence):
            x, sizes = x.data, x.batch_sizes.tolist()
        for index, (depth, suffix) in enumerate(layer._suffixes()):
            if index % layer.num_directions == 0:
                below, outputs = x, []
            width = layer.widths[depth]
            n = sizes[0] if sizes else x.shape[1]
            state = hx[index] if hx else (x.new_zeros(n, width, *x.shape[-layer.ndim :]),) * len(layer.states)
            y, end = plain_scan(self.step(suffix, width), below, state, sizes, suffix.endswith("reverse"))
            outputs.append(y)
            last.append(end)
            x = torch.cat(outputs, -layer.ndim - 1)
        return x, last

    def step(self, suffix: str, width: int) -> Callable[..., Any]:
        w = self.layer._weights(suffix, width)
        return lambda x, state: self.layer.advance(x, state, w)


class OneConvolution(Plain):
    """One convolution a step over the concatenated input and state, under ordinary autograd."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.whole = nn.ParameterDict()
        for depth, suffix in self.layer._suffixes():
            weight, bias = joined(self.layer, self.layer._weights(suffix, self.layer.widths[depth]))
            assert bias is not None
            self.whole[suffix] = nn.ParameterList([weight.detach().contiguous(), bias.detach()])

    def step(self, suffix: str, width: int) -> Callable[..., Any]:
        own = self.layer._weights(suffix, width).own

        def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            both = torch.cat([x, state[0]], 1)
            return self.layer.step(same_conv(both, *self.whole[suffix], self.layer.geometry), state, own)

        return step


def plain_scan(step: Any, x: Tensor, state: Any, sizes: list[int] | None, reverse: bool) -> Any:
    if sizes is None:
        ys, last = scan(step, x.unbind(0), state, reverse=reverse)
        return torch.stack(ys), last
    ys, last = scan_packed(step, x.split(sizes), state, reverse=reverse)
    return torch.cat(ys), last


def one_convolution(case: Case) -> OneConvolution | None:
    """For cells whose gates are sums of an input and a state part: in a GRU the candidate's are not."""
    return None if case.kind == "GRU" else OneConvolution(case)


def keras(case: Case) -> Forward | None:
    """Keras' layers on its torch backend, given the layout they want; None without Keras or where it has no layer."""
    if case.kind != "LSTM" or case.lengths:
        return None
    import os

    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError:
        return None

    cls = getattr(keras.layers, f"ConvLSTM{len(case.size)}D")
    model = keras.Sequential()
    for _ in range(case.num_layers):
        layer = cls(case.channels, case.kernel, padding="same", return_sequences=True)
        model.add(keras.layers.Bidirectional(layer) if case.bidirectional else layer)
    x = case.padded().movedim(2, -1).transpose(0, 1).contiguous()
    model(x)

    class Keras(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, _: Any) -> Tensor:
            return self.model(x)

    return Keras()


def compiled(build: Build) -> Build:
    """A scheme under :func:`torch.compile`, all its steps as one program."""

    def build_compiled(case: Case) -> Any:
        module = build(case)
        if module is not None:
            module.compile(dynamic=False)
        return module

    return build_compiled


SCHEMES: dict[str, Build] = {
    "ours": Ours,
    "ours fused": lambda case: Ours(case, fused=True),
    "two convolutions": Plain,
    "one convolution": one_convolution,
    "keras": keras,
}
COMPILED: dict[str, Build] = {
    "two convolutions compiled": compiled(Plain),
    "one convolution compiled": compiled(one_convolution),
}


def load_peer(directory: Path) -> Build:
    """The ``build`` of ``directory/convrnn_peer.py``."""
    path = directory / "convrnn_peer.py"
    if not path.is_file():
        raise FileNotFoundError(
            f"--peer expected {path}, a file with build(case), got none; see convrnn_zoo.bench.peers for what it holds"
        )
    sys.path.insert(0, str(directory.resolve()))
    spec = importlib.util.spec_from_file_location(f"convrnn_peer_{directory.name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build


def parameters(forward: Any, layer: type = ConvRNNBase) -> list[nn.Parameter]:
    return [p for p in forward.parameters() if p.requires_grad]
