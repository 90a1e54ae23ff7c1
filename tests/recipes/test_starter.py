"""Recipes to start from parse, describe the user's files, and train."""

import dataclasses
import math
import shlex
import tomllib
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
import xarray

from convrnn_zoo import create_model, from_pretrained, save_pretrained
from convrnn_zoo.data import FRAME_DATASETS, LABELLED_DATASETS
from convrnn_zoo.recipes import ClassifierRecipe, ForecasterRecipe, Recipe
from convrnn_zoo.recipes.fields import describe_fields
from convrnn_zoo.recipes.starter import starting_recipe
from convrnn_zoo.train import classifier, forecaster, train
from tests.helpers.command_line import run
from tests.helpers.data.own_data import blobs, ramps, write_hdf5, write_video
from tests.helpers.made_data import write_fmi, write_knmi


@pytest.fixture
def radar(tmp_path):
    (tmp_path / "radar").mkdir()
    for i in range(2):
        write_hdf5(tmp_path / "radar" / f"{i}.h5", blobs(40, 40, 48, seed=i), units="mm/h")
    return tmp_path / "radar"


@pytest.mark.parametrize(
    "cls", [ClassifierRecipe, ForecasterRecipe, *FRAME_DATASETS.values(), *LABELLED_DATASETS.values()]
)
def test_every_key_has_a_meaning(cls):
    fields = describe_fields(cls)
    rejected = {"front_end", "layout"} if cls is LABELLED_DATASETS["clips"] else {*getattr(cls, "excluded", ())}
    assert [f.name for f in fields] == [f.name for f in dataclasses.fields(cls) if f.name not in rejected]
    assert not [f.name for f in fields if not f.meaning]


@pytest.mark.parametrize("name", ["convgru_forecaster", "predrnn_v2", "convgru_advection", "convlstm1d_1layer", "rain"])
def test_a_recipe_without_data_is_complete(name):
    text = starting_recipe(name)
    recipe = Recipe.parse(text)
    for field in dataclasses.fields(recipe):
        if field.name in getattr(recipe, "excluded", ()):
            continue
        assert f"{field.name} =" in text or f"[{field.name}]" in text or field.name in ("augment", "sampling", "model")


def test_commands_quote_paths_with_spaces(radar, tmp_path):
    data, file = tmp_path / "my radar", tmp_path / "my recipe.toml"
    radar.rename(data)
    run("recipe", "convgru_forecaster", "--data", data, "-o", file)
    header = file.read_text().partition("\n")[0]
    assert shlex.split(header)[-4:] == ["train", str(file), "--data", str(data)]
    assert f"--data '{data}'" in run("recipe", data, code=2)


def test_data_are_an_argument_or_an_option(radar, monkeypatch):
    option = run("recipe", "--from", "convgru_advection.nowcast", "--data", radar)
    assert run("recipe", "--from", "convgru_advection.nowcast", radar) == option
    assert run("recipe", "convgru_advection", radar) == run("recipe", "convgru_advection", "--data", radar)
    assert f"got DATA {radar} and --data {radar}" in run("recipe", "dgmr", radar, "--data", radar, code=2)
    monkeypatch.chdir(radar.parent)
    radar.rename("rain")  # the name of a recipe
    assert 'kind = "rain"' in run("recipe", "rain")


def test_weights_of_another_architecture_are_rejected():
    assert starting_recipe("convgru_forecaster", None, "convgru_forecaster.rain")
    with pytest.raises(ValueError, match=r"convgru_forecaster\.rain.*convgru_advection"):
        starting_recipe("convgru_advection", None, "convgru_forecaster.rain")


def test_files_of_frames_are_described_and_trained_on(radar, tmp_path):
    file = tmp_path / "r.toml"
    run("recipe", "convgru_forecaster", "--data", radar, "-o", file)
    recipe = Recipe.read(file)
    assert (recipe.data.unit, recipe.data.step, recipe.data.encoding) == ("mm/h", 5, "log")
    assert (recipe.inputs, recipe.horizon) == (10, 10)
    small = dataclasses.replace(recipe, max_steps=1, model={"hidden_channels": [2, 2], "kernel_size": 3})
    assert train(small, data=radar, out=tmp_path / "run", progress=False).dataset == "radar"


def test_several_videos_are_split_by_file(tmp_path):
    pytest.importorskip("av", reason="the extra video")
    (tmp_path / "videos").mkdir()
    for i in range(3):
        write_video(tmp_path / "videos" / f"{i}.mp4", np.nan_to_num(blobs(24, 32, 32, seed=i)).astype("uint8"))
    recipe = Recipe.parse(starting_recipe("convgru_forecaster", tmp_path / "videos"))
    assert (recipe.data.split, recipe.inputs, recipe.horizon) == ("file", 10, 10)
    parts = {split: recipe.data.load(tmp_path / "videos", split, 10, 10).files for split in ("train", "test")}
    assert {split: [f.name for f in files] for split, files in parts.items()} == {
        "train": ["0.mp4", "1.mp4"],
        "test": ["2.mp4"],
    }


def test_recordings_are_described_and_trained_on(tmp_path):
    recordings, labels = ramps(24)
    np.savez(tmp_path / "a.npz", **recordings, labels=labels)
    recipe = Recipe.parse(starting_recipe("convgru1d_1layer", tmp_path / "a.npz"))
    assert recipe.data.label_names == ("falling", "rising")
    assert recipe.model == {"kernel_size": 1}  # of one pixel: a wider kernel would read padding only
    assert "kernel_size" not in Recipe.parse(starting_recipe("convgru2d_1layer")).model  # 1 would see no motion
    small = dataclasses.replace(recipe, epochs=1)
    assert train(small, data=tmp_path / "a.npz", out=tmp_path / "run", progress=False) is not None


@pytest.mark.parametrize("name", ["convgru1d_1layer", "mobilenetv3_small_100_convgru2d"])
def test_folders_of_the_parts_are_described(name, tmp_path):
    shape = (4, 3, 24, 32) if "2d" in name else (4, 2)
    for folder in [tmp_path / "data" / part / label for part in ("train", "Valid", "test") for label in "ab"]:
        folder.mkdir(parents=True)
        for i in range(2):
            np.save(folder / f"{i}.npy", np.zeros(shape, "uint8"))
    data = Recipe.parse(starting_recipe(name, tmp_path / "data")).data
    assert (data.split, data.validation, data.label_names) == (("test/*",), ("Valid/*",), ("a", "b"))


def write_archive(path, rain_units="kg m-2 s-1"):
    """An archive with packed temperature and rain, a mask on the map, 2-d coordinates and bounds."""
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    rng, places = np.random.default_rng(0), np.mgrid[:16, :20]
    dims = ("time", "y", "x")
    data = xarray.Dataset(
        {
            "t2m": (dims, 280 + rng.normal(size=(48, 16, 20)), {"units": "K"}),
            "tp": (dims, rng.random((48, 16, 20)) / 3600, {"units": rain_units}),
            "profile": (("time", "level", "y", "x"), np.zeros((48, 2, 16, 20))),
            "land": (("y", "x"), rng.random((16, 20))),
            "time_bnds": (("time", "bounds"), np.zeros((48, 2))),
        },
        coords={
            "time": ("time", np.datetime64("2020-01-01", "ns") + np.arange(48) * np.timedelta64(1, "h")),
            "lat": (("y", "x"), 50 + places[0] / 4, {"units": "degrees_north"}),
            "lon": (("y", "x"), 5 + places[1] / 4, {"units": "degrees_east"}),
        },
    )
    data.to_netcdf(path, encoding={"t2m": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280, "_FillValue": -99}})


def test_all_variables_and_maps_of_an_archive_are_described_and_trained_on(tmp_path):
    write_archive(tmp_path / "era.nc")
    recipe = Recipe.parse(starting_recipe("convgru_forecaster", tmp_path / "era.nc"))
    stated = [(v.name, v.unit, v.encoding) for v in recipe.data.all_variables]
    assert stated == [("t2m", "K", "standardize"), ("tp", "mm/h", "log"), ("land", None, "standardize")]
    assert [v.name for v in recipe.data.static] == ["land"]
    assert recipe.data.step == 60
    small = dataclasses.replace(recipe, max_steps=1, model={"hidden_channels": [2, 2], "kernel_size": 3})
    train(small, data=tmp_path / "era.nc", out=tmp_path / "run", progress=False)
    again = Recipe.parse(starting_recipe("", tmp_path / "era.nc", str(tmp_path / "run")))
    assert [v.name for v in again.data.all_variables] == ["t2m", "tp", "land"]


@pytest.mark.slow
def test_a_model_of_rain_reads_the_rain_of_an_archive(tmp_path):
    write_archive(tmp_path / "era.nc")
    for arguments in (("convgru_advection", tmp_path / "era.nc"), ("", tmp_path / "era.nc", "convgru_forecaster.rain")):
        data = Recipe.parse(starting_recipe(*arguments)).data
        assert (data.variable, data.unit, data.variables) == ("tp", "mm/h", ())
    write_archive(tmp_path / "dbz.nc", rain_units="dBZ")
    assert Recipe.parse(starting_recipe("convgru_advection", tmp_path / "dbz.nc")).data.variable == "tp"
    write_archive(tmp_path / "none.nc", rain_units="Pa")
    with pytest.raises(ValueError, match=r"none.nc.*mm/h.* t2m .* tp .*data\.variable"):
        starting_recipe("convgru_advection", tmp_path / "none.nc")


def test_arrays_without_a_unit_have_that_of_the_weights(tmp_path):
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", blobs(24, 40, 48, seed=i))
    for weights, unit, encoding in (
        ("convgru_advection.nowcast", "mm/h", "none"),
        ("convgru_forecaster.rain", "mm/h", "log"),
        ("convgru_forecaster.moving_mnist", "", "none"),
    ):
        data = Recipe.parse(starting_recipe("", tmp_path, weights)).data
        assert (data.unit, data.encoding) == (unit, encoding)
    assert Recipe.parse(starting_recipe("convgru_advection", tmp_path)).data.unit == "mm/h"


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "r.toml").write_text("mine")
    with pytest.raises(AssertionError, match="exists"):
        run("recipe", "convgru_forecaster", "-o", tmp_path / "r.toml")
    assert (tmp_path / "r.toml").read_text() == "mine"


def test_rejects_models_that_no_recipe_trains(tmp_path):
    with pytest.raises(ValueError, match="bcdunet_d3"):
        starting_recipe("bcdunet_d3")
    with pytest.raises(FileNotFoundError, match="nothing"):
        starting_recipe("convgru_forecaster", tmp_path / "nothing")


def test_speeds_and_discharges_are_not_taken_for_rain(tmp_path):
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    units = {"wind": "m s**-1", "discharge": "m**3 s**-1", "rain": "kg m-2 s-1"}
    data = {name: (("time", "y", "x"), blobs(missing=False), {"units": unit}) for name, unit in units.items()}
    xarray.Dataset(data, {"time": np.arange(18.0)}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    recipe = Recipe.parse(starting_recipe("convgru_forecaster", tmp_path / "a.nc"))
    assert {v.name: v.unit for v in recipe.data.variables} == units | {"rain": "mm/h"}


@pytest.mark.slow
def test_overlapping_files_are_counted_as_the_series_that_training_reads(tmp_path):
    times = np.datetime64("2020-01-01", "ns") + np.arange(24) * np.timedelta64(5, "m")
    coords = {"time": times, "lat": 50 - np.arange(24) / 50, "lon": 4 + np.arange(28) / 50}
    data = xarray.Dataset({"rate": (tuple(coords), blobs(24), {"units": "mm/h"})}, coords)
    for name, part in (("a", slice(12)), ("b", slice(8, 24))):
        data.isel(time=part).to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
    recipe = Recipe.parse(starting_recipe("convgru_forecaster", tmp_path))
    assert (recipe.inputs, recipe.horizon) == (5, 8)  # of 24 frames, 16 in the training part
    assert len(recipe.data.load(tmp_path, "train", recipe.inputs, recipe.horizon)) > 0


@pytest.mark.slow
def test_fine_tuning_keeps_the_encodings_targets_and_arguments_of_the_weights(tmp_path):
    write_archive(tmp_path / "era.nc")
    recipe = Recipe.parse(starting_recipe("convgru_forecaster", tmp_path / "era.nc"))
    variables = [dataclasses.replace(v, encoding="none") if v.name == "tp" else v for v in recipe.data.variables]
    data = dataclasses.replace(recipe.data, variables=tuple(variables), targets=("t2m",))
    small = dataclasses.replace(recipe, data=data, max_steps=1, model={"hidden_channels": [2, 2], "kernel_size": 3})
    train(small, data=tmp_path / "era.nc", out=tmp_path / "run", progress=False)
    again = Recipe.parse(starting_recipe("", tmp_path / "era.nc", str(tmp_path / "run")))
    assert again.data.targets == ("t2m",)
    assert {v.name: v.encoding for v in again.data.variables} == {"t2m": "standardize", "tp": "none"}
    forecaster.build(again, 3, again.data.load(tmp_path / "era.nc", "train", again.inputs, again.horizon))


def test_weights_without_a_recipe_state_the_arguments_of_their_model(tmp_path):
    model = create_model("convrnn1d_1layer", in_chans=1, kernel_size=1, num_classes=2, nonlinearity="relu")
    save_pretrained(model, tmp_path / "run")
    assert Recipe.parse(starting_recipe("", None, str(tmp_path / "run"))).model["nonlinearity"] == "relu"


def test_sounds_are_resampled_for_the_front_end_of_the_weights(tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="the extra sound")
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        for i in range(4):
            soundfile.write(tmp_path / label / f"{i}.wav", np.random.default_rng(i).random(8000) - 0.5, 16_000)
    recipe = Recipe.parse(starting_recipe("", tmp_path, "audio_convrnn.fsdd"))
    assert classifier.initial_front_end(recipe) == from_pretrained("audio_convrnn.fsdd").front_end


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_knmi, write_fmi])
def test_radar_composites_are_described_trained_on_and_predicted(write, tmp_path):
    pytest.importorskip("pysteps", reason="the extra radar")
    y, x = np.mgrid[:32, :40]
    (tmp_path / "radar").mkdir()
    for i in range(12):
        image = 64 + 60 * np.exp(-((x - 12 - i) ** 2 + (y - 16) ** 2) / 40)
        write(tmp_path / "radar", datetime(2010, 8, 26, 4) + i * timedelta(minutes=5), image.round())
    text = starting_recipe("", tmp_path / "radar", init_from="convgru_forecaster.rain")
    data = tomllib.loads(text)["data"]
    assert (data["unit"], data["coarsen"], data["pixel_km"]) == ("mm/h", 2, pytest.approx(2, abs=0.01))
    assert Recipe.parse(starting_recipe("convgru_forecaster", tmp_path / "radar")).data.coarsen == 1
    small = {**tomllib.loads(text), "max_steps": 1, "batch_size": 1, "inputs": 2, "horizon": 1, "test_sequences": 1}
    train(Recipe.of(small), data=tmp_path / "radar", out=tmp_path / "run", progress=False)
    printed = run("predict", tmp_path / "run", tmp_path / "radar", "-o", tmp_path / "a.nc")
    assert "means over 2×2 pixels" in printed
    full = run("predict", tmp_path / "run", tmp_path / "radar", "-o", tmp_path / "b.nc", "--coarsen", 1)
    assert "means over" not in full
    with xarray.open_dataset(tmp_path / "a.nc") as coarse, xarray.open_dataset(tmp_path / "b.nc") as fine:
        assert (coarse.sizes["y"], coarse.sizes["x"]) == (16, 20)
        assert (fine.sizes["y"], fine.sizes["x"]) == (32, 40)
        np.testing.assert_allclose(coarse.x[0], fine.x[:2].mean())
        assert coarse.crs.attrs["grid_mapping_name"] == "polar_stereographic"
        assert coarse.time.values[0] == np.datetime64("2010-08-26T05:00")


def test_all_variables_maps_and_series_of_a_file_are_listed(tmp_path):
    values = np.random.default_rng(0).random((30, 8, 8)).astype("float32")
    data = xarray.Dataset(
        {
            "t2m": (("time", "y", "x"), values, {"units": "K"}),
            "orog": (("y", "x"), values[0]),
            "rf": ("time", values[:, 0, 0]),
        },
        coords={"time": np.datetime64("2020-01-01", "ns") + np.arange(30) * np.timedelta64(1, "D")},
    )
    data.assign(rain=data.t2m.assign_attrs(units="mm/h")).to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    several = Recipe.parse(starting_recipe("convgru_forecaster", tmp_path / "two.nc")).data
    assert [[v.name for v in role] for role in (several.variables, several.future, several.static)] == [
        ["t2m", "rain"],
        ["rf"],
        ["orog"],
    ]


@pytest.mark.parametrize("name", ["convgru_forecaster", "predrnn"])
def test_a_recipe_for_frames_of_any_size_trains(name, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((40, 10, 13), dtype="float32"))
    text = starting_recipe(name, tmp_path / "a.npy")
    assert "[model]" in text
    assert "such as hidden_channels, num_layers, kernel_size, patch_size" in text
    small = {"hidden_channels": 4 if name == "predrnn" else [4, 4], "kernel_size": 3}
    recipe = dataclasses.replace(Recipe.parse(text), model=small, max_steps=2, bf16=False, inputs=3, horizon=2)
    metadata = train(recipe, data=tmp_path / "a.npy", out=tmp_path / "run", progress=False)
    model = from_pretrained(tmp_path / "run")
    assert (10 % model.reduction, 13 % model.reduction) != (0, 0)
    assert math.isfinite(metadata.metrics[0].value)
    frames = torch.rand(2, 5, 1, 10, 13)
    loss = forecaster.validation_loss(recipe, model, frames)
    y = model(model.preprocess(forecaster.pad_frames(frames[:, :3], model.reduction)), horizon=2)[..., :10, :13]
    padded = forecaster.pad_frames(frames, model.reduction).numel() / frames.numel()
    expected = (y - model.preprocess(frames[:, 3:])).square().mean() / padded
    torch.testing.assert_close(loss, expected)
