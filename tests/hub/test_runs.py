"""From files to a repository that others load, only with the command line, for every data type."""

import json

import numpy as np
import pytest
import timm

import convrnn_zoo
from convrnn_zoo import WeightsMetadata
from convrnn_zoo.recipes import Recipe
from tests.helpers.command_line import run
from tests.helpers.data.own_data import RADAR, VIDEO, blobs, write_video, write_zarr
from tests.helpers.registry import slow_unless

pytest.importorskip("accelerate", reason="the extra train")


def radar(directory):
    (directory / "radar").mkdir()
    for i in range(3):
        np.save(directory / "radar" / f"{i}.npy", blobs(seed=i))
    np.save(directory / "input.npy", blobs()[:3])
    return RADAR + 'split = "file"\n', directory / "radar"


def video(directory):
    frames = (blobs(18, 32, 32, missing=False) * 15).clip(0, 255).astype("uint8")
    write_video(directory / "clip.mp4", frames)
    np.save(directory / "input.npy", (frames[:3] / 255).astype("float32"))
    return VIDEO, directory / "clip.mp4"


def store(directory):
    write_zarr(directory / "radar.zarr", blobs(24))
    np.save(directory / "input.npy", blobs()[:3])
    return RADAR, directory / "radar.zarr"


FORECASTS = {"npy": radar, "mp4": video, "zarr": store}


@pytest.mark.parametrize("kind", slow_unless("npy".__eq__, FORECASTS))
def test_trains_evaluates_forecasts_and_shares_custom_frames(kind, tmp_path, hub):
    text, data = FORECASTS[kind](tmp_path)
    recipe, out, forecast_file = tmp_path / "own.toml", tmp_path / "run", tmp_path / "out.npy"
    recipe.write_text(text)
    output = run("train", recipe, "--data", data, "-o", out, "--quiet")
    assert "MSE" in output
    assert "drifting blobs" in output
    assert {p.name for p in out.iterdir() if p.suffix != ".png"} == {
        ".last.ckpt.lock",
        "README.md",
        "config.json",
        "last.ckpt",
        "model.safetensors",
        "recipe.toml",
        "metadata.json",
        "training.csv",
    }

    record = WeightsMetadata.from_json((out / "metadata.json").read_text(encoding="utf-8"))
    assert (record.dataset, record.dataset_license, record.dataset_url) == (
        "drifting blobs",
        "CC0 1.0",
        "https://example.org/blobs",
    )
    assert Recipe.parse(record.recipe) == Recipe.read(recipe)
    info, card = run("info", out), (out / "README.md").read_text(encoding="utf-8")
    for truth in ("drifting blobs", "CC0 1.0", "https://example.org/blobs", record.split, "Forecasts drifting blobs."):
        assert truth in info
        assert truth in card
    assert record.recipe.strip() in card
    assert "KNMI" not in info + card

    scores = tmp_path / "scores.json"
    assert "last frame" in run("eval", out, "--data", data, "--quiet", "-o", scores)
    claimed = {m.name: m.value for m in record.metrics}
    for name, values in json.loads(scores.read_text())["forecast"].items():
        if name in claimed:
            assert np.mean([v for v in values if v is not None]) == pytest.approx(claimed[name], rel=1e-4)

    run("predict", out, tmp_path / "input.npy", "-o", forecast_file)
    forecast, frames = np.load(forecast_file), np.load(tmp_path / "input.npy")
    assert forecast.shape == (4, *frames.shape[1:])
    assert np.isnan(forecast[:, :3, :3]).all() == (kind != "mp4")

    run("push", out, "alice/own")
    assert "alice/own" in run("pull", "alice/own", "-o", tmp_path / "pulled")
    loaders = {
        "directory": convrnn_zoo.from_pretrained(out),
        "hub": convrnn_zoo.from_pretrained("alice/own"),
        "pulled": convrnn_zoo.from_pretrained(tmp_path / "pulled"),
        "timm, directory": timm.create_model(f"local-dir:{out}", pretrained=True),
        "timm, hub": timm.create_model("hf-hub:alice/own", pretrained=True),
    }
    for loader, model in loaders.items():
        assert np.array_equal(model.eval().forecast(frames), forecast, equal_nan=True), loader
        assert model.metadata == record, loader
    assert "drifting blobs" in run("info", "hf-hub:alice/own")
    assert run("eval", "hf-hub:alice/own", "--data", data, "--quiet") == run("eval", out, "--data", data, "--quiet")
