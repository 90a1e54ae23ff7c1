"""Converts TorchGeo's ConvLSTM, 0.8 to 0.10: layers in the format of ``ndrplz``, since 0.10 followed by a head."""

from dataclasses import replace

from torch import nn

from . import ndrplz
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, Source
from ._to_model import to_model

LAYOUT = replace(ndrplz.LAYOUT, source="torchgeo")


def load(checkpoint: ForeignCheckpoint) -> nn.Module:
    """Loads a ConvLSTM as a batch-first layer, or as a model of the core family if it has a head of 1×1.

    The head becomes the classifier of every pixel and date. TorchGeo's model returns the logits of the last date only.
    """
    head = {key: value for key, value in checkpoint.state.items() if key.startswith("head.")}
    layers = {key: value for key, value in checkpoint.state.items() if key not in head}
    rnn = LAYOUT.load(replace(checkpoint, state=layers), batch_first=True)
    if not head:
        return rnn
    entries = Entries(replace(checkpoint, state=head), "torchgeo")
    entries.dtypes.add(rnn.weight_ih_l0.dtype)
    weight = entries.take("head.weight", (None, rnn.widths[-1], 1, 1))
    bias = entries.take("head.bias", (len(weight),))
    entries.finish()
    return to_model(rnn, {"weight": weight.flatten(1), "bias": bias})


TORCHGEO = Source(
    name="torchgeo",
    title="TorchGeo's ConvLSTM, https://torchgeo.readthedocs.io/en/stable/api/models.html",
    key=r"cell_list\.\d+\.conv\.weight",
    ranks=(4,),
    key_description="the joint convolution of a layer, with a head",
    second_key=r"head\.(?:weight|bias)",
    load=load,
    options={},
)
