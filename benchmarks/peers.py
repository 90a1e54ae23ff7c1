"""Implementations that are timed side by side.

An implementation is a function ``build(case) -> forward``. It returns None if it does not support the case. `forward`
is a module that takes ``case.input()`` and returns the output sequence.

``--peer NAME=DIR`` adds another implementation:

* If ``DIR/convrnn_peer.py`` exists, it defines such a ``build``. ``DIR`` is put first on the import path. `case` has
  the fields of :class:`benchmarks.cases.Case`.
* Otherwise ``DIR`` is another checkout of this project, for example an older one. Its layers are called
  "ours of NAME".

Implementations whose names begin with one of :data:`NO_PEERS` are not peers.
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
    """Wraps a layer and returns only its output. Of a packed output, it returns the data."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Tensor:
        """Returns the output."""
        y, _ = self.layer(x)
        return y.data if isinstance(y, PackedSequence) else y


class Padded(Output):
    """Layer of a packed case, applied to the padded sequences instead."""

    def __init__(self, case: Case) -> None:
        super().__init__(case.layer())
        self.x = case.padded()

    def forward(self, _: Any) -> Tensor:
        """Returns the output, including padding."""
        return super().forward(self.x)


def ours(case: Case) -> Output:
    """Builds the layer of this project."""
    return Output(case.layer())


def recomputing(case: Case) -> Output:
    """Builds the layer with gradient checkpointing."""
    layer = case.layer()
    layer.grad_checkpointing = True
    return Output(layer)


def autograd_of_the_step(case: Case) -> Output:
    """Builds the layer without its hand-written derivative, like a custom cell that does not define one."""
    cls = case.layer_class()
    return Output(case.layer(type(cls.__name__, (cls,), {"in_place": None})))


def two_convolutions(case: Case) -> Plain:
    """Builds the plain loop with one convolution of the input and one of the state."""
    return Plain(case.layer())


def one_convolution(case: Case) -> OneConvolution | None:
    """Builds the plain loop with one convolution. Returns None for the GRU, whose candidate needs two convolutions."""
    return None if case.kind == "GRU" else OneConvolution(case.layer())


def keras(case: Case) -> Forward | None:
    """Builds the ConvLSTM of Keras on torch, for channels-last input. Returns None for other cells or packed input."""
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
    model(x[:1, :1])  # builds the weights with little memory; the peak is measured from here

    class Keras(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, _: Any) -> Tensor:
            return self.model(x)

    return Keras()


def torchgeo(case: Case) -> Forward | None:
    """Builds TorchGeo's ConvLSTM on padded input. Returns None for other cells, 1-d or 3-d maps, or two directions."""
    if case.kind != "LSTM" or len(case.size) != 2 or case.bidirectional:
        return None
    try:
        from torchgeo.models import ConvLSTM  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return None
    model = ConvLSTM(case.in_channels, case.channels, case.kernel, case.num_layers)
    x, run = case.padded().transpose(0, 1), getattr(model, "forward_features", model)  # with a head since 0.10

    class TorchGeo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, _: Any) -> Tensor:
            return run(x)[0][-1]

    return TorchGeo()


def compiled(build: Build) -> Build:
    """Wraps an implementation in :func:`torch.compile`, all steps in one graph."""

    def build_compiled(case: Case) -> Any:
        module = build(case)
        if module is not None:
            module.compile(dynamic=False)
        return module

    return build_compiled


IMPLEMENTATIONS: dict[str, Build] = {
    "ours": ours,
    "ours recomputing": recomputing,
    "ours padded": lambda case: Padded(case) if case.lengths else None,
    BY_AUTOGRAD: autograd_of_the_step,
    "two convolutions": two_convolutions,
    "one convolution": one_convolution,
    "keras": keras,
    "torchgeo": torchgeo,
}
COMPILED: dict[str, Build] = {
    "ours compiled": compiled(ours),
    "two convolutions compiled": compiled(two_convolutions),
    "one convolution compiled": compiled(one_convolution),
}


def load_peer(name: str, directory: Path) -> tuple[str, Build]:
    """Loads the implementation of ``--peer NAME=DIR`` and returns its name with it.

    Raises:
        FileNotFoundError: the directory contains neither ``convrnn_peer.py`` nor a checkout of this project.
    """
    peer, layers = directory / "convrnn_peer.py", directory / "convrnn_zoo" / "layers" / "__init__.py"
    if peer.is_file():
        sys.path.insert(0, str(directory.resolve()))
        return name, load_file(f"convrnn_peer_{name}", peer).build
    if layers.is_file():
        package = ModuleType(module_name(f"convrnn_zoo_{name}"))  # the other checkout's models would register again
        package.__path__ = [str(layers.parent.parent)]
        sys.modules[package.__name__] = package
        other = importlib.import_module(f"{package.__name__}.layers")
        return f"ours of {name}", lambda case: Output(case.layer(case.layer_class(other)))
    raise FileNotFoundError(
        f"--peer expected {peer}, a file with build(case), or {layers.parent}, the layers of another checkout; got "
        "neither; see benchmarks.peers"
    )


def load_file(name: str, path: Path) -> ModuleType:
    """Imports a file as a module; `name` is converted to an identifier."""
    name = module_name(name)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module_name(name: str) -> str:
    """Returns a name as an identifier of Python."""
    return re.sub(r"\W", "_", name)
