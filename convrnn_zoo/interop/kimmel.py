"""pytorch_convgru of jacobkimmel: three convolutions of ``[x, h]`` a layer, the reset before the third.

Its update gate u counts the other way, ``h' = (1 - u) h + u n``: our z is ``1 - σ(a) = σ(-a)``, the same
convolution with its sign turned. It is called once a step with the list of states; our layer takes the sequence.
https://github.com/jacobkimmel/pytorch_convgru
"""

from ..layers import Conv2dGRU
from ._joined import Joined
from ._source import Source

LAYOUT = Joined(
    "kimmel", Conv2dGRU, "ConvGRUCell_{:02d}.", {"reset_gate": (0,), "update_gate": (1,), "out_gate": (2,)},
    negated=("update_gate",), always_bias=True, options={"reset_after": False},
)  # fmt: skip
KIMMEL = Source(
    name="kimmel",
    title="pytorch_convgru, https://github.com/jacobkimmel/pytorch_convgru",
    key=r"ConvGRUCell_\d\d\.(?:reset|update|out)_gate\.weight",
    ranks=(4,),
    knows="one of the three convolutions of its cells",
    load=LAYOUT.load,
    options={"batch_first": "whether ours takes (N, T, …) (false)"},
    export=LAYOUT.export,
)
