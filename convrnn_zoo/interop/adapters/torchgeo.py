"""Models of the zoo in the segmentation task of TorchGeo: https://torchgeo.readthedocs.io"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...models import ConvRNNModel, create_model
from ...models.base.dense import DenseModel

try:
    from torchgeo.tasks import SpatioTemporalSegmentation as _Task
except ImportError as e:
    raise ImportError("the task needs TorchGeo 0.10 or newer; run: pip install 'torchgeo>=0.10'") from e


class LastDate(nn.Module):
    """Returns a model's output for the last date of each image series, ``(N, K, H, W)``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """Returns logits for series ``(N, T, C, H, W)`` with these numbers of dates."""
        logits: Tensor = self.network(x, lengths=lengths)
        if logits.dim() == 4:
            return logits
        last = torch.full((len(x),), x.shape[1]) if lengths is None else torch.as_tensor(lengths)
        return logits[torch.arange(len(x), device=x.device), last.to(x.device).long() - 1]


class SpatioTemporalSegmentation(_Task):
    """TorchGeo's task with a model of the zoo: ``SpatioTemporalSegmentation(model="utae_convgru", num_classes=20)``.

    Batches have the keys ``image`` ``(N, T, C, H, W)``, ``mask`` ``(N, H, W)`` and, if the series differ in the number
    of dates, ``length`` ``(N,)``. The model is a 2-d name of the core family, such as ``"convlstm2d_2layer"``, or one
    with an output for every pixel, such as ``"utae_uconvlstm"``. Of an output for every date, the last date counts.

    Args:
        model: name of the architecture.
        in_channels, task, num_classes, num_labels, loss, ignore_index, lr, …: those of TorchGeo's task.
        **kwargs: sizes of the model, such as `hidden_channels`.

    Raises:
        ValueError: the zoo has no such name, or the model has no output for every pixel.
    """

    def configure_models(self) -> None:
        """Builds the model."""
        settings = self.hparams
        outputs = settings["num_classes"] or settings["num_labels"] or 1
        name, sizes = settings["model"], {"in_chans": settings["in_channels"], "num_classes": outputs}
        kind = type(create_model(name, device="meta"))
        if issubclass(kind, ConvRNNModel):
            sizes["global_pool"] = ""
        elif not issubclass(kind, DenseModel):
            raise ValueError(f"expected a model with an output for every pixel, got {name}; take utae_uconvlstm")
        self.model = LastDate(create_model(name, **sizes, **self.kwargs))
