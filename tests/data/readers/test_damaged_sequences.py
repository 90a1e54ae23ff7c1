"""Readers of recordings and clips on randomly damaged files: a result, or one line that names the file."""

import random

import numpy as np
import pytest

from convrnn_zoo import LogMel, create_model
from convrnn_zoo.data import read_dataset
from tests.helpers.data.own_data import write_gif, write_pictures, write_video

SEQUENCES = read_dataset({"kind": "sequences", "name": "a"})
CLIPS = read_dataset({"kind": "clips", "name": "a"})
AUDIO = {
    "PCM_16.wav": "PCM_16",
    "FLOAT.wav": "FLOAT",
    "PCM_24.flac": "PCM_24",
    "VORBIS.ogg": "VORBIS",
    "MP3.mp3": "MPEG_LAYER_III",
}
VIDEO = {"mpeg4.avi": "mpeg4", "mpeg4.mp4": "mpeg4", "mpeg4.mkv": "mpeg4"}
SUFFIXES = [*AUDIO, *VIDEO, "a.gif", "a.png", "a.npy", "clip.npy", "a.npz", "x.npz", "a.csv", "a.ts"]
TS = "@problemName a\n@timestamps false\n@univariate true\n@equalLength true\n@classLabel true 1 2\n@data\n"


def write(path):
    """Writes a valid file of the format."""
    name, rng = path.name, np.random.default_rng(0)
    frames = rng.integers(0, 255, (5, 16, 16, 3)).astype("uint8")
    if name in AUDIO:
        soundfile = pytest.importorskip("soundfile", reason="the extra sound")
        soundfile.write(path, 0.1 * rng.normal(size=4000), 8000, subtype=AUDIO[name])
    elif name in VIDEO:
        pytest.importorskip("av", reason="the extra video")
        write_video(path, frames[..., 0], VIDEO[name])
    elif name == "a.gif":
        write_gif(path, frames)
    elif name == "a.png":
        write_pictures(path.parent / "images", frames[:1])
        next((path.parent / "images").iterdir()).rename(path)
    elif name.endswith(".npy"):
        np.save(path, frames.transpose(0, 3, 1, 2) if name == "clip.npy" else rng.normal(size=(20, 3)))
    elif name == "a.npz":
        np.savez_compressed(path, labels=list("ababab"), **{str(i): np.ones((3 + i, 2)) for i in range(6)})
    elif name == "x.npz":
        np.savez(path, X=np.ones((6, 5, 2)), y=list("ababab"), lengths=[5, 4, 3, 5, 4, 3])
    elif name == "a.csv":
        path.write_text("a,b\n" + "".join(f"{i},{i / 7:.3f}\n" for i in range(20)))
    else:
        pytest.importorskip("aeon", reason="the extra data")
        path.write_text(TS + "".join(f"{i},{i}.5,3,4:{i % 2 + 1}\n" for i in range(6)))


def damage(content, rng):
    """Returns bytes that are cut, overwritten, repeated or removed at random, often in the header."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        size = len(content)
        at = rng.randrange(min(size, 64) if rng.random() < 0.5 else size) if size else 0
        match rng.randrange(6):
            case 0:
                content[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                content[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80")
                )
            case 2:
                del content[at:]
            case 3:
                del content[at : at + rng.randrange(1, 9)]
            case 4:
                content[at:at] = content[at : at + rng.randrange(1, 65)]
            case 5:
                content[at : at + 2] = rng.choice((b"99999999", b"nan", b"-1", b"'", b"(", b"\x80", b"inf", b","))
    return bytes(content)


def read(path, directory):
    """Reads a file as training and as `predict` do."""
    from convrnn_zoo.data.readers.sequences import read_recordings

    if path.name in VIDEO or path.suffix == ".gif" or path.name == "clip.npy":
        return CLIPS.read(path)
    if path.suffix == ".png":
        return CLIPS.read(directory)
    model = create_model("convgru1d_1layer", in_chans=40, hidden_channels=2, kernel_size=1, num_classes=2)
    model.front_end = LogMel(rate=8000)
    if path.suffix in (".npz", ".ts"):
        SEQUENCES.load(path, "train")
    return read_recordings(path, model)


@pytest.mark.parametrize("count", [8, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SUFFIXES)
def test_a_damaged_file_gives_a_result_or_one_line_with_its_name(name, count, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    path = folder / name
    write(path)
    read(path, folder)  # which is valid
    content, rng = path.read_bytes(), random.Random(f"{name} {count}")
    for _ in range(count):
        path.write_bytes(damage(content, rng))
        try:
            read(path, folder)
        except (ValueError, FileNotFoundError) as e:
            assert str(folder) in str(e), e  # noqa: PT017
            assert "\n" not in str(e)  # noqa: PT017
