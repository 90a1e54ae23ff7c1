"""Forecasts in the unit of the data: the same by every road, of any form, and NaN where nothing is known."""

import threading

import numpy as np
import pytest
import timm
import torch

import convrnn_zoo
from convrnn_zoo import WEIGHTS, Preprocessing, create_model, from_pretrained, save_pretrained
from convrnn_zoo.train import load_forecaster
from tests.test_hubconf import ROOT

FORECASTERS = [w for w in WEIGHTS.values() if not w.num_classes]
every_forecaster = pytest.mark.parametrize("record", FORECASTERS, ids=lambda r: r.name)
RAIN = "convgru_forecaster.rain"


@pytest.fixture(scope="module")
def rain():
    return create_model(RAIN, pretrained=True)


def sample(record, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * record.preprocessing.brightest / 10


@every_forecaster
def test_every_road_gives_the_same_in_the_unit_of_the_data(record, tmp_path):
    """What a user loads, however it is named, forecasts the very numbers that the weights' own name does."""
    model, tag = create_model(record.name, pretrained=True), record.name.partition(".")[2]
    frames = sample(record, 4, 18, 22)
    expected = model.forecast(frames, 3)
    assert expected.shape == (3, 18, 22)
    saved = save_pretrained(model, tmp_path / "saved")
    (tmp_path / "record.json").write_text(record.to_json(), encoding="utf-8")
    (tmp_path / f"{record.name}.safetensors").write_bytes(record.file.read_bytes())
    roads = {
        "its name": lambda: from_pretrained(record.name),
        "a directory": lambda: from_pretrained(saved),
        "a directory's name": lambda: from_pretrained(f"local-dir:{saved}"),
        "create_model": lambda: create_model(f"local-dir:{saved}", pretrained=True),
        "timm, a directory": lambda: timm.create_model(f"local-dir:{saved}", pretrained=True),
        "timm": lambda: timm.create_model(record.name, pretrained=True),
        "torch.hub": lambda: torch.hub.load(str(ROOT), record.architecture, source="local", pretrained=tag),
        "a record": lambda: from_pretrained(tmp_path / "record.json"),
        "load_forecaster": lambda: load_forecaster(str(saved)).model,
    }
    for road, load in roads.items():
        loaded = load()
        assert torch.equal(loaded.forecast(frames, 3), expected), road
        assert (loaded.record, loaded.preprocessing) == (record, record.preprocessing), road


def test_five_millimetres_an_hour_stay_about_five(rain):
    made = rain.forecast(torch.full((4, 64, 64), 5.0))
    assert made.shape == (12, 64, 64)
    assert made[0, 16:48, 16:48].mean() == pytest.approx(5, rel=0.25)


def test_forms_of_frames(rain):
    frames = sample(WEIGHTS[RAIN], 2, 4, 1, 12, 9)
    whole = rain.forecast(frames, 2)
    assert whole.shape == (2, 2, 1, 12, 9)
    torch.testing.assert_close(rain.forecast(frames[0], 2), whole[0])
    torch.testing.assert_close(rain.forecast(frames[0, :, 0], 2), whole[0, :, 0])
    torch.testing.assert_close(rain.forecast(frames, 2, batch_size=1), whole)
    made = rain.forecast(frames[0, :, 0].double().numpy(), 2)
    assert isinstance(made, np.ndarray)
    torch.testing.assert_close(torch.from_numpy(made), whole[0, :, 0])
    assert rain.forecast(frames[0]).shape[0] == rain.horizon == 12


def test_what_is_unknown_in_every_frame_is_nan_and_a_mask_says_the_same(rain):
    frames = sample(WEIGHTS[RAIN], 4, 16, 16)
    frames[:, :4] = torch.nan
    frames[3] = torch.nan  # a scan that is missing altogether
    made = rain.forecast(frames, 2)
    assert made[:, :4].isnan().all()
    assert made[:, 4:].isfinite().all()
    masked = np.ma.masked_invalid(frames.numpy())
    masked.data[masked.mask] = 77.0
    np.testing.assert_array_equal(rain.forecast(masked, 2), made.numpy())


BAD = {
    "horizon": (lambda m, x: m.forecast(x, 0), ValueError, "horizon must be at least 1, got 0"),
    "all NaN": (lambda m, x: m.forecast(x * torch.nan), ValueError, "got NaN alone"),
    "axes": (lambda m, x: m.forecast(x[0]), ValueError, r"expected frames \(T, H, W\), \(T, 1, H, W\) or"),
    "channels": (lambda m, x: m.forecast(x[:, None].repeat(1, 3, 1, 1)), ValueError, "expected frames"),
    "nothing": (lambda m, x: m.forecast(x[:0]), ValueError, "no axis of 0"),
    "a batch of none": (lambda m, x: m.forecast(x, batch_size=0), ValueError, "batch_size must be at least 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_will_not_do_is_refused(name, rain):
    act, error, words = BAD[name]
    with pytest.raises(error, match=words):
        act(rain, sample(WEIGHTS[RAIN], 4, 8, 8))


def test_nonsense_is_warned_of(rain):
    with pytest.warns(UserWarning, match="expected mm/h from 0 to 300, got values from -50"):
        rain.forecast(torch.full((4, 8, 8), -50.0), 1)
    with pytest.warns(UserWarning, match="bytes came for mm/h"):
        rain.forecast(np.full((4, 8, 8), 200, dtype=np.uint8), 1)


def test_a_model_that_does_not_say_what_its_values_mean_says_so():
    model = create_model("convgru_forecaster", hidden_channels=2, patch_size=2)
    assert model.preprocessing is None
    with pytest.raises(ValueError, match="does not say what its values mean"):
        model.forecast(torch.rand(3, 4, 4))
    model.preprocessing = Preprocessing()
    assert model.forecast(torch.rand(3, 4, 4), 2).shape == (2, 4, 4)


def test_the_mode_of_each_part_is_kept_and_threads_may_share_a_model(rain):
    frames = sample(WEIGHTS[RAIN], 4, 16, 16)
    rain.train()
    rain.head.eval()
    expected = rain.forecast(frames, 2)
    assert rain.training
    assert not rain.head.training
    rain.eval()
    made = [None] * 4
    threads = [
        threading.Thread(target=lambda i=i: made.__setitem__(i, rain.forecast(frames, 2))) for i in range(len(made))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(m, expected) for m in made)


# ---- classifiers ---------------------------------------------------------------------------------------------------
def test_recordings_are_classified_as_each_alone_with_the_weights_labels():
    record = WEIGHTS["convlstm1d_bi_1layer.japanese_vowels"]
    model = create_model(record.name, pretrained=True)
    recordings = [torch.randn(n, 12) for n in (7, 29, 12)]
    together = model.classify(recordings)
    for found, x in zip(together, recordings, strict=True):
        (alone,) = model.classify([x.numpy()[..., None]])
        assert found.label == alone.label in record.label_names
        assert found.probability == pytest.approx(alone.probability, abs=1e-5) == max(found.probabilities.values())
        assert sum(found.probabilities.values()) == pytest.approx(1)
    logits = model.eval()(model.normalize(recordings[0][None, ..., None]))
    assert record.label_names[logits.argmax()] == together[0].label
    with pytest.raises(ValueError, match=r"recording 1: expected a sequence \(T, 12, L\), got \(5, 3\)"):
        model.classify([recordings[0], torch.randn(5, 3)])
    with pytest.raises(ValueError, match=r"mine\.wav: contains NaN or Inf"):
        model.classify([torch.full((5, 12), torch.nan)], names=["mine.wav"])
    with pytest.raises(ValueError, match="has no classifier"):
        convrnn_zoo.create_model("convgru1d_1layer").classify([torch.randn(3, 3, 5)])
