"""Models outside the registry and within nn.DataParallel."""

import functools
import inspect

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo import AudioModel, Conv1dGRU, Conv2dGRU, ConvRNNModel, Forecaster, LogMel, VideoModel, models
from convrnn_zoo.layers.variants import Conv2dGroupNormGRUCell
from tests.models.test_timm import META, data, every_name, small


def replicate(model):
    """Returns a replica as ``torch.nn.parallel.replicate`` makes them on GPUs: it holds plain tensors."""
    replicas = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, replica in replicas.items():
        for name, child in module.named_children():
            setattr(replica, name, replicas[child])
        for name, parameter in module._parameters.items():
            if parameter is None:
                replica._parameters[name] = None
            else:
                setattr(replica, name, parameter.clone())
    return replicas[model]


@pytest.mark.sampled("name")
@every_name
def test_replicas_of_data_parallel_give_the_outputs_and_gradients_of_the_model(name):
    model = small(name).eval()
    x, options = data(model), {"horizon": 2} if isinstance(model, Forecaster) else {}
    if isinstance(model, convrnn_zoo.EnsembleForecaster):
        options["noise"] = model.draw_noise(x, 2, torch.Generator().manual_seed(0))
    replica = replicate(model)
    assert not list(replica.parameters())
    results = []
    for module in (model, replica):
        output = module(x, **options)
        outputs = output if isinstance(output, list) else [output]
        model.zero_grad()
        sum(y.square().sum() for y in outputs).backward()
        results.append((outputs, {n: p.grad for n, p in model.named_parameters()}))
    torch.testing.assert_close(results[1], results[0])


def test_standardizes_packed_sequences_and_rejects_other_channels():
    model = convrnn_zoo.create_model("convlstm1d_bi_1layer.japanese_vowels", pretrained=True)
    x = torch.rand(2, 5, 12, 1)
    pack = functools.partial(torch.nn.utils.rnn.pack_padded_sequence, batch_first=True, enforce_sorted=False)
    assert torch.equal(model.normalize(pack(x, [3, 5])).data, pack(model.normalize(x), [3, 5]).data)
    for shape in ((2, 5, 1, 1), (2, 5, 13, 1), (12,)):
        with pytest.raises(ValueError, match="12 input channels"):
            model.normalize(torch.rand(shape))


def test_models_built_from_their_classes_classify_with_class_numbers_as_labels():
    torch.manual_seed(0)
    model = ConvRNNModel(Conv1dGRU, in_chans=2, hidden_channels=4, num_classes=3)
    [prediction] = model.classify([torch.rand(5, 2, 8)])
    assert list(prediction.probabilities) == ["0", "1", "2"]
    model = VideoModel("resnet18", "convgru", hidden_channels=4, num_classes=2)
    assert list(model.classify([torch.rand(2, 3, 32, 32)])[0].probabilities) == ["0", "1"]
    model = AudioModel(in_chans=40, num_classes=2)
    model.front_end = LogMel(rate=8000)
    assert list(model.classify_sound([torch.zeros(4000)], 8000)[0].probabilities) == ["0", "1"]


# ---- NumPy numbers as arguments ------------------------------------------------------------------------------------
FIRST = {
    models.convrnn.ConvRNNModel: (Conv2dGRU,),
    models.encoder_forecaster.ConvRNNForecaster: (Conv2dGRU,),
    models.pyramid_forecaster.NormedForecaster: (Conv2dGroupNormGRUCell,),
    models.pyramid_forecaster.RadarForecaster: (True,),
    models.utae.SeriesRNN: (Conv2dGRU,),
    models.video.VideoModel: ("resnet18",),
    models.rvm.RecurrentDecoderModel: ("mobilenetv3_small_100",),
    models.rvm.RobustVideoMatting: ("mobilenetv3_large_100",),
}
"""Positional arguments of classes that require some."""


def numpy_arguments(cls):
    """Returns the default of each number among the arguments of a class, as NumPy's."""
    arguments = {}
    for base in cls.__mro__[:-1]:
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values() if "__init__" in vars(base) else ()
        for p in parameters:
            kind = {int: np.int64, float: np.float32}.get(type(p.default))
            if kind:
                arguments.setdefault(p.name, kind(p.default))
        if parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return {**arguments, "num_classes": np.int64(0 if issubclass(cls, Forecaster) else 3)}


@pytest.mark.parametrize("cls", sorted({type(META[n]) for n in META}, key=lambda c: c.__name__))
def test_numpy_numbers_are_valid_arguments_of_every_class(cls):
    arguments = numpy_arguments(cls)
    model = cls(*FIRST.get(cls, ()), **arguments, device="meta")
    expected = cls(*FIRST.get(cls, ()), **{name: value.item() for name, value in arguments.items()}, device="meta")
    shapes, others = ({k: v.shape for k, v in m.state_dict().items()} for m in (model, expected))
    assert len(arguments) > 2
    assert shapes == others
    assert not {name for name, value in vars(model).items() if isinstance(value, np.generic)}
