"""Forecasters as prognostic models of earth2studio."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo.interop import Prognostic

LAT, LON = np.linspace(50, 40, 10), np.linspace(0, 11, 12)


@pytest.fixture
def prognostic():
    torch.manual_seed(0)
    model = convrnn_zoo.create_model("convgru_forecaster", in_chans=2, hidden_channels=[4, 4]).eval()
    model.preprocessing = convrnn_zoo.Preprocessing(
        encoding="standardize", unit="K", mean=(280.0,), std=(10.0,), step=360.0
    )
    return Prognostic(model, ["t2m", "t850"], LAT, LON, history=3)


def initial(prognostic, *lead):
    """Returns fields with leading dimensions of these sizes, and their coordinates."""
    coords = OrderedDict((f"dim{i}", np.arange(n)) for i, n in enumerate(lead))
    coords |= OrderedDict((k, v) for k, v in prognostic.input_coords().items() if k != "batch")
    return 280 + 10 * torch.randn(*lead, 3, 2, 10, 12), coords


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_a_step_is_the_forecast_of_the_model(prognostic, lead):
    x, coords = initial(prognostic, *lead)
    y, output = prognostic(x, coords)
    assert y.shape == (*lead, 1, 2, 10, 12)
    assert list(output) == list(coords)
    assert output["lead_time"] == np.timedelta64(6, "h")
    expected = prognostic.model.forecast(x.reshape(-1, 3, 2, 10, 12), 1)
    torch.testing.assert_close(y.reshape(expected.shape), expected)


def test_the_iterator_begins_with_the_input_and_feeds_forecasts_back(prognostic):
    x, coords = initial(prognostic, 2)
    steps = prognostic.create_iterator(x, coords)
    first, second, third = next(steps), next(steps), next(steps)
    assert torch.equal(first[0], x[:, -1:])
    y, _ = prognostic(x, coords)
    torch.testing.assert_close(second[0], y)
    later = coords | {"lead_time": coords["lead_time"] + np.timedelta64(6, "h")}
    torch.testing.assert_close(third[0], prognostic(torch.cat([x[:, 1:], y], 1), later)[0])
    hours = [step[1]["lead_time"].astype("timedelta64[h]").astype(int).tolist() for step in (first, second, third)]
    assert hours == [[0], [6], [12]]


def test_other_coordinates_are_errors(prognostic):
    x, coords = initial(prognostic, 1)
    with pytest.raises(ValueError, match=r"coords\['lat'\]"):
        prognostic(x, coords | {"lat": LAT[::-1]})
    with pytest.raises(ValueError, match=r"coords\['variable'\]"):
        prognostic(x, coords | {"variable": np.array(["t850", "t2m"])})
    with pytest.raises(ValueError, match="3 fields"):
        prognostic(x, coords | {"lead_time": coords["lead_time"] * 2})


def test_models_that_do_not_fit_are_errors():
    model = convrnn_zoo.create_model("convgru_forecaster", in_chans=2, hidden_channels=[4, 4])
    with pytest.raises(ValueError, match=r"model\.preprocessing"):
        Prognostic(model, ["a", "b"], LAT, LON, step=6, history=2)
    model.preprocessing = convrnn_zoo.Preprocessing(encoding="standardize", unit="K", mean=(280.0,), std=(10.0,))
    with pytest.raises(ValueError, match="2 channels"):
        Prognostic(model, ["a"], LAT, LON, step=6, history=2)
    with pytest.raises(ValueError, match=r"step= and history="):
        Prognostic(model, ["a", "b"], LAT, LON)


def test_earth2studio_runs_the_forecaster(prognostic):
    run = pytest.importorskip("earth2studio.run", reason="pip install earth2studio")
    from earth2studio.data import Random
    from earth2studio.io import KVBackend
    from earth2studio.models.px.base import PrognosticModel

    assert isinstance(prognostic, PrognosticModel)
    source = Random(OrderedDict(lat=LAT, lon=LON))
    io = run.deterministic(["2024-01-01", "2024-01-02"], 3, prognostic, source, KVBackend(), device="cpu")
    assert io["t2m"].shape == (2, 4, 10, 12)
    assert np.isfinite(np.asarray(io["t2m"])).all()
