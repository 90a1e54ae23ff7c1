"""A recipe of several variables, a static map and a known future input: from an archive to a forecast in a file."""

import re
import tomllib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import convrnn_zoo
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.forecaster import build, training_loss
from convrnn_zoo.verify import evaluate
from tests.helpers.command_line import run

xarray = pytest.importorskip("xarray", reason="the extra netcdf")
pytest.importorskip("h5netcdf", reason="the extra netcdf")
SIZE = 8
RECIPE = """
kind = "forecaster"
weights = "convgru_forecaster.tracer"
description = "Forecasts a tracer."
license = "mit"
inputs = 3
horizon = 2
max_steps = 2
batch_size = 2
lr = 0.01
loss = "mse"
checkpoint_every = 1

[model]
hidden_channels = [4, 4]
kernel_size = 3

[data]
kind = "frames"
name = "tracer"
step = 60
variables = ["wind", "t2m"]
targets = ["t2m"]
static = ["elevation"]
future = ["forcing"]
"""
DATA = tomllib.loads(RECIPE)["data"]


def tracer(steps=36, size=SIZE):
    """Advection and diffusion of heat, which a forcing adds where the ground is high."""
    rng, dims = np.random.default_rng(0), ("time", "y", "x")
    forcing = torch.from_numpy(rng.normal(size=(steps, 1, 1)).astype("float32")).expand(-1, size, size)
    ground = torch.linspace(0, 1, size)[:, None].expand(size, size)
    heat, maps = torch.zeros(size, size), []
    for added in forcing:
        spread = F.avg_pool2d(F.pad(heat[None, None], (1, 1, 1, 1), mode="circular"), 3, 1)[0, 0]
        heat = (0.4 * heat + 0.4 * spread).roll(1, 1) + added * ground
        maps.append(heat)
    t2m = 280 + 10 * torch.stack(maps)
    return xarray.Dataset(
        {
            "t2m": (dims, t2m.numpy(), {"units": "K"}),
            "wind": (dims, rng.normal(5, 1, t2m.shape).astype("float32"), {"units": "m/s"}),
            "elevation": (dims[1:], 900 * ground.numpy(), {"units": "m"}),
            "forcing": (dims, forcing.numpy()),
        },
        coords={"time": np.datetime64("2020-01-01", "ns") + np.arange(steps) * np.timedelta64(1, "h")},
    )


def recipe_with(model=None, data=None, **fields):
    recipe = Recipe.parse(RECIPE)
    table = {**recipe.to_table(), "kind": "forecaster", **fields}
    return Recipe.of({**table, "model": {**table["model"], **(model or {})}, "data": {**DATA, **(data or {})}})


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "a.nc"
    tracer().to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture(scope="module")
def trained(archive, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    (directory / "tracer.toml").write_text(RECIPE)
    run("train", directory / "tracer.toml", "--data", archive, "-o", directory / "run", "--quiet")
    return directory / "run"


def test_a_trained_model_reads_and_forecasts_the_variables_of_its_recipe(trained):
    model = convrnn_zoo.from_pretrained(str(trained)).eval()
    assert (model.in_chans, model.out_chans, model.static_chans, model.future_chans) == (2, 1, 1, 1)
    values = model.preprocessing
    assert [(v.name, v.unit) for v in values.variables] == [("wind", "m/s"), ("t2m", "K")]
    assert (values.targets, values.static[0].name, values.future[0].name) == (("t2m",), "elevation", "forcing")
    assert (trained / "update0000002.png").is_file()
    metrics = {m.name: m for m in model.metadata.metrics}
    assert {"MSE of t2m", "MAE of t2m"} <= metrics.keys()
    assert (metrics["MSE of t2m"].unit, metrics["MAE of t2m"].unit) == ("(K)²", "K")
    assert Recipe.parse(model.metadata.recipe).data.targets == ("t2m",)
    assert "type: mse\n" in (trained / "README.md").read_text()  # the name of the metric on the Hub


def test_scores_are_those_of_the_target_in_its_unit(trained, archive):
    model = convrnn_zoo.from_pretrained(trained)
    recipe = Recipe.parse(model.metadata.recipe)
    test = recipe.data.load(archive, "test", 3, 2)
    frames = test.fixed(100)
    scores = evaluate(model, recipe, test).scores
    truth, last = frames[:, 3:, 1:2], frames[:, 2:3, 1:2]
    forecast = model.forecast(frames[:, :3, :2], static=frames[:, 0, 3:], future=frames[:, :, 2:3])
    for name, expected in (("forecast", forecast), ("last frame", last)):
        error = (expected - truth).square().mean((0, 2, 3, 4))
        assert scores[name]["MSE of t2m"] == pytest.approx(error.tolist(), rel=1e-4)


def test_a_target_of_rain_is_scored_at_the_thresholds_of_rain(tmp_path):
    data = tracer()
    data["rain"] = abs(data.wind - 5).assign_attrs(units="mm/h")
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    recipe = recipe_with(data={"variables": ["t2m", "rain"], "targets": ["rain", "t2m"]})
    train_part, test = (recipe.data.load(tmp_path / "a.nc", part, 3, 2) for part in ("train", "test"))
    scores = evaluate(build(recipe, 4, train_part), recipe, test).scores["last frame"]
    frames = test.fixed(100)
    observed, last = (x >= 0.5 for x in (frames[:, 3:, 1], frames[:, 2:3, 1].expand(-1, 2, -1, -1)))
    hits, either = ((f(observed, last)).sum((0, 2, 3)) for f in (torch.logical_and, torch.logical_or))
    assert scores["CSI 0.5 mm/h of rain"] == pytest.approx((hits / either).tolist())
    assert not [name for name in scores if name.startswith("CSI") and name.endswith("t2m")]


@pytest.mark.slow
def test_eval_and_predict_read_the_archive_by_the_names_of_the_weights(trained, archive, tmp_path):
    assert "MSE of t2m" in run("eval", trained, "--data", archive, "--quiet")
    run("predict", trained, archive, "-o", tmp_path / "f.nc")
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as forecast, tracer() as data:
        assert list(forecast.data_vars) == ["t2m"]
        assert (forecast.t2m.shape, forecast.t2m.units) == ((2, SIZE, SIZE), "K")
        frames = np.stack([data.wind.values, data.t2m.values], 1)[-5:]
        expected = convrnn_zoo.from_pretrained(str(trained)).forecast(
            frames[:3], static=data.elevation.values, future=data.forcing.values[-5:]
        )
        np.testing.assert_allclose(forecast.t2m, expected[:, 0], rtol=1e-5)
    compared = run("predict", trained, archive, "--compare", "-o", tmp_path / "f.png")
    assert "(K)²" in compared


def test_the_loss_is_that_of_the_targets_and_depends_on_what_is_known(archive):
    recipe = recipe_with()
    clips = recipe.data.load(archive, "train", 3, 2)
    model, frames = build(recipe, 4, clips), clips.fixed(2)
    loss = training_loss(recipe, model, model, (frames, frames))
    values, parts = model.preprocessing, frames.split([2, 1, 1], 2)
    known = {"static": values.encode_static(parts[2][:, 0]), "future": values.encode_future(parts[1])}
    encoded = values.encode(parts[0])
    expected = F.mse_loss(model(encoded[:, :3], 2, **known), encoded[:, 3:, 1:])
    torch.testing.assert_close(loss, expected)
    for channel, time, counts in ((0, 4, False), (1, 4, True), (2, 4, True), (3, 0, True)):
        other = frames.clone()
        other[:, time, channel] += 1
        assert torch.equal(training_loss(recipe, model, model, (other, other)), loss) != counts


@pytest.mark.slow
def test_a_model_that_reads_its_forecast_trains_on_known_inputs(archive, tmp_path):
    model = {"hidden_channels": 2, "num_layers": 2, "kernel_size": 3}
    fields = {**recipe_with().to_table(), "weights": "predrnn_v2.tracer", "model": model, "kind": "forecaster"}
    recipe = Recipe.of({**fields, "data": {**DATA, "targets": []}})
    record = train(recipe, data=archive, out=tmp_path, progress=False)
    assert {"MSE of wind", "MSE of t2m"} <= {m.name for m in record.metrics}
    with pytest.raises(ValueError, match=r"predrnn_v2.*data\.targets"):
        train(Recipe.of({**fields, "data": {**DATA, "targets": ["t2m", "wind"]}}), data=archive, out=tmp_path / "b")
    compared = run("predict", tmp_path, archive, "--compare", "-o", tmp_path / "f.npy")
    with tracer() as data:
        observed = np.stack([data.wind.values, data.t2m.values], 1)[-3:]
    errors = np.square(observed[1:] - observed[0]).mean((0, 2, 3))
    for name, unit, error in zip(("wind", "t2m"), ("m/s", "K"), errors, strict=True):
        assert re.search(rf"of {name} \S+, of the last frame {error:.3g} \({unit}\)²", compared)


UNSUPPORTED = {
    "a nowcast": ({"weights": "convgru_advection.a"}, {}, r"data\.variables"),
    "weights of rain": ({"loss": "balanced"}, {}, r"balanced.*data\.targets.*\['K'\]"),
    "wet crops": ({}, {"min_wet_fraction": 0.1}, r"data\.min_wet_fraction.*data\.variables"),
    "thresholds": ({}, {"targets": [], "thresholds": [1.0]}, r"data\.thresholds.*data\.targets"),
    "a missing variable": ({}, {"variables": ["t2m", "wnd"]}, r"a\.nc.* wnd\b.* wind\b"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_rejects_options_that_variables_do_not_support(name, archive, tmp_path):
    fields, data, message = UNSUPPORTED[name]
    with pytest.raises(ValueError, match=message):
        train(recipe_with(data=data, **fields), data=archive, out=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"variables": ["t2m", "wind"]}, r"variables \['wind', 't2m'\].*\['t2m', 'wind'\]"),
        ({"targets": ["wind"]}, r"targets \['t2m'\].*\['wind'\]"),
    ],
)
def test_weights_of_other_variables_than_the_recipe_are_an_error_by_name(data, message, trained, archive):
    model = convrnn_zoo.from_pretrained(trained)
    other = recipe_with(data=data)
    with pytest.raises(ValueError, match=message):
        evaluate(model, other, other.data.load(archive, "test", 3, 2))


def test_variables_of_datasets_from_python_are_channels_in_their_order(tmp_path):
    data = tracer()
    channels = [np.broadcast_to(data[n], data.t2m.shape) for n in ("wind", "t2m", "forcing", "elevation")]
    frames = torch.from_numpy(np.stack(channels, 1).astype("float32"))
    clips = [frames[i : i + 5] for i in range(30)]
    recipe = recipe_with(max_steps=1)
    train(recipe, data={"train": clips[:24], "test": clips[24:]}, out=tmp_path / "run", progress=False)
    model = convrnn_zoo.from_pretrained(str(tmp_path / "run"))
    values = model.preprocessing
    assert [v.name for v in (*values.variables, *values.future, *values.static)] == [
        "wind",
        "t2m",
        "forcing",
        "elevation",
    ]
    assert values.variables[1].mean[0] == pytest.approx(float(torch.stack(clips[:24])[:, :, 1].mean()), rel=1e-4)
    forecast = model.forecast(frames[:3, :2], static=frames[0, 3:], future=frames[:5, 2:3])
    assert forecast.shape == (2, 1, SIZE, SIZE)
    with pytest.raises(ValueError, match=r"data\['train'\].* 4 channels.*wind, t2m, forcing, elevation.* 3"):
        train(recipe, data={"train": [c[:, :3] for c in clips], "test": clips}, out=tmp_path / "b", progress=False)
    spoilt = [torch.where(torch.rand(5, 1, SIZE, SIZE) < 0.1, -9999.0, c) for c in clips]
    with pytest.raises(ValueError, match=r"data\['train'\].*wind.* -9999 .*fill_value"):
        train(recipe, data={"train": spoilt, "test": clips}, out=tmp_path / "b", progress=False)
