"""What every model of the zoo has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from ...layers import _checks as check
from ...pretrained.config import HEAD_CFG_KEYS
from ...pretrained.log_mel import LogMel
from ...pretrained.preprocessing import Preprocessing
from ...pretrained.weights import Weights
from .sequences import check_pool


class ZooModel(nn.Module):
    """A model as :func:`convrnn_zoo.create_model` makes it.

    It is a :class:`~convrnn_zoo.Forecaster`, a sequence model such as :class:`~convrnn_zoo.ConvRNNModel`, or a model
    with an answer for every pixel. To a type checker the attributes below are known, and all others are of type Any
    until ``isinstance`` says which class it is.

    Example:
        >>> import convrnn_zoo
        >>> isinstance(convrnn_zoo.create_model("convgru1d_1layer"), ZooModel)
        True
    """

    in_chans: int
    """Channels of the input."""
    num_classes: int
    """Outputs of the classifier; 0 for none."""
    pretrained_cfg: dict[str, Any]
    """timm's description of the weights and of the data that they were trained on."""
    model_args: dict[str, Any]
    """What the architecture was built with."""
    preprocessing: Preprocessing | None = None
    """Of a forecaster: from frames in the unit of its data to what it sees, and back; None where nobody has said."""
    front_end: LogMel | None = None
    """Of a classifier of sound: from samples to what it sees."""
    record: Weights | None = None
    """What is claimed of the weights that were loaded; None without weights, and where they were fitted to another
    head or other sizes."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that should not decay, beyond the biases."""
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switches gradient checkpointing: training then recomputes layers or steps, for less memory and more time."""
        for module in self.modules():
            if hasattr(module, "grad_checkpointing"):
                module.grad_checkpointing = enable  # type: ignore[assignment]


class HeadedModel(ZooModel):
    """A model with a head that can be changed; a subclass has ``make_head``, and resets it when it is built."""

    head: nn.Module
    global_pool: str | None

    def get_classifier(self) -> nn.Module:
        """The head, or an identity where there are no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head of `num_classes`, which have no names yet, or none for 0; the pooling stays unless given."""
        if not check.is_int(num_classes) or num_classes < 0:
            raise ValueError(f"num_classes must be a whole number of at least 0 (no classifier), got {num_classes!r}")
        if global_pool is not None:
            self.global_pool = check_pool(global_pool)
        self.num_classes = num_classes
        self.head = (self.make_head(num_classes) if num_classes else nn.Identity()).train(self.training)
        for key in HEAD_CFG_KEYS:  # what timm's cfg says of the outputs of a head that is no longer there
            getattr(self, "pretrained_cfg", {}).pop(key, None)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode for a while; a model that is in it stays untouched, by however many threads."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
