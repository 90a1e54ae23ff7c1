"""Export of models and layers as ONNX files and as programs of ``torch.export``."""

from .export import export
from .spec import ExportError

__all__ = ["ExportError", "export"]
