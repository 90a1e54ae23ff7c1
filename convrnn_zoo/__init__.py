"""A model zoo of convolutional RNNs: cells, sequence layers, architectures by name, and their weights.

Importing this package registers every architecture with timm.

A package imports only from those before it in this list: `layers`; `values`, which converts data to tensors;
`pretrained`, the files of weights; `models`; `hub`, `interop`, which saves with it, and `exporting`; `data`, readers
and datasets; `verify`, losses and scores; `recipes` of training; `train` and `predict`, which do not import each other;
and `cli`. Files `_NAME.py` are helpers of all packages. `weights/` has the shipped weights, `demo/` samples for them.

Example:
    >>> import torch, convrnn_zoo
    >>> model = convrnn_zoo.create_model("convlstm2d_bi_2layer", in_chans=1, hidden_channels=8)
    >>> tuple(model(torch.randn(2, 5, 1, 16, 16)).shape)  # (N, T, C, H, W)
    (2, 5, 16, 16, 16)
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

_SUBMODULES = ("data", "exporting", "hub", "interop", "layers", "models")
_HOMES = {
    "forecast_archive": ".predict.archive",
    "push_to_hub": ".hub",
    "save_pretrained": ".hub",
    "ExportError": ".exporting",
    "export": ".exporting",
}


def _public_names() -> list[str]:
    public = import_module("._public", __name__)
    others = ("__version__", "exporting", "hub", "interop", *_HOMES)
    return sorted({*(name for name in dir(public) if not name.startswith("_")), *others})


# torch and timm take seconds to import, so the program convrnn-zoo leaves them to the command that runs.
if TYPE_CHECKING or "convrnn_zoo_command" not in sys.modules:
    from ._public import *  # noqa: F403
    from .layers import *  # noqa: F403

    __all__ = _public_names()

if TYPE_CHECKING:
    from . import data as data
    from . import exporting as exporting
    from . import hub as hub
    from . import interop as interop
    from .exporting import ExportError as ExportError
    from .exporting import export as export
    from .hub import push_to_hub as push_to_hub
    from .hub import save_pretrained as save_pretrained
    from .predict.archive import forecast_archive as forecast_archive
else:

    def __getattr__(name: str) -> Any:
        """Imports a submodule or public name when it is first used."""
        if name == "__all__":
            return _public_names()
        if name in _SUBMODULES:
            return import_module(f".{name}", __name__)
        module = import_module(_HOMES.get(name, "._public"), __name__)
        value = None if name.startswith("_") else getattr(module, name, None)
        if value is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_SUBMODULES, *_public_names()})
