"""create_model and from_pretrained: modes, misspelt names and arguments."""

import pytest
import timm
import torch

import convrnn_zoo
from convrnn_zoo import create_model, from_pretrained, save_pretrained
from convrnn_zoo.layers import Conv1dGRU

SMALL = {"hidden_channels": 2, "num_classes": 2, "in_chans": 1}
VOWELS, RAIN = "convlstm1d_bi_1layer.japanese_vowels", "convgru_forecaster.rain"


@pytest.fixture
def saved(tmp_path):
    return save_pretrained(create_model("convgru1d_1layer", **SMALL), tmp_path / "saved")


# ---- modes -----------------------------------------------------------------------------------------------------------
def test_from_pretrained_returns_a_model_in_evaluation_mode(saved):
    for name, args in ((VOWELS, {}), (RAIN, {}), (saved, {}), (saved, {"num_classes": 5}), (f"local-dir:{saved}", {})):
        assert not any(module.training for module in from_pretrained(name, **args).modules())
    assert not any(module.training for module in from_pretrained(saved, features_only=True).modules())


def test_an_address_that_is_missing_everywhere_names_the_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"no model 'runn' in the zoo, and there is no directory runn;"):
        convrnn_zoo.from_pretrained("runn")
    with pytest.raises(convrnn_zoo.HubAccessError, match=r"there is no directory runs/foo, and on the Hub: runs/foo,"):
        convrnn_zoo.from_pretrained("runs/foo")
    with pytest.raises(convrnn_zoo.HubAccessError, match=r"^runs/foo, config.json: "):
        convrnn_zoo.from_pretrained("hf-hub:runs/foo")
    (tmp_path / "runn").mkdir()
    with pytest.raises(ValueError, match=r"no model 'runn' in the zoo, but a directory: pass 'local-dir:runn'"):
        convrnn_zoo.create_model("runn")


def test_create_model_returns_a_model_in_training_mode_as_timm_does():
    for create in (create_model, timm.create_model):
        assert create(VOWELS, pretrained=True).training
        assert create("convgru1d_1layer").training


# ---- names and arguments ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options", "suggestion"),
    [
        ("predrn_v2", {}, "predrnn_v2"),
        ("PredRNN", {}, "predrnn"),
        ("convgru_forecastr.rain", {}, "convgru_forecaster"),
        ("convgru_forecaster.rian", {}, "rain"),
        ("convgru_forecaster", {"pretrained": "moving_mnst"}, "moving_mnist"),
        ("convlstm2d_1layer", {"hiden_channels": 2}, "hidden_channels"),
        ("convlstm2d_1layer", {"padding_mod": "zeros"}, "padding_mode"),
        ("resnet18_convgru2d", {"freeze_encodr": True}, "freeze_encoder"),
        ("predrnn", {"patchsize": 2}, "patch_size"),
    ],
)
def test_a_misspelt_name_tag_or_argument_is_answered_with_a_suggestion(name, options, suggestion):
    for create in (create_model, from_pretrained):
        with pytest.raises((ValueError, TypeError)) as caught:
            create(name, **options)
        assert f"did you mean {suggestion}" in str(caught.value) or "no weights" in str(caught.value)
    with pytest.raises((ValueError, TypeError), match=rf"did you mean {suggestion}\b"):
        create_model(name, **options)


@pytest.mark.parametrize(
    ("options", "misspelt"),
    [({"pretrained_cfg_overlay": {"label_name": ["a"]}}, "label_name"), ({"pretraned": True}, "pretraned")],
)
def test_a_misspelt_option_of_timm_is_named(options, misspelt):
    with pytest.raises(TypeError, match=misspelt):
        create_model("convgru1d_1layer", **options)


def test_other_type_errors_are_passed_on_as_they_are():
    with pytest.raises(TypeError, match="bias") as expected:
        Conv1dGRU(1, 2, 3, bias=3)
    with pytest.raises(TypeError) as caught:
        create_model("convgru1d_1layer", in_chans=1, hidden_channels=2, bias=3)
    assert str(caught.value) == str(expected.value)


def test_a_bug_in_a_network_is_not_reported_as_an_unknown_argument(monkeypatch):
    def broken(self, *args, **kwargs):
        raise TypeError("unsupported operand type(s) for +: 'int' and 'str'")

    monkeypatch.setattr(torch.nn.Dropout, "__init__", broken)
    with pytest.raises(TypeError) as caught:
        create_model("convgru1d_1layer")
    assert str(caught.value) == "unsupported operand type(s) for +: 'int' and 'str'"
