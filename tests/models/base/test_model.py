"""Models outside the registry and within nn.DataParallel."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import AudioModel, Conv1dGRU, ConvRNNModel, Forecaster, LogMel, VideoModel

from ..test_timm import data, every_name, small


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


def test_replicas_forecast_and_classify():
    forecaster = convrnn_zoo.create_model("convgru_forecaster.rain", pretrained=True).eval()
    frames = torch.rand(4, 16, 16)
    torch.testing.assert_close(replicate(forecaster).forecast(frames), forecaster.forecast(frames))
    classifier = convrnn_zoo.create_model("convgru1d_bi_2layer.fsdd", pretrained=True).eval()
    sounds = [torch.zeros(9, classifier.in_chans, 1)]
    assert replicate(classifier).classify(sounds)[0].label == classifier.classify(sounds)[0].label


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


def test_their_cfgs_are_not_shared():
    models = [ConvRNNModel(Conv1dGRU, in_chans=2, hidden_channels=4, num_classes=2) for _ in range(2)]
    models[0].pretrained_cfg["label_names"] = ("a", "b")
    assert models[1].classify([torch.rand(5, 2, 8)])[0].label in ("0", "1")


@pytest.mark.parametrize("encoder", ["resnet18", "tf_mobilenetv3_small_minimal_100"])  # the latter has a fixed size
def test_models_built_from_their_classes_are_exported(encoder, tmp_path):
    model = VideoModel(encoder, "convgru", hidden_channels=4, num_classes=2)
    if encoder != "resnet18":
        with pytest.raises(convrnn_zoo.ExportError, match=r"size=\(height, width\)"):
            convrnn_zoo.export(model, tmp_path / "model.pt2", format="torch")
    size = None if encoder == "resnet18" else (64, 64)
    assert convrnn_zoo.export(model, tmp_path / "model.pt2", format="torch", size=size)
