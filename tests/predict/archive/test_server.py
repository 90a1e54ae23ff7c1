"""Archives, scores and training on an S3 server of this machine, by processes that share nothing else."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

import convrnn_zoo
from convrnn_zoo._stores import find_place, open_zarr_store
from convrnn_zoo.predict.archive import forecast_archive
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES, blobs
from tests.helpers.object_store import ROOT, count, environment, objects, proxy, server
from tests.helpers.predict.archives import network, rain

pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
pytest.importorskip("s3fs", reason="the extra cloud")
pytest.importorskip("distributed", reason="the extra archive")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::DeprecationWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        "ignore:Consolidated metadata is currently not part",
    ),
]


@pytest.fixture(scope="module")
def port():
    with server() as port:
        yield port


@pytest.fixture
def faults(port, monkeypatch, tmp_path):
    """A bucket behind a proxy that fails one in twenty requests; yields its counts."""
    import s3fs

    with proxy(port) as (faulty, counts):
        for name, value in environment(faulty).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.chdir(tmp_path)
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem()
        if not files.exists("bucket"):
            files.mkdir("bucket")
        yield counts
        s3fs.S3FileSystem.clear_instance_cache()


ARGUMENTS = ["--every", "10min", "--batch-size", "2", "--quiet", "--threads", "1"]


def store(name, read_only=False):
    """The store of zarr at an address; xarray would leave its connections open."""
    return open_zarr_store(find_place(f"s3://bucket/{name}.zarr"), read_only)


def command(archive, output):
    words = ["archive", "run", f"s3://bucket/{archive}.zarr", *ARGUMENTS, "-o", f"s3://bucket/{output}.zarr"]
    return [sys.executable, "-m", "convrnn_zoo", *words]


def kill_after(words, port, prefix, number):
    """Starts a command, and kills it once it has written a number of objects."""
    before = count(port, prefix)
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and count(port, prefix) < before + number:
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="processes are killed by a signal")
def test_an_archive_on_a_server_that_fails_is_as_on_a_disk(port, faults, tmp_path):
    import distributed

    convrnn_zoo.save_pretrained(network(), tmp_path / "run")
    rain(25).to_zarr(store("short"), consolidated=False)
    rain(40).to_zarr(store("long"), consolidated=False)
    model, options = convrnn_zoo.from_pretrained("run"), {"every": "10min", "batch_size": 2, "threads": 1}
    forecast_archive(model, "s3://bucket/long.zarr", "s3://bucket/whole.zarr", **options)
    kill_after(command("short", "killed"), port, "killed.zarr", 18)
    forecast_archive(model, "s3://bucket/short.zarr", "s3://bucket/killed.zarr", **options)
    kill_after(command("long", "killed"), port, "killed.zarr", 1)  # while it grows
    workers = []
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        for i in range(2):
            (folder := tmp_path / f"worker{i}").mkdir()
            words = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--nthreads", "1"]
            words += ["--no-dashboard", "--no-nanny", "--local-directory", str(tmp_path / f"spill{i}")]
            workers.append(subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL))
        try:
            with distributed.Client(cluster) as client:
                client.wait_for_workers(2)
                forecast_archive(model, "s3://bucket/long.zarr", "s3://bucket/killed.zarr", scheduler=client, **options)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert [list((tmp_path / f"worker{i}").iterdir()) for i in range(2)] == [[], []]
    assert objects(port, "killed.zarr") == objects(port, "whole.zarr")
    local = forecast_archive(convrnn_zoo.from_pretrained("run"), rain(40), tmp_path / "o.zarr", **options)
    data = xr.open_zarr(store("killed", True), decode_timedelta=True, decode_coords="all").load()
    xr.testing.assert_equal(data, local.load())
    assert faults["failed"] > 5
    assert not [name for name in os.listdir(tmp_path) if name.startswith("s3")]
    stored = b"".join(objects(port, "killed.zarr").values())
    assert b"secret-of-tests" not in stored
    assert b"key-of-tests" not in stored


def write_frames(place):
    times = np.datetime64("2020-01-01", "ns") + 5 * np.arange(40) * np.timedelta64(1, "m")
    frames = np.nan_to_num(blobs(40))
    data = xr.Dataset({"rate": (("time", "y", "x"), frames)}, {"time": times})
    data.to_zarr(place, consolidated=False, encoding={"rate": {"chunks": (8, *frames.shape[1:])}})


def test_training_and_scores_from_a_server_are_those_from_a_disk(port, faults, tmp_path):
    write_frames(tmp_path / "a.zarr")
    write_frames(store("a"))
    scores = {}
    for name, place in (("local", tmp_path / "a.zarr"), ("server", "simplecache::s3://bucket/a.zarr")):
        (tmp_path / f"{name}.toml").write_text(f'{FRAMES}path = "{place}"\n')
        options = ["--set", "workers=2", "--set", "max_steps=12", "--set", "checkpoint_every=6", "--threads", "1"]
        words = [sys.executable, "-m", "convrnn_zoo", "train", f"{name}.toml", "-o", name, *options]
        text = subprocess.run(words, check=True, capture_output=True, text=True).stderr
        assert re.search(r"12 of 12 updates.*\d+% of the time waiting for data", text)
        where = ["--data", "s3://bucket/a.zarr"] if name == "server" else ["--data", place]
        scores[name] = run("eval", name, *where, "--json", "--quiet", "--baseline", "last frame")
    assert scores["local"] == scores["server"]
    models = [convrnn_zoo.from_pretrained(tmp_path / name).state_dict() for name in scores]
    assert all((models[1][key] == value).all() for key, value in models[0].items())
    for file in (tmp_path / "server").iterdir():
        assert b"s3://" not in file.read_bytes(), file
    assert faults["failed"]
