"""Converts pytorch_convgru of jacobkimmel. Its layers have two convolutions of ``[x, h]`` and one of ``[x, r h]``.

The original is called once per step with a list of states. Our layer takes the complete sequence.
"""

from .. import _checks as check
from ..layers import Conv2dGRU
from ._key_map import Source
from .ndrplz import JointConvs

LAYOUT = JointConvs(
    "kimmel",
    Conv2dGRU,
    "ConvGRUCell_{:02d}",
    {"reset_gate": (0,), "update_gate": (0,), "out_gate": (0,)},
    negates_update=True,
    always_bias=True,
    options={"reset_after": False},
)
KIMMEL = Source(
    name="kimmel",
    title="pytorch_convgru, https://github.com/jacobkimmel/pytorch_convgru",
    key=r"ConvGRUCell_\d\d\.(?:reset|update|out)_gate\.weight",
    ranks=(4,),
    key_description="one of the three convolutions of its cells",
    load=LAYOUT.load,
    options={"batch_first": "whether our layer takes (N, T, …) (false)"},
    checks={"batch_first": check.boolean},
    export=LAYOUT.export,
)
