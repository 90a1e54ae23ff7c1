"""Export of models and layers as ONNX files and as programs of ``torch.export``.

The function is :func:`convrnn_zoo.export`.
"""

from .export import export
from .spec import ExportError

__all__ = ["ExportError", "export"]
