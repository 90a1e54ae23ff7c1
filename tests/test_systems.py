"""Other systems, as far as they can be simulated: paths, line ends and open files of Windows, and the tests to skip."""

import ast
import os
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import convrnn_zoo
from convrnn_zoo import _atomic
from convrnn_zoo._atomic import write_text
from convrnn_zoo.hub.cards import check_card
from convrnn_zoo.models.factory import split_address

ROOT = Path(__file__).parent.parent
MODEL = {"hidden_channels": 2, "num_classes": 2, "in_chans": 1}


# ---- paths ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", [r"C:\runs\rain", "C:/runs/rain", r"..\rain", r"runs\rain", r"\\server\share\rain"])
def test_a_path_of_windows_is_a_path(path):
    assert split_address(path) == ("local-dir", path)
    with pytest.raises(OSError, match=re.escape(path)):
        convrnn_zoo.from_pretrained(path)


# ---- line ends ------------------------------------------------------------------------------------------------------


def test_a_saved_model_with_line_ends_of_windows_loads(tmp_path):
    name = "convlstm1d_bi_1layer.japanese_vowels"
    convrnn_zoo.save_pretrained(convrnn_zoo.from_pretrained(name), tmp_path)
    for file in ("config.json", "README.md"):
        path = tmp_path / file
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert convrnn_zoo.from_pretrained(tmp_path).metadata == convrnn_zoo.WEIGHTS[name]
    check_card(ModelCard((tmp_path / "README.md").read_bytes().decode()))


# ---- open files -----------------------------------------------------------------------------------------------------
def in_use(error, times):
    """Returns an ``os.replace`` that fails like that of Windows while another program has the file open."""
    calls, replace = [], os.replace

    def call(source, target):
        calls.append(target)
        if len(calls) <= times:
            failure = PermissionError(13, "The process cannot access the file", str(source))
            failure.winerror = error
            raise failure
        replace(source, target)

    return call, calls


@pytest.fixture
def _no_waiting(monkeypatch):
    monkeypatch.setattr(_atomic.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize("error", [5, 32])
@pytest.mark.usefixtures("_no_waiting")
def test_a_file_that_is_open_for_a_moment_is_replaced(error, tmp_path, monkeypatch):
    replace, calls = in_use(error, times=2)
    monkeypatch.setattr(_atomic.os, "replace", replace)
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert len(calls) == 3


@pytest.mark.usefixtures("_no_waiting")
def test_a_file_that_stays_open_is_an_error_that_says_so(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(_atomic.os, "replace", in_use(32, times=99)[0])
    with pytest.raises(PermissionError, match=r"unchanged.*another program.*close"):
        write_text(tmp_path / "a.txt", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def open_files(directory):
    """Returns the files in a directory that this process has open or mapped, which Windows could not replace."""
    handles = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    maps = [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
    return {path for path in (*handles, *maps) if path.startswith(str(directory))}


@pytest.mark.needs("linux")
def test_a_loaded_model_has_no_file_open(tmp_path):
    model = convrnn_zoo.create_model("convgru1d_1layer", **MODEL)
    convrnn_zoo.save_pretrained(model, tmp_path)
    loaded = convrnn_zoo.from_pretrained(tmp_path)
    convrnn_zoo.load_weights(loaded, tmp_path / "model.safetensors")
    assert open_files(tmp_path) == set()
    convrnn_zoo.save_pretrained(loaded, tmp_path)
    assert open_files(tmp_path) == set()


# ---- which tests run on other systems --------------------------------------------------------------------------------
UNIX = re.compile(r"\bresource\.\w|/proc/|os\.fork|signal\.SIGKILL|send_signal|symlink_to|\.chmod\(|\"/sys/")
"""What Windows or macOS do not have."""


MODULES = {"fcntl", "grp", "pwd", "resource", "termios"}


def unmarked(file):
    """Yields what of a test file would fail on another system: imports for all tests, and tests without a marker."""
    source = file.read_text(encoding="utf-8")
    tree, lines = ast.parse(source), source.splitlines()
    imported = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
    yield from imported & MODULES
    if "pytestmark = pytest.mark.needs(" in source or file == Path(__file__):
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            if UNIX.search(text) and not re.search(r"mark\.(needs|skipif)", decorators):
                yield node.name


def test_tests_of_unix_say_what_they_need():
    found = {f.relative_to(ROOT).as_posix(): [*unmarked(f)] for f in sorted((ROOT / "tests").rglob("*.py"))}
    assert len(found) > 100
    assert {file: names for file, names in found.items() if names} == {}, "mark with needs(), or import in functions"


def test_the_package_imports_no_module_of_unix():
    for file in (ROOT / "convrnn_zoo").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not MODULES & set(names), file
