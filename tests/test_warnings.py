"""Warnings name the line of the caller, however the package was called."""

import pytest
import torch

from convrnn_zoo import Conv2dGRU, Preprocessing, Stream, create_model
from convrnn_zoo.models.base import classification

RAIN = Preprocessing(unit="mm/h", step=5.0, inputs=4, highest=10.0)
FEW, HIGH = torch.ones(3, 8, 8), 99 * torch.ones(4, 8, 8)
VOWELS, DIGITS = "convlstm1d_bi_1layer.japanese_vowels", "audio_convrnn.fsdd"


def small(name="convgru_forecaster", **kwargs):
    model = create_model(name, **kwargs)
    model.preprocessing = RAIN
    return model


CASES = {
    "forecast": lambda: small(hidden_channels=2).forecast(FEW, 1),
    "ensemble": lambda: small("convgru_irene", num_blocks=2).forecast(FEW, 1, members=2),
    "nowcast": lambda: small("convgru_advection", hidden_channels=(2, 3)).forecast(FEW, 1),
    "probabilities": lambda: small("convgru_advection", hidden_channels=(2, 3)).probabilities(FEW, [1.0], 1),
    "values": lambda: small(hidden_channels=2).forecast(HIGH, 1),
    "values of a nowcast": lambda: small("convgru_advection", hidden_channels=(2, 3)).forecast(HIGH, 1),
    "checked values": lambda: RAIN.check(HIGH),
    "trained": lambda: create_model("convgru_forecaster.rain", pretrained=True).forecast(FEW, 1),
    "classify": lambda: create_model(VOWELS, pretrained=True).classify([torch.ones(9, 12)]),
    "sound": lambda: create_model(DIGITS, pretrained=True).classify_sound([torch.randn(4000)], 8000),
    "stream": lambda: Stream(create_model("e3d_lstm", hidden_channels=4, num_layers=1).eval()),
    "layer": lambda: Conv2dGRU(1, 2, 3, dropout=0.5),
    "layer of a model": lambda: create_model("convgru2d_1layer", hidden_channels=2, dropout=0.5),
}


@pytest.mark.parametrize("case", CASES)
def test_warnings_name_the_file_of_the_caller(case, monkeypatch):
    monkeypatch.setattr(classification, "FAR", 0.0)
    with pytest.warns(UserWarning, match="expect|from the mean|grows|dropout") as caught:
        CASES[case]()
    assert {w.filename for w in caught} == {__file__}
