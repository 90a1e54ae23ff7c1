"""Models with one module of recurrent layers (the core family), such as ``convlstm2d_bi_3layer``.

Their names are ``{cell}{1,2,3}d[_bi]_{1,2,3}layer``, for each cell of :data:`convrnn_zoo.layers.KINDS`.
"""

from functools import partial
from typing import Any

import torch

from .. import _checks as check
from ..layers import KINDS, ConvRNNBase
from ..layers._base import SPACE, Kernels, Widths
from .base import RecurrentClassifier, build_model, register_model


class ConvRNNModel(RecurrentClassifier):
    """A convolutional RNN with an optional classifier, on batch-first sequences.

    Args:
        layer: class of the layer, such as :class:`~convrnn_zoo.layers.Conv2dLSTM`.
        in_chans: channels of the input.
        hidden_channels: channels of the state: one number, or a list with one number per layer.
        kernel_size: kernel of every convolution: an int, a tuple with one int per axis, or a list with one tuple per
            layer.
        num_classes: outputs of the classifier; 0 for none.
        global_pool: ``"avg"`` and ``"max"`` pool over all steps and pixels without the padding, ``"last"`` averages the
            pixels of the last step, and ``""`` keeps every step and pixel. The default None means ``"avg"`` for single
            frames and for models with a classifier, and ``""`` otherwise.
        drop_rate: dropout before the classifier.
        device, dtype: of the parameters.
        **layer_args: options of the layer: `num_layers`, `bidirectional`, `hidden_kernel_size`, `padding_mode`, …

    Shapes:
        input ``(N, T, C, *S)``, one frame per sequence ``(N, C, *S)``, or a PackedSequence; pass `lengths` ``(N,)`` if
        the sequences of a tensor differ in length. The output has F features (``num_features``) or K logits:

        | num_classes | unpooled (packed for packed input) | pooled              |
        |-------------|------------------------------------|---------------------|
        | 0           | features ``(N, T, F, *S)``         | features ``(N, F)`` |
        | K           | logits ``(N, T, K, *S)``           | logits ``(N, K)``   |

        For one frame per sequence, the output has no axis T.

    Example:
        >>> from convrnn_zoo.layers import Conv2dLSTM
        >>> model = ConvRNNModel(Conv2dLSTM, in_chans=3, hidden_channels=16, num_classes=5, bidirectional=True)
        >>> tuple(model(torch.randn(2, 7, 3, 8, 8), lengths=[7, 4]).shape)
        (2, 5)
    """

    input_weights = ("rnn.weight_ih_l0", "rnn.weight_ih_l0_reverse")

    def __init__(
        self,
        layer: type[ConvRNNBase],
        in_chans: int = 3,
        hidden_channels: Widths = 64,
        kernel_size: Kernels = 3,
        num_classes: int = 0,
        global_pool: str | None = None,
        drop_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **layer_args: Any,
    ) -> None:
        super().__init__()
        self.rnn = layer(
            in_chans, hidden_channels, kernel_size, batch_first=True, device=device, dtype=dtype, **layer_args
        )
        self.in_chans, self.ndim = self.rnn.in_channels, self.rnn.ndim
        self.add_classifier(num_classes, global_pool, drop_rate)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        return {"stem": r"^rnn\.(?:weight|bias)_ih_l0", "blocks": r"^rnn\.\w+_l(\d+)"}


LAYERS = {cls.__name__: cls for by_ndim in KINDS.values() for cls in by_ndim.values()}
"""Classes of the core layers by name."""


class RecurrentStack(ConvRNNModel):
    """A :class:`ConvRNNModel` whose layer class is an argument, for stacks of any depth.

    Args:
        layer: name of the layer's class in :mod:`convrnn_zoo.layers`, such as ``"Conv2dLSTM"``.
        **kwargs: arguments of :class:`ConvRNNModel` and options of the layer, such as `num_layers`.

    Raises:
        ValueError: there is no such layer.

    Example:
        >>> model = RecurrentStack("Conv2dLSTM", in_chans=10, hidden_channels=[32, 32, 32, 4], num_layers=4)
        >>> tuple(model(torch.randn(1, 2, 10, 8, 8)).shape)
        (1, 2, 4, 8, 8)
    """

    def __init__(self, layer: str = "Conv2dLSTM", **kwargs: Any) -> None:
        super().__init__(LAYERS[check.choice("layer", layer, tuple(LAYERS))], **kwargs)


@register_model(cfg={"input_size": (3, 32, 32), "pool_size": (32, 32)}, small={"hidden_channels": 4, "num_layers": 2})
def recurrent_stack(pretrained: bool = False, **kwargs: Any) -> RecurrentStack:
    """A stack of any number of core layers, each with its own width.

    The names such as ``convlstm2d_3layer`` have one to three layers. ``convrnn-zoo convert`` uses this name for deeper
    checkpoints. Inputs and outputs are those of :class:`~convrnn_zoo.ConvRNNModel`.

    Args:
        layer ("Conv2dLSTM"), num_layers (1), bidirectional (False), in_chans (3), hidden_channels (64), kernel_size
        (3), num_classes (0), global_pool (None), drop_rate (0.0), and the options of the layer.
    """
    return build_model(RecurrentStack, "recurrent_stack", pretrained, **kwargs)


_SIZES = {1: (1, 32), 2: (32, 32), 3: (16, 16)}
_COUNTS = {1: "one layer", 2: "two layers", 3: "three layers"}

_DOC = """{title}, {count}{directions}, in {ndim}-d.

Input ``(N, T, C, {space})``, single frames ``(N, C, {space})``, or a PackedSequence; see
:class:`~convrnn_zoo.ConvRNNModel` for the shapes of the output.

Args:
    pretrained: whether to load the weights of the tag in the name, or else of the default tag.
    in_chans (3), hidden_channels (64), kernel_size (3), num_classes (0), global_pool (None), drop_rate (0.0), and
    the options of :class:`~convrnn_zoo.layers.{layer}`.

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("{name}", in_chans=2, hidden_channels=4)
    >>> tuple(model(torch.randn(1, 3, 2, {example})).shape)
    (1, 3, {features}, {example})
"""


def _register(name: str, layer: type[ConvRNNBase], bidirectional: bool, num_layers: int) -> None:
    ndim = layer.ndim
    constructor = partial(ConvRNNModel, layer, num_layers=num_layers, bidirectional=bidirectional)

    def function(pretrained: bool = False, **kwargs: Any) -> ConvRNNModel:
        return build_model(constructor, name, pretrained, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = _DOC.format(
        title=layer.title[0].upper() + layer.title[1:],
        count=_COUNTS[num_layers],
        ndim=ndim,
        space=SPACE[ndim],
        directions=" in each direction" if bidirectional else "",
        layer=layer.__name__,
        name=name,
        example=", ".join(["8"] * ndim),
        features=8 if bidirectional else 4,
    )
    register_model(cfg={"input_size": (3, *_SIZES[ndim]), "pool_size": _SIZES[ndim]})(function)


for _kind, _by_ndim in KINDS.items():
    for _ndim, _layer in _by_ndim.items():
        for _bi in (False, True):
            for _layers in (1, 2, 3):
                _register(f"{_kind}{_ndim}d{'_bi' if _bi else ''}_{_layers}layer", _layer, _bi, _layers)
