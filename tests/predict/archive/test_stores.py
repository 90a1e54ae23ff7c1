"""Archives and forecasts in stores at an address: what object stores guarantee is enough."""

import importlib.util
import re
import sys
import threading
import warnings

import fsspec
import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore, ObjectStore

import convrnn_zoo
from convrnn_zoo import _requests
from convrnn_zoo._stores import Store, find_place
from convrnn_zoo.predict.archive import forecast_archive
from convrnn_zoo.predict.archive import store as archive_store
from tests.helpers.command_line import run as run_command
from tests.helpers.predict.archives import network, nowcast, rain

pytest.importorskip("distributed", reason="the extra archive")


@pytest.fixture
def bucket(request):
    """Address of an empty folder of the file system in memory."""
    files, name = fsspec.filesystem("memory"), f"memory://{re.sub(r'[^a-z]', '', request.node.name)}"
    yield name
    files.rm(name.removeprefix("memory:/"), recursive=True) if files.exists(name.removeprefix("memory:/")) else None


def save(data, address):
    """Writes a store with consolidated metadata, as most in the cloud have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        data.to_zarr(address)


def contents(address):
    """Bytes by key of a store at an address, or of one in memory."""
    if isinstance(address, MemoryStore):
        return {key: value.to_bytes() for key, value in address._store_dict.items()}
    root, files = address.removeprefix("memory:/"), fsspec.filesystem("memory")
    return {k.removeprefix(f"{root}/"): files.cat_file(k) for k in files.find(root)}


def test_an_archive_is_forecast_from_an_address_to_an_address(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(rain(), f"{bucket}/a.zarr")
    result = forecast_archive(network(), f"{bucket}/a.zarr", f"{bucket}/o.zarr", every=4)
    expected = forecast_archive(network(), rain(), tmp_path / "o.zarr", every=4)
    xr.testing.assert_identical(result.load(), expected.load())
    store = MemoryStore()
    rain().to_zarr(f"{bucket}/b.zarr", consolidated=False)
    xr.testing.assert_identical(forecast_archive(network(), f"{bucket}/b.zarr", store, every=4).load(), expected)
    assert contents(store) == contents(f"{bucket}/o.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]  # an address never becomes a local folder
    forecast = network().forecast(f"{bucket}/a.zarr")
    xr.testing.assert_allclose(forecast, network().forecast(rain().isel(time=slice(-2, None))))
    xr.testing.assert_allclose(network().forecast(f"simplecache::{bucket}/a.zarr"), forecast)


@pytest.mark.parametrize("make", [network, nowcast])
def test_a_forecast_takes_the_storage_options_of_an_address(make, bucket, tmp_path):
    save(rain(), f"{bucket}/a.zarr")
    model, options = make(), {"simplecache": {"cache_storage": str(tmp_path / "cache")}}
    forecast = model.forecast(f"simplecache::{bucket}/a.zarr", storage_options=options)
    assert any((tmp_path / "cache").iterdir())
    xr.testing.assert_equal(forecast, model.forecast(f"{bucket}/a.zarr"))
    for frames in (rain(), str(tmp_path / "a.zarr")):  # neither is at an address
        with pytest.raises(ValueError, match="storage_options"):
            model.forecast(frames, storage_options=options)
    if make is nowcast:
        model.probabilities(f"{bucket}/a.zarr", [1.0], storage_options={"anon": True})


def test_commands_take_addresses(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    convrnn_zoo.save_pretrained(nowcast(), tmp_path / "run")
    save(rain(), f"{bucket}/a.zarr")
    text = run_command("archive", "run", f"{bucket}/a.zarr", "--every", "1h", "-o", f"{bucket}/o.zarr")
    assert f"{bucket}/o.zarr: 3 issue times" in text
    run_command("predict", "run", f"{bucket}/a.zarr", "-o", f"{bucket}/one.zarr")
    run_command("predict", "run", f"{bucket}/a.zarr", "-o", "one.nc")
    with xr.open_dataset("one.nc", decode_timedelta=True) as local:
        np.testing.assert_array_equal(xr.open_zarr(f"{bucket}/one.zarr", decode_timedelta=True)["rain"], local["rain"])
    assert "is read and would be" in run_command("archive", "run", f"{bucket}/a.zarr", "-o", f"{bucket}/a.zarr", code=1)
    assert "s3://" in run_command("archive", "run", f"{bucket}/a.zarr", "-o", "s4://bucket/o.zarr", code=2)
    assert "local path" in run_command("train", "rain", "-o", "memory://run", code=2)
    assert {p.name for p in tmp_path.iterdir()} == {"run", "one.nc"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s4://bucket/o.zarr", r"unknown scheme s4.*s3://.*memory://"),
        ("s3:/bucket/o.zarr", "two slashes"),
        ("memory://bucket/o.nc", "copy the .nc file"),
        ("https://user:secret@host/o.h5", r"^https://\*\*\*@host/o.h5"),
    ],
)
def test_other_addresses_are_errors(address, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (lambda: find_place(address), lambda: forecast_archive(network(), rain(), address)):
        with pytest.raises(ValueError, match=message):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("az", "adlfs")])
def test_a_missing_package_of_a_scheme_is_named(scheme, package, monkeypatch):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    calls = (
        lambda address: forecast_archive(network(), address, MemoryStore()),
        lambda address: forecast_archive(network(), rain(), address),
        network().forecast,
    )
    for call in calls:
        with pytest.raises(ImportError, match=rf"{scheme}://bucket/a.zarr.*pip install '{package}'"):
            call(f"{scheme}://bucket/a.zarr")


def test_an_archive_in_a_store_of_obstore():
    obstore = pytest.importorskip("obstore", reason="pip install obstore")
    expected = MemoryStore()
    frames, store = (ObjectStore(obstore.store.MemoryStore()) for _ in range(2))
    rain().to_zarr(frames, consolidated=False)
    forecast_archive(network(), rain(), expected, every=4)
    forecast_archive(network(), frames, store, every=4)
    keys = [part["path"] for parts in store.store.list() for part in parts]
    assert {key: store.store.get(key).bytes().to_bytes() for key in keys} == contents(expected)


def test_an_archive_without_the_private_function_of_zarr(bucket, tmp_path, monkeypatch):
    forecast_archive(network(), rain(), expected := MemoryStore(), every=4)
    monkeypatch.setitem(sys.modules, "zarr.core.sync", None)  # as if zarr had moved it
    forecast_archive(network(), rain(), f"{bucket}/o.zarr", every=4)
    forecast_archive(network(), rain(), store := MemoryStore(), every=4)
    assert contents(f"{bucket}/o.zarr") == contents(store) == contents(expected)


# ---- interruptions ---------------------------------------------------------------------------------------------------
class KillError(Exception):
    pass


class Watched(MemoryStore):
    """A store in memory that ends the run before a write, and whose state is checked before each one."""

    writes, stop_at, check = 0, -1, staticmethod(lambda store: None)

    async def set(self, key, value, byte_range=None):
        self.check(self)
        if self.writes == self.stop_at:
            raise KillError
        self.writes += 1
        await super().set(key, value, byte_range)


OPTIONS = {"every": "10min", "batch_size": 4}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_before_any_write_ends_as_an_undisturbed_one(seed):
    whole = Watched()
    forecast_archive(network(), rain(41), whole, **OPTIONS)
    first = whole.writes
    forecast_archive(network(), rain(60), whole, **OPTIONS)
    places = range(seed, whole.writes, 1 if seed else 9)
    for stop_at in places:
        store = Watched()
        store.stop_at = stop_at
        steps = [41, 60] if stop_at >= first else [41, 41, 60]
        for count in steps + ([60] if stop_at >= first else []):
            try:
                forecast_archive(network(), rain(count), store, **OPTIONS)
            except KillError:
                store.stop_at = -1
        assert contents(store) == contents(whole), stop_at


def test_readers_see_a_valid_store_at_any_moment():
    states, seen = [], set()
    store = Watched()
    store.check = lambda store: states.append(dict(store._store_dict))
    forecast_archive(network(), rain(41), store, **OPTIONS)
    forecast_archive(network(), rain(60), store, **OPTIONS)
    for state in states:
        if "zarr.json" in state:
            data = xr.open_zarr(MemoryStore(state), chunks=None, decode_timedelta=True).load()
            done = data["rain"].values[data["missing_inputs"].values >= 0]
            assert np.isfinite(done).all()
            seen.add(data.sizes["forecast_reference_time"])
    assert seen == {20, 29}


def test_a_run_stops_if_a_later_one_writes_its_store(monkeypatch):
    expected, store = MemoryStore(), MemoryStore()
    forecast_archive(network(), rain(), expected, **OPTIONS)
    write, writes = archive_store.write_region, []

    def overtake(*args):
        writes.append(args)
        if len(writes) == 2:
            forecast_archive(network(), rain(), store, **OPTIONS)
        write(*args)

    monkeypatch.setattr(archive_store, "write_region", overtake)
    with pytest.raises(RuntimeError, match="another run"):
        forecast_archive(network(), rain(), store, **OPTIONS)
    assert contents(store) == contents(expected)
    with pytest.raises(ValueError, match="horizon = 3, and is 2"):  # a run with other settings stops none
        forecast_archive(network(), rain(), store, horizon=2, **OPTIONS)


@pytest.mark.filterwarnings("ignore")  # threads share the filters that each run sets and restores
def test_two_runs_at_once_end_with_one_store():
    expected, store, errors, model = MemoryStore(), MemoryStore(), [], network()

    def forecast():
        try:
            forecast_archive(model, rain(), store, **OPTIONS)
        except RuntimeError as e:
            errors.append(str(e))

    forecast_archive(network(), rain(), expected, **OPTIONS)
    threads = [threading.Thread(target=forecast) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(errors) <= 1
    assert contents(store) == contents(expected)


# ---- requests and credentials ---------------------------------------------------------------------------------------
def test_failed_requests_are_repeated_and_named_without_credentials(bucket, monkeypatch):
    save(rain(), f"{bucket}/a.zarr")
    monkeypatch.setattr(_requests, "DELAYS", (0.0, 0.0))
    files, fail = fsspec.filesystem("memory"), []
    cat = files.cat_file

    def cat_file(path, *args, **kwargs):
        if fail and fail.pop():
            raise OSError("503 for key=topsecret at https://user:password@host/a?sig=abc")
        return cat(path, *args, **kwargs)

    monkeypatch.setattr(type(files), "cat_file", staticmethod(cat_file))
    place = find_place(f"{bucket}/a.zarr", {"key": "topsecret"})
    fail[:] = [True, True]
    assert place.exists()
    fail[:] = [True] * 100
    with pytest.raises(OSError, match=r"\*\*\*") as error:
        place.exists()
    shown = f"{error.value!r} {error.value.__cause__} {place!r} {place} {place.open()!r} {place.open()}"
    assert not re.search("topsecret|password|user|sig=", shown)
    assert error.value.__suppress_context__


def test_addresses_are_shown_without_credentials():
    for address in ("s3://user:password@bucket/a.zarr", "https://password@host/a.zarr", "https://host/a.zarr?password"):
        place = find_place(address)
        assert "password" not in f"{place} {place!r} {place.name}"
        assert isinstance(place, Store)
