"""The schemes that are timed side by side.

A scheme is a function ``build(case) -> forward`` or None where it cannot do the case; ``forward(x)`` takes what
``case.input()`` gives and returns the output sequence, differentiable in ``forward.parameters()`` (a module's).

``--peer NAME=DIR`` enters another one, of either kind:

* ``DIR/convrnn_peer.py`` holds such a ``build``, and ``DIR`` is put first on the import path; `case` has the fields of
  :class:`benchmarks.cases.Case`;
* ``DIR`` is another checkout of this project, say an older one: its layers are called "ours of NAME".

Schemes whose names begin with one of :data:`NO_PEERS` are not peers.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .cases import Case
from .plain import OneConvolution, Plain

Forward = Callable[[Any], Tensor]
Build = Callable[[Case], Any]

BY_AUTOGRAD = "autograd of the step"
NO_PEERS = ("ours", BY_AUTOGRAD, "floor")


class Output(nn.Module):
    """The layer's output alone, a packed one as its data."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Tensor:
        """The output."""
        y, _ = self.layer(x)
        return y.data if isinstance(y, PackedSequence) else y


class Padded(Output):
    """The layer on the sequences of a packed case as they are padded."""

    def __init__(self, case: Case) -> None:
        super().__init__(case.layer())
        self.x = case.padded()

    def forward(self, _: Any) -> Tensor:
        """The output, padding and all."""
        return super().forward(self.x)


def ours(case: Case) -> Output:
    """The layer as it is."""
    return Output(case.layer())


def recomputing(case: Case) -> Output:
    """The layer that computes steps again in its backward pass instead of keeping them."""
    layer = case.layer()
    layer.grad_checkpointing = True
    return Output(layer)


def autograd_of_the_step(case: Case) -> Output:
    """The layer with its written derivative taken away: what a cell without one costs."""
    cls = case.layer_class()
    return Output(case.layer(type(cls.__name__, (cls,), {"in_place": None})))


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
    "ours": ours,
    "ours recomputing": recomputing,
    "ours padded": lambda case: Padded(case) if case.lengths else None,
    BY_AUTOGRAD: autograd_of_the_step,
    "two convolutions": two_convolutions,
    "one convolution": one_convolution,
    "keras": keras,
}
COMPILED: dict[str, Build] = {
    "ours compiled": compiled(ours),
    "two convolutions compiled": compiled(two_convolutions),
    "one convolution compiled": compiled(one_convolution),
}


def load_peer(name: str, directory: Path) -> tuple[str, Build]:
    """The scheme of ``--peer NAME=DIR``, and what it is called.

    Raises:
        FileNotFoundError: the directory is of neither kind.
    """
    peer, layers = directory / "convrnn_peer.py", directory / "convrnn_zoo" / "layers" / "__init__.py"
    if peer.is_file():
        sys.path.insert(0, str(directory.resolve()))
        return name, load_file(f"convrnn_peer_{name}", peer).build
    if layers.is_file():
        found = load_file(f"convrnn_layers_{name}", layers, [str(layers.parent)])
        return f"ours of {name}", lambda case: Output(case.layer(case.layer_class(found)))
    raise FileNotFoundError(
        f"--peer expected {peer}, a file with build(case), or {layers.parent}, the layers of another checkout; got "
        "neither; see benchmarks.peers"
    )


def load_file(name: str, path: Path, submodules: list[str] | None = None) -> ModuleType:
    """The file as a module, or with `submodules` as a package, of a name that no other has."""
    name = re.sub(r"\W", "_", name)
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=submodules)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
