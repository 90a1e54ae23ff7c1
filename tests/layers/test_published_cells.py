"""Layers with one bias per gate and with a ReLU, against recorded outputs of RAFT and against simpler layers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convrnn_zoo.layers.variants import Conv2dOneBiasGRU, Conv2dReLUGRU
from tests.helpers.interop.recorded import assert_agree


def test_rafts_small_gru():
    """Its rows z, r, q on (h, x), z being the new part, are our r, z, n on x and h, z being the old."""
    values = load_file(Path(__file__).parent / "published" / "raft_convgru_small.safetensors")
    w = {key.removeprefix("w."): value for key, value in values.items()}
    r, z, n = (w[f"convgru1.conv{gate}.weight"] for gate in "rzq")
    weight, width = torch.cat([r, -z, n]), len(r)
    bias = torch.cat([w["convgru1.convr.bias"], -w["convgru1.convz.bias"], w["convgru1.convq.bias"]])
    rnn = Conv2dOneBiasGRU(5, 4, 3)
    rnn.load_state_dict({"weight_ih_l0": weight[:, width:], "weight_hh_l0": weight[:, :width], "bias_ih_l0": bias})
    assert_agree(rnn(values["x.input"], values["x.h0"][None])[0], values["y.h"])


def test_the_relu_gru_has_no_other_reset():
    with pytest.raises(ValueError, match=r"reset_after.* True"):
        Conv2dReLUGRU(1, 2, 3, reset_after=True)
