"""Export of models and layers as ONNX files, as programs of ``torch.export`` and of ExecuTorch, and for servers.

To add a format, write a file such as ``executorch.py``, and add it to the tables and the branch in ``export.py``.
"""

from .export import export
from .quantize import quantize
from .spec import ExportError
from .triton import export_triton

__all__ = ["ExportError", "export", "export_triton", "quantize"]
