"""What every model of the zoo has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from ._log_mel import LogMel
from ._preprocessing import Preprocessing
from ._weights import Weights

OF_HEAD = ("label_names", "label_descriptions")
"""What a cfg of timm's says of a classifier's outputs."""


class ZooModel(nn.Module):
    """A model as :func:`convrnn_zoo.create_model` makes it: a :class:`~convrnn_zoo.ConvRNNModel` or a
    :class:`~convrnn_zoo.Forecaster`.

    To a type checker these attributes are known, and the methods of either kind are there and of type Any;
    ``isinstance`` makes a model one of them.

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


def unname_classes(model: nn.Module) -> None:
    """Drops what the cfg says of the outputs of a classifier that is no longer there."""
    for key in OF_HEAD:
        getattr(model, "pretrained_cfg", {}).pop(key, None)


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
