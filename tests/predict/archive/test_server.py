"""Archives, scores and training on an S3 server of this machine, by processes that share nothing else."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import xarray as xr

import convrnn_zoo
from convrnn_zoo import _requests
from convrnn_zoo._stores import find_place, open_zarr_store
from convrnn_zoo.predict.archive import forecast_archive
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES, blobs
from tests.helpers.object_store import ROOT, count, environment, free_port, objects, proxy, server
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


@contextlib.contextmanager
def two_workers(tmp_path):
    """Yields a client of two workers of Dask with empty working directories of their own, and their processes."""
    import distributed

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
                yield client, workers
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


@pytest.mark.skipif(os.name == "nt", reason="processes are killed by a signal")
def test_an_archive_on_a_server_that_fails_is_as_on_a_disk(port, faults, tmp_path):
    convrnn_zoo.save_pretrained(network(), tmp_path / "run")
    rain(25).to_zarr(store("short"), consolidated=False)
    rain(40).to_zarr(store("long"), consolidated=False)
    model, options = convrnn_zoo.from_pretrained("run"), {"every": "10min", "batch_size": 2, "threads": 1}
    forecast_archive(model, "s3://bucket/long.zarr", "s3://bucket/whole.zarr", **options)
    kill_after(command("short", "killed"), port, "killed.zarr", 18)
    forecast_archive(model, "s3://bucket/short.zarr", "s3://bucket/killed.zarr", **options)
    kill_after(command("long", "killed"), port, "killed.zarr", 1)  # while it grows
    with two_workers(tmp_path) as (client, _):
        forecast_archive(model, "s3://bucket/long.zarr", "s3://bucket/killed.zarr", scheduler=client, **options)
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


OPTIONS = {"every": "10min", "batch_size": 2, "threads": 1}


@pytest.fixture
def whole(faults, port):
    """Objects of an undisturbed run over ``s3://bucket/frames.zarr``."""
    rain(40).to_zarr(store("frames"), consolidated=False, mode="w")
    forecast_archive(network(), "s3://bucket/frames.zarr", "s3://bucket/undisturbed.zarr", **OPTIONS)
    return objects(port, "undisturbed.zarr")


def test_a_run_whose_keys_expire_is_continued_with_other_keys(port, faults, whole):
    faults["expires"] = faults["writes"] + 35
    with pytest.raises(PermissionError) as error:
        forecast_archive(network(), "s3://bucket/frames.zarr", "s3://bucket/expired.zarr", **OPTIONS)
    assert not re.search("key-of-tests|secret-of-tests", f"{error.value!r}")
    written = objects(port, "expired.zarr")
    assert "zarr.json" in written
    assert len(written) < len(whole)
    faults["expires"] = float("inf")
    forecast_archive(network(), "s3://bucket/frames.zarr", "s3://bucket/expired.zarr", **OPTIONS)
    assert objects(port, "expired.zarr") == whole


@pytest.mark.parametrize("seconds", [5, None])
def test_a_server_that_dies_and_comes_back(seconds, port, whole, monkeypatch):
    """Within the time of the repetitions, the run goes on; after it, the next run does."""
    import s3fs

    at, name = free_port(), f"died{seconds}.zarr"
    up, died, finished = threading.Event(), threading.Event(), threading.Event()

    def serve():
        with proxy(port, 0, at) as (_, counts):
            up.set()
            while counts["writes"] < 35:
                time.sleep(0.02)
        died.set()
        if seconds is not None:
            time.sleep(seconds)
            with proxy(port, 0, at):
                finished.wait()

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{at}")
    s3fs.S3FileSystem.clear_instance_cache()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    up.wait()
    run = partial(forecast_archive, network(), "s3://bucket/frames.zarr", f"s3://bucket/{name}", **OPTIONS)
    if seconds is None:
        monkeypatch.setattr(_requests, "DELAYS", ())
        with pytest.raises(OSError, match=name):
            run()
        assert 0 < count(port, name) < len(whole)
        with proxy(port, 0, at):
            run()
    else:
        run()
    assert died.is_set()
    finished.set()
    thread.join()
    assert objects(port, name) == whole


@pytest.mark.skipif(os.name == "nt", reason="processes are killed by a signal")
def test_a_worker_that_is_killed_is_replaced_by_the_other(port, whole, tmp_path):
    with two_workers(tmp_path) as (client, workers):

        def kill():
            while count(port, "worker.zarr") < len(whole) // 2:
                time.sleep(0.05)
            workers[0].kill()

        thread = threading.Thread(target=kill)
        thread.start()
        forecast_archive(network(), "s3://bucket/frames.zarr", "s3://bucket/worker.zarr", scheduler=client, **OPTIONS)
        thread.join()
        assert len(client.scheduler_info()["workers"]) == 1
    assert objects(port, "worker.zarr") == whole


@pytest.mark.parametrize("kind", ["obstore", "zarr"])
def test_stores_of_others_are_read_and_written(kind, port, whole, tmp_path):
    pytest.importorskip("obstore", reason="pip install obstore")
    from obstore.store import S3Store
    from zarr.storage import FsspecStore, ObjectStore

    def s3(name):  # the server and the keys are in the environment
        if kind == "zarr":
            return FsspecStore.from_url(f"s3://bucket/{name}")
        return ObjectStore(S3Store("bucket", prefix=name, client_options={"allow_http": True}))

    forecast_archive(network(), s3("frames.zarr"), s3(f"{kind}.zarr"), **OPTIONS)
    assert objects(port, f"{kind}.zarr") == whole
    name = f"{kind}-workers.zarr"
    with two_workers(tmp_path) as (client, _):
        forecast_archive(network(), s3("frames.zarr"), s3(name), scheduler=client, **OPTIONS)
    assert objects(port, name) == whole


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
