"""What models that answer for every pixel share: their head, and timm's methods."""

from typing import Any

from torch import Tensor, nn

from ..layers import _checks as check
from ._base import ZooModel
from ._classifying import Classifier


class DenseModel(ZooModel):
    """A model of maps with an answer for every pixel.

    A subclass sets `in_chans` and `num_features`, the channels of its features, which are as large as its input, and
    calls :meth:`reset_classifier` at the end of its construction.
    """

    ndim = 2
    normalize = Classifier.normalize
    num_features: int

    @property
    def head_hidden_size(self) -> int:
        """Channels that the head reads."""
        return self.num_features

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels and reduction of the features."""
        return [{"num_chs": self.num_features, "reduction": 1, "module": "head", "index": 0}]

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that should not decay, beyond the biases."""
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training computes chunks of frames and segments of time again, for less memory and more time."""
        for module in self.modules():
            if module is not self and hasattr(module, "grad_checkpointing"):
                module.grad_checkpointing = enable  # type: ignore[assignment]

    def make_head(self, num_classes: int) -> nn.Module:
        """A fresh head: a 1×1 convolution of the features."""
        return nn.Conv2d(self.num_features, num_classes, 1)

    def get_classifier(self) -> nn.Module:
        """The head, or an identity when there are no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head of `num_classes` outputs a pixel; 0 for features.

        Raises:
            ValueError: a pool is asked for; these models answer for every pixel.
        """
        if not check.is_int(num_classes) or num_classes < 0:
            raise ValueError(f"num_classes must be a whole number of at least 0 (no classifier), got {num_classes!r}")
        if global_pool:
            raise ValueError(f"global_pool must be left out: every pixel has its answer, got {global_pool!r}")
        like, self.num_classes = next(self.parameters()), num_classes
        head = self.make_head(num_classes) if num_classes else nn.Identity()
        self.head = head.to(like.device, like.dtype).train(self.training)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Outputs of features ``(…, F, H, W)``."""
        if pre_logits or not self.num_classes:
            return x
        return self.head(x) if x.dim() == 4 else self.head(x.flatten(0, 1)).unflatten(0, x.shape[:2])
