"""Labels do not change a forecast: one test draws how the same numbers are named, ordered, packed, stored and split.

Files, a DataArray, a Dataset and the forecast that was written and read again equal the plain array in the order
(T, H, W), north and west first; or they are rejected for the reason that was drawn.
"""

import itertools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convrnn_zoo import Preprocessing, create_model
from convrnn_zoo.data import ReadOptions
from convrnn_zoo.data.files import FileError
from convrnn_zoo.data.readers import open_files
from convrnn_zoo.predict import forecast_files
from convrnn_zoo.values.preprocessing import Variable
from convrnn_zoo.values.units import conversion

xarray = pytest.importorskip("xarray", reason="the extra netcdf")
pytest.importorskip("zarr", reason="the extra zarr")

STEPS, HEIGHT, WIDTH, HORIZON = 6, 5, 7, 2
UNITS = ("mm/h", "mm h-1", "mm/5min", "kg m-2 s-1", "inches/hour", "dBZ", "kg m-2")
NAMES = (
    ("time", "y", "x"),
    ("TIME", "LAT", "LON"),
    ("Time", "south_north", "west_east"),
    ("t", "latitude", "longitude"),
)
PLACES = (
    {"standard_name": "latitude", "units": "degrees_north"},
    {"standard_name": "longitude", "units": "degrees_east"},
)
DEFECTS = {
    "other unit": "Pa",
    "other region": "on another grid",
    "other values": "different values",
    "two times": "two dimensions of time",
    "no forcing": "expected forcing",
}
"""Reasons of errors, and a part of the message."""


@dataclass(frozen=True)
class Labels:
    """How the numbers are labelled and stored."""

    names: tuple[str, str, str]
    has_attributes: bool
    order: tuple[int, int, int]
    turned: tuple[bool, bool]
    calendar: str
    time_unit: str
    dated_by: str
    unit: str
    packing: str
    suffix: str
    zarr_format: int
    chunks: tuple[int, int, int]
    cuts: tuple[int, ...]
    overlap: bool
    shuffled: bool
    level: bool
    other: bool
    known: bool
    defect: str


@st.composite
def labels(draw):
    names, has_attributes = draw(st.sampled_from(NAMES)), draw(st.booleans())
    names = draw(st.sampled_from([names, ("a", "b", "c")])) if has_attributes else names
    known = draw(st.booleans())
    defects = ["", "", "", "", "other unit", "two times", "other region", "other values", *["no forcing"] * known]
    cuts = tuple(sorted(draw(st.sets(st.integers(1, STEPS - 1), max_size=2))))
    defect = draw(st.sampled_from(defects))
    if defect in ("other region", "other values"):
        cuts = cuts or (3,)
    if defect == "two times":  # a dimension of one time is no second one
        cuts = ()
    return Labels(
        names=names,
        has_attributes=has_attributes,
        order=draw(st.permutations(range(3)).map(tuple)),
        turned=draw(st.tuples(st.booleans(), st.booleans())),
        calendar=draw(st.sampled_from(["standard", "proleptic_gregorian", "noleap", "360_day"])),
        time_unit=draw(st.sampled_from(["s", "seconds", "ms", "us", "minutes", "hours", "days"])),
        dated_by=draw(st.sampled_from(["dimension", "auxiliary"])),
        unit=draw(st.sampled_from(UNITS)),
        packing=draw(st.sampled_from(["none", "float64", "int16", "fill", "range"])),
        suffix=draw(st.sampled_from([".nc", ".cdf", ".zarr"])),
        zarr_format=draw(st.sampled_from([2, 3])),
        chunks=draw(st.tuples(*(st.integers(1, n) for n in (STEPS, HEIGHT, WIDTH)))),
        cuts=cuts,
        overlap=defect == "other values" or draw(st.booleans()),
        shuffled=draw(st.booleans()),
        level=draw(st.booleans()),
        other=draw(st.booleans()),
        known=known,
        defect=defect,
    )


def plain(seed=0):
    """Rain in mm/h, where a pixel is missing, a map of the ground and a series, in the canonical order."""
    rng = np.random.default_rng(seed)
    rain = (rng.integers(1, 80, (STEPS, HEIGHT, WIDTH)) / 8).astype("float32")
    rain[1, 2, 3] = np.nan
    ground = rng.integers(0, 9, (HEIGHT, WIDTH)).astype("float32")
    return rain, ground, rng.random(STEPS + HORIZON).astype("float32")


def model(known):
    torch.manual_seed(0)
    extra = {"static_chans": 1, "future_chans": 1} if known else {}
    net = create_model("convgru_forecaster", hidden_channels=2, patch_size=1, horizon=HORIZON, **extra)
    rain = {"unit": "mm/h", "encoding": "log", "floor": 0.1, "top": 100.0}
    roles = {"static": (Variable(name="ground"),), "future": (Variable(name="forcing"),)}
    description = {"variables": (Variable(name="rain", **rain),), **roles} if known else rain
    net.preprocessing = Preprocessing(step=5.0, inputs=STEPS, **description)
    with torch.no_grad():
        for parameter in net.parameters():  # so that the forecast depends on every number
            parameter.mul_(3)
    return net.eval()


def label(how):
    """Returns the numbers as a Dataset of xarray in memory, labelled as drawn."""
    rain, ground, forcing = plain()
    to_unit = {"dBZ": lambda r: 10 * np.log10(200 * r**1.6), "kg m-2": lambda r: r / 12}
    factor = conversion("mm/h", how.unit) if how.unit not in to_unit else None
    values = to_unit.get(how.unit, factor)(rain.astype("float64"))
    time, y, x = how.names
    count = STEPS + HORIZON * how.known
    sizes = {time: count, y: HEIGHT, x: WIDTH}
    values = np.concatenate([values, np.full((count - STEPS, HEIGHT, WIDTH), np.nan)])
    unit = "Pa" if how.defect == "other unit" else how.unit
    data = xarray.Dataset(
        {
            "rain": (
                (time, y, x),
                values.astype("float32" if how.packing != "float64" else "float64"),
                {"units": unit},
            ),
            **({"ground": ((y, x), ground), "forcing": (time, forcing)} if how.known else {}),
            **({"t2m": ((time, y, x), np.full(tuple(sizes.values()), 280.0), {"units": "K"})} if how.other else {}),
        }
    )
    is_place = how.has_attributes or y.lower().startswith("lat")
    lines = (52.0 - np.arange(HEIGHT) / 4, 4 + np.arange(WIDTH) / 2)
    if is_place:
        data = data.assign_coords(
            {
                d: (d, line, attrs if how.has_attributes else {})
                for d, line, attrs in zip((y, x), lines, PLACES, strict=True)
            }
        )
        data = data.isel({d: slice(None, None, -1) for d, flip in zip((y, x), how.turned, strict=True) if flip})
    minutes = {"s": 1 / 60, "seconds": 1 / 60, "ms": 1 / 6e4, "us": 1 / 6e7, "minutes": 1, "hours": 60, "days": 1440}
    numbers = np.arange(count) * 5 / minutes[how.time_unit]
    numbers = numbers if how.time_unit in ("hours", "days") else numbers.round().astype("int64")
    attrs = {"units": f"{how.time_unit} since 2021-02-28 23:45:00", "calendar": how.calendar}
    attrs |= {"standard_name": "time"} if how.has_attributes else {}
    if how.unit == "kg m-2":
        attrs["bounds"] = "time_bounds"
        step = 5 / minutes[how.time_unit]
        bounds = np.stack([numbers - (step if numbers.dtype.kind == "f" else round(step)), numbers], 1)
        data = data.assign(time_bounds=((time, "nv"), bounds))
    label = time if how.dated_by == "dimension" or not how.has_attributes else "XTIME"
    data = data.assign_coords({label: (time, numbers, attrs)})
    if how.level:
        data["rain"] = data.rain.expand_dims(height=[2.0])
    if how.defect == "two times":
        data["rain"] = data.rain.expand_dims(run=np.array(["2021-01-01", "2021-01-02"], "datetime64[ns]"))
    if how.defect == "no forcing":
        data = data.drop_vars("forcing").assign(forcing=("hours", forcing))
    dims = [d for d in data.rain.dims if d not in how.names]
    return data.transpose(*dims, *(how.names[i] for i in how.order), ...)


def store(data, how, folder):
    """Writes the Dataset as drawn, and returns the paths of its files."""
    time, variable, encoding = how.names[0], data.rain, {}
    bounds = [0, *how.cuts, STEPS if not how.known else STEPS + HORIZON]
    if how.suffix == ".cdf":  # NetCDF-3 has no integers of 64 bits
        for name in [n for n, v in data.variables.items() if v.dtype == "int64"]:
            data = data.assign({name: data[name].astype("float64").variable})
    if how.packing == "int16":
        scale = float(np.nanmax(abs(variable.values))) / 30_000
        encoding["rain"] = {"dtype": "int16", "scale_factor": scale, "_FillValue": np.int16(-32_768)}
    elif how.packing == "fill":
        encoding["rain"] = {"_FillValue": np.float32(-999)}
    elif how.packing == "range":
        data = data.assign(rain=variable.fillna(-5000.0).assign_attrs(variable.attrs, valid_min=np.float32(-4000)))
        encoding["rain"] = {"_FillValue": None}
    paths = []
    for i, (start, stop) in enumerate(itertools.pairwise(bounds)):
        begin = max(0, start - 1) if how.overlap else start
        part = data.isel({time: slice(begin, stop)})
        if i and how.defect == "other values":
            part = part.assign(rain=part.rain + 0.5)
        if i and how.defect == "other region":
            part = part.assign_coords({how.names[1]: part[how.names[1]] + 1}) if how.names[1] in part.coords else part
        number = len(bounds) - i if how.shuffled else i
        path = folder / f"part{number}{how.suffix}"
        if how.suffix == ".zarr":
            sizes = dict(zip(how.names, how.chunks, strict=True))
            chunks = {
                n: {"chunks": tuple(min(sizes.get(d, 9), size) for d, size in v.sizes.items())}
                for n, v in part.data_vars.items()
            }
            part.to_zarr(
                path,
                consolidated=False,
                zarr_format=how.zarr_format,
                encoding={n: {**encoding.get(n, {}), **chunk} for n, chunk in chunks.items()},
            )
        else:
            part.to_netcdf(path, engine="scipy" if how.suffix == ".cdf" else "h5netcdf", encoding=encoding)
        paths.append(path)
    return sorted(paths)


def check(how):
    net, (rain, ground, forcing) = model(how.known), plain()
    known = {"static": ground[None], "future": forcing[:, None, None, None]} if how.known else {}
    expected = net.forecast(rain, **known)
    data, defect = label(how), how.defect
    is_place = how.has_attributes or how.names[1].lower().startswith("lat")
    defect = "" if defect == "other region" and not is_place else defect  # of which no file states the region
    frames = (
        data
        if how.known
        else data[["rain", *(["t2m"] if how.other else [])]].assign_coords(
            {n: data[n] for n in ("time_bounds",) if n in data}
        )
    )
    turned = [axis for axis, flip in zip((-2, -1), how.turned, strict=True) if flip and is_place]
    tolerance = {"rtol": 3e-3, "atol": 3e-3}

    def forecast_array(source):
        if how.known:
            observed = source.isel({how.names[0]: slice(STEPS)})
            static = source.ground
            static = static.isel(dict.fromkeys(static.dims, slice(None, None, -1))) if is_place else static
            return net.forecast(observed[["rain"]].assign_coords(observed.coords), static=static, future=source.forcing)
        return net.forecast(source)

    folder = Path(tempfile.mkdtemp())
    try:
        paths = store(data, how, folder)
        if defect:
            with pytest.raises((ValueError, FileError)) as error:
                forecast_files(net, "m", paths)
            assert DEFECTS[defect] in str(error.value), str(error.value)
            if defect in ("other unit", "two times"):
                with pytest.raises(ValueError, match=DEFECTS[defect]):
                    forecast_array(frames)
            return
        result = forecast_files(net, "m", paths)
        np.testing.assert_allclose(result.forecast, expected, **tolerance)
        sources = [frames] if how.known else [frames, frames.rain]
        for source in sources:
            made = forecast_array(source)
            made = next(iter(made.data_vars.values())) if isinstance(made, xarray.Dataset) else made
            np.testing.assert_allclose(np.flip(made.values, turned), expected, **tolerance)
            assert made.dims == ("lead_time", *(d for d in how.names[1:]))
            assert made.time.size == HORIZON
        result.write(folder / "forecast.nc")
        again = open_files([folder / "forecast.nc"], ReadOptions(unit="mm/h"))
        np.testing.assert_allclose(again.read()[:, 0], expected, **tolerance)
        days = {"noleap": "03-01", "360_day": "02-29"}.get(how.calendar, "03-01")
        assert [f"{t:%m-%d %H:%M}" for t in again.dates] == [f"{days} 00:15", f"{days} 00:20"]
        np.testing.assert_array_equal(np.load(save_numpy(result, folder)), np.flip(result.forecast.numpy(), turned))
    finally:
        shutil.rmtree(folder)


def save_numpy(result, folder):
    result.write(folder / "forecast.npy")
    return folder / "forecast.npy"


OPTIONS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}


@given(labels())
@settings(max_examples=8, **OPTIONS)
def test_labels_do_not_change_a_forecast(how):
    check(how)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@given(labels())
@settings(max_examples=2000, **OPTIONS)
def test_labels_do_not_change_a_forecast_in_2000_draws(how):
    check(how)


def test_the_order_of_the_numbers_changes_a_forecast():
    """Otherwise the test above could not fail."""
    rain, net = plain()[0], model(False)
    expected = net.forecast(rain)
    for other in (rain[:, ::-1], rain[:, :, ::-1], rain[::-1], rain * 1.05):
        assert abs(net.forecast(np.ascontiguousarray(other)) - expected).max() > 0.03
