"""Export to other projects rejects modules that the target cannot express, and lists every reason."""

from typing import Any

import pytest
import torch
from torch import nn

from convrnn_zoo import create_model, interop, layers
from convrnn_zoo.layers import Conv1dLSTM, Conv2dGRU, Conv2dLSTM, Conv2dLSTMCell, Conv2dPeepholeLSTM, Conv2dRNN
from convrnn_zoo.layers.keras import ResizingConvLSTM
from convrnn_zoo.layers.variants import Conv2dLeakyGRU, Conv2dOneBiasLSTM, Conv2dReLUGRU
from tests.helpers.interop.examples import STATES

WRITTEN = sorted(name for name, source in interop.SOURCES.items() if source.export)

REJECTED: list[tuple[str, nn.Module, str]] = [
    ("pytorch_convolutional_rnn", Conv2dLSTM(2, 3, 3, padding_mode="reflect"), "padding_mode='reflect'"),
    ("pytorch_convolutional_rnn", Conv2dLSTM(2, 3, 3, hidden_kernel_size=1), "hidden_kernels="),
    ("pytorch_convolutional_rnn", Conv2dLSTMCell(2, 3, 3, hidden_kernel_size=1), "hidden_kernel_size="),
    ("pytorch_convolutional_rnn", Conv2dLSTM(2, [3, 4], 3, 2), r"widths=\[3, 4\]"),
    ("pytorch_convolutional_rnn", Conv2dLSTM(2, 3, [(3, 3), (1, 1)], 2), "kernels="),
    ("pytorch_convolutional_rnn", Conv2dGRU(2, 3, 3, reset_after=False), "reset_after=False"),
    (
        "pytorch_convolutional_rnn",
        Conv2dPeepholeLSTM(2, 3, 3, peephole="channel"),
        "peephole='channel'",
    ),
    ("ndrplz", Conv2dGRU(2, 3, 3), "Conv2dLSTM"),
    ("ndrplz", Conv1dLSTM(2, 3, 3), "Conv2dLSTM"),
    ("ndrplz", Conv2dLSTM(2, 3, 3, bidirectional=True, dilation=2), "bidirectional=True.*; dilation="),
    ("ndrplz", Conv2dLSTM(2, 3, (2, 3)), r"kernel \(2, 3\)"),
    ("ndrplz", Conv2dLSTM(2, 3, 3, hidden_kernel_size=1), "hidden_kernels="),
    ("ndrplz", Conv2dLSTM(2, 4, 3, groups=2), "groups=2"),
    ("kimmel", Conv2dGRU(2, 3, 3), "reset_after=True"),
    ("kimmel", Conv2dLSTM(2, 3, 3), "Conv2dGRU"),
    ("kimmel", Conv2dGRU(2, 3, 4, reset_after=False), "kernel"),
    ("keras", Conv2dRNN(2, 3, 3), "ConvLSTM.*ActivatedConvLSTM.*ResizingConvLSTM"),
    ("keras", Conv2dPeepholeLSTM(2, 3, 3), "ConvLSTM"),
    ("keras", Conv2dLSTM(2, 3, 3, 2), "num_layers=2"),
    ("keras", Conv2dLSTM(2, 3, 3, dilation=2, stride=2), "stride=.*; dilation="),
    ("keras", Conv2dLSTM(2, 3, 3, hidden_kernel_size=1), "kernels"),
    ("torch", Conv2dLSTM(2, 3, 3), "kernel_size="),
    ("torch", Conv2dGRU(2, 3, 1, reset_after=False), "reset_after=False"),
    ("torch", Conv2dLSTM(2, 4, 1, groups=2), "groups=2"),
    ("torch", Conv2dLSTM(2, [3, 4], 1, 2), r"widths=\[3, 4\]"),
    ("torch", Conv2dPeepholeLSTM(2, 3, 1), "ConvRNN"),
    ("torch", Conv2dLSTM(2, 3, 1, learn_initial_state=True), "initial state"),
    ("keras", Conv2dLSTM(2, 3, 3, zoneout=0.1), "zoneout"),
    ("ndrplz", Conv2dLSTM(2, 3, 3, zoneout=0.1), "zoneout"),
    ("pytorch_convolutional_rnn", layers.Conv2dMinGRU(2, 3, 3), "pytorch_convolutional_rnn.* Conv2dMinGRU"),
    ("torch", Conv2dLeakyGRU(2, 3, 1), "torch.*equations"),
    ("pytorch_convolutional_rnn", Conv2dLeakyGRU(2, 3, 3), "pytorch_convolutional_rnn.*equations"),
    ("torch", Conv2dOneBiasLSTM(2, 3, 1), "torch.*bias"),
    ("kimmel", Conv2dReLUGRU(2, 3, 3), "kimmel.*equations"),
    *((target, nn.LSTM(2, 3), f"{target}.* LSTM") for target in WRITTEN),
    *((target, create_model("convlstm2d_1layer", num_classes=3), "classifier.* 3 ") for target in WRITTEN),
]


@pytest.mark.parametrize(("target", "module", "reason"), REJECTED)
def test_rejects_modules_that_the_target_cannot_express(target: str, module: nn.Module, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        interop.export(module, target)


ALLOWED: list[tuple[str, nn.Module, dict[str, Any]]] = [
    (
        "pytorch_convolutional_rnn",
        Conv2dLSTM(4, 4, 3, 2, bidirectional=True, stride=2, dilation=2, groups=2),
        {"stride": 2, "dilation": 2, "groups": 2},
    ),
    ("ndrplz", Conv2dLSTM(2, [3, 4], [(3, 1), (5, 5)], 2), {}),
    ("ndrplz", Conv2dLSTM(2, 3, 3, bias=False), {}),
    ("kimmel", Conv2dGRU(2, [3, 4], [(3, 1), (5, 5)], 2, reset_after=False), {}),
    ("kimmel", Conv2dGRU(2, 3, 3, reset_after=False, bias=False), {}),
    ("keras", Conv2dLSTM(2, 3, (2, 4), bidirectional=True), {"padding": "same", "recurrent_activation": "sigmoid"}),
    ("torch", Conv2dGRU(2, 3, 1, 2, bidirectional=True), {"ndim": 2}),
]


@pytest.mark.parametrize(("target", "module", "options"), ALLOWED)
def test_exported_layers_load_with_equal_outputs(target: str, module: nn.Module, options: dict[str, Any]) -> None:
    """Our two biases may become one: the parameters may differ, the outputs must be equal."""
    module.double()
    again = interop.load(target, interop.export(module, target), **options)
    x = torch.randn(3, 2, module.in_channels, 5, 6, dtype=torch.float64)
    if target == "torch":
        x = x[..., :1, :1]
    y = again(x.transpose(0, 1))[0].transpose(0, 1) if again.batch_first else again(x)[0]
    torch.testing.assert_close(y, module(x)[0])


@pytest.mark.parametrize("target", WRITTEN)
def test_exports_share_no_memory(target: str) -> None:
    module = interop.load(target, STATES[target].state, **STATES[target].options)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    for value in interop.export(module, target).values():
        value *= 0
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_a_model_without_classifier_is_its_layer() -> None:
    model = create_model("convlstm2d_2layer", in_chans=2, hidden_channels=3)
    assert interop.export(model, "ndrplz").keys() == interop.export(model.rnn, "ndrplz").keys()
    with pytest.raises(TypeError, match="'name'"):
        interop.export(model, "ndrplz", name="x")
    with pytest.raises(ValueError, match="'caffe'"):
        interop.export(model, "caffe")


@pytest.mark.parametrize("options", [{"zoneout": 0.3}, {"learn_initial_state": True}], ids=str)
def test_options_inside_a_wrapper_are_not_dropped(options):
    rnn = Conv2dLSTM(12, 3, 1, hidden_kernel_size=3, bias=False, **options)
    geometry = {"strides": (1, 1), "dilation_rate": (1, 1), "bias": True}
    layer = ResizingConvLSTM(rnn, 2, (3, 3), padding="valid", **geometry)
    with pytest.raises(ValueError, match=r"zoneout|initial"):
        interop.export(layer, "keras")
    with pytest.raises(ValueError, match="padding"):
        ResizingConvLSTM(Conv2dLSTM(12, 3, 1, hidden_kernel_size=3, bias=False), 2, (3, 3), padding="vaild", **geometry)
    with pytest.raises(ValueError, match="float"):
        interop.export(Conv2dLSTM(2, 3, 3).bfloat16(), "keras")


def test_a_layer_with_one_bias_is_written_for_a_source_with_one():
    layer = Conv2dOneBiasLSTM(2, 3, 3)
    state = interop.export(layer, "ndrplz")
    again = interop.load("ndrplz", state)
    x = torch.randn(2, 1, 2, 4, 4)
    torch.testing.assert_close(again(x)[0], layer(x)[0])
