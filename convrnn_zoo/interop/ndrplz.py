"""ConvLSTM_pytorch of ndrplz: one convolution of ``[x, h]`` a layer, rows in the order i, f, o, g.

https://github.com/ndrplz/ConvLSTM_pytorch
"""

from ..layers import Conv2dLSTM
from ._joined import Joined
from ._source import Source

LAYOUT = Joined("ndrplz", Conv2dLSTM, "cell_list.{}.", {"conv": (0, 1, 3, 2)})
NDRPLZ = Source(
    name="ndrplz",
    title="ConvLSTM_pytorch, https://github.com/ndrplz/ConvLSTM_pytorch",
    key=r"cell_list\.\d+\.conv\.weight",
    ranks=(4,),
    knows="the joined convolution of one of its layers",
    load=LAYOUT.load,
    options={"batch_first": "as its argument of that name (false)"},
    export=LAYOUT.export,
)
