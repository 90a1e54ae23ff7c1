"""Files from untrusted sources run no code and read no other files."""

import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from convrnn_zoo.data import ReadOptions, open_frames
from convrnn_zoo.data.readers import FileError
from convrnn_zoo.data.readers.sequences import RECORDING_READERS, read_npz
from tests.helpers.data.own_data import write_video

FRAMES = np.arange(12 * 8 * 8, dtype="<f4").reshape(12, 8, 8)


def read(path, **options):
    return open_frames(path, ReadOptions(**options)).read()


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("shard", [None, (64, 256, 256)])
def test_sparse_stores_are_read(shard, tmp_path):
    """Five gigabytes, of which one chunk is stored, as in a store that is being written."""
    zarr, xarray = pytest.importorskip("zarr", reason="the extra zarr"), pytest.importorskip("xarray")
    path, shape = tmp_path / "a.zarr", (19_200, 256, 256)
    group = zarr.open_group(path, mode="w")
    options = {"chunks": (1, 256, 256), "shards": shard, "fill_value": np.nan, "dimension_names": ("time", "y", "x")}
    rate = group.create_array("rate", shape=shape, dtype="f4", **options)
    rate[3] = np.arange(2**16).reshape(256, 256)
    frames = open_frames(path)
    assert frames.array.shape == (19_200, 1, 256, 256)
    expected = xarray.open_zarr(path, consolidated=False)["rate"][2:5]
    np.testing.assert_array_equal(frames.read(2, 5)[:, 0], expected)


def test_a_store_that_claims_gigabytes_in_a_chunk_is_opened_without_them(tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr")
    group, names = zarr.open_group(tmp_path / "a.zarr", mode="w"), ("step", "y", "x")
    shape = (4, 2**17, 2**17)
    group.create_array("rate", shape=shape, chunks=shape, dtype="f4", fill_value=0, dimension_names=names)
    times = group.create_array("valid_time", shape=(4,), dtype="i8", dimension_names=names[:1])  # an auxiliary one
    times[:], times.attrs["units"] = np.arange(4), "hours since 2020-01-01"
    group["rate"].attrs["coordinates"] = "valid_time"
    frames = open_frames(tmp_path / "a.zarr", ReadOptions(variable="rate"))
    assert (len(frames), frames.size, frames.step) == (4, shape[1:], 60.0)


# ---- HDF5 ----------------------------------------------------------------------------------------------------------
def hdf5(path, write=lambda file: None, **options):
    with h5py.File(path, "w") as file:
        if options:
            file.create_dataset("rate", data=FRAMES, **options)
        write(file)
    return path


def external(file):
    file["rate"] = h5py.ExternalLink("secret.h5", "rate")


def link_below(file):
    file.create_group("a/b")["rate"] = h5py.ExternalLink("secret.h5", "rate")
    file["rate"] = h5py.SoftLink("/a/b/rate")


def virtual(file):
    layout = h5py.VirtualLayout(FRAMES.shape, "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "rate", FRAMES.shape)
    file.create_virtual_dataset("rate", layout)


def stored_outside(file):
    file.create_dataset("rate", FRAMES.shape, "f4", external=[("secret.bin", 0, FRAMES.nbytes)])


def times_outside(file):
    file["rate"] = FRAMES
    file["time"] = h5py.ExternalLink("secret.h5", "time")


@pytest.mark.parametrize("write", [external, link_below, virtual, stored_outside, times_outside])
@pytest.mark.parametrize("suffix", [".h5", ".nc"])
def test_hdf5_files_read_no_other_file(write, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("secret.h5", "w") as file:
        file["rate"], file["time"] = FRAMES, np.arange(12.0)
    (tmp_path / "secret.bin").write_bytes(FRAMES.tobytes())
    with pytest.raises(FileError, match=rf"a\{suffix}.*another file"):
        read(hdf5(tmp_path / f"a{suffix}", write), variable="rate")


def test_sparse_hdf5_files_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("rate", (19_200, 256, 256), "f4", chunks=(1, 256, 256), compression="gzip")[3] = 7
    np.testing.assert_array_equal(open_frames(tmp_path / "a.h5").read(2, 5)[:, 0, 0, 0], [0, 7, 0])


@pytest.mark.parametrize("compression", ["zlib", "szip", "zstd", "blosc_zstd", "blosc_lz", "bzip2"])
def test_compressions_of_netcdf4_are_read_as_by_netcdf4(compression, tmp_path):
    netcdf4 = pytest.importorskip("netCDF4")
    with netcdf4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in zip(("time", "y", "x"), FRAMES.shape, strict=True):
            file.createDimension(name, size)
        options = {"compression": compression, "shuffle": True, "fletcher32": compression == "zstd"}
        rate = file.createVariable("rate", "i2", ("time", "y", "x"), **options, chunksizes=(4, 8, 8), fill_value=-1)
        rate.scale_factor = 0.25
        rate[:] = np.ma.masked_less(FRAMES, 9)
        expected = rate[:].filled(np.nan)
    np.testing.assert_array_equal(read(tmp_path / "a.nc")[:, 0], expected)


@pytest.mark.parametrize("suffix", [".nc", ".h5", ".grib2"])
def test_a_file_of_no_bytes_is_called_empty(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.touch()
    with pytest.raises(FileError, match=f"a{suffix}.*empty"):
        read(path)


def test_a_filter_that_is_not_installed_is_named(tmp_path, monkeypatch):
    path = hdf5(tmp_path / "a.h5", compression="gzip")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    monkeypatch.setitem(__import__("sys").modules, "hdf5plugin", None)
    with pytest.raises(ImportError, match="hdf5plugin"):
        read(path)


# ---- GRIB ----------------------------------------------------------------------------------------------------------
def grib(path, **keys):
    """Writes a message that states the same temperature everywhere, and therefore stores no values."""
    eccodes = pytest.importorskip("eccodes", reason="the extra grib")
    pytest.importorskip("cfgrib", reason="the extra grib")
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    points = keys.get("Ni", 16) * keys.get("Nj", 31)
    for key, value in {"shortName": "2t", "numberOfDataPoints": points, "numberOfValues": points, **keys}.items():
        eccodes.codes_set(handle, key, value)
    path.write_bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    return path


def test_the_index_next_to_a_grib_file_is_not_read(tmp_path):
    """Index files are pickles, whose names end in a hash of the engine's options."""
    path, ran = grib(tmp_path / "a.grib2"), tmp_path / "ran"
    xarray = pytest.importorskip("xarray", reason="the extra grib")
    xarray.open_dataset(path, engine="cfgrib", decode_timedelta=False).close()
    (index,) = tmp_path.glob("*.idx")
    index.write_bytes(pickle.dumps(Evil(ran)))
    assert read(path).shape == (1, 1, 31, 16)
    assert not ran.exists()


# ---- images, videos, sound, archives -------------------------------------------------------------------------------
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(ran) (w) file closefile showpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "images/a.png"])
def test_images_are_of_formats_that_start_no_program(name, tmp_path, monkeypatch):
    plugin = pytest.importorskip("PIL.EpsImagePlugin", reason="the extra draw")
    monkeypatch.setattr(plugin, "Ghostscript", lambda *args, **kwargs: (tmp_path / "ran").touch())
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(EPS)
    with pytest.raises(FileError, match=path.name):
        read(path if path.parent == tmp_path else path.parent)
    assert not (tmp_path / "ran").exists()


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile secret.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation>'
    "<BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_videos_read_no_other_file(kind, suffix, tmp_path, monkeypatch):
    pytest.importorskip("av", reason="the extra video")
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "secret.mp4", FRAMES.astype("uint8").repeat(4, 1).repeat(4, 2))
    (tmp_path / f"a{suffix}").write_text(PLAYLISTS[kind])
    with pytest.raises(FileError, match=rf"a\{suffix} is not a valid video"):
        read(tmp_path / f"a{suffix}")


def test_the_name_of_a_video_is_not_an_address(tmp_path, monkeypatch):
    pytest.importorskip("av", reason="the extra video")
    monkeypatch.chdir(tmp_path)
    frames = FRAMES.astype("uint8").repeat(4, 1).repeat(4, 2)
    write_video(tmp_path / "secret.mp4", frames)
    write_video(tmp_path / "other.mp4", frames[:5])
    (tmp_path / "other.mp4").rename("cache:secret.mp4")
    assert len(read(Path("cache:secret.mp4"))) == 5


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_of_python_objects_are_not_read(suffix, tmp_path):
    objects = np.array([[[Evil(tmp_path / "ran")]]], dtype=object)
    (np.save if suffix == ".npy" else np.savez)(tmp_path / f"a{suffix}", objects)
    for reader in (read, RECORDING_READERS[suffix]):
        with pytest.raises(FileError, match=rf"a\{suffix}"):
            reader(tmp_path / f"a{suffix}")
    assert not (tmp_path / "ran").exists()


def test_a_member_of_an_archive_that_is_no_array_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(FileError, match=r"a\.npz: x\b.* no array"):
        read_npz(tmp_path / "a.npz")


def test_labels_of_no_characters_are_an_error_of_their_file(tmp_path):
    labels = np.full(4, 2**31 - 1, "i4").view("<U1")  # beyond the last character of Unicode
    np.savez(tmp_path / "a.npz", x=np.ones((4, 3, 2)), labels=labels)
    with pytest.raises(FileError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.timeout(60)
def test_numbers_of_any_length_are_rejected_at_once(tmp_path):
    pytest.importorskip("aeon", reason="the extra data")
    head = "@problemname a\n@timestamps true\n@univariate true\n@classlabel true a b\n@data\n"
    (tmp_path / "a.ts").write_text(f"{head}(0,1.0),(1,2.0):a\n(0,{'1' * 10**6}):b\n")
    with pytest.raises(FileError, match=r"a\.ts"):
        RECORDING_READERS[".ts"](tmp_path / "a.ts")
