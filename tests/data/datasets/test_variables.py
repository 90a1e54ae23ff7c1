"""Several variables, static maps and known future inputs from files, with a unit and an encoding for each."""

import numpy as np
import pytest
import torch

from convrnn_zoo.data import read_dataset, split_channels
from tests.helpers.data.own_data import write_dataset

xarray = pytest.importorskip("xarray", reason="the extra netcdf")
STEPS, HEIGHT, WIDTH = 18, 6, 5
TABLE = {
    "kind": "frames",
    "name": "storms",
    "targets": ["rain"],
    "step": 60,
    "variables": [{"name": "rain", "unit": "mm/h", "encoding": "log", "valid_min": 0.0}, {"name": "t2m", "unit": "K"}],
    "static": ["elevation"],
    "future": [{"name": "hour", "encoding": "none"}, "forcing"],
}
NAMES = ["rain", "t2m", "hour", "forcing", "elevation"]


def storms(seed=0):
    """An archive with two variables, a static map, a forcing and the hour of the day."""
    rng, dims = np.random.default_rng(seed), ("time", "y", "x")
    rain = rng.random((STEPS, HEIGHT, WIDTH)).astype("float32")
    rain[2, 1, 1] = np.nan
    return xarray.Dataset(
        {
            "t2m": (("y", "x", "time"), rng.normal(10, 3, (HEIGHT, WIDTH, STEPS)), {"units": "degC"}),
            "rain": (dims, rain, {"units": "mm/s"}),
            "elevation": (("x", "y"), rng.random((WIDTH, HEIGHT)) * 900, {"units": "m"}),
            "hour": ("time", np.arange(STEPS) % 24.0),
            "forcing": (dims, rng.random((STEPS, HEIGHT, WIDTH))),
        },
        coords={"time": np.datetime64("2020-01-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "h")},
    )


def expected(data):
    """The channels in the units of the table, ``(T, C, H, W)``."""
    data = data.transpose("time", "y", "x")
    hour = np.broadcast_to(data.hour.values[:, None, None], data.rain.shape)
    elevation = np.broadcast_to(data.elevation.values, data.rain.shape)
    return np.stack([data.rain * 3600, data.t2m + 273.15, hour, data.forcing, elevation], 1).astype("float32")


def write(path, data):
    if path.suffix == ".npz":
        arrays = {name: v.transpose("time", "y", "x", missing_dims="ignore").values for name, v in data.items()}
        np.savez(
            path, time=data.time.values, **{**arrays, "rain": arrays["rain"] * 3600, "t2m": arrays["t2m"] + 273.15}
        )
    elif path.suffix == ".npy":
        np.save(path, expected(data))
    else:
        write_dataset(path, data)
    return path


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".npz", ".npy"])
def test_channels_are_the_variables_in_their_units_and_order(suffix, tmp_path):
    dataset, data = read_dataset(TABLE), storms()
    path = write(tmp_path / f"a{suffix}", data)
    clips = dataset.load(path, "train", 3, 2)
    np.testing.assert_allclose(clips[0], expected(data)[:5], rtol=1e-5)
    crops = read_dataset({**TABLE, "crop": 3, "stride": 2, "min_valid_fraction": 0.0}).load(path, "test", 3, 2)
    place = crops.places[-1].tolist()
    part = expected(data)[place[1] : place[1] + 5, :, place[2] : place[2] + 3, place[3] : place[3] + 3]
    np.testing.assert_allclose(crops[-1 + len(crops)], part, rtol=1e-5)


def test_preprocessing_has_an_encoding_for_each_variable(tmp_path):
    dataset, data = read_dataset(TABLE), storms()
    clips = dataset.load(write(tmp_path / "a.nc", data), "train", 3, 2)
    values = dataset.preprocessing(clips, 3, 2)
    assert [v.name for v in (*values.variables, *values.future, *values.static)] == NAMES
    assert values.targets == ("rain",)
    assert [v.unit for v in values.variables] == ["mm/h", "K"]
    assert values.static[0].unit == "m"  # of the file
    train = torch.stack(list(clips))
    assert values.variables[1].mean[0] == pytest.approx(float(train[:, :, 1].mean()), rel=1e-4)
    assert values.static[0].std[0] == pytest.approx(float(train[0, 0, 4].std(correction=0)), rel=1e-4)
    observed, known = split_channels(train, values)
    assert torch.equal(observed.nan_to_num(), train[:, :, :2].nan_to_num())
    assert torch.equal(known["static"], train[:, 0, 4:])
    assert torch.equal(known["future"], train[:, :, 2:4])
    assert values.encode_static(known["static"]).mean().abs() < 1e-3
    with pytest.raises(ValueError, match=r"\b5 channels.*elevation.* 4"):
        split_channels(train[:, :, :4], values)
    with pytest.raises(ValueError, match=r"storms.*mean and std"):
        dataset.preprocessing(None, 3, 2)


BAD = {
    "unknown target": ({"targets": ["rian"]}, r"data\.targets.*'rian'.* rain\b"),
    "twice": ({"future": ["rain"]}, r"data\.variables, static.* rain\b"),
    "no variables": ({"variables": []}, r"data\.static.*data\.variables"),
    "a unit of all": ({"unit": "mm/h"}, r"data\.unit\b"),
    "an unknown key": ({"static": [{"name": "a", "units": "m"}]}, r"data\.static\[0\]\.units.* unit\b"),
    "no name": ({"static": [{"unit": "m"}]}, r"data\.static\[0\]\.name$"),
    "a number": ({"static": [3]}, r"data\.static\[0\] .* 3"),
    "encoding": ({"static": [{"name": "a", "encoding": "lgo"}]}, r"data\.static\[0\]\.encoding.*'lgo'"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_variables_of_a_recipe_are_errors_by_name(name):
    change, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        read_dataset({**TABLE, **change})


FILES = {
    "a missing variable": (lambda d: d.rename(t2m="t2"), r"a\.nc.* t2m\b.* t2\b"),
    "a static variable with time": (lambda d: d.assign(elevation=d.forcing), r"elevation \(H, W\).*\(18, 6, 5\);"),
    "a variable without time": (lambda d: d.assign(t2m=d.elevation), r"t2m \(T, H, W\).* \(6, 5\);"),
    "a level too many": (lambda d: d.assign(t2m=d.t2m.expand_dims(level=3)), "t2m.*select a part with data.sel"),
    "a future variable with levels": (
        lambda d: d.assign(forcing=d.forcing.expand_dims(level=3)),
        r"expected forcing without the dimension channel.*data\.sel",
    ),
    "another quantity": (lambda d: d.assign(rain=d.rain.assign_attrs(units="K")), r"\brain\b.*'K'.*mm/h"),
    "a constant": (lambda d: d.assign(elevation=0 * d.elevation), "elevation.*encoding"),
    "a sentinel": (lambda d: d.assign(forcing=d.forcing.where(d.forcing > 0.5, -9999.0)), "forcing.* -9999 "),
    "negative rain": (lambda d: d.assign(rain=-d.rain.assign_attrs(units="mm/h")), r"rain: values.*data\.unit"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_lack_a_variable_are_errors_by_name(name, tmp_path):
    change, message = FILES[name]
    with xarray.set_options(keep_attrs=True):
        path = write(tmp_path / "a.nc", change(storms()))
    dataset = read_dataset(TABLE)
    with pytest.raises(ValueError, match=message) as error:
        dataset.preprocessing(dataset.load(path, "train", 3, 2), 3, 2)
    assert "\n" not in str(error.value)


def test_an_array_of_another_number_of_channels_is_an_error_by_name(tmp_path):
    np.save(tmp_path / "a.npy", expected(storms())[:, :4])
    with pytest.raises(ValueError, match=r"a\.npy.*\b5 channels.*rain, t2m, hour, forcing, elevation"):
        read_dataset(TABLE).load(tmp_path / "a.npy", "train", 3, 2)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_a_file_with_none_of_the_variables_is_an_error_by_name(suffix, tmp_path):
    data = storms()[["forcing"]].rename(forcing="rian")
    path = tmp_path / f"a{suffix}"
    np.savez(path, rian=data.rian.values) if suffix == ".npz" else write(path, data)
    with pytest.raises(ValueError, match=rf"a\{suffix}.* rain\b.* rian\b"):
        read_dataset({"kind": "frames", "name": "a", "variables": ["rain", "t2m"]}).load(path, "train", 3, 2)


def test_a_stated_unit_applies_to_files_after_one_without_a_unit(tmp_path):
    for name, attrs, shift in (("a.nc", {}, 280.0), ("b.nc", {"units": "degC"}, 6.85)):
        values = np.random.default_rng(0).random((6, HEIGHT, WIDTH)) + shift
        data = dict.fromkeys(("t2m", "skin"), (("time", "y", "x"), values, attrs))
        xarray.Dataset(data, {"time": np.arange(6.0)}).to_netcdf(tmp_path / name, engine="h5netcdf")
    stated = [{"name": n, "unit": "K"} for n in ("t2m", "skin")]
    kinds = [read_dataset({"kind": "frames", "name": "a", "variables": stated, "split": [f"{n}.nc"]}) for n in "ab"]
    a, b = (kind.load(tmp_path, "test", 1, 1).fixed(2) for kind in kinds)
    torch.testing.assert_close(a, b, atol=1e-3, rtol=0)
