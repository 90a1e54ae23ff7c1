"""Series of GeoTIFFs are frames with the coordinates that rasterio reads, and dates from their names or tags."""

import numpy as np
import pytest
import torch
from PIL import Image

from convrnn_zoo import create_model
from convrnn_zoo.data import ArrayFrames, ReadOptions, labelled_frames, open_frames
from convrnn_zoo.data.files import find_dates
from convrnn_zoo.data.formats.geotiff import is_geotiff
from convrnn_zoo.data.readers import open_files
from convrnn_zoo.predict.files import forecast_files

rasterio = pytest.importorskip("rasterio", reason="the extra geotiff")
pytest.importorskip("rioxarray", reason="the extra geotiff")
FRAMES = np.random.default_rng(0).integers(0, 300, (12, 8, 8)).astype("int16")
FRAMES[:, 0, 0] = -9999
RATES = np.where(FRAMES == -9999, np.nan, FRAMES / 10)


def write_geotiff(path, bands, crs="EPSG:3035", bigtiff="NO", **tags):
    bands = bands[None] if bands.ndim == 2 else bands
    edge = 0.25 if crs == "EPSG:4326" else 1000
    transform = rasterio.Affine(edge, 0, 40 * edge, 0, -edge, 30 * edge)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=8,
        width=8,
        count=len(bands),
        dtype=bands.dtype,
        crs=crs,
        nodata=-9999,
        transform=transform,
        compress="deflate",
        BIGTIFF=bigtiff,
    ) as file:
        file.write(bands)
        file.scales, file.units = (0.1,) * len(bands), ("mm/h",) * len(bands)
        file.set_band_description(1, "rain_rate")
        file.update_tags(**tags)


@pytest.fixture
def series(tmp_path):
    (tmp_path / "series").mkdir()
    for i, frame in enumerate(FRAMES):
        write_geotiff(tmp_path / "series" / f"rain_20200101-12{5 * i:02}.tif", frame)
    return tmp_path / "series"


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:4326"])
@pytest.mark.parametrize("bigtiff", ["YES", "NO"])
def test_labels_are_those_that_rasterio_reads(crs, bigtiff, tmp_path):
    path = tmp_path / "a.tif"
    write_geotiff(path, FRAMES[:2], crs, bigtiff, TIFFTAG_DATETIME="2020:01:31 12:05:00")
    data = labelled_frames(path)
    with rasterio.open(path) as file:
        masked = file.read(masked=True).astype("float32") * np.float32(0.1)
        x, y = zip(*(file.xy(i, i) for i in range(8)), strict=True)
    np.testing.assert_allclose(data["rain_rate"][0], masked.filled(np.nan), rtol=1e-6)
    names = [next(n for n, c in data.coords.items() if c.dims == (axis,)) for axis in "yx"]
    np.testing.assert_allclose(data[names[0]], y)
    np.testing.assert_allclose(data[names[1]], x)
    assert data["rain_rate"].attrs["units"] == "mm/h"
    assert data["time"].values.tolist() == [np.datetime64("2020-01-31T12:05", "ns").astype(int)]
    frames = open_frames(path)
    assert frames.pixel_km == (pytest.approx(1) if crs == "EPSG:3035" else pytest.approx(27.8, rel=0.03))


def test_a_folder_is_a_series_in_order_of_its_dates(series):
    frames = open_files([series], ReadOptions(unit="mm/h"))
    assert (len(frames), frames.step, frames.unit) == (12, 5.0, "mm/h")
    np.testing.assert_allclose(frames.read()[:, 0], RATES, rtol=1e-6)
    assert frames.dates[1].isoformat() == "2020-01-01T12:05:00"
    labelled = labelled_frames(series)
    np.testing.assert_allclose(labelled.to_dataarray().values.reshape(RATES.shape), RATES, rtol=1e-6)
    assert labelled.time.values[1] == np.datetime64("2020-01-01T12:05")


@pytest.mark.slow
def test_train_and_predict_read_a_series(series):
    train = ArrayFrames(name="rain", unit="mm/h", valid_max=100).load(series, "train", 2, 1)
    np.testing.assert_allclose(train[0][:, 0], RATES[:3], rtol=1e-6)
    torch.manual_seed(0)
    model = create_model("convgru_advection", hidden_channels=(2, 3), horizon=2)
    forecast = forecast_files(model, "a", [series])
    expected = model.forecast(torch.from_numpy(RATES[-4:]).float(), pixel_km=1)
    torch.testing.assert_close(forecast.forecast, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_tiff_files_without_a_place_are_images(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((8, 8), 51, "uint8")).save(path)
    assert not is_geotiff(path)
    assert open_frames(path).read().unique().tolist() == [pytest.approx(0.2)]
    assert open_frames(tmp_path).read().shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("S2A_20200131T103021_B04", "2020-01-31T10:30:21"),
        ("3B-HHR.20200131-S003000-E005959", "2020-01-31T00:30:00"),
        ("t2m_2020-01", "2020-01-01T00:00:00"),
        ("2020_01_31", "2020-01-31T00:00:00"),
        ("tile_123456789", ""),
        ("t2m_20200230", ""),
    ],
)
def test_dates_are_found_in_names(name, expected):
    assert "".join(date.isoformat() for date in find_dates(name)) == expected
