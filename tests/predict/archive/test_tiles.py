"""Tiles with a halo: equal to the complete map, or rejected."""

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo.predict.archive import forecast_archive
from convrnn_zoo.predict.archive.tiles import find_halo, split_map
from tests.helpers.hub.examples import classifies, make
from tests.helpers.predict.archives import network, nowcast, rain

FORECASTERS = [name for name in convrnn_zoo.list_models() if not classifies(name)]
MOVING = {"convgru_advection", "trajgru_hko7"} | {n for n in FORECASTERS if n.startswith("motionrnn")}
LARGEST = 400
"""Edge of the largest map that is compared."""


def tile_error(model, edge, halo, size):
    """The largest difference between the forecast of a map in tiles and of the complete map."""
    torch.manual_seed(0)
    frames = torch.rand(1, model.input_frames or 3, model.in_chans, *size, dtype=next(model.parameters()).dtype)
    with torch.no_grad():
        whole = model(frames, 2)
        tiles = split_map(size, edge, halo)
        parts = [(tile, tile.crop(model(frames[..., tile.rows, tile.columns], 2))) for tile in tiles]
    return max((part - whole[..., tile.place[0], tile.place[1]]).abs().max().item() for tile, part in parts)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", FORECASTERS)
def test_the_halo_of_every_forecaster_suffices_or_it_is_rejected(name):
    model = make(name, dtype=torch.float64).eval()
    try:
        halo = find_halo(model, model.input_frames or 3, 2)
    except ValueError as e:
        assert "omit the option" in str(e)  # noqa: PT017
        return
    assert name not in MOVING
    edge = 4 * model.reduction
    size = (2 * halo + 2 * edge + model.reduction, edge)
    if max(size) <= LARGEST:
        assert tile_error(model, edge, halo, size) < 1e-9


@pytest.mark.parametrize("name", ["convgru_forecaster", "convlstm_forecaster"])
def test_a_halo_that_is_smaller_would_not_suffice(name):
    model = make(name, dtype=torch.float64).eval()
    halo = find_halo(model, 3, 2)
    size = (2 * halo + 9 * model.reduction, 4 * model.reduction)
    assert tile_error(model, 4 * model.reduction, halo, size) < 1e-12
    assert tile_error(model, 4 * model.reduction, halo - 2 * model.reduction, size) > 1e-12


@pytest.mark.parametrize("name", sorted({"convgru_advection", "trajgru_hko7", "convgru_irene"} & {*FORECASTERS}))
def test_models_that_read_the_complete_map_are_rejected(name):
    with pytest.raises(ValueError, match="tiles would differ from the complete map"):
        find_halo(make(name).eval(), 3, 2, has_members=True)


def test_parameters_for_each_pixel_are_rejected():
    with pytest.raises(ValueError, match="depends on the position in the map"):
        find_halo(make("mim").eval(), 3, 2)


def test_circular_padding_is_rejected():
    model = network(padding_mode="circular")
    with pytest.raises(ValueError, match="depends on pixels at a distance"):
        find_halo(model, 2, 3)


@pytest.mark.parametrize("is_reversed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_archive_in_tiles_equals_the_complete_maps(is_reversed, tmp_path):
    data = rain(steps=12, size=(50, 67))
    data["rain"][3:6, :30, :40] = np.nan  # wider than a tile with its halo
    data["rain"][7] = np.nan
    if is_reversed:
        data = data.isel(y=slice(None, None, -1))
    model = network()
    halo = find_halo(model, 2, 3)
    assert halo < 20
    whole = forecast_archive(model, data, tmp_path / "whole.zarr", batch_size=3)
    tiled = forecast_archive(model, data, tmp_path / "tiled.zarr", batch_size=3, tile=17)
    np.testing.assert_allclose(tiled["rain"], whole["rain"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(tiled["missing_inputs"], whole["missing_inputs"])


def test_an_archive_of_the_nowcast_has_no_tiles(tmp_path):
    with pytest.raises(ValueError, match="moves pixels over the map"):
        forecast_archive(nowcast(), rain(), tmp_path / "f.zarr", tile=8)
    assert not (tmp_path / "f.zarr").exists()
