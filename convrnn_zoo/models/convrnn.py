"""The core family by name: ``{convrnn,convlstm,convpeepholelstm,convgru}{1,2,3}d[_bi]_{1,2,3}layer``."""

from functools import partial

from ..layers import KINDS
from ..layers._base import SPACE
from ..pretrained.builder import register
from ._network import ConvRNNModel

_SIZES = {1: (1, 32), 2: (32, 32), 3: (16, 16)}
_COUNTS = {1: "one layer", 2: "two layers", 3: "three layers"}

_DOC = """{title}, {count}{directions}, in {ndim}-d.

Input ``(N, T, C, {space})``, frames ``(N, C, {space})``, or a PackedSequence; see
:class:`~convrnn_zoo.ConvRNNModel` for the forms of the output.

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (3), hidden_channels (64), kernel_size (3), num_classes (0), global_pool (None), drop_rate (0.0), and
    the options of :class:`~convrnn_zoo.layers.{layer}`.

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("{name}", in_chans=2, hidden_channels=4)
    >>> tuple(model(torch.randn(1, 3, 2, {example})).shape)
    (1, 3, {features}, {example})
"""

for _kind, _by_ndim in KINDS.items():
    for _ndim, _layer in _by_ndim.items():
        for _bi in (False, True):
            for _layers in (1, 2, 3):
                _name = f"{_kind}{_ndim}d{'_bi' if _bi else ''}_{_layers}layer"
                register(
                    __name__,
                    _name,
                    partial(ConvRNNModel, _layer, num_layers=_layers, bidirectional=_bi),
                    cfg={
                        "input_size": (3, *_SIZES[_ndim]),
                        "pool_size": _SIZES[_ndim],
                        "first_conv": ("rnn.weight_ih_l0", "rnn.weight_ih_l0_reverse")[: 2 if _bi else 1],
                    },
                    doc=_DOC.format(
                        title=_layer.title[0].upper() + _layer.title[1:],
                        count=_COUNTS[_layers],
                        directions=" in each direction" if _bi else "",
                        ndim=_ndim,
                        space=SPACE[_ndim],
                        layer=_layer.__name__,
                        name=_name,
                        example=", ".join(["8"] * _ndim),
                        features=8 if _bi else 4,
                    ),
                )
