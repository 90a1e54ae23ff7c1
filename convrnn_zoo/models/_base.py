"""What every model of the zoo has."""

from typing import TYPE_CHECKING, Any

from torch import nn


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

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
