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

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from convrnn_zoo.layers import set_fused

from .cases import Case
from .plain import OneConvolution, Plain

Forward = Callable[[Any], Tensor]
Build = Callable[[Case], Any]


class Output(nn.Module):
    """The layer's output alone, a packed one as its data."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layer = case.layer()

    def forward(self, x: Any) -> Tensor:
        """The output."""
        y, _ = self.layer(x)
        return y.data if isinstance(y, PackedSequence) else y


class Ours(Output):
    """The layer as it is."""

    def __init__(self, case: Case, fused: bool = False, recompute: bool = False) -> None:
        super().__init__(case)
        self.fused = fused
        self.layer.grad_checkpointing = recompute

    def forward(self, x: Any) -> Tensor:
        """The output."""
        before = set_fused(self.fused)
        try:
            return super().forward(x)
        finally:
            set_fused(before)


class Padded(Ours):
    """The layer on the sequences of a packed case as they are padded."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.x = case.padded()

    def forward(self, _: Any) -> Tensor:
        """The output, padding and all."""
        return super().forward(self.x)


def two_convolutions(case: Case) -> Plain:
    """For every cell."""
    return Plain(case.layer())


def one_convolution(case: Case) -> OneConvolution | None:
    """For cells whose gates are sums of an input and a state part: in a GRU the candidate's are not."""
    return None if case.kind == "GRU" else OneConvolution(case.layer())


def keras(case: Case) -> Forward | None:
    """Keras' layers on its torch backend, given the layout they want; None without Keras or where it has no layer."""
    if case.kind != "LSTM" or case.lengths:
        return None
    import os

    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return None

    cls = getattr(keras.layers, f"ConvLSTM{len(case.size)}D")
    model = keras.Sequential()
    for _ in range(case.num_layers):
        layer = cls(case.channels, case.kernel, padding="same", return_sequences=True)
        model.add(keras.layers.Bidirectional(layer) if case.bidirectional else layer)
    x = case.padded().movedim(2, -1).transpose(0, 1).contiguous()
    model(x[:1, :1])  # made now, and not with all of its maps: memory is measured from here

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
    "ours recomputing": lambda case: Ours(case, recompute=True),
    "ours padded": lambda case: Padded(case) if case.lengths else None,
    "two convolutions": two_convolutions,
    "one convolution": one_convolution,
    "keras": keras,
}
COMPILED: dict[str, Build] = {
    "ours compiled": compiled(Output),
    "two convolutions compiled": compiled(two_convolutions),
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
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build
