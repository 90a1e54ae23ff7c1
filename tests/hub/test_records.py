"""Metadata, cards and units of training runs, through the Hub and back."""

import dataclasses
import json

import pytest
import torch

from convrnn_zoo import WEIGHTS, Preprocessing, create_model, from_pretrained, push_to_hub, save_pretrained
from tests.helpers.command_line import run

REPO = "alice/mine"


@pytest.fixture
def directory(tmp_path):
    """Directory of a training run: model, metadata, and a card with additional text."""
    torch.manual_seed(1)
    args = {"hidden_channels": 2, "kernel_size": 3, "patch_size": 2, "horizon": 3}
    model = create_model("convgru_forecaster", **args)
    model.preprocessing = Preprocessing(
        encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, inputs=4, horizon=3
    )
    plain = save_pretrained(model, tmp_path / "run")
    sha256 = json.loads((plain / "config.json").read_text())["weights_sha256"]
    rain = WEIGHTS["convgru_forecaster.rain"]
    model.metadata = dataclasses.replace(
        rain,
        name="convgru_forecaster.mine",
        sha256=sha256,
        model_args=args,
        num_params=1,
        dataset="my radar",
        dataset_license="CC0 1.0",
        dataset_url="https://example.org/radar",
        description="Forecasts my rain.",
        preprocessing=model.preprocessing,
        metrics=rain.metrics[:2],
        citation="",
        remarks="",
    )
    save_pretrained(model, plain)
    card = plain / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\n## Recipe\n\nslowly\n", encoding="utf-8")
    return plain


def test_warns_of_cards_of_other_weights(hub, directory, caplog):
    run("push", directory, REPO)
    model = from_pretrained(REPO)
    assert not caplog.messages
    with torch.no_grad():
        next(model.parameters()).add_(1)
    push_to_hub(model, REPO)
    (warning,) = caplog.messages
    assert REPO in warning
    assert "card=" in warning
    held = hub.store.repos[REPO].files()
    claims = ("my radar", "Forecasts my rain.", "MSE", model.metadata.sha256)
    assert not any(claim in held["config.json"].decode() for claim in claims)
    assert "## Recipe\n\nslowly" in held["README.md"].decode()
    assert from_pretrained(REPO).metadata is None
    assert from_pretrained(REPO).preprocessing == model.preprocessing
    push_to_hub(model, REPO, card={})
    text = hub.store.repos[REPO].files()["README.md"].decode()
    assert not any(claim in text for claim in claims)


def test_cards_state_the_licence_of_the_weights_while_the_model_has_them(hub):
    name = "convgru2d_1layer.digit_motion"
    licence = WEIGHTS[name].license
    model = create_model(name, pretrained=True, drop_rate=0.1)  # with which no score was measured
    push_to_hub(model, REPO)
    card = hub.store.repos[REPO].files()["README.md"].decode()
    assert f"\nlicense: {licence}\n" in card
    assert "Not measured" in card
    model.reset_classifier(2)
    push_to_hub(model, "alice/other", card={"task": "video classification"})
    assert "license_name: unstated" in hub.store.repos["alice/other"].files()["README.md"].decode()
