"""What leaves PyTorch: models and layers as ONNX files and as programs of torch.export.

The function is :func:`convrnn_zoo.export`.
"""

from ._errors import ExportError
from ._export import export

__all__ = ["ExportError", "export"]
