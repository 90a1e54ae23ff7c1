"""Tests that every command answers odd files with a result or an error of a few lines, never with a traceback."""

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from convrnn_zoo.cli.demo import CLASSIFIER
from convrnn_zoo_command.group import cli
from tests.interop.conftest import forked_reader  # noqa: F401 - a fixture

RAIN = "convgru_forecaster.rain"


def save_hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


FILES = {
    "scalar.npy": lambda p: np.save(p, np.float32(3)),
    "complex.npy": lambda p: np.save(p, np.zeros((4, 16, 16), complex)),
    "dates.npy": lambda p: np.save(p, np.zeros((8, 16, 16), "datetime64[s]")),
    "long_double.npy": lambda p: np.save(p, np.zeros((8, 16, 16), np.longdouble)),
    "big_endian.npy": lambda p: np.save(p, np.zeros((8, 16, 16), ">f4")),
    "labels.npz": lambda p: np.savez(p, x=np.zeros((8, 16, 16), "f4"), labels=np.float32(1)),
    "lengths.npz": lambda p: np.savez(p, x=np.zeros((2, 5, 12)), lengths=np.array([2.5, 3])),
    "text_lengths.npz": lambda p: np.savez(p, x=np.zeros((2, 5, 12)), lengths=np.array(["a", "b"])),
    "scalar_x.npz": lambda p: np.savez(p, x=np.float32(3), lengths=np.array([1])),
    "netcdf3.nc": lambda p: p.write_bytes(b"CDF\x01" + bytes(100)),
    "transposed.h5": lambda p: save_hdf5(p, rain=np.zeros((16, 17, 8), "f4"), time=np.arange(8.0)),
    "five_axes.h5": lambda p: save_hdf5(p, rain=np.zeros((2, 3, 4, 5, 6), "f4")),
    "text.h5": lambda p: save_hdf5(p, rain="text"),
    "RAD_NL25_201099260410.h5": lambda p: p.write_bytes(b""),
    "latin1.json": lambda p: p.write_bytes(b"\xff"),
    "list.json": lambda p: p.write_text("[]"),
    "unknown_key.toml": lambda p: p.write_text("x = 1"),
    "utf16.toml": lambda p: p.write_bytes(b"\xff\xfe"),
    "zeros.safetensors": lambda p: p.write_bytes(bytes(8)),
    "text.pth": lambda p: p.write_bytes(b"x"),
    "directory": lambda p: p.mkdir(),
    "missing.npy": lambda p: None,
}
COMMANDS = {
    "forecast": ["predict", RAIN, "FILE", "--json"],
    "classify": ["predict", CLASSIFIER, "FILE", "--json"],
    "model": ["predict", "FILE", "FILE", "--json"],
    "recipe of predict": ["predict", RAIN, "FILE", "--recipe", "FILE", "--json"],
    "info": ["info", "FILE"],
    "eval": ["eval", "FILE"],
    "recipe of eval": ["eval", RAIN, "--recipe", "FILE"],
    "data of eval": ["eval", CLASSIFIER, "--data", "FILE"],
    "train": ["train", "FILE", "--data", "FILE", "-o", "OUTPUT"],
    "data of train": ["train", "rain", "--data", "FILE", "-o", "OUTPUT"],
    "convert": ["convert", "auto", "FILE", "-o", "OUTPUT"],
    "export": ["export", "FILE", "-o", "OUTPUT.onnx"],
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FILES)
def test_no_command_ends_in_a_traceback(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    FILES[name](tmp_path / name)
    places = {"FILE": str(tmp_path / name), "OUTPUT": str(tmp_path / "out"), "OUTPUT.onnx": str(tmp_path / "out.onnx")}
    for title, command in COMMANDS.items():
        done = CliRunner().invoke(cli, [places.get(word, word) for word in command])
        assert done.exception is None or isinstance(done.exception, SystemExit), (title, repr(done.exception))
        assert len(done.stderr.splitlines()) <= 8, title
        assert done.exit_code == 0 or "Error: " in done.stderr, title


@pytest.mark.parametrize("name", ["labels", "arrays"])
def test_text_in_files_does_not_change_the_terminal(name, tmp_path):
    frames, title = np.zeros((8, 16, 16), "float32"), "\x1b]0;title\x07"
    arrays = {"x": frames, "labels": [title] * 8} if name == "labels" else {title: frames, "b": frames}
    np.savez(tmp_path / "a.npz", **arrays)
    done = CliRunner().invoke(cli, ["predict", RAIN, str(tmp_path / "a.npz"), "-o", str(tmp_path / "out.npy")])
    assert done.exit_code == (0 if name == "labels" else 1)
    assert "0;title" in done.output
    assert not {"\x1b", "\x07"} & set(done.output)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", RAIN, ""], "name is empty"),
        (["recipe", RAIN, "--data", ""], "name is empty"),
        (["train", "rain", "-o", ""], "name is empty"),
        (["predict", RAIN, "a.npy", "--minutes", "nan"], "finite"),
        (["predict", RAIN, "a.npy", "--sel", "lat=50", "--sel", "lat=55"], "twice"),
    ],
)
def test_arguments_that_a_shell_gets_wrong_are_usage_errors(arguments, words):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert words in result.output
