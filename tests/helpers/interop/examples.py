"""Valid state dicts of each source, with the options that do not follow from the weights."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from tests.helpers.interop import dgmr_states, rvm_states
from tests.helpers.interop.recorded import ASKED, recorded, recorded_layer


class Example(NamedTuple):
    state: dict[str, Tensor]
    options: dict[str, Any]


STATES: dict[str, Example] = {
    "pytorch_convolutional_rnn": Example(recorded_layer("Conv2dLSTM", "bi_2layer")[0].state, {"batch_first": True}),
    "ndrplz": Example(recorded("ndrplz_convlstm").state, {}),
    "kimmel": Example(recorded("kimmel_convgru").state, {}),
    "keras": Example(recorded("keras_convlstm2d_bi").state, ASKED),
    "openstl": Example(recorded("openstl_predrnn").state, {"patch_size": 2}),
    "irene": Example(recorded("irene").state, {}),
    "dgmr": Example(dgmr_states.state(), {}),
    "rvm": Example(rvm_states.state(), {}),
    "weather2land": Example(recorded("weather2land").state, {}),
    "sg_convlstm": Example(recorded("sg_convlstm").state, {}),
    "greenearthnet": Example(recorded("predrnn_greenearthnet").state, {}),
    "firenet": Example(recorded("firenet").state, {}),
    "digital_typhoon": Example(
        {k: v for k, v in recorded("digital_typhoon").state.items() if not k.endswith("num_batches_tracked")}, {}
    ),
    "e2vid": Example(recorded("e2vid_plus").state, recorded("e2vid_plus").kwargs),
    "torchgeo": Example(recorded("torchgeo_conv3dlstm").state, {}),
    "torch": Example(nn.GRU(3, 4, 2, bidirectional=True).state_dict(), {}),
}
