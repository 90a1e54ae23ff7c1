"""Metadata of weights are unchanged while they apply, and no longer."""

import copy
import dataclasses
import json
import logging

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import (
    WEIGHTS,
    Preprocessing,
    WeightsError,
    WeightsMetadata,
    create_model,
    from_pretrained,
    save_pretrained,
)
from convrnn_zoo.exporting.export import make_metadata
from convrnn_zoo.exporting.forms import make_spec

every_record = pytest.mark.parametrize("record", WEIGHTS.values(), ids=lambda r: r.name)
VOWELS, RAIN = "convlstm1d_bi_1layer.japanese_vowels", "convgru_forecaster.rain"


def config(directory):
    return json.loads((directory / "config.json").read_text(encoding="utf-8"))


def stated_keys(model):
    """Returns the keys of a model's cfg that describe weights and data."""
    keys = ("tag", "description", "origin_url", "license", "label_names")
    return {k for k in keys if model.pretrained_cfg.get(k)}


@pytest.mark.sampled("record")
@every_record
def test_unchanged_weights_keep_their_metadata_and_card(record, tmp_path):
    save_pretrained(create_model(record.name, pretrained=True), tmp_path / "a")
    save_pretrained(from_pretrained(tmp_path / "a"), tmp_path / "b")
    loaded = from_pretrained(tmp_path / "b")
    assert loaded.metadata == record
    assert {"tag", "description", "origin_url"} <= stated_keys(loaded)
    for name in ("config.json", "README.md", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert record.sha256 in (tmp_path / "b" / "README.md").read_text(encoding="utf-8")


def retrain(model):
    with torch.no_grad():
        next(model.parameters()).add_(1)


CHANGES = {
    "trained on": (RAIN, {}, retrain, {"label_names"}),
    "horizon": (RAIN, {}, lambda m: setattr(m, "horizon", 3), {"label_names"}),
    "unit": (RAIN, {}, lambda m: setattr(m, "preprocessing", Preprocessing()), {"label_names"}),
    "classes": (VOWELS, {"num_classes": 3}, None, set()),
    "channels": (VOWELS, {"in_chans": 1}, None, {"label_names"}),
    "head": (VOWELS, {}, lambda m: m.reset_classifier(9), set()),
    "head trained on": (VOWELS, {}, retrain, {"label_names"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_model_claims_nothing_of_the_weights_it_came_from(name, tmp_path):
    weights, args, change, unchanged = CHANGES[name]
    record = WEIGHTS[weights]
    save_pretrained(create_model(weights, pretrained=True), tmp_path)  # with its card, which must not stay
    for i, model in enumerate((create_model(weights, pretrained=True, **args), from_pretrained(tmp_path, **args))):
        if change is None:
            assert model.metadata is None
            assert stated_keys(model) <= unchanged
        else:
            change(model)
        directory = save_pretrained(model, tmp_path / str(i))
        assert sorted(p.name for p in directory.iterdir()) == ["config.json", "model.safetensors"]
        text = (directory / "config.json").read_text(encoding="utf-8")
        for claim in (record.description, record.dataset_url, record.dataset, '"metadata"', '"tag"'):
            assert claim not in text
        again = from_pretrained(directory)
        assert (again.metadata, stated_keys(again) - unchanged) == (None, set())
        assert ("label_names" in stated_keys(again)) == (bool(record.label_names) and "label_names" in unchanged)


FSDD, MOTION = "audio_convrnn.fsdd", "convgru2d_1layer.digit_motion"
SAME_WEIGHTS = [
    (RAIN, {"horizon": 3}),
    (RAIN, {"static_chans": 0}),
    (FSDD, {"drop_rate": 0.1}),
    (VOWELS, {"global_pool": "avg"}),
]


def exported_metadata(model):
    form = "step" if isinstance(model, convrnn_zoo.Forecaster) else "sequence"
    spec = make_spec(copy.deepcopy(model).eval(), form)
    return make_metadata(model, spec, next(iter(spec.graphs)), form)


@pytest.mark.needs("loops")
@pytest.mark.parametrize(("name", "args"), SAME_WEIGHTS)
def test_arguments_that_change_no_weight_keep_the_metadata(name, args, tmp_path):
    record = WEIGHTS[name]
    save_pretrained(create_model(name, pretrained=True), tmp_path)
    for model in (create_model(name, pretrained=True, **args), from_pretrained(tmp_path, **args)):
        assert model.metadata == record
        assert {"tag", "description", "license"} <= stated_keys(model)
        metadata = exported_metadata(model)
        assert (metadata["name"], metadata["licence"], metadata["data"]) == (name, record.license, record.trained_on)


OTHER_WEIGHTS = {
    "another head": (MOTION, lambda m: m.reset_classifier(2)),
    "no head": (MOTION, lambda m: m.reset_classifier(0)),
    "fewer layers": (FSDD, lambda m: m.prune_intermediate_layers([0], prune_head=False)),
}


@pytest.mark.needs("loops")
@pytest.mark.parametrize("change", OTHER_WEIGHTS)
def test_changed_weights_have_no_metadata(change, tmp_path):
    name, act = OTHER_WEIGHTS[change]
    model = create_model(name, pretrained=True)
    act(model)
    assert model.metadata is None
    assert stated_keys(model) <= {"label_names"}
    metadata = exported_metadata(model)
    assert metadata["name"] == name.partition(".")[0]
    assert not {"licence", "data", "description"} & metadata.keys()
    if change != "fewer layers":  # which no arguments build
        assert "license" not in config(save_pretrained(model, tmp_path))["pretrained_cfg"]


def test_an_existing_card_is_kept_with_a_warning_if_it_describes_other_weights(tmp_path, caplog):
    model, card = create_model(VOWELS, pretrained=True), tmp_path / "README.md"
    save_pretrained(model, tmp_path)
    assert WEIGHTS[VOWELS].sha256 in card.read_text(encoding="utf-8")
    text = card.read_text(encoding="utf-8") + "\n## Mine\n\nWords.\n"
    card.write_text(text, encoding="utf-8")
    save_pretrained(model, tmp_path)
    assert not caplog.messages
    retrain(model)
    save_pretrained(model, tmp_path)
    assert card.read_text(encoding="utf-8") == text
    assert [str(card) in message for message in caplog.messages] == [True]
    card.unlink()
    save_pretrained(model, tmp_path)
    assert not card.exists()


CLAIMS = {
    "of other weights": (lambda r: r.update(sha256="0" * 64), r"config\.json.*\bmetadata\b"),
    "of another network": (lambda r: r.update(name="predrnn.rain"), r"config\.json.*\bmetadata\b"),
    "of other sizes": (lambda r: r["model_args"].update(horizon=99), r"config\.json.*\bmetadata\b"),
    "of another unit": (lambda r: r["preprocessing"].update(unit="K"), r"config\.json.*\bmetadata\b"),
    "an entry too many": (lambda r: r.update(evil=1), r"config\.json.*\bevil\b"),
    "an entry too few": (lambda r: r.pop("license"), r"config\.json.* license;"),
    "a metric of NaN": (
        lambda r: r["metrics"][0].update(value=float("nan")),
        r"config\.json.*metrics\[0\]\.value.* nan",
    ),
    "a terminal's orders": (lambda r: r.update(description="\x1b]0;x\x07"), r"config\.json.*\bdescription\b.*\\x1b"),
    "no object": (lambda r: r.clear(), r"config\.json.* name, sha256, "),
    "vast arguments": (lambda r: r["model_args"].update(horizon=10**9), r"model_args\['horizon'\].* 1000000000"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_rejects_metadata_of_other_models_in_one_line(name, tmp_path):
    change, words = CLAIMS[name]
    save_pretrained(create_model(RAIN, pretrained=True), tmp_path)
    raw = config(tmp_path)
    change(raw["metadata"])
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(WeightsError, match=words) as caught:
        from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_preprocessing_of_untrusted_origin_is_rejected_in_one_line(tmp_path):
    save_pretrained(create_model("convgru_forecaster", hidden_channels=2, patch_size=2), tmp_path)
    for entry, words in (
        ({"encoding": "exec"}, "encoding.*'exec'"),
        ("log", " str"),
        ({"top": 3}, "preprocessing.*'none'.*top"),
        ({"encoding": "standardize", "mean": [0, 0], "std": [1, 1]}, r"preprocessing .*\b2 means.*\b1 "),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config(tmp_path), "preprocessing": entry}))
        with pytest.raises(WeightsError, match=words) as caught:
            from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)


def test_rejects_unknown_names(tmp_path):
    with pytest.raises(ValueError, match=r"'convgru_forecastr'.* convgru_forecaster\b"):
        from_pretrained("convgru_forecastr")
    with pytest.raises(ValueError, match="''"):
        from_pretrained("")
    with pytest.raises(convrnn_zoo.HubAccessError, match="/none"):
        from_pretrained(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"^convgru2d_2layer "):
        from_pretrained("convgru2d_2layer")
    with pytest.raises(WeightsError, match="revision='v1'"):
        from_pretrained(RAIN, revision="v1")
    with pytest.raises(WeightsError, match="pretrained='rain'"):
        from_pretrained(save_pretrained(create_model(RAIN, pretrained=True), tmp_path / "a"), pretrained="rain")


# ---- names and directories ------------------------------------------------------------------------------------------
def test_a_directory_does_not_hide_a_name(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    other = save_pretrained(create_model("convgru_forecaster", hidden_channels=2), tmp_path / RAIN)
    (tmp_path / "video_convrnn.digit_motion").mkdir()
    loaded, shipped = from_pretrained(RAIN), create_model(RAIN, pretrained=True)
    assert torch.equal(next(loaded.parameters()), next(shipped.parameters()))
    assert f"./{RAIN}" in caplog.text
    assert from_pretrained("video_convrnn.digit_motion").metadata is not None
    for path in (f"./{RAIN}", f"local-dir:{RAIN}", other):
        assert from_pretrained(path).model_args["hidden_channels"] == 2


def test_the_path_of_a_config_is_that_of_its_directory(tmp_path):
    saved = save_pretrained(create_model("convgru1d_1layer", hidden_channels=2), tmp_path / "run")
    assert from_pretrained(saved / "config.json").model_args["hidden_channels"] == 2
    assert from_pretrained(str(saved / "config.json")).model_args["hidden_channels"] == 2


def test_a_directory_with_a_pickle_only_names_it(tmp_path):
    saved = save_pretrained(create_model("convgru1d_1layer", hidden_channels=2), tmp_path / "run")
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin.*never loaded.*convert"):
        from_pretrained(saved)


def test_a_missing_directory_is_not_answered_with_names():
    with pytest.raises(ValueError, match="no directory zzzzqqqq") as caught:
        from_pretrained("zzzzqqqq")
    assert "convgru" not in str(caught.value)


def test_metadata_of_an_older_run_are_read_and_missing_fields_stated(tmp_path, caplog):
    record = WEIGHTS[RAIN]
    raw = {k: v for k, v in dataclasses.asdict(record).items() if k not in ("preprocessing", "split", "default")}
    raw |= {"dataset": record.trained_on}
    del raw["dataset_license"]
    (tmp_path / "old.json").write_text(json.dumps(raw))
    (tmp_path / f"{RAIN}.safetensors").write_bytes(record.file.read_bytes())
    with caplog.at_level(logging.WARNING, "convrnn_zoo"):
        model = from_pretrained(tmp_path / "old.json")
    assert model.metadata == WeightsMetadata.from_json(json.dumps(raw))
    with pytest.raises(ValueError, match="preprocessing"):
        model.forecast(torch.zeros(4, 8, 8))


def test_features_of_saved_layers_claim_nothing_either(tmp_path):
    save_pretrained(create_model(VOWELS, pretrained=True), tmp_path)
    features = from_pretrained(tmp_path, features_only=True, in_chans=1)
    assert not {"tag", "description"} & {k for k, v in features.pretrained_cfg.items() if v}
