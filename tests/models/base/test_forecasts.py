"""Forecasts in the unit of the data: equal for every way to load, in any form, and NaN where no value is known."""

import threading

import numpy as np
import pytest
import timm
import torch

from convrnn_zoo import WEIGHTS, Preprocessing, create_model, from_pretrained, save_pretrained
from tests.test_hubconf import ROOT

FORECASTERS = [w for w in WEIGHTS.values() if not w.num_classes]
every_forecaster = pytest.mark.parametrize("record", FORECASTERS, ids=lambda r: r.name)
RAIN = "convgru_forecaster.rain"


@pytest.fixture(scope="module")
def rain():
    return create_model(RAIN, pretrained=True)


def sample(record, *shape):
    highest = record.preprocessing.top or record.preprocessing.highest
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * highest / 10


@pytest.mark.sampled("record")
@every_forecaster
def test_every_way_to_load_gives_the_same_forecast(record, tmp_path):
    """All ways to load the same weights give identical forecasts."""
    model, tag = create_model(record.name, pretrained=True), record.name.partition(".")[2]
    frames = sample(record, record.preprocessing.inputs, 18, 22)
    expected = model.forecast(frames, 3)
    assert expected.shape == (3, 18, 22)
    saved = save_pretrained(model, tmp_path / "saved")
    (tmp_path / "metadata.json").write_text(record.to_json(), encoding="utf-8")
    (tmp_path / f"{record.name}.safetensors").write_bytes(record.file.read_bytes())
    roads = {
        "its name": lambda: from_pretrained(record.name),
        "a directory": lambda: from_pretrained(saved),
        "a directory's name": lambda: from_pretrained(f"local-dir:{saved}"),
        "create_model": lambda: create_model(f"local-dir:{saved}", pretrained=True),
        "timm, a directory": lambda: timm.create_model(f"local-dir:{saved}", pretrained=True),
        "timm": lambda: timm.create_model(record.name, pretrained=True),
        "torch.hub": lambda: torch.hub.load(str(ROOT), record.architecture, source="local", pretrained=tag),
        "a record": lambda: from_pretrained(tmp_path / "metadata.json"),
    }
    for road, load in roads.items():
        loaded = load()
        assert torch.equal(loaded.forecast(frames, 3), expected), road
        assert (loaded.metadata, loaded.preprocessing) == (record, record.preprocessing), road


def test_forms_of_frames(rain):
    frames = sample(WEIGHTS[RAIN], 2, 4, 1, 12, 9)
    complete = rain.forecast(frames, 2)
    assert complete.shape == (2, 2, 1, 12, 9)
    torch.testing.assert_close(rain.forecast(frames[0], 2), complete[0])
    torch.testing.assert_close(rain.forecast(frames[0, :, 0], 2), complete[0, :, 0])
    torch.testing.assert_close(rain.forecast(frames, 2, batch_size=1), complete)
    actual = rain.forecast(frames[0, :, 0].double().numpy(), 2)
    assert isinstance(actual, np.ndarray)
    torch.testing.assert_close(torch.from_numpy(actual), complete[0, :, 0])
    assert rain.forecast(frames[0]).shape[0] == rain.horizon == 12


def test_pixels_unknown_in_every_frame_are_nan_and_a_mask_is_equivalent(rain):
    frames = sample(WEIGHTS[RAIN], 4, 16, 16)
    frames[:, :4] = torch.nan
    frames[3] = torch.nan  # a scan that is missing altogether
    with pytest.warns(UserWarning, match=r"without a value.*: 3;"):
        actual = rain.forecast(frames, 2)
    assert actual[:, :4].isnan().all()
    assert actual[:, 4:].isfinite().all()
    masked = np.ma.masked_invalid(frames.numpy())
    masked.data[masked.mask] = 77.0
    with pytest.warns(UserWarning, match=r"without a value.*: 3;"):
        np.testing.assert_array_equal(rain.forecast(masked, 2), actual.numpy())


# ---- how many frames are read --------------------------------------------------------------------------------------
def small(inputs, name="convgru_forecaster", **kwargs):
    torch.manual_seed(0)
    model = create_model(name, hidden_channels=4, **kwargs)
    model.preprocessing = Preprocessing(unit="mm/h", step=5.0, inputs=inputs)
    return model


def test_the_latest_frames_are_read_as_many_as_in_training():
    model, frames = small(4, patch_size=2), 5 * torch.rand(2, 9, 1, 8, 8)
    expected = model.forecast(frames[:, -4:], 2)
    torch.testing.assert_close(model.forecast(frames, 2), expected)
    torch.testing.assert_close(model.forecast(frames, 2, inputs=4), expected)
    for inputs in (np.int64(6), 6):
        torch.testing.assert_close(
            model.forecast(frames, 2, inputs=inputs), model.forecast(frames[:, -6:], 2, inputs="all")
        )
    every = model.forecast(frames, 2, inputs="all")
    torch.testing.assert_close(every, model(frames, 2).detach())
    assert not torch.allclose(every, expected)
    model.preprocessing = Preprocessing(unit="mm/h")
    torch.testing.assert_close(model.forecast(frames, 2), every)


def test_warns_of_fewer_frames_than_in_training():
    model, frames = small(4, patch_size=2), 5 * torch.rand(3, 8, 8)
    with pytest.warns(UserWarning, match=r"3 frames.* 4"):
        actual = model.forecast(frames, 2)
    for inputs in ("all", 3):
        torch.testing.assert_close(model.forecast(frames, 2, inputs=inputs), actual)
    with pytest.raises(ValueError, match="4 frames"):
        model.forecast(frames, 2, inputs=4)
    for bad, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("3", TypeError), (True, TypeError)):
        with pytest.raises(error, match="inputs"):
            model.forecast(frames, 2, inputs=bad)


def test_pixels_unknown_in_the_frames_that_are_read_are_nan():
    model, frames = small(2, patch_size=2), 5 * torch.rand(5, 8, 8)
    frames[3:, :2] = torch.nan
    assert model.forecast(frames, 1)[:, :2].isnan().all()
    assert model.forecast(frames, 1, inputs="all").isfinite().all()


# ---- arrays of all kinds -------------------------------------------------------------------------------------------
A = np.random.default_rng(0).integers(0, 50, (4, 8, 8)).astype(np.float32)


class DataArray:
    """Has what xarray's has."""

    values, dims, shape, ndim, coords = A, ("time", "y", "x"), A.shape, 3, {}

    def __array__(self, dtype=None, copy=None):
        return A


NO_FRAMES = {
    "an xarray.DataArray": (DataArray(), r"frames.*DataArray.*\.values"),
    "words": ("frames.npy", "frames"),
    "nothing": (None, "frames"),
    "objects": (A.astype(object), "frames.*object"),
    "times": (A.astype("M8[m]"), "frames.*datetime64"),
    "complex numbers": (A.astype(complex), "frames.*complex"),
    "complex tensor": (torch.from_numpy(A).to(torch.complex64), "frames.*complex"),
    "sparse tensor": (torch.from_numpy(A).to_sparse(), "frames.*sparse"),
    "lists of unequal length": ([A, A[0]], "frames"),
    "lists of words": ([[["a"]]], "frames"),
    "a scalar of NumPy": (np.float32(3), "frames"),
}


@pytest.mark.parametrize("kind", NO_FRAMES)
@pytest.mark.parametrize("name", ["convgru_forecaster", "convgru_advection"])
def test_errors_name_invalid_frames(kind, name):
    frames, words = NO_FRAMES[kind]
    model = create_model(name, hidden_channels=(2, 3))
    model.preprocessing = Preprocessing(unit="mm/h")
    with pytest.raises((TypeError, ValueError), match=words):
        model.forecast(frames, 2)


BAD = {
    "horizon of a float": (lambda m, x: m.forecast(x, 2.0), TypeError, "horizon.* 2.0"),
    "horizon of a word": (lambda m, x: m.forecast(x, "2"), TypeError, "horizon.* '2'"),
    "horizon": (lambda m, x: m.forecast(x, 0), ValueError, "horizon.* 0"),
    "all NaN": (lambda m, x: m.forecast(x * torch.nan), ValueError, "mm/h.* NaN"),
    "axes": (lambda m, x: m.forecast(x[0]), ValueError, r"frames.*shape \(8, 8\)"),
    "channels": (
        lambda m, x: m.forecast(x[:, None].repeat(1, 3, 1, 1)),
        ValueError,
        r"frames.*shape \(4, 3, 8, 8\)",
    ),
    "nothing": (lambda m, x: m.forecast(x[:0]), ValueError, r"frames.*shape \(0, 8, 8\)"),
    "a batch of none": (lambda m, x: m.forecast(x, batch_size=0), ValueError, "batch_size.* 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_rejects_invalid_calls(name, rain):
    act, error, words = BAD[name]
    with pytest.raises(error, match=words):
        act(rain, sample(WEIGHTS[RAIN], 4, 8, 8))


@pytest.mark.parametrize("marker", [9.969209968386869e36, -9999.0, -32768.0, 65535.0])
def test_numbers_that_mark_missing_values_are_an_error(marker, rain):
    frames = sample(WEIGHTS[RAIN], 4, 12, 9)
    frames[1, 2, 3] = marker
    with pytest.raises(ValueError, match="NaN") as caught:
        rain.forecast(frames)
    assert f"{marker:.6g}" in str(caught.value)


def test_forecast_without_preprocessing_raises():
    model = create_model("convgru_forecaster", hidden_channels=2, patch_size=2)
    assert model.preprocessing is None
    with pytest.raises(ValueError, match="preprocessing"):
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
    actual = [None] * 4
    threads = [
        threading.Thread(target=lambda i=i: actual.__setitem__(i, rain.forecast(frames, 2))) for i in range(len(actual))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(m, expected) for m in actual)


# ---- classifiers ---------------------------------------------------------------------------------------------------
