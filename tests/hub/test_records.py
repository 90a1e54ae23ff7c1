"""Metadata, cards and units of training runs, through the Hub and back."""

import dataclasses
import json

import numpy as np
import pytest
import timm
import torch

from convrnn_zoo import WEIGHTS, Preprocessing, create_model, from_pretrained, push_to_hub, save_pretrained
from convrnn_zoo.hub import card_text
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


def test_a_run_is_pushed_with_metadata_and_card_loads_by_every_loader_and_is_pulled_back(hub, directory, tmp_path):
    run("push", directory, REPO)
    held = hub.store.repos[REPO].files()
    assert set(held) == {".gitattributes", "config.json", "model.safetensors", "README.md"}
    card = held["README.md"].decode()
    assert f'convrnn_zoo.from_pretrained("{REPO}")' in card
    assert "[my radar (CC0 1.0)](https://example.org/radar)" in card
    assert "## Recipe\n\nslowly" in card
    model = from_pretrained(directory)
    frames = 3 * torch.rand(4, 9, 7)
    expected = model.forecast(frames)
    for loaded in (
        from_pretrained(REPO),
        from_pretrained(f"hf-hub:{REPO}"),
        create_model(f"hf-hub:{REPO}", pretrained=True),
        timm.create_model(f"hf-hub:{REPO}", pretrained=True),
    ):
        assert torch.equal(loaded.forecast(frames), expected)
        assert loaded.metadata == model.metadata
        assert loaded.preprocessing == model.preprocessing
    assert "my radar (CC0 1.0)" in run("info", f"hf-hub:{REPO}")
    np.save(tmp_path / "x.npy", frames.numpy())
    run("predict", f"hf-hub:{REPO}", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected.numpy())
    run("pull", REPO, "-o", tmp_path / "back")
    back = from_pretrained(tmp_path / "back")
    assert back.metadata == model.metadata
    assert "## Recipe\n\nslowly" in (tmp_path / "back" / "README.md").read_text(encoding="utf-8")
    run("push", directory, REPO)
    assert len(hub.store.repos[REPO].commits) == 2  # nothing changed


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


def test_a_new_card_is_pushed_if_it_is_passed(hub, directory):
    run("push", directory, REPO)
    model = from_pretrained(directory)
    push_to_hub(model, REPO, card=card_text(model.metadata, REPO))
    assert "slowly" not in hub.store.repos[REPO].files()["README.md"].decode()


def test_results_for_a_leaderboard_are_pushed(hub, directory):
    client = pytest.importorskip("huggingface_hub", minversion="1.4", reason="EvalResultEntry")
    entry = client.EvalResultEntry(dataset_id="owner/rain", task_id="csi", value=0.5)
    push_to_hub(from_pretrained(directory), REPO, eval_results=[entry])
    content = hub.store.repos[REPO].files()[".eval_results/convrnn_zoo.yaml"].decode()
    assert json.loads(content) == [{"dataset": {"id": "owner/rain", "task_id": "csi"}, "value": 0.5}]
