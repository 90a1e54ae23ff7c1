"""Small archives of rain, and a small network that forecasts from them."""

import numpy as np
import torch
import xarray as xr

import convrnn_zoo


def rain(steps=40, size=(18, 24), start="2020-01-31T22:00"):
    """Rain in mm/h with coordinates and a map projection; the rows go south, as in the normal form."""
    rng = np.random.default_rng(0)
    y, x = ("y", 2.0 * np.arange(size[0])[::-1]), ("x", 2.0 * np.arange(size[1]))
    times = np.datetime64(start, "ns") + 5 * np.arange(steps) * np.timedelta64(1, "m")
    attrs = [{"standard_name": f"projection_{a}_coordinate", "units": "km"} for a in "yx"]
    return xr.Dataset(
        {
            "rain": (
                ("time", "y", "x"),
                rng.gamma(0.3, 2.0, (steps, *size)).astype("float32"),
                {"units": "mm/h", "long_name": "rain rate", "grid_mapping": "crs"},
            )
        },
        {
            "time": times,
            "y": (*y, attrs[0]),
            "x": (*x, attrs[1]),
            "crs": ((), 0, {"grid_mapping_name": "latitude_longitude", "earth_radius": 6371000.0}),
        },
    )


def network(name="convgru_forecaster", **kwargs):
    """A forecaster of three frames from two, with weights of a fixed seed."""
    torch.manual_seed(0)
    sizes = {"hidden_channels": [4, 4], "kernel_size": 3, "horizon": 3, "patch_size": 2}
    model = convrnn_zoo.create_model(name, **{**sizes, **kwargs})
    model.preprocessing = convrnn_zoo.Preprocessing(
        encoding="log", unit="mm/h", floor=0.1, top=50.0, step=5.0, inputs=2, horizon=3
    )
    return model.eval()


def nowcast():
    """A small nowcast of three frames."""
    torch.manual_seed(0)
    return convrnn_zoo.create_model("convgru_advection", hidden_channels=(2, 3), horizon=3).eval()


def same(a, b):
    """Whether two stores have the same files with the same bytes."""
    files = [{p.relative_to(d): p.read_bytes() for p in d.rglob("*") if p.is_file()} for d in (a, b)]
    return files[0] == files[1]
