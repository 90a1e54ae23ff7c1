"""Hostile files neither run code, nor read other files, nor need memory out of proportion to their size."""

import gzip
import json
import pickle
import re
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.memory import rise
from convrnn_zoo._extras import need
from convrnn_zoo.data import ReadOptions, open_frames
from convrnn_zoo.data.readers import FileError
from convrnn_zoo.data.readers.audio import read_sound
from convrnn_zoo.data.readers.sequences import RECORDING_READERS, read_npz
from convrnn_zoo.data.untrusted import check_hdf5, check_zarr_store, checked_codecs
from tests.helpers.data.own_data import write_video

FRAMES = np.arange(12 * 8 * 8, dtype="<f4").reshape(12, 8, 8)


def read(path, **options):
    return open_frames(path, ReadOptions(**options)).read()


# ---- Zarr ----------------------------------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def unsafe_numcodecs(monkeypatch):
    """numcodecs unpickles here, as versions before 0.16.6 always do."""
    pickles = pytest.importorskip("numcodecs.pickles", reason="the extra zarr")
    monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def array_2(shape=FRAMES.shape, chunks=None, dtype="<f4", compressor=None, filters=None, **others):
    return {
        "zarr_format": 2, "shape": list(shape), "chunks": list(chunks or shape), "dtype": dtype, "order": "C",
        "compressor": compressor, "filters": filters, "fill_value": None, **others,
    }  # fmt: skip


def array_3(*codecs, shape=FRAMES.shape, chunks=None, data_type="float32", **others):
    return {
        "zarr_format": 3, "node_type": "array", "shape": list(shape), "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks or shape)}},
        "chunk_key_encoding": {"name": "default"}, "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, *codecs], "attributes": {}, **others,
    }  # fmt: skip


def codec(name, **configuration):
    return {"name": name, "configuration": configuration}


def write_store(root, arrays, chunks):
    """Writes metadata by path, and chunks by path, as a store of the version that the metadata state."""
    version = next(iter(arrays.values()))["zarr_format"]
    root.mkdir()
    group = {"zarr_format": version} | ({} if version == 2 else {"node_type": "group", "attributes": {}})
    for path, array in arrays.items():
        folder = root / path
        folder.mkdir(parents=True, exist_ok=True)
        for parent in (root, *folder.relative_to(root).parents):
            name = ".zgroup" if version == 2 else "zarr.json"
            if (root / parent) != folder:
                (root / parent / name).write_text(json.dumps(group))
        (folder / (".zarray" if version == 2 else "zarr.json")).write_text(json.dumps(array))
    for path, content in chunks.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


PICKLE = {"id": "pickle", "protocol": 5}
TEXT = [{"id": "vlen-utf8"}, PICKLE]
HOSTILE_2 = {
    "time": {"time": array_2((12,), dtype="|O", filters=TEXT)},
    "time of floats": {"time": array_2((12,), compressor=PICKLE)},
    "time, pickled twice": {"time": array_2((12,), filters=[PICKLE], compressor=PICKLE)},
    "frames": {"rate": array_2(compressor=PICKLE)},
    "frames, filter": {"rate": array_2(filters=[PICKLE])},
    "in a group": {"inner/time": array_2((12,), compressor=PICKLE), "inner/rate": array_2()},
    "two names of codecs": {"time": array_2((12,), compressor=PICKLE, codecs=[])},
}


@pytest.mark.parametrize("name", HOSTILE_2)
@pytest.mark.parametrize("variable", ["", "inner/rate"])
def test_a_codec_of_a_store_runs_no_code(name, variable, tmp_path):
    ran, chunk = tmp_path / "ran", pickle.dumps(Evil(tmp_path / "ran"))
    arrays = {"rate": array_2(), **HOSTILE_2[name]}
    chunks = {f"{path}/{'.'.join('0' * len(a['shape']))}": chunk for path, a in arrays.items() if a != array_2()}
    path = write_store(tmp_path / "a.zarr", arrays, {"rate/0.0.0": FRAMES.tobytes(), **chunks})
    with pytest.raises(FileError, match=r"a\.zarr") as error:
        read(path, variable=variable)
    assert "pickle" in str(error.value) or "two versions" in str(error.value)
    assert not ran.exists()


def test_consolidated_metadata_are_checked(tmp_path):
    path = write_store(tmp_path / "a.zarr", {"rate": array_2()}, {"rate/0.0.0": FRAMES.tobytes()})
    metadata = {".zgroup": {"zarr_format": 2}, "rate/.zarray": array_2(), "x/.zarray": array_2(compressor=PICKLE)}
    (path / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": metadata}))
    with pytest.raises(FileError, match="pickle"):
        read(path)


@pytest.mark.parametrize("inner", [array_2(compressor=PICKLE), array_3(codec("numcodecs.pickle"))])
def test_consolidated_metadata_of_version_3_are_checked(inner, tmp_path):
    path = write_store(tmp_path / "a.zarr", {"rate": array_3()}, {"rate/c/0/0/0": FRAMES.tobytes()})
    group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    nested = {**group, "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {"x": inner}}}
    consolidated = {"kind": "inline", "must_understand": False, "metadata": {"rate": array_3(), "inner": nested}}
    (path / "zarr.json").write_text(json.dumps({**group, "consolidated_metadata": consolidated}))
    with pytest.raises(FileError, match="pickle"):
        read(path)


def shards(*codecs, chunks=(4, 8, 8), index=("bytes", "crc32c")):
    index_codecs = [codec(name, **({"endian": "little"} if name == "bytes" else {})) for name in index]
    inner = [codec("bytes", endian="little"), *codecs]
    return codec("sharding_indexed", chunk_shape=list(chunks), codecs=inner, index_codecs=index_codecs)


GZIP, ZSTD = codec("gzip", level=5), codec("zstd", level=0, checksum=False)
BLOSC = codec("blosc", typesize=4, cname="zstd", clevel=5, shuffle="noshuffle", blocksize=0)


@pytest.mark.parametrize(
    "array",
    [
        array_3(codec("numcodecs.pickle")),
        array_3(codec("pickle")),
        array_3("numcodecs.pickle"),
        array_3(codec("numcodecs.bz2", level=1)),
        array_3(codec("numcodecs.json2")),
        array_3(codec("numcodecs.zstd", level=1)),
        array_3(GZIP, GZIP),
        array_3(GZIP, codec("crc32c"), ZSTD),
        {**array_3(), "codecs": [shards(GZIP), GZIP]},
        {**array_3(), "codecs": [shards(GZIP, codec("numcodecs.pickle"))]},
        {**array_3(), "codecs": [shards(index=("bytes", "gzip"))]},
        {**array_3(shape=(1, 2**14, 2**14)), "codecs": [shards(chunks=(1, 4, 4))]},
        array_3(shape=(1, 2**16, 2**16)),
        array_3(shape=(2**40, 8, 8), chunks=(1, 8, 8)),
        array_3(shape=(4, 1024, 1024), chunks=(1, 1, 1)),
        array_3(data_type={"name": "fixed_length_utf32", "configuration": {"length_bytes": 2**40}}),
        array_2(filters=[{"id": "bz2", "level": 1}]),
        array_2(filters=[{"id": "gzip", "level": 1}], compressor={"id": "gzip", "level": 1}),
        array_2(filters=[{"id": "packbits"}, {"id": "packbits"}], dtype="|b1"),
        array_2(filters=[{"id": "astype", "encode_dtype": "|i1", "decode_dtype": "<f8"}] * 2, dtype="<f8"),
        array_2(dtype="|O"),
        array_2(dtype="|V2000000000"),
        array_2((-1, 8, 8)),
        array_2((8, True, 8)),
    ],
)
def test_stores_that_could_take_memory_or_run_code_are_rejected(array, tmp_path):
    path = write_store(tmp_path / "a.zarr", {"rate": array}, {})
    with pytest.raises(FileError, match=r"a\.zarr"):
        check_zarr_store(path)


CODECS_2 = [None, *({"id": name} for name in ("gzip", "zlib", "zstd", "lz4", "blosc"))]
SCALE = {"id": "fixedscaleoffset", "offset": 0, "scale": 4, "dtype": "<f4", "astype": "<i4"}
FILTERS_2 = [
    None,
    [{"id": "shuffle", "elementsize": 4}],
    [{"id": "delta", "dtype": "<f4"}],
    [SCALE, {"id": "delta", "dtype": "<i4"}],
]


@pytest.mark.parametrize("compressor", CODECS_2)
@pytest.mark.parametrize("filters", FILTERS_2)
def test_usual_codecs_of_version_2_are_read(compressor, filters, tmp_path):
    numcodecs = pytest.importorskip("numcodecs", reason="the extra zarr")
    chunk = FRAMES
    for c in (*(filters or ()), compressor):
        chunk = numcodecs.get_codec(c).encode(chunk) if c else chunk
    path = write_store(
        tmp_path / "a.zarr",
        {"rate": array_2(compressor=compressor, filters=filters)},
        {"rate/0.0.0": np.ascontiguousarray(chunk).tobytes()},
    )
    np.testing.assert_array_equal(read(path)[:, 0], FRAMES)


@pytest.mark.parametrize("options", [
    {"compressors": None}, {}, {"compressors": "gzip"}, {"compressors": "blosc"}, {"shards": (12, 8, 8)},
])  # fmt: skip
def test_usual_codecs_of_version_3_are_read(options, tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr")
    codecs = {"gzip": zarr.codecs.GzipCodec(), "blosc": zarr.codecs.BloscCodec()}
    options = {key: codecs.get(value, value) if key == "compressors" else value for key, value in options.items()}
    array = zarr.create_array(tmp_path / "a.zarr", shape=FRAMES.shape, chunks=(4, 4, 8), dtype="f4", **options)
    array[:] = FRAMES
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")[:, 0], FRAMES)


def test_a_small_store_cannot_decompress_to_gigabytes(tmp_path):
    bomb = gzip.compress(gzip.compress(bytes(2**25)) * 64)  # two gibibytes
    path = write_store(tmp_path / "a.zarr", {"rate": array_3(GZIP, GZIP)}, {"rate/c/0/0/0": bomb})
    with pytest.raises(FileError, match="gzip"):
        read(path)


def test_large_sparse_stores_are_read_in_proportion(tmp_path):
    shape = (2**14, 256, 256)  # four gibibytes
    array = array_3(GZIP, shape=shape, chunks=(1, 256, 256))
    rng = np.random.default_rng(0)
    chunk = gzip.compress(rng.integers(0, 255, 2**18, "u1").tobytes(), 1)
    path = write_store(tmp_path / "a.zarr", {"rate": array}, {f"rate/c/{i}/0/0": chunk for i in range(17)})
    check_zarr_store(path)
    for i in range(2):
        (path / f"rate/c/{i}/0/0").unlink()
    with pytest.raises(FileError, match=r"a\.zarr"):
        check_zarr_store(path)


BOMBS = {
    "zstd": lambda numcodecs: numcodecs.Zstd(19).encode(bytes(2**26)) * 33,
    "zstd of one frame": lambda numcodecs: zstd_frame(2**14),
    "zstd that states no size": lambda numcodecs: zstd_frame(2**14, stated=None),
    "zstd that states a size": lambda numcodecs: zstd_frame(1, stated=2**40),
    "blosc": lambda numcodecs: (c := numcodecs.Blosc("zstd", 9).encode(bytes(2**20)))[:4] + b"\xff\xff\xff\x7f" + c[8:],
}


def zstd_frame(blocks, stated=0):
    """Returns a frame of `blocks` blocks of 128 KiB of zeros, whose header states their size, another, or none."""
    size = blocks * 2**17 if stated == 0 else stated
    header = b"\0\x58" if size is None else b"\xe0" + size.to_bytes(8, "little")
    block = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (2**17 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd" + header + block * (blocks - 1) + last


@pytest.mark.parametrize("version", [2, 3, "shard"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_claims_memory_in_proportion(name, version, tmp_path):
    numcodecs = pytest.importorskip("numcodecs", reason="the extra zarr")
    chunk = BOMBS[name](numcodecs)
    kind = name.split()[0]
    compressor = BLOSC if kind == "blosc" else ZSTD
    if version == 2:
        path = write_store(tmp_path / "a.zarr", {"rate": array_2(compressor={"id": kind})}, {"rate/0.0.0": chunk})
    else:
        codecs = [shards(compressor, chunks=FRAMES.shape, index=("bytes",))]
        array = array_3(compressor) if version == 3 else {**array_3(), "codecs": codecs}
        index = b"" if version == 3 else (0).to_bytes(8, "little") + len(chunk).to_bytes(8, "little")
        path = write_store(tmp_path / "a.zarr", {"rate": array}, {"rate/c/0/0/0": chunk + index})

    def read_bomb():
        with pytest.raises(FileError, match=r"a\.zarr.* claims"):
            read(path)

    read_bomb()
    assert rise(read_bomb) < 2**28


def test_zstd_that_states_no_size_is_read(tmp_path):
    pytest.importorskip("zarr", reason="the extra zarr")
    chunk = zstd_frame(2, stated=None)
    assert need("convrnn_zoo.data.zarr_codecs", "zarr").zstd_size(chunk) == 2**18
    array = array_3(ZSTD, shape=(4, 128, 128))
    path = write_store(tmp_path / "a.zarr", {"rate": array}, {"rate/c/0/0/0": chunk})
    assert read(path).shape == (4, 1, 128, 128)


def test_other_users_of_zarr_keep_their_codecs(tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr")
    numcodecs = pytest.importorskip("numcodecs", reason="the extra zarr")
    with checked_codecs():
        assert type(numcodecs.get_codec({"id": "zstd"})) is not numcodecs.Zstd
    assert type(numcodecs.get_codec({"id": "zstd"})) is numcodecs.Zstd
    assert zarr.registry.get_codec_class("zstd") is zarr.codecs.ZstdCodec


# ---- HDF5 ----------------------------------------------------------------------------------------------------------
def hdf5(path, write=lambda file: None, **options):
    with h5py.File(path, "w") as file:
        if options:
            file.create_dataset("rate", data=FRAMES, **options)
        write(file)
    return path


def custom_filters(*filters, chunks=(4, 8, 8), write=None):
    """Returns a writer of a dataset with any filters and, by `write`, the stored bytes of its first chunk."""

    def make(file):
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk(chunks)
        for number, values in filters:
            layout.set_filter(number, h5py.h5z.FLAG_OPTIONAL, values)
        space = h5py.h5s.create_simple(FRAMES.shape)
        data = h5py.h5d.create(file.id, b"rate", h5py.h5t.NATIVE_FLOAT, space, layout)
        if write is not None:
            data.write_direct_chunk((0, 0, 0), write)

    return make


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


DEFLATE = (h5py.h5z.FILTER_DEFLATE, (9,))


@pytest.mark.parametrize(
    "write",
    [
        custom_filters(DEFLATE, DEFLATE),
        custom_filters(DEFLATE, (h5py.h5z.FILTER_SHUFFLE, ()), DEFLATE),
        custom_filters(DEFLATE, (h5py.h5z.FILTER_LZF, ())),
        custom_filters((307, (9,))),
        custom_filters((32015, (3,))),
        custom_filters((61234, ())),
        lambda file: file.create_dataset("rate", data=FRAMES.astype("i4"), scaleoffset=0, chunks=(4, 8, 8)),
        lambda file: file.create_dataset("rate", (2**20, 2**20, 8), "f4"),
        lambda file: file.create_dataset("time", (2**40,), "f8"),
        lambda file: file.create_dataset("map", (2**20, 2**20), "f4", chunks=(64, 64)),
        lambda file: file.create_dataset("time", (8,), "f8", chunks=(2**28,), maxshape=(None,), compression="gzip"),
        lambda file: file.create_dataset("a", (4, 1024, 1024), "f4", chunks=(1, 1, 1)),
        lambda file: file.create_dataset("a", (4,), h5py.vlen_dtype("f4")),
        lambda file: file.attrs.create("a", [np.zeros(3), np.zeros(4)], dtype=h5py.vlen_dtype("f8")),
        lambda file: file.create_dataset("a", (4,), [("b", h5py.vlen_dtype("f4")), ("c", "f4")]),
    ],
)
def test_hdf5_files_that_could_take_memory_are_rejected(write, tmp_path):
    with pytest.raises(FileError, match=r"a\.h5"):
        read(hdf5(tmp_path / "a.h5", write))


def test_a_small_hdf5_file_cannot_decompress_to_gigabytes(tmp_path):
    bomb = zlib.compress(zlib.compress(bytes(2**30), 9), 9)
    path = hdf5(tmp_path / "a.h5", custom_filters(DEFLATE, DEFLATE, write=bomb))
    assert path.stat().st_size < 2**14
    with pytest.raises(FileError, match="compressed more than once"):
        read(path)


@pytest.mark.parametrize("place", ["attribute", "dataset", "dataset of many"])
def test_repeated_text_takes_memory_in_proportion(place, tmp_path):
    """All values of variable length are the same part of the file."""
    count, text = (900, 500_000) if place != "dataset of many" else (20_000, 150_000)

    def write(file):
        file["rate"] = FRAMES
        if place == "attribute":
            for i in range(8):
                file.attrs[f"text{i}"] = np.array(["x" * 50] * count, h5py.string_dtype())
        else:
            file.create_dataset("text", data=["x" * 50] * count, dtype=h5py.string_dtype())
        file["long"] = "y" * text

    path = hdf5(tmp_path / "a.h5", write)
    content = path.read_bytes()
    heaps = {m.start().to_bytes(8, "little") for m in re.finditer(b"GCOL", content)}
    short, long = (re.compile(re.escape(n.to_bytes(4, "little")) + b".{12}", re.DOTALL) for n in (50, text))
    reference = next(m[0] for m in long.finditer(content) if m[0][4:12] in heaps)
    content = short.sub(lambda m: reference if m[0][4:12] in heaps else m[0], content)
    path.write_bytes(content)
    if place == "dataset":
        check_hdf5(path)  # under a gibibyte
    else:
        with pytest.raises(FileError, match=r"a\.h5 stores"):
            check_hdf5(path)


@pytest.mark.parametrize("options", [
    {}, {"chunks": (4, 8, 8)}, {"compression": "gzip"}, {"compression": "lzf"},
    {"compression": "gzip", "shuffle": True, "fletcher32": True}, {"chunks": (64, 8, 8), "maxshape": (None, 8, 8)},
])  # fmt: skip
def test_usual_hdf5_files_are_read(options, tmp_path):
    path = hdf5(tmp_path / "a.h5", **{"track_times": False, **options})
    np.testing.assert_array_equal(read(path)[:, 0], FRAMES)


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


def test_a_grib_message_claims_no_more_than_it_stores(tmp_path):
    path = grib(tmp_path / "a.grib2", Ni=2**15, Nj=2**15)
    assert path.stat().st_size < 1000
    with pytest.raises(FileError, match=r"a\.grib2 stores"):
        read(path)


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


@pytest.fixture
def small_limit(monkeypatch):
    """Files may claim 64 KiB without storing anything, instead of one gibibyte."""
    monkeypatch.setattr("convrnn_zoo.data.files.LARGE", 2**16)


def test_a_video_of_one_frame_repeated_is_rejected(tmp_path, small_limit):
    pytest.importorskip("av", reason="the extra video")
    write_video(tmp_path / "moving.mkv", np.random.default_rng(0).integers(0, 255, (9, 128, 128), "uint8"))
    assert len(read(tmp_path / "moving.mkv")) == 9
    write_video(tmp_path / "a.mkv", np.zeros((60, 1024, 1024), "uint8"), "libx264")
    with pytest.raises(FileError, match=r"a\.mkv stores"):
        read(tmp_path / "a.mkv")


@pytest.mark.parametrize("suffix", [".gif", ".tif"])
def test_images_claim_memory_in_proportion(suffix, tmp_path, small_limit):
    image = pytest.importorskip("PIL.Image", reason="the extra draw")
    path, pages = (
        tmp_path / f"a{suffix}",
        [image.new("1" if suffix == ".tif" else "L", (2000, 2000), i % 2) for i in range(8)],
    )
    options = {"compression": "group4"} if suffix == ".tif" else {}
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    assert path.stat().st_size * 1000 < 8 * 2000 * 2000
    with pytest.raises(FileError, match="stores"):
        read(path)


def test_silence_takes_memory_in_proportion(tmp_path, small_limit):
    soundfile = pytest.importorskip("soundfile", reason="the extra sound")
    soundfile.write(tmp_path / "a.flac", np.zeros(2**23, "int16"), 16000, compression_level=1.0)
    assert (tmp_path / "a.flac").stat().st_size * 1000 < 4 * 2**23
    with pytest.raises(FileError, match=r"a\.flac stores"):
        read_sound(tmp_path / "a.flac")
    soundfile.write(tmp_path / "b.flac", np.random.default_rng(0).uniform(-1, 1, 2**17), 16000)
    assert len(read_sound(tmp_path / "b.flac")[0]) == 2**17


def test_all_arrays_of_an_archive_together_claim_memory_in_proportion(tmp_path, small_limit):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        for name in "abcd":
            with archive.open(f"{name}.npy", "w") as file:
                np.save(file, np.zeros((4, 400, 400), "f4"))
    with pytest.raises(FileError, match=r"a\.npz stores"):
        read(tmp_path / "a.npz", variable="a")
    with pytest.raises(FileError, match=r"a\.npz stores"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_of_python_objects_are_not_read(suffix, tmp_path):
    objects = np.array([[[Evil(tmp_path / "ran")]]], dtype=object)
    (np.save if suffix == ".npy" else np.savez)(tmp_path / f"a{suffix}", objects)
    for reader in (read, RECORDING_READERS[suffix]):
        with pytest.raises(FileError, match=rf"a\{suffix}"):
            reader(tmp_path / f"a{suffix}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.timeout(60)
def test_numbers_of_any_length_are_rejected_at_once(tmp_path):
    pytest.importorskip("aeon", reason="the extra data")
    head = "@problemname a\n@timestamps true\n@univariate true\n@classlabel true a b\n@data\n"
    (tmp_path / "a.ts").write_text(f"{head}(0,1.0),(1,2.0):a\n(0,{'1' * 10**6}):b\n")
    with pytest.raises(FileError, match=r"a\.ts"):
        RECORDING_READERS[".ts"](tmp_path / "a.ts")
