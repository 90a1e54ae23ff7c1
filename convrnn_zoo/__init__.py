"""A model zoo of convolutional RNNs: cells, sequence layers, architectures by name, and their weights.

Importing this package registers every architecture with timm.

Example:
    >>> import torch, convrnn_zoo
    >>> model = convrnn_zoo.create_model("convlstm2d_bi_2layer", in_chans=1, hidden_channels=8)
    >>> tuple(model(torch.randn(2, 5, 1, 16, 16)).shape)  # (N, T, C, H, W)
    (2, 5, 16, 16, 16)
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._version import __version__

_SUBMODULES = ("data", "hub", "interop", "layers", "models", "onnx")
_HOMES = {"push_to_hub": ".hub", "save_pretrained": ".hub", "ExportError": ".onnx", "export": ".onnx"}
# torch and timm take seconds to import, so the command line leaves them to the command that runs.
_IS_COMMAND_LINE = Path(*sys.argv[:1]).stem == "convrnn-zoo" or sys.orig_argv[1:3] == ["-m", "convrnn_zoo"]

if TYPE_CHECKING or not _IS_COMMAND_LINE:
    from . import _public
    from ._public import *  # noqa: F403
    from .layers import *  # noqa: F403

    __all__ = [
        *(name for name in dir(_public) if not name.startswith("_")),
        "ExportError", "__version__", "export", "hub", "interop", "onnx", "push_to_hub", "save_pretrained",
    ]  # fmt: skip

if TYPE_CHECKING:
    from . import data as data
    from . import hub, interop, onnx
    from .hub import push_to_hub, save_pretrained
    from .onnx import ExportError, export
else:

    def __getattr__(name: str) -> Any:
        """Imports a submodule or public name when it is first used."""
        if name in _SUBMODULES:
            return import_module(f".{name}", __name__)
        module = import_module(_HOMES.get(name, "._public"), __name__)
        if name.startswith("_") or not hasattr(module, name):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(module, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *globals().get("__all__", ())})
